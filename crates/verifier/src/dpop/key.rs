//! The public keys that clients show (RFC 7517 §4), and what is signed with them (RFC 7518 §3, RFC 8037 §3.1).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize;

use crate::{base64url, digest, keys};

/// Members of a private key, or of one that both sides share (RFC 7518 §6.2.2, §6.3.2, §6.4.1).
const SECRET: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// The numbers of a public key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PublicKey {
    /// RFC 7518 §6.3.1: modulus and exponent.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// RFC 7518 §6.2.1: a point on P-256.
    P256 { x: [u8; 32], y: [u8; 32] },
    /// RFC 8037 §2.
    Ed25519 { x: [u8; 32] },
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    alg: Option<String>,
    #[serde(rename = "use")]
    key_use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Reads a public key that may have signed by `alg`.
pub(super) fn parse(jwk: &serde_json::Value, alg: &str) -> Option<PublicKey> {
    // RFC 9449 §4.3 no. 7: no private key. Whoever shows one has given it away.
    if SECRET.iter().any(|member| jwk.get(member).is_some()) {
        return None;
    }
    // Members that have no say here (`kid`, `x5c`) are left alone.
    let jwk = Jwk::deserialize(jwk).ok()?;
    // RFC 8725 §3.1: a key has one algorithm, if it says so. RFC 9864 §2.2: Ed25519 is the one that EdDSA means here.
    let one_name = |alg: &str| if alg == "Ed25519" { "EdDSA".to_owned() } else { alg.to_owned() };
    let alg = one_name(alg);
    let meant_for_it = jwk.alg.as_deref().is_none_or(|only| one_name(only) == alg);
    // RFC 7517 §4.2, §4.3: what a key is for.
    let for_signatures = jwk.key_use.as_deref().is_none_or(|key_use| key_use == "sig");
    let for_verifying = jwk.key_ops.is_none_or(|operations| operations.iter().any(|one| one == "verify"));
    if !(meant_for_it && for_signatures && for_verifying) {
        return None;
    }
    let bytes = |text: &Option<String>| base64url::decode(text.as_deref()?);
    let fixed = |text: &Option<String>| base64url::decode_exactly::<32>(text.as_deref()?);
    match (jwk.kty.as_str(), jwk.crv.as_deref(), alg.as_str()) {
        ("RSA", None, "RS256" | "PS256") => {
            let (n, e) = (bytes(&jwk.n)?, bytes(&jwk.e)?);
            // RFC 7518 §3.3: 2048 bits or more; more than 4096 only costs time. No leading zeros (§6.3.1.1), both odd.
            let sized = (2048..=4096).contains(&keys::bits(&n)) && (2..=64).contains(&keys::bits(&e));
            let odd = n.last()? % 2 == 1 && e.last()? % 2 == 1;
            (sized && odd).then_some(PublicKey::Rsa { n, e })
        }
        ("EC", Some("P-256"), "ES256") => Some(PublicKey::P256 { x: fixed(&jwk.x)?, y: fixed(&jwk.y)? }),
        ("OKP", Some("Ed25519"), "EdDSA") => Some(PublicKey::Ed25519 { x: fixed(&jwk.x)? }),
        _ => None,
    }
}

impl PublicKey {
    /// Whether it made that signature, by an algorithm that it may have signed by.
    pub(super) fn made(&self, signature: &[u8], message: &[u8], alg: &str) -> bool {
        let outcome = match self {
            Self::Rsa { n, e } => {
                let parameters = if alg == "PS256" { &RSA_PSS_2048_8192_SHA256 } else { &RSA_PKCS1_2048_8192_SHA256 };
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            Self::P256 { x, y } => {
                // SEC 1 §2.3.3: an uncompressed point.
                let point = [&[4], x.as_slice(), y].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Self::Ed25519 { x } => UnparsedPublicKey::new(&ED25519, x).verify(message, signature),
        };
        outcome.is_ok()
    }

    /// The SHA-256 thumbprint of its required members in lexical order (RFC 7638 §3, RFC 8037 §2).
    pub(super) fn thumbprint(&self) -> String {
        let encode = base64url::encode;
        let members = match self {
            Self::Rsa { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encode(e), encode(n)),
            Self::P256 { x, y } => format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, encode(x), encode(y)),
            Self::Ed25519 { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(x)),
        };
        base64url::encode(&digest::sha256(members.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn p256() -> Value {
        json!({ "kty": "EC", "crv": "P-256", "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
            "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA" })
    }

    fn ed25519() -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" })
    }

    fn rsa() -> Value {
        json!({ "kty": "RSA", "n": base64url::encode(&[0xff; 256]), "e": "AQAB" })
    }

    #[test]
    fn the_thumbprints_of_the_rfcs_are_met() {
        // RFC 9449 §4.2 and §6.1; RFC 8037 appendix A.3; RFC 7638 §3.1.
        let thumbprint = |jwk: &Value, alg: &str| parse(jwk, alg).map(|key| key.thumbprint());
        let of_p256 = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
        assert_eq!(thumbprint(&p256(), "ES256").as_deref(), Some(of_p256));
        let of_ed25519 = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
        assert_eq!(thumbprint(&ed25519(), "EdDSA").as_deref(), Some(of_ed25519));
        let n = concat!(
            "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCi",
            "FV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnY",
            "b9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0",
            "Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
        );
        let jwk = json!({ "kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29" });
        assert_eq!(thumbprint(&jwk, "RS256").as_deref(), Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
    }

    #[test]
    fn the_signatures_of_the_rfcs_are_good_and_no_others() {
        // RFC 7515 appendix A.3 and RFC 8037 appendix A.4.
        let es256 = concat!(
            "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
            ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
        );
        let eddsa = concat!(
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
            ".hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        );
        let signer = json!({ "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" });
        let signed = |text: &str, jwk: &Value, alg: &str| {
            let (message, signature) = text.rsplit_once('.').unwrap();
            let signature = base64url::decode(signature).unwrap();
            parse(jwk, alg).is_some_and(|key| key.made(&signature, message.as_bytes(), alg))
        };
        assert!(signed(es256, &signer, "ES256") && signed(eddsa, &ed25519(), "EdDSA"));
        assert!(signed(eddsa, &ed25519(), "Ed25519"));
        assert!(!signed(es256, &p256(), "ES256") && !signed(eddsa, &p256(), "ES256"));
        assert!(!signed(&es256.replace(".eyJpc3M", ".eyJpc3N"), &signer, "ES256"));
        assert!(!signed(&es256.replace(".DtEh", ".DtEi"), &signer, "ES256"));
    }

    #[test]
    fn what_is_no_public_key_for_the_algorithm_is_refused() {
        for (jwk, good) in [
            (p256(), &["ES256"][..]),
            (ed25519(), &["EdDSA", "Ed25519"]),
            (rsa(), &["RS256", "PS256"]),
            (json!({ "kty": "oct", "k": "AA" }), &[]),
            (json!({ "kty": "oct" }), &[]),
            (json!([]), &[]),
            (json!("x"), &[]),
        ] {
            for alg in
                ["ES256", "EdDSA", "Ed25519", "RS256", "PS256", "HS256", "none", "ES384", "RS512", "es256", "Ed448", ""]
            {
                assert_eq!(parse(&jwk, alg).is_some(), good.contains(&alg), "{jwk} {alg}");
            }
        }
        for (member, value) in [
            ("use", json!("enc")),
            ("key_ops", json!(["sign"])),
            ("alg", json!("RS256")),
            ("alg", json!(7)),
            ("crv", json!("P-384")),
            ("kty", json!("OKP")),
            ("x", json!("AA")),
            ("y", Value::Null),
        ] {
            let mut jwk = p256();
            jwk[member] = value;
            assert_eq!(parse(&jwk, "ES256"), None, "{jwk}");
        }
        for member in SECRET {
            let mut jwk = p256();
            jwk[member] = Value::Null;
            assert_eq!(parse(&jwk, "ES256"), None, "{jwk}");
        }
        for (n, e) in [
            (vec![0xff; 255], "AQAB"),
            (vec![0xff; 513], "AQAB"),
            (vec![0xfe; 256], "AQAB"),
            ([vec![0], vec![0xff; 256]].concat(), "AQAB"),
            (vec![0xff; 256], "AQ"),
            (vec![0xff; 256], "Ag"),
            (vec![0xff; 256], "AAEAAQ"),
            (vec![0xff; 256], "AQAAAAAAAAAB"),
        ] {
            assert_eq!(parse(&json!({ "kty": "RSA", "n": base64url::encode(&n), "e": e }), "RS256"), None, "{e}");
        }
    }
}
