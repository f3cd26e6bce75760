//! What is right, and what is wrong with claims and status.

use serde_json::{Value, json};

use super::super::{Case, OVER, Trial};
use super::{Accept, Refuse, RefuseIfStrict, case, members, text};
use crate::status_list;

impl Trial {
    pub(super) fn good(&self) -> Vec<Case> {
        let header =
            |kid: &str| text(members(json!({ "alg": self.second.algorithm.as_str(), "typ": "at+jwt", "kid": kid })));
        let elsewhere = json!(["https://elsewhere.example", self.audience]);
        vec![
            case("good", Accept, "RFC 9068: nothing is wrong with it", self.with_claims(|_| ())),
            case(
                "good_second_key",
                Accept,
                "RFC 7517 §5: the other key of the JWKS, as after a rotation",
                self.second.sign(&header(&self.second.kid), &text(self.claims())),
            ),
            case(
                "good_audiences",
                Accept,
                "RFC 7519 §4.1.3: ours is one of several audiences",
                self.with_claim("aud", elsewhere),
            ),
            case(
                "good_audience_text",
                Accept,
                "RFC 7519 §4.1.3: one audience may be a text",
                self.with_claim("aud", self.audience.as_str()),
            ),
            case(
                "good_unknown_claims",
                Accept,
                "RFC 7519 §4: claims that are not understood are ignored",
                self.with_claim("https://example.com/claim", json!({ "deep": [1, { "er": null }] })),
            ),
            case(
                "good_unknown_header",
                Accept,
                "RFC 7515 §4: header members that are not understood are ignored",
                self.with_header(|header| drop(header.insert("x".to_owned(), json!({ "y": 1 })))),
            ),
            case(
                "good_began_just_now",
                Accept,
                "RFC 7519 §4.1.5: clocks may be a few seconds apart",
                self.with_claims(|claims| {
                    claims.insert("iat".to_owned(), json!(self.now + 5));
                    claims.insert("nbf".to_owned(), json!(self.now + 5));
                }),
            ),
        ]
    }

    pub(super) fn issuers(&self) -> Vec<Case> {
        let why = "RFC 9068 §4: iss is exactly the issuer's name";
        vec![
            case("iss_other", Refuse, why, self.with_claim("iss", "https://evil.example")),
            case("iss_slash", Refuse, why, self.with_claim("iss", format!("{}/", self.issuer))),
            case("iss_longer", Refuse, why, self.with_claim("iss", format!("{}.evil.example", self.issuer))),
            case("iss_upper_case", Refuse, why, self.with_claim("iss", self.issuer.to_uppercase())),
            case("iss_absent", Refuse, why, self.without("iss")),
            case("iss_list", Refuse, why, self.with_claim("iss", json!([self.issuer]))),
        ]
    }

    pub(super) fn audiences(&self) -> Vec<Case> {
        let why = "RFC 9068 §4: aud has exactly our name";
        let ours = &self.audience;
        vec![
            case("aud_other", Refuse, why, self.with_claim("aud", "https://elsewhere.example")),
            case(
                "aud_others",
                Refuse,
                why,
                self.with_claim("aud", json!(["https://elsewhere.example", "https://third.example"])),
            ),
            case("aud_longer", Refuse, why, self.with_claim("aud", format!("{ours}.evil.example"))),
            case(
                "aud_shorter",
                Refuse,
                why,
                self.with_claim("aud", ours.chars().take(ours.chars().count() - 1).collect::<String>()),
            ),
            case("aud_in_a_text", Refuse, why, self.with_claim("aud", format!("https://elsewhere.example {ours}"))),
            case("aud_object", Refuse, why, self.with_claim("aud", json!({ ours.as_str(): ours }))),
            case("aud_nested", Refuse, why, self.with_claim("aud", json!([[ours]]))),
            case("aud_empty", Refuse, why, self.with_claim("aud", json!([]))),
            case("aud_absent", Refuse, why, self.without("aud")),
            case("aud_issuer", Refuse, why, self.with_claim("aud", self.issuer.as_str())),
        ]
    }

    pub(super) fn times(&self) -> Vec<Case> {
        let lived = |iat: i64, exp: i64| {
            self.with_claims(|claims| {
                claims.insert("iat".to_owned(), json!(iat));
                claims.insert("exp".to_owned(), json!(exp));
            })
        };
        let now = self.now;
        vec![
            case("expired", Refuse, "RFC 7519 §4.1.4: over for an hour", lived(now - 4200, now - 3600)),
            case("expired_long_ago", Refuse, "RFC 7519 §4.1.4: over since 1970", lived(0, 1)),
            case("exp_absent", Refuse, "RFC 9068 §2.2: exp is required", self.without("exp")),
            case("exp_null", Refuse, "RFC 7519 §2: exp is a number", self.with_claim("exp", Value::Null)),
            case("exp_text", Refuse, "RFC 7519 §2: exp is a number", self.with_claim("exp", format!("{}", now + 600))),
            case(
                "exp_beyond_reason",
                RefuseIfStrict,
                "RFC 9068 §5: a token of a hundred years",
                lived(now, now + 3_155_760_000),
            ),
            case(
                "exp_infinite",
                Refuse,
                "RFC 8259 §6: no number",
                self.signer.sign(
                    &text(self.header()),
                    &text(self.claims()).replace(&format!("\"exp\":{}", now + 600), "\"exp\":1e999"),
                ),
            ),
            case("early", Refuse, "RFC 7519 §4.1.5: begins in an hour", self.with_claim("nbf", now + 3600)),
            case(
                "issued_in_an_hour",
                RefuseIfStrict,
                "RFC 7519 §4.1.6: issued in time to come",
                lived(now + 3600, now + 4200),
            ),
            case("iat_absent", RefuseIfStrict, "RFC 9068 §2.2: iat is required", self.without("iat")),
        ]
    }

    pub(super) fn members(&self) -> Vec<Case> {
        let whole = text(self.claims());
        let repeated =
            |before: &str| self.signer.sign(&text(self.header()), &whole.replacen('{', &format!("{{{before},"), 1));
        let after = |member: &str| {
            self.signer
                .sign(&text(self.header()), &format!("{},{member}}}", whole.trim_end_matches('}').to_owned() + "}}"))
        };
        let why = "RFC 7519 §4, RFC 8725 §2.4: claims are unique; two parsers would read two tokens";
        vec![
            case("repeated_sub", RefuseIfStrict, why, repeated(r#""sub":"usr_admin""#)),
            case("repeated_exp", RefuseIfStrict, why, repeated(r#""exp":1"#)),
            case("repeated_aud", RefuseIfStrict, why, repeated(r#""aud":"https://elsewhere.example""#)),
            case("repeated_scope_last", RefuseIfStrict, why, after(r#""scope":"admin""#)),
            case("repeated_escaped", RefuseIfStrict, why, repeated(r#""\u0073ub":"usr_admin""#)),
            case("sub_absent", RefuseIfStrict, "RFC 9068 §2.2: sub is required", self.without("sub")),
            case("client_id_absent", RefuseIfStrict, "RFC 9068 §2.2: client_id is required", self.without("client_id")),
            case("jti_absent", RefuseIfStrict, "RFC 9068 §2.2: jti is required", self.without("jti")),
            case("sub_number", RefuseIfStrict, "RFC 7519 §4.1.2: sub is a text", self.with_claim("sub", 7)),
            case(
                "bound_to_a_key",
                RefuseIfStrict,
                "RFC 9449 §7.1: bound to a key, sent without a proof",
                self.with_claim("cnf", json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" })),
            ),
            case(
                "payload_no_object",
                Refuse,
                "RFC 7519 §2: claims are an object",
                self.signer.sign(&text(self.header()), "[]"),
            ),
            case(
                "payload_no_json",
                Refuse,
                "RFC 7519 §7.2: claims are JSON",
                self.signer.sign(&text(self.header()), "sub=usr_admin"),
            ),
        ]
    }

    pub(super) fn status(&self) -> Vec<Case> {
        let at =
            |idx: Value, uri: String| self.with_claim("status", json!({ "status_list": { "idx": idx, "uri": uri } }));
        let own = status_list::uri(&self.issuer, 0);
        let why = "draft-ietf-oauth-status-list §8.3: a status that cannot be looked up is no good one";
        vec![
            case(
                "revoked",
                RefuseIfStrict,
                "draft-ietf-oauth-status-list §8.3: its bit is set",
                at(json!(OVER), own.clone()),
            ),
            case("status_beyond_the_list", RefuseIfStrict, why, at(json!(1_u64 << 20), own.clone())),
            case("status_negative", RefuseIfStrict, why, at(json!(-1), own.clone())),
            case("status_elsewhere", RefuseIfStrict, why, at(json!(1), "https://evil.example/status/0".to_owned())),
            case("status_path", RefuseIfStrict, why, at(json!(1), format!("{own}/../1"))),
            case("status_absent", RefuseIfStrict, "this issuer gives every token a status", self.without("status")),
        ]
    }
}
