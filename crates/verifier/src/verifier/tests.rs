//! The checks of a token, each with what must not pass it.

use std::sync::Mutex;

use serde_json::json;

use super::*;
use crate::status::Follower;
use crate::testing::{TestIssuer, TokenBuilder};
use crate::{NoOtherClaims, StatusSource, base64url};

fn issuer() -> TestIssuer {
    TestIssuer::new("https://as.example", "https://orders.example")
}

fn outcome(verifier: &Verifier, token: &str) -> Result<(), Rejected> {
    verifier.verify::<NoOtherClaims>(token).map(|_| ())
}

/// What becomes of a token that differs from a good one by this.
fn with(change: impl FnOnce(&TestIssuer, TokenBuilder<'_>) -> String) -> Result<(), Rejected> {
    let issuer = issuer();
    let token = change(&issuer, issuer.token());
    outcome(&issuer.verifier(), &token)
}

fn with_claim(name: &str, value: serde_json::Value) -> Result<(), Rejected> {
    with(|_, token| token.claim(name, value).sign())
}

#[test]
fn a_good_token_is_accepted_with_its_claims() {
    let issuer = issuer();
    let token =
        issuer.token().scope("a b").roles(&["clerk"]).claim("aud", json!(["x", "https://orders.example"])).sign();
    let claims: Claims = issuer.verifier().verify(&token).unwrap();
    assert_eq!((claims.iss.as_str(), claims.sub.as_str()), ("https://as.example", "usr_test"));
    assert_eq!(claims.aud, ["x", "https://orders.example"]);
    assert!(claims.scope.contains("b") && claims.roles == ["clerk"] && !claims.is_stale);
    assert_eq!(with(|_, token| token.typ("application/at+jwt").sign()), Ok(()));
}

#[test]
fn size_and_form_come_first() {
    let padded = |bytes: usize| with(|_, token| token.claim("pad", "x".repeat(bytes)).sign());
    assert_eq!(padded(11_000), Ok(()));
    assert_eq!(padded(12_000), Err(Rejected::Malformed));
    assert_eq!(with(|_, token| token.sign() + ".x"), Err(Rejected::Malformed));
    assert_eq!(with(|_, token| token.sign() + "="), Err(Rejected::Malformed));
}

#[test]
fn another_type_or_algorithm_is_refused() {
    for typ in ["JWT", "at+JWT", "id+jwt", "logout+jwt", "statuslist+jwt", ""] {
        assert_eq!(with(|_, token| token.typ(typ).sign()), Err(Rejected::WrongHeader), "{typ}");
    }
    for alg in ["none", "HS256", "RS384", "PS256", "ES256", "rs256", ""] {
        assert_eq!(with(|_, token| token.header("alg", alg).sign()), Err(Rejected::WrongHeader), "{alg}");
    }
    assert_eq!(with(|_, token| token.header("crit", json!([])).sign()), Err(Rejected::WrongHeader));
    assert_eq!(with(|_, token| token.header("jku", "https://evil.example").sign()), Ok(()));
}

#[test]
fn the_algorithm_is_the_keys_and_never_the_headers() {
    let issuer = issuer();
    let said = |set: &str| KeySet::parse(set.as_bytes()).unwrap();
    // The same key, once for each algorithm (RFC 8725 §3.1).
    let by_rs256 = issuer.jwks();
    let by_ps256 = by_rs256.replace("RS256", "PS256");
    let verifier = issuer.verifier();
    let token = |alg: &str| issuer.token().header("alg", alg).sign();
    for (keys, own, other) in [(&by_rs256, "RS256", "PS256"), (&by_ps256, "PS256", "RS256")] {
        verifier.replace_keys(said(keys));
        assert_eq!(outcome(&verifier, &token(own)), Ok(()), "{own}");
        // The key did make that signature, by an algorithm that it is not for.
        assert_eq!(outcome(&verifier, &token(other)), Err(Rejected::WrongHeader), "{other} with a key for {own}");
        // The header says the key's algorithm, and the signature is the other's.
        let header = |alg: &str| {
            base64url::encode(format!(r#"{{"alg":"{alg}","typ":"at+jwt","kid":"{}"}}"#, issuer.kid()).as_bytes())
        };
        let (whole, forged) = (token(other), header(own));
        let (_, rest) = whole.split_once('.').unwrap();
        assert_eq!(outcome(&verifier, &format!("{forged}.{rest}")), Err(Rejected::BadSignature), "{own}");
    }
    // While an issuer moves from one to the other, each of its keys has its own.
    let mut both: serde_json::Value = serde_json::from_str(&by_rs256).unwrap();
    both["keys"][1]["alg"] = json!("PS256");
    verifier.replace_keys(said(&both.to_string()));
    assert_eq!(outcome(&verifier, &token("RS256")), Ok(()));
    assert_eq!(outcome(&verifier, &token("PS256")), Err(Rejected::WrongHeader));
    issuer.rotate();
    verifier.replace_keys(said(&both.to_string()));
    assert_eq!(outcome(&verifier, &token("PS256")), Ok(()));
    assert_eq!(outcome(&verifier, &token("RS256")), Err(Rejected::WrongHeader));
}

#[test]
fn the_issuer_is_compared_before_a_key_is_looked_for() {
    assert_eq!(
        with(|_, token| token.claim("iss", "https://other.example").kid("unknown").sign()),
        Err(Rejected::OtherIssuer)
    );
    assert_eq!(with_claim("iss", json!("https://as.example/")), Err(Rejected::OtherIssuer));
    assert_eq!(with_claim("iss", json!(["https://as.example"])), Err(Rejected::BadClaims));
}

#[test]
fn key_and_signature_are_checked() {
    assert_eq!(with(|_, token| token.kid("unknown").sign()), Err(Rejected::UnknownKey));
    assert_eq!(with(|_, token| token.kid("../../etc/passwd").sign()), Err(Rejected::UnknownKey));
    assert_eq!(with(|_, token| token.forged().sign()), Err(Rejected::BadSignature));
    let issuer = issuer();
    let token = issuer.token().sign();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let other = issuer.token().sub("admin").sign();
    let (other, _) = other.rsplit_once('.').unwrap();
    assert_eq!(outcome(&issuer.verifier(), &format!("{other}.{signature}")), Err(Rejected::BadSignature));
    assert_eq!(outcome(&issuer.verifier(), &format!("{message}.AA")), Err(Rejected::BadSignature));
}

#[test]
fn members_that_come_twice_are_refused_at_every_depth() {
    let now = issuer().now();
    let payload = |extra: &str| {
        let payload = format!(
            r#"{{"iss":"https://as.example","sub":"a","aud":"https://orders.example","client_id":"c","jti":"j",
                "iat":{now},"exp":{},"status":{{"status_list":{{"idx":1,"uri":"https://as.example/status/0"}}}}{extra}}}"#,
            now + 60
        );
        with(|_, token| token.sign_payload(&payload))
    };
    assert_eq!(payload(""), Ok(()));
    assert_eq!(payload(r#","sub":"a""#), Err(Rejected::BadClaims));
    assert_eq!(payload(r#","iss":"https://as.example""#), Err(Rejected::BadClaims));
    assert_eq!(payload(r#","x":[{"y":1,"y":2}]"#), Err(Rejected::BadClaims));
    assert_eq!(payload(r#","\u0073ub":"b""#), Err(Rejected::BadClaims));
}

#[test]
fn times_are_kept_with_a_leeway_of_thirty_seconds() {
    let at = |iat: i64, exp: i64| {
        with(|issuer, token| token.claim("iat", issuer.now() + iat).claim("exp", issuer.now() + exp).sign())
    };
    assert_eq!(at(-600, -29), Ok(()));
    assert_eq!(at(-600, -30), Err(Rejected::Expired));
    assert_eq!(at(30, 600), Ok(()));
    assert_eq!(at(31, 600), Err(Rejected::NotYetValid));
    assert_eq!(at(-60, 86_400 - 60), Ok(()));
    assert_eq!(at(-60, 86_401 - 60), Err(Rejected::BadClaims));
    assert_eq!(at(10, 9), Err(Rejected::BadClaims));
    let nbf = |span: i64| with(|issuer, token| token.claim("nbf", issuer.now() + span).sign());
    assert_eq!((nbf(30), nbf(31)), (Ok(()), Err(Rejected::NotYetValid)));
    for name in ["exp", "iat"] {
        assert_eq!(with(|_, token| token.without(name).sign()), Err(Rejected::BadClaims), "{name}");
        for value in [json!("1795000000"), json!(null), json!(-1), json!(1e300), json!(u64::MAX), json!(i64::MIN)] {
            assert_eq!(with_claim(name, value.clone()), Err(Rejected::BadClaims), "{name} {value}");
        }
    }
    assert_eq!(with_claim("nbf", json!(null)), Err(Rejected::BadClaims));
    assert_eq!(
        with(|issuer, token| token.claim("exp", f64::from(u32::try_from(issuer.now()).unwrap()) + 60.5).sign()),
        Ok(())
    );
}

#[test]
fn the_audience_is_compared_exactly() {
    for aud in ["https://orders.example/", "https://orders.exampl", "HTTPS://orders.example", ""] {
        assert_eq!(with_claim("aud", json!(aud)), Err(Rejected::OtherAudience), "{aud}");
        assert_eq!(with_claim("aud", json!([aud])), Err(Rejected::OtherAudience), "{aud}");
    }
    assert_eq!(with_claim("aud", json!([])), Err(Rejected::OtherAudience));
    for odd in [json!(null), json!({ "https://orders.example": 1 }), json!([["https://orders.example"]]), json!([1])] {
        assert_eq!(with_claim("aud", odd.clone()), Err(Rejected::BadClaims), "{odd}");
    }
    assert_eq!(with(|_, token| token.without("aud").sign()), Err(Rejected::BadClaims));
}

#[test]
fn the_claims_of_an_access_token_are_required() {
    for name in ["sub", "client_id", "jti"] {
        assert_eq!(with(|_, token| token.without(name).sign()), Err(Rejected::BadClaims), "{name}");
        for value in [json!(""), json!(7), json!(null)] {
            assert_eq!(with_claim(name, value.clone()), Err(Rejected::BadClaims), "{name} {value}");
        }
    }
    assert_eq!(with(|_, token| token.without("scope").sign()), Ok(()));
    for name in ["scope", "sid", "acr", "amr", "roles", "auth_time"] {
        assert_eq!(with_claim(name, json!({})), Err(Rejected::BadClaims), "{name}");
        assert_eq!(with_claim(name, json!(null)), Err(Rejected::BadClaims), "{name}");
    }
}

#[test]
fn a_token_bound_to_a_key_is_refused_without_a_proof() {
    assert_eq!(with_claim("cnf", json!({ "jkt": "x" })), Err(Rejected::BadClaims));
    assert_eq!(with_claim("cnf", json!(null)), Err(Rejected::BadClaims));
}

#[test]
fn a_service_s_own_claims_are_read_or_refused() {
    #[derive(Debug, serde::Deserialize)]
    struct Tenant {
        tenant: String,
    }
    let issuer = issuer();
    let token = issuer.token().claim("tenant", "acme").sign();
    assert_eq!(issuer.verifier().verify::<Tenant>(&token).unwrap().other.tenant, "acme");
    assert_eq!(issuer.verifier().verify::<Tenant>(&issuer.token().sign()).unwrap_err(), Rejected::BadClaims);
}

#[test]
fn a_status_is_required_where_there_is_a_source_of_it() {
    assert_eq!(with(|_, token| token.without("status").sign()), Err(Rejected::BadClaims));
    let lax = issuer();
    let verifier = lax.verifier_with(|builder| builder.require_status(false));
    assert_eq!(outcome(&verifier, &lax.token().without("status").sign()), Ok(()));
    let status =
        |idx: serde_json::Value, uri: &str| with_claim("status", json!({ "status_list": { "idx": idx, "uri": uri } }));
    assert_eq!(status(json!(1), "https://as.example/status/0"), Ok(()));
    assert_eq!(status(json!(1), "https://as.example/status/1"), Err(Rejected::StatusUnavailable));
    assert_eq!(status(json!(1), "https://evil.example/status/0"), Err(Rejected::BadClaims));
    assert_eq!(status(json!(1 << 20), "https://as.example/status/0"), Err(Rejected::BadClaims));
    assert_eq!(status(json!(-1), "https://as.example/status/0"), Err(Rejected::BadClaims));
    assert_eq!(status(json!("1"), "https://as.example/status/0"), Err(Rejected::BadClaims));
    assert_eq!(with_claim("status", json!(null)), Err(Rejected::BadClaims));
    assert_eq!(with_claim("status", json!({})), Err(Rejected::BadClaims));
    assert_eq!(outcome(&verifier, &lax.token().claim("status", json!({})).sign()), Err(Rejected::BadClaims));
}

#[test]
fn revoked_stays_revoked_and_blindness_is_no_fault_of_the_token() {
    let issuer = issuer();
    let verifier = issuer.verifier();
    let (ended, good) = (
        issuer.token().claim("exp", issuer.now() + 3_000).sign(),
        issuer.token().claim("exp", issuer.now() + 3_000).sign(),
    );
    issuer.revoke(&ended);
    let both = || (outcome(&verifier, &ended), outcome(&verifier, &good));
    assert_eq!(both(), (Err(Rejected::Revoked), Ok(())));
    issuer.go_dark();
    issuer.advance(Duration::from_secs(10));
    assert!(!verifier.verify::<NoOtherClaims>(&good).unwrap().is_stale);
    issuer.advance(Duration::from_secs(1));
    let claims: Claims = verifier.verify(&good).unwrap();
    assert!(claims.is_stale && claims.require_fresh(Duration::from_secs(10)) == Err(Rejected::StatusUnavailable));
    issuer.advance(Duration::from_secs(289));
    assert_eq!((both(), verifier.ready()), ((Err(Rejected::Revoked), Ok(())), Ok(())));
    issuer.advance(Duration::from_secs(1));
    assert_eq!(both(), (Err(Rejected::Revoked), Err(Rejected::StatusUnavailable)));
    assert_eq!(verifier.ready(), Err(Rejected::StatusUnavailable));
    let lenient = issuer.verifier_with(|builder| builder.on_stale(OnStale::AcceptUntilExpiry));
    assert!(lenient.verify::<NoOtherClaims>(&good).unwrap().is_stale);
    assert_eq!(outcome(&lenient, &ended), Err(Rejected::Revoked));
    issuer.come_back();
    assert_eq!((both(), verifier.ready()), ((Err(Rejected::Revoked), Ok(())), Ok(())));
}

#[test]
fn a_status_that_was_never_heard_of_is_503_whatever_is_set() {
    let issuer = issuer();
    let silent = Follower::new("https://as.example").status();
    let verifier = issuer.verifier_with(|builder| {
        builder.status(StatusSource::Given(silent)).require_status(false).on_stale(OnStale::AcceptUntilExpiry)
    });
    assert_eq!(outcome(&verifier, &issuer.token().sign()), Err(Rejected::StatusUnavailable));
    assert_eq!(outcome(&verifier, &issuer.token().without("status").sign()), Err(Rejected::StatusUnavailable));
    let none = issuer.verifier_with(|builder| builder.status(StatusSource::None));
    let claims: Claims = none.verify(&issuer.token().without("status").sign()).unwrap();
    assert_eq!(claims.require_fresh(Duration::MAX), Err(Rejected::StatusUnavailable));
}

#[test]
fn cut_offs_reach_what_was_issued_up_to_then() {
    let issuer = issuer();
    let verifier = issuer.verifier();
    let before = issuer.token().sub("usr_1").client_id("shop").sign();
    issuer.disable_client("shop");
    assert_eq!(outcome(&verifier, &before), Err(Rejected::Revoked));
    issuer.advance(Duration::from_secs(1));
    assert_eq!(outcome(&verifier, &issuer.token().client_id("shop").sign()), Ok(()));
    assert_eq!(outcome(&verifier, &before), Err(Rejected::Revoked));
}

#[test]
fn a_killed_key_is_dead_in_the_jwks_too() {
    let issuer = issuer();
    let verifier = issuer.verifier();
    let token = issuer.token().sign();
    let killed = issuer.kid();
    issuer.cut(crate::feed::CutKind::Kid, &killed);
    assert_eq!(outcome(&verifier, &token), Err(Rejected::Revoked));
    verifier.replace_keys(KeySet::parse(issuer.jwks().as_bytes()).unwrap());
    assert_eq!(outcome(&verifier, &token), Err(Rejected::Revoked));
    issuer.rotate();
    assert_eq!(outcome(&verifier, &issuer.token().sign()), Ok(()));
    // It is no unknown key either, for which keys would be fetched.
    issuer.rotate();
    assert!(!issuer.jwks().contains(&killed));
    assert_eq!(outcome(&verifier, &token), Err(Rejected::Revoked));
}

#[test]
fn a_verifier_that_cannot_be_right_is_not_built() {
    let build = |change: fn(VerifierBuilder) -> VerifierBuilder| {
        let keys = KeySet::parse(issuer().jwks().as_bytes()).unwrap();
        change(Verifier::builder("https://as.example", "https://orders.example").keys(keys)).build().err()
    };
    assert_eq!(build(|builder| builder.leeway(Duration::from_mins(2))), None);
    assert_eq!(build(|builder| builder.leeway(Duration::from_secs(121))), Some(crate::BuildError::LeewayTooLong));
    assert_eq!(build(|builder| builder.require_status(true)), Some(crate::BuildError::NoStatusSource));
}

#[test]
fn an_observer_hears_what_became_of_tokens() {
    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);
    impl Observer for Heard {
        fn verified(&self, outcome: &'static str) {
            self.0.lock().unwrap().push(outcome.to_owned());
        }
        fn revoked_hit(&self, kind: &'static str) {
            self.0.lock().unwrap().push(format!("hit {kind}"));
        }
        fn stale_decision(&self, accepted: bool) {
            self.0.lock().unwrap().push(format!("stale {accepted}"));
        }
        fn kid_miss(&self) {
            self.0.lock().unwrap().push("miss".to_owned());
        }
    }
    let (issuer, heard) = (issuer(), Arc::new(Heard::default()));
    let verifier = issuer.verifier_with(|builder| builder.observer(heard.clone()));
    let token = issuer.token().sign();
    let _ = outcome(&verifier, &token);
    let _ = outcome(&verifier, &issuer.token().kid("x").sign());
    issuer.revoke(&token);
    let _ = outcome(&verifier, &token);
    issuer.go_dark();
    issuer.advance(Duration::from_secs(11));
    let _ = outcome(&verifier, &issuer.token().sign());
    let expected = ["ok", "miss", "unknown_key", "hit grant", "revoked", "stale true", "ok"];
    assert_eq!(*heard.0.lock().unwrap(), expected);
}

#[test]
fn nothing_of_a_token_is_in_what_is_printed() {
    let issuer = issuer();
    let verifier = issuer.verifier();
    let printed = format!("{verifier:?} {:?}", outcome(&verifier, &issuer.token().sub("secret-sub").forged().sign()));
    assert!(!printed.contains("secret-sub"), "{printed}");
}

#[test]
fn what_was_verified_is_looked_at_again_by_its_end_and_its_status() {
    let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    let verifier = issuer.verifier();
    let token = issuer.token().sign();
    let claims: Claims = verifier.verify(&token).unwrap();
    assert_eq!(verifier.recheck(&claims), Ok(()));
    issuer.go_dark();
    issuer.advance(Duration::from_secs(301));
    assert_eq!(verifier.recheck(&claims), Err(Rejected::StatusUnavailable));
    issuer.advance(Duration::from_secs(330));
    assert_eq!(verifier.recheck(&claims), Err(Rejected::Expired));
    let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    let verifier = issuer.verifier();
    let claims: Claims = verifier.verify(&issuer.token().client_id("shop").sign()).unwrap();
    issuer.disable_client("shop");
    assert_eq!(verifier.recheck(&claims), Err(Rejected::Revoked));
}

#[cfg(feature = "fetch")]
#[test]
fn keys_that_could_not_be_fetched_again_are_not_relied_on_for_ever() {
    let issuer = issuer();
    let verifier = issuer.verifier();
    let token = |issuer: &TestIssuer| issuer.token().sign();
    verifier.0.keys.rely_until(issuer.clock().monotonic() + Duration::from_hours(24));
    issuer.advance(Duration::from_hours(24));
    assert_eq!(outcome(&verifier, &token(&issuer)), Ok(()));
    issuer.advance(Duration::from_secs(1));
    assert_eq!(outcome(&verifier, &token(&issuer)), Err(Rejected::KeysUnavailable));
    assert_eq!(verifier.ready(), Err(Rejected::KeysUnavailable));
}
