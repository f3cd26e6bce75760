//! Signatures of clients, by their own public keys (RFC 7518 §3, RFC 8037 §3.1). Refuses to know what was signed.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};

use crate::protocol::jose::{Algorithm, Jwk, JwkSet, PublicKey, UnverifiedJws};

/// Whether one of the keys made the signature.
pub fn is_signed_by_any(jws: &UnverifiedJws, keys: &JwkSet) -> bool {
    keys.candidates(&jws.header).any(|jwk| is_signed_by(jws, jwk))
}

/// Whether the key made the signature, by the algorithm that the header says and the key allows.
pub fn is_signed_by(jws: &UnverifiedJws, jwk: &Jwk) -> bool {
    // RFC 8725 §3.1: the algorithm is one that the key is for.
    if !jwk.fits(jws.header.alg) {
        return false;
    }
    let (message, signature) = (jws.message.as_bytes(), jws.signature.as_slice());
    match &jwk.key {
        PublicKey::Rsa { n, e } => {
            let components = RsaPublicKeyComponents { n, e };
            let parameters = match jws.header.alg {
                Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
                Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
                Algorithm::Es256 | Algorithm::EdDsa => return false,
            };
            components.verify(parameters, message, signature).is_ok()
        }
        PublicKey::P256 { x, y } => {
            // SEC 1 §2.3.3: an uncompressed point.
            let point = [&[4], x.as_slice(), y].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
        }
        PublicKey::Ed25519 { x } => UnparsedPublicKey::new(&ED25519, x).verify(message, signature).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// RFC 7515 appendix A.3 and RFC 8037 appendix A.4.
    #[test]
    fn the_signatures_of_the_rfcs_are_good_and_no_others() {
        let es256 = concat!(
            "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
            ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
        );
        let p256 = json!({ "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" });
        let eddsa = concat!(
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
            ".hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        );
        let ed = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
        let signed =
            |text: &str, key: &Value| is_signed_by(&UnverifiedJws::parse(text).unwrap(), &Jwk::parse(key).unwrap());
        assert!(signed(es256, &p256) && signed(eddsa, &ed));
        assert!(!signed(es256, &ed) && !signed(eddsa, &p256));
        assert!(!signed(&es256.replace(".eyJpc3M", ".eyJpc3N"), &p256));
        assert!(!signed(&es256.replace(".DtEh", ".DtEi"), &p256));
    }
}
