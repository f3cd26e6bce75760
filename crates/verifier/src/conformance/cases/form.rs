//! What is wrong with header, key, signature or form.

use serde_json::{Value, json};

use super::super::signer::{hs256, message};
use super::super::{Case, Trial};
use super::{Refuse, RefuseIfStrict, case, members, text};
use crate::keys::Algorithm;

impl Trial {
    pub(super) fn algorithms(&self) -> Vec<Case> {
        let of = |alg: &str| self.header_of(alg);
        let claims = text(self.claims());
        let (own, other) = (self.signer.algorithm, self.signer.algorithm.other());
        let none = |alg: &str| format!("{}.", message(&of(alg), &claims));
        let hmac = |secret: &[u8]| hs256(secret, &of("HS256"), &claims);
        let signature = self.with_claims(|_| ()).rsplit('.').next().unwrap_or_default().to_owned();
        vec![
            case("alg_none", Refuse, "RFC 8725 §2.1, §3.1: unsigned", none("none")),
            case("alg_none_capital", Refuse, "RFC 8725 §3.1: unsigned, spelt otherwise", none("None")),
            case("alg_none_mixed", Refuse, "RFC 8725 §3.1: unsigned, spelt otherwise", none("nOnE")),
            case(
                "alg_none_with_signature",
                Refuse,
                "RFC 8725 §3.1: says that it is unsigned",
                format!("{}.{signature}", message(&of("none"), &claims)),
            ),
            case("alg_empty", Refuse, "RFC 8725 §3.1: no algorithm", none("")),
            case(
                "alg_absent",
                Refuse,
                "RFC 7515 §4.1.1: alg is required",
                self.with_header(|header| drop(header.remove("alg"))),
            ),
            case(
                "hs256_public_key_pem",
                Refuse,
                "RFC 8725 §2.1: HMAC with the public key as its secret",
                hmac(self.signer.public_pem().as_bytes()),
            ),
            case(
                "hs256_public_key_pem_trimmed",
                Refuse,
                "RFC 8725 §2.1: the same without the last line feed",
                hmac(self.signer.public_pem().trim_end().as_bytes()),
            ),
            case("hs256_public_key_der", Refuse, "RFC 8725 §2.1: the same in DER", hmac(&self.signer.public_der())),
            case(
                "hs256_jwk",
                Refuse,
                "RFC 8725 §2.1: the same as a JWK",
                hmac(self.signer.jwk().to_string().as_bytes()),
            ),
            case("hs256_empty_secret", Refuse, "RFC 8725 §2.1: HMAC with nothing", hmac(b"")),
            case(
                "rs512",
                Refuse,
                "RFC 8725 §3.1: another algorithm than the key's",
                self.signer.rs512(&of("RS512"), &claims),
            ),
            case(
                match other {
                    Algorithm::Rs256 => "rs256",
                    Algorithm::Ps256 => "ps256",
                },
                Refuse,
                "RFC 8725 §3.1: another algorithm than the key's",
                self.signer.sign_by(other, &of(other.as_str()), &claims),
            ),
            case(
                "alg_lower_case",
                Refuse,
                "RFC 7515 §4.1.1: names of algorithms are case-sensitive",
                self.signer.sign(&of(&own.as_str().to_lowercase()), &claims),
            ),
        ]
    }

    /// The header says one algorithm, the signature is by another.
    pub(super) fn mixed_algorithms(&self) -> Vec<Case> {
        let of = |alg: &str| self.header_of(alg);
        let claims = text(self.claims());
        let (own, other) = (self.signer.algorithm, self.signer.algorithm.other());
        let [signed_rs512, signed_by_the_other, says_the_other] = match own {
            Algorithm::Rs256 => {
                ["alg_says_rs256_signed_rs512", "alg_says_rs256_signed_ps256", "alg_says_ps256_signed_rs256"]
            }
            Algorithm::Ps256 => {
                ["alg_says_ps256_signed_rs512", "alg_says_ps256_signed_rs256", "alg_says_rs256_signed_ps256"]
            }
        };
        vec![
            case(
                signed_rs512,
                Refuse,
                "RFC 7515 §5.2: the signature is another algorithm's",
                self.signer.rs512(&of(own.as_str()), &claims),
            ),
            case(
                signed_by_the_other,
                Refuse,
                "RFC 7515 §5.2: the signature is another algorithm's",
                self.signer.sign_by(other, &of(own.as_str()), &claims),
            ),
            case(
                says_the_other,
                Refuse,
                "RFC 8725 §3.1: another algorithm than the key's, and than the signature's",
                self.signer.sign(&of(other.as_str()), &claims),
            ),
        ]
    }

    fn header_of(&self, alg: &str) -> String {
        let mut header = self.header();
        header.insert("alg".to_owned(), alg.into());
        text(header)
    }

    pub(super) fn headers(&self) -> Vec<Case> {
        let typ = |typ: &str| self.with_header(|header| drop(header.insert("typ".to_owned(), typ.into())));
        let id_token = json!({
            "iss": self.issuer, "sub": "usr_trial", "aud": "trial", "iat": self.now, "exp": self.now + 600, "nonce": "n",
        });
        let (alg, own_kid) = (self.signer.algorithm.as_str(), &self.signer.kid);
        let id_header = json!({ "alg": alg, "typ": "JWT", "kid": own_kid }).to_string();
        let mut for_us = members(id_token.clone());
        for_us.insert("aud".to_owned(), json!([self.audience, "trial"]));
        let crit = |names: Value| {
            self.with_header(|header| {
                header.insert("crit".to_owned(), names);
                header.insert("exp".to_owned(), json!(1));
            })
        };
        vec![
            case("typ_jwt", Refuse, "RFC 9068 §4: the type of an access token is at+jwt", typ("JWT")),
            case(
                "typ_absent",
                Refuse,
                "RFC 9068 §4: a token without a type",
                self.with_header(|header| drop(header.remove("typ"))),
            ),
            case("typ_status_list", Refuse, "RFC 8725 §3.11: a status list is no access token", typ("statuslist+jwt")),
            case("typ_logout", Refuse, "RFC 8725 §3.11: a logout token is no access token", typ("logout+jwt")),
            case(
                "id_token",
                Refuse,
                "RFC 9068 §5: an ID token as access token",
                self.signer.sign(&id_header, &id_token.to_string()),
            ),
            case(
                "id_token_for_us",
                Refuse,
                "RFC 9068 §4: an ID token that names us, too",
                self.signer.sign(&id_header, &text(for_us)),
            ),
            case(
                "status_list_itself",
                Refuse,
                "RFC 8725 §3.11: the issuer's status list as access token",
                self.status_list(self.now),
            ),
            case(
                "crit",
                Refuse,
                "RFC 7515 §4.1.11: an extension that must be understood and is not",
                crit(json!(["exp"])),
            ),
            case(
                "crit_unknown",
                Refuse,
                "RFC 7515 §4.1.11: an extension that nobody knows",
                crit(json!(["https://example.com/x"])),
            ),
            case("crit_empty", RefuseIfStrict, "RFC 7515 §4.1.11: an empty list must not be used", crit(json!([]))),
            case(
                "b64_false",
                RefuseIfStrict,
                "RFC 7797 §6: b64 without crit",
                self.with_header(|header| drop(header.insert("b64".to_owned(), json!(false)))),
            ),
            case(
                "header_repeats_alg",
                RefuseIfStrict,
                "RFC 7515 §4: members of the header are unique",
                self.signer.sign(
                    &format!(r#"{{"alg":"none","typ":"at+jwt","kid":"{own_kid}","alg":"{alg}"}}"#),
                    &text(self.claims()),
                ),
            ),
            case(
                "header_no_object",
                Refuse,
                "RFC 7515 §4: the header is an object",
                self.signer.sign(&json!([alg]).to_string(), &text(self.claims())),
            ),
        ]
    }

    pub(super) fn keys(&self) -> Vec<Case> {
        let claims = text(self.claims());
        let own_header = |name: &str, value: Value| {
            let mut header = self.header();
            header.insert(name.to_owned(), value);
            text(header)
        };
        let kid = |kid: &str| own_header("kid", kid.into());
        let strange = &self.stranger;
        vec![
            case(
                "stranger_under_our_kid",
                Refuse,
                "RFC 7515 §5.2: signed with another key",
                strange.sign(&text(self.header()), &claims),
            ),
            case(
                "stranger_under_own_kid",
                Refuse,
                "RFC 8725 §3.10: a key that is not in the JWKS",
                strange.sign(&kid(&strange.kid), &claims),
            ),
            case(
                "jwk_in_header",
                Refuse,
                "RFC 8725 §2.9: the key comes with the token",
                strange.sign(&own_header("jwk", strange.jwk()), &claims),
            ),
            case(
                "jwk_in_header_own_kid",
                Refuse,
                "RFC 8725 §2.9: the key comes with the token",
                strange.sign(
                    &text(members(
                        json!({ "alg": strange.algorithm.as_str(), "typ": "at+jwt", "kid": strange.kid, "jwk": strange.jwk() }),
                    )),
                    &claims,
                ),
            ),
            case(
                "jku_in_header",
                Refuse,
                "RFC 8725 §3.10: the token says where its keys are",
                strange.sign(&own_header("jku", json!("https://evil.example/jwks.json")), &claims),
            ),
            case(
                "x5u_in_header",
                Refuse,
                "RFC 8725 §3.10: the token says where its certificate is",
                strange.sign(&own_header("x5u", json!("https://evil.example/cert.pem")), &claims),
            ),
            case(
                "x5c_in_header",
                Refuse,
                "RFC 8725 §2.9: the certificate comes with the token",
                strange.sign(&own_header("x5c", json!(["MIIB"])), &claims),
            ),
        ]
    }

    pub(super) fn kids(&self) -> Vec<Case> {
        let claims = text(self.claims());
        let own_header = |name: &str, value: Value| {
            let mut header = self.header();
            header.insert(name.to_owned(), value);
            text(header)
        };
        let kid = |kid: &str| own_header("kid", kid.into());
        let hs256 = |secret: &[u8], kid: &str| {
            let mut header = self.header();
            header.extend([("kid".to_owned(), kid.into()), ("alg".to_owned(), "HS256".into())]);
            hs256(secret, &text(header), &claims)
        };
        vec![
            case(
                "kid_absent",
                RefuseIfStrict,
                "RFC 9068 §2.1: without a kid any key would do",
                self.with_header(|header| drop(header.remove("kid"))),
            ),
            case(
                "kid_of_the_other_key",
                Refuse,
                "RFC 7515 §4.1.4: the key that it names did not sign it",
                self.signer.sign(&kid(&self.second.kid), &claims),
            ),
            case(
                "kid_path",
                Refuse,
                "RFC 8725 §3.10: a kid that is a path, signed with what is there",
                hs256(b"", "../../../../../../dev/null"),
            ),
            case("kid_sql", Refuse, "RFC 8725 §3.10: a kid that is SQL", hs256(b"1", "x' UNION SELECT '1' --")),
            case(
                "kid_number",
                Refuse,
                "RFC 7515 §4.1.4: a kid is a text",
                self.signer.sign(&own_header("kid", json!(0)), &claims),
            ),
            case(
                "kid_large",
                Refuse,
                "RFC 8725 §3.10: a kid of 4 KiB",
                self.signer.sign(&kid(&"k".repeat(4096)), &claims),
            ),
        ]
    }

    pub(super) fn shapes(&self) -> Vec<Case> {
        let good = self.with_claims(|_| ());
        let mut parts = good.split('.');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        let (header, payload, signature) = (part(), part(), part());
        let other = self.with_claim("sub", "usr_admin");
        let other_payload = other.split('.').nth(1).unwrap_or_default().to_owned();
        let flipped = if signature.starts_with('A') {
            signature.replacen('A', "B", 1)
        } else {
            format!("A{}", signature.get(1..).unwrap_or_default())
        };
        let why = "RFC 7515 §7.1: three parts of base64url without padding";
        vec![
            case("signature_absent", Refuse, "RFC 7515 §5.2: no signature", format!("{header}.{payload}.")),
            case("signature_part_absent", Refuse, why, format!("{header}.{payload}")),
            case(
                "signature_flipped",
                Refuse,
                "RFC 7515 §5.2: a bit of the signature is another",
                format!("{header}.{payload}.{flipped}"),
            ),
            case(
                "signature_cut",
                Refuse,
                "RFC 7515 §5.2: half of the signature",
                format!("{header}.{payload}.{}", signature.get(..signature.len() / 2).unwrap_or_default()),
            ),
            case(
                "signature_of_another_token",
                Refuse,
                "RFC 7515 §5.2: the payload is another",
                format!("{header}.{other_payload}.{signature}"),
            ),
            case("four_parts", Refuse, why, format!("{good}.{signature}")),
            case("padded", RefuseIfStrict, why, format!("{good}=")),
            case(
                "five_parts",
                Refuse,
                "RFC 7516 §7.1: an encrypted token",
                format!("{header}.{payload}.{signature}.{payload}.{signature}"),
            ),
            case(
                "json_serialization",
                Refuse,
                "RFC 7515 §7.2: not the compact form",
                json!({ "protected": header, "payload": payload, "signature": signature }).to_string(),
            ),
            case("no_token", Refuse, "RFC 6750 §3.1: not even a token", "x".to_owned()),
            case("dots", Refuse, why, "..".to_owned()),
            case("oversize", RefuseIfStrict, "RFC 8725 §3.14: 24 KiB", self.with_claim("pad", "x".repeat(18_000))),
        ]
    }
}
