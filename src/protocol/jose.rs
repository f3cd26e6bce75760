//! What clients sign (RFC 7515) and the keys they sign with (RFC 7517): taken apart and checked for form. Refuses to know
//! whether a signature is right; `keys` does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::secret::{Digest, decode_base64url, encode_base64url};

/// The most bytes of a compact JWS.
const MAX_JWS_BYTES: usize = 16 * 1024;
/// The most bytes of a `kid`.
const MAX_KID_BYTES: usize = 256;
/// The most keys of a set.
const MAX_KEYS: usize = 16;

/// The algorithms that clients may sign with: asymmetric ones alone (RFC 8725 §3.1, FAPI 2.0 §5.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA", alias = "Ed25519")]
    EdDsa,
    /// RSASSA-PSS with SHA-256.
    #[serde(rename = "PS256")]
    Ps256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
}

impl Algorithm {
    /// All of them, as metadata lists them.
    pub const ALL: [&'static str; 5] = ["ES256", "EdDSA", "Ed25519", "PS256", "RS256"];
}

/// The algorithms that we may sign with: both have every key that we make, and SHA-256. A key has one of them for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum OwnAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 §3.3).
    #[serde(rename = "RS256")]
    Rs256,
    /// RSASSA-PSS with SHA-256 and a salt of 32 bytes (RFC 7518 §3.5).
    #[serde(rename = "PS256")]
    Ps256,
}

impl OwnAlgorithm {
    /// Both, in the order in which metadata lists them.
    pub const ALL: [Self; 2] = [Self::Rs256, Self::Ps256];

    /// The spelling in headers, in keys, in the database and for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
        }
    }
}

/// A compact JWS whose signature has not been looked at.
#[derive(Debug)]
pub struct UnverifiedJws {
    /// What its header says.
    pub header: JwsHeader,
    /// What was signed.
    pub message: String,
    /// What it says, as JSON.
    pub payload: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

/// The header of a JWS. Members that name a key elsewhere (`jku`, `x5u`, `x5c`) are not read (RFC 8725 §3.10).
#[derive(Debug, Deserialize)]
pub struct JwsHeader {
    /// The algorithm.
    pub alg: Algorithm,
    /// What it is.
    pub typ: Option<String>,
    /// Which key.
    pub kid: Option<String>,
    /// The key itself, of a DPoP proof (RFC 9449 §4.2).
    pub jwk: Option<Value>,
    /// Extensions that must be understood; none is.
    crit: Option<Value>,
}

impl UnverifiedJws {
    /// Takes a JWS apart; `None` for what is none of ours to verify.
    pub fn parse(text: &str) -> Option<Self> {
        // RFC 8725 §3.14: a bound before any work.
        if text.len() > MAX_JWS_BYTES {
            return None;
        }
        let (message, signature) = text.rsplit_once('.')?;
        let (header, payload) = message.split_once('.')?;
        let (header, payload) = (decode_base64url(header)?, decode_base64url(payload)?);
        let header: JwsHeader = serde_json::from_slice(&header).ok()?;
        // RFC 7515 §4.1.11: an extension that is not understood.
        let bounded = header.kid.as_ref().is_none_or(|kid| kid.len() <= MAX_KID_BYTES);
        if header.crit.is_some() || !bounded {
            return None;
        }
        Some(Self { header, message: message.to_owned(), payload, signature: decode_base64url(signature)? })
    }
}

/// A public key (RFC 7517 §4), of a kind that we verify with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwk {
    /// Its name, if it has one.
    pub kid: Option<String>,
    /// The one algorithm that it is for, if that is said.
    pub alg: Option<Algorithm>,
    /// The key.
    pub key: PublicKey,
    /// The certificate that it came with, DER (RFC 7517 §4.7).
    pub certificate: Option<Vec<u8>>,
}

/// The numbers of a public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// RFC 7518 §6.3.1.
    Rsa {
        /// Modulus.
        n: Vec<u8>,
        /// Exponent.
        e: Vec<u8>,
    },
    /// A point on P-256 (RFC 7518 §6.2.1).
    P256 {
        /// Its first coordinate.
        x: [u8; 32],
        /// Its second.
        y: [u8; 32],
    },
    /// RFC 8037 §2.
    Ed25519 {
        /// The key.
        x: [u8; 32],
    },
}

#[derive(Deserialize)]
struct JwkJson {
    kty: String,
    kid: Option<String>,
    alg: Option<Value>,
    #[serde(rename = "use")]
    key_use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    x5c: Option<Vec<String>>,
    d: Option<Value>,
    k: Option<Value>,
}

impl Jwk {
    /// Reads a key; `None` for one that signs nothing we take, or that is not public.
    pub fn parse(json: &Value) -> Option<Self> {
        let json: JwkJson = serde_json::from_value(json.clone()).ok()?;
        // RFC 9449 §4.3: MUST NOT contain a private key. Whoever shows one has given it away.
        if json.d.is_some() || json.k.is_some() {
            return None;
        }
        let for_signatures = json.key_use.as_deref().is_none_or(|key_use| key_use == "sig");
        let verifies = json.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !for_signatures || !verifies || json.kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID_BYTES) {
            return None;
        }
        let bytes = |text: &Option<String>| text.as_deref().and_then(decode_base64url);
        let fixed = |text: &Option<String>| <[u8; 32]>::try_from(bytes(text)?).ok();
        let key = match (json.kty.as_str(), json.crv.as_deref()) {
            ("RSA", None) => {
                let (n, e) = (bytes(&json.n)?, bytes(&json.e)?);
                // RFC 7518 §3.3: 2048 bits or more; more than 4096 only costs time. No leading zeros (§6.3.1.1).
                let sized = (256..=512).contains(&n.len()) && n.first() != Some(&0) && n.last()? % 2 == 1;
                let odd = e.len() <= 8 && e.first() != Some(&0) && e.last()? % 2 == 1 && e.as_slice() != [1];
                if !sized || !odd {
                    return None;
                }
                PublicKey::Rsa { n, e }
            }
            ("EC", Some("P-256")) => PublicKey::P256 { x: fixed(&json.x)?, y: fixed(&json.y)? },
            ("OKP", Some("Ed25519")) => PublicKey::Ed25519 { x: fixed(&json.x)? },
            _ => return None,
        };
        let alg = match json.alg {
            None => None,
            Some(alg) => Some(serde_json::from_value(alg).ok()?),
        };
        let certificate = json.x5c.as_ref().and_then(|chain| chain.first()).and_then(|first| decode_base64(first));
        Some(Self { kid: json.kid, alg, key, certificate })
    }

    /// The key with what is known of it, and nothing else that whoever showed it said.
    fn to_json(&self) -> Value {
        let mut jwk = match &self.key {
            PublicKey::Rsa { n, e } => json!({ "kty": "RSA", "n": encode_base64url(n), "e": encode_base64url(e) }),
            PublicKey::P256 { x, y } => {
                json!({ "kty": "EC", "crv": "P-256", "x": encode_base64url(x), "y": encode_base64url(y) })
            }
            PublicKey::Ed25519 { x } => json!({ "kty": "OKP", "crv": "Ed25519", "x": encode_base64url(x) }),
        };
        let more = [
            ("kid", self.kid.as_ref().map(|kid| json!(kid))),
            ("alg", self.alg.map(|alg| json!(alg))),
            ("x5c", self.certificate.as_ref().map(|der| json!([STANDARD.encode(der)]))),
        ];
        if let Value::Object(members) = &mut jwk {
            members.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        }
        jwk
    }

    /// Whether the key is of the kind that the algorithm wants, and not meant for another (RFC 8725 §3.1).
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        let kind = match (&self.key, algorithm) {
            (PublicKey::Rsa { .. }, Algorithm::Rs256 | Algorithm::Ps256)
            | (PublicKey::P256 { .. }, Algorithm::Es256)
            | (PublicKey::Ed25519 { .. }, Algorithm::EdDsa) => true,
            (PublicKey::Rsa { .. } | PublicKey::P256 { .. } | PublicKey::Ed25519 { .. }, _) => false,
        };
        kind && self.alg.is_none_or(|only| only == algorithm)
    }

    /// The SHA-256 thumbprint of its required members in lexical order (RFC 7638 §3, RFC 8037 §2).
    pub fn thumbprint(&self) -> String {
        let encode = |bytes: &[u8]| encode_base64url(bytes);
        let members = match &self.key {
            PublicKey::Rsa { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encode(e), encode(n)),
            PublicKey::P256 { x, y } => {
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, encode(x), encode(y))
            }
            PublicKey::Ed25519 { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(x)),
        };
        encode_base64url(Digest::sha256(members.as_bytes()).as_bytes())
    }
}

/// RFC 7517 §4.7: base64, not base64url.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// A JWK Set (RFC 7517 §5): the keys in it that we verify with; others are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JwkSet(Vec<Jwk>);

impl JwkSet {
    /// Reads a set; `None` for what is none, or holds a secret, or has not one usable key.
    pub fn parse(json: &Value) -> Option<Self> {
        let listed = json.as_object()?.get("keys")?.as_array()?;
        let shows = |key: &Value, name: &str| key.get(name).is_some();
        if listed.len() > MAX_KEYS || listed.iter().any(|key| shows(key, "d") || shows(key, "k")) {
            return None;
        }
        let keys: Vec<Jwk> = listed.iter().filter_map(Jwk::parse).collect();
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// The set, as it is kept: what we verify with (CWE-770: and nothing else that came with it).
    pub fn to_json(&self) -> Value {
        json!({ "keys": self.0.iter().map(Jwk::to_json).collect::<Vec<_>>() })
    }

    /// The keys that could have made such a signature: that of the name, or all of the kind if none is named.
    pub fn candidates(&self, header: &JwsHeader) -> impl Iterator<Item = &Jwk> {
        let named = move |jwk: &&Jwk| header.kid.is_none() || jwk.kid == header.kid;
        self.0.iter().filter(named).filter(|jwk| jwk.fits(header.alg))
    }

    /// Whether one of the keys came with that certificate (RFC 8705 §2.2.2).
    pub fn has_certificate(&self, der: &[u8]) -> bool {
        self.0.iter().any(|jwk| jwk.certificate.as_deref() == Some(der))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compact(header: &Value) -> String {
        format!("{}.e30.c2ln", encode_base64url(header.to_string().as_bytes()))
    }

    #[test]
    fn only_asymmetric_algorithms_are_read() {
        for alg in Algorithm::ALL {
            assert!(UnverifiedJws::parse(&compact(&json!({ "alg": alg, "kid": "k" }))).is_some(), "{alg}");
        }
        for header in [
            json!({ "alg": "none" }),
            json!({ "alg": "HS256" }),
            json!({ "alg": "rs256" }),
            json!({ "alg": "RS1" }),
            json!({}),
            json!({ "alg": "ES256", "crit": ["exp"] }),
            json!({ "alg": "ES256", "crit": [] }),
            json!({ "alg": "ES256", "kid": "k".repeat(257) }),
            json!(["ES256"]),
        ] {
            assert!(UnverifiedJws::parse(&compact(&header)).is_none(), "{header}");
        }
        let good = compact(&json!({ "alg": "ES256" }));
        for text in
            [format!("{good}="), good.replace(".e30.", "."), format!("{good}.x"), format!(" {good}"), String::new()]
        {
            assert!(UnverifiedJws::parse(&text).is_none(), "{text}");
        }
        let twice = format!("{}.e30.c2ln", encode_base64url(br#"{"alg":"ES256","alg":"RS256"}"#));
        assert!(UnverifiedJws::parse(&twice).is_none());
    }

    #[test]
    fn the_thumbprints_of_the_rfcs_are_met() {
        // RFC 9449 §4.2 and §6.1; RFC 8037 appendix A.3.
        let p256 = json!({ "kty": "EC", "crv": "P-256", "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
            "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA" });
        assert_eq!(Jwk::parse(&p256).unwrap().thumbprint(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
        let ed = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
        assert_eq!(Jwk::parse(&ed).unwrap().thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn what_is_no_public_key_to_verify_with_is_left_out() {
        let good = json!({ "kty": "EC", "crv": "P-256", "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
            "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA" });
        for (member, value) in [
            ("d", json!("x")),
            ("use", json!("enc")),
            ("key_ops", json!(["sign"])),
            ("crv", json!("P-384")),
            ("x", json!("AA")),
            ("kty", json!("oct")),
            ("alg", json!("none")),
            ("kid", json!("k".repeat(257))),
        ] {
            let mut key = good.clone();
            key[member] = value;
            assert_eq!(Jwk::parse(&key), None, "{member}");
        }
        assert!(JwkSet::parse(&json!({ "keys": [good, { "kty": "oct" }] })).is_some());
        assert!(JwkSet::parse(&json!({ "keys": [good, { "kty": "oct", "k": "AA" }] })).is_none(), "a secret is shown");
        assert!(JwkSet::parse(&json!({ "keys": [] })).is_none());
        assert!(JwkSet::parse(&json!([])).is_none());
    }

    #[test]
    fn of_a_set_nothing_is_kept_but_what_is_verified_with() {
        let n = encode_base64url(&[0xff; 256]);
        let keys = json!([
            { "kty": "RSA", "n": n, "e": "AQAB", "alg": "PS256", "kid": "r", "x5t": "AA", "deep": { "er": [1, 2] } },
            { "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "use": "sig" },
            { "kty": "EC", "crv": "P-256", "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
                "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA", "x5c": ["AQID", "BAUG"], "z": null },
            { "kty": "EC", "crv": "P-384" },
        ]);
        let parsed = JwkSet::parse(&json!({ "keys": keys, "more": "x" })).unwrap();
        let kept = json!({ "keys": [
            { "kty": "RSA", "n": n, "e": "AQAB", "alg": "PS256", "kid": "r" },
            { "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" },
            { "kty": "EC", "crv": "P-256", "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
                "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA", "x5c": ["AQID"] },
        ] });
        assert_eq!(parsed.to_json(), kept);
        assert_eq!(JwkSet::parse(&kept), Some(parsed));
    }

    #[test]
    fn a_key_signs_only_what_it_is_for() {
        let mut key = json!({ "kty": "RSA", "n": encode_base64url(&[0xff; 256]), "e": "AQAB" });
        let parsed = Jwk::parse(&key).unwrap();
        assert!(parsed.fits(Algorithm::Rs256) && parsed.fits(Algorithm::Ps256) && !parsed.fits(Algorithm::Es256));
        key["alg"] = json!("PS256");
        let parsed = Jwk::parse(&key).unwrap();
        assert!(parsed.fits(Algorithm::Ps256) && !parsed.fits(Algorithm::Rs256));
        for (n, e) in
            [(vec![0xff; 128], "AQAB"), (vec![0xff; 1024], "AQAB"), (vec![0xff; 256], "AQ"), (vec![0xfe; 256], "AQAB")]
        {
            let weak = json!({ "kty": "RSA", "n": encode_base64url(&n), "e": e });
            assert_eq!(Jwk::parse(&weak), None);
        }
    }
}
