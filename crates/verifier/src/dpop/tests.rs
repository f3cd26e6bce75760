//! Proofs of possession at a verifier, each with what must not pass it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::testing::{TestHolder, TestIssuer};
use crate::{NoOtherClaims, Rejected, Request, Verifier, base64url, digest};

const ORDERS: &str = "https://orders.example/orders";

/// A service that looks at proofs, and a client with a token that is bound to its key.
struct Scene {
    issuer: TestIssuer,
    verifier: Verifier,
    holder: TestHolder,
    token: String,
}

impl Scene {
    fn new() -> Self {
        let issuer = TestIssuer::new("https://as.example", "https://orders.example");
        let verifier = issuer.verifier_with(|builder| builder.dpop("https://orders.example/"));
        let holder = TestHolder::new();
        let token = issuer.token().bound_to(&holder).sign();
        Self { issuer, verifier, holder, token }
    }

    fn proof(&self) -> String {
        self.holder.proof("GET", ORDERS, &self.token, self.issuer.now())
    }

    fn header(&self) -> Value {
        json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": self.holder.jwk() })
    }

    fn claims(&self) -> Value {
        let ath = base64url::encode(&digest::sha256(self.token.as_bytes()));
        json!({ "jti": "a", "htm": "GET", "htu": ORDERS, "iat": self.issuer.now(), "ath": ath })
    }

    /// What becomes of a request with the token, by that scheme, with those proofs.
    fn asked(&self, scheme: &str, token: &str, proofs: &[&str]) -> Result<(), Rejected> {
        let authorization = format!("{scheme} {token}");
        let request =
            Request::new("GET", "/orders?page=2").authorization([&authorization]).dpop(proofs.iter().copied());
        self.verifier.verify_request::<NoOtherClaims>(&request).map(|_| ())
    }

    fn shown(&self, proof: &str) -> Result<(), Rejected> {
        self.asked("DPoP", &self.token, &[proof])
    }

    /// What becomes of a proof that differs from a good one by this member of its header, or lacks it.
    fn with_header(&self, name: &str, value: Option<Value>) -> Result<(), Rejected> {
        self.shown(&self.holder.sign(&changed(self.header(), name, value), &self.claims()))
    }

    fn with_claim(&self, name: &str, value: Option<Value>) -> Result<(), Rejected> {
        self.shown(&self.holder.sign(&self.header(), &changed(self.claims(), name, value)))
    }
}

fn changed(mut whole: Value, name: &str, value: Option<Value>) -> Value {
    let members = whole.as_object_mut().unwrap();
    match value {
        Some(value) => members.insert(name.to_owned(), value),
        None => members.remove(name),
    };
    whole
}

#[test]
fn a_bound_token_is_accepted_with_a_proof_and_each_proof_once() {
    let scene = Scene::new();
    let proof = scene.proof();
    assert_eq!(scene.shown(&proof), Ok(()));
    assert_eq!(scene.shown(&proof), Err(Rejected::ProofReplayed));
    assert_eq!(scene.asked("dpop", &scene.token, &[&scene.proof()]), Ok(()), "RFC 9110 §11.1: a scheme has no case");
    scene.issuer.advance(Duration::from_mins(1));
    assert_eq!(scene.shown(&proof), Err(Rejected::ProofReplayed));
    scene.issuer.advance(Duration::from_secs(1));
    assert_eq!(scene.shown(&proof), Err(Rejected::ProofOutOfTime));
    // Another client may use the same name.
    let other = TestHolder::new();
    let token = scene.issuer.token().bound_to(&other).sign();
    let ath = base64url::encode(&digest::sha256(token.as_bytes()));
    let claims = changed(scene.claims(), "ath", Some(json!(ath)));
    let theirs = other.sign(&changed(scene.header(), "jwk", Some(Value::Object(other.jwk()))), &claims);
    assert_eq!(scene.with_claim("jti", Some(json!("a"))), Ok(()));
    assert_eq!(scene.asked("DPoP", &token, &[&theirs]), Ok(()));
}

#[test]
fn scheme_and_token_have_to_go_together() {
    let scene = Scene::new();
    let (bound, unbound) = (scene.token.clone(), scene.issuer.token().sign());
    assert_eq!(scene.asked("Bearer", &bound, &[&scene.proof()]), Err(Rejected::WrongScheme));
    assert_eq!(scene.asked("Bearer", &bound, &[]), Err(Rejected::WrongScheme));
    assert_eq!(scene.verifier.verify::<NoOtherClaims>(&bound).unwrap_err(), Rejected::WrongScheme);
    let proof = scene.holder.proof("GET", ORDERS, &unbound, scene.issuer.now());
    assert_eq!(scene.asked("DPoP", &unbound, &[&proof]), Err(Rejected::WrongScheme));
    assert_eq!(scene.asked("Bearer", &unbound, &[]), Ok(()));
    assert_eq!(scene.asked("DPoP", &bound, &[]), Err(Rejected::ProofMissing));
    assert_eq!(scene.asked("DPoP", &bound, &[&scene.proof(), &scene.proof()]), Err(Rejected::BadProof));
    assert_eq!(scene.asked("DPoP", "a b", &[&scene.proof()]), Err(Rejected::Ambiguous));
    assert_eq!(scene.asked("Basic", &bound, &[&scene.proof()]), Err(Rejected::Missing));
    let both = ["DPoP a", "Bearer b"];
    let request = Request::new("GET", "/orders").authorization(both);
    assert_eq!(scene.verifier.verify_request::<NoOtherClaims>(&request).unwrap_err(), Rejected::Ambiguous);
}

#[test]
fn what_is_bound_to_something_else_is_refused_as_ever() {
    let scene = Scene::new();
    let jkt = scene.holder.jkt();
    for cnf in [
        json!({ "x5t#S256": "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0" }),
        json!({ "jkt": jkt, "x5t#S256": "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0" }),
        json!({ "jkt": [jkt] }),
        json!({ "jwk": scene.holder.jwk() }),
        json!({}),
        json!([]),
        json!(jkt),
        Value::Null,
    ] {
        let token = scene.issuer.token().claim("cnf", cnf.clone()).sign();
        let proof = scene.holder.proof("GET", ORDERS, &token, scene.issuer.now());
        for scheme in ["DPoP", "Bearer"] {
            assert_eq!(scene.asked(scheme, &token, &[&proof]), Err(Rejected::BadClaims), "{scheme} {cnf}");
        }
    }
    // Nor is a key that is nobody's.
    let token = scene.issuer.token().claim("cnf", json!({ "jkt": "" })).sign();
    let proof = scene.holder.proof("GET", ORDERS, &token, scene.issuer.now());
    assert_eq!(scene.asked("DPoP", &token, &[&proof]), Err(Rejected::OtherKey));
}

#[test]
fn without_the_setting_nothing_changes() {
    let scene = Scene::new();
    let verifier = scene.issuer.verifier();
    let asked = |scheme: &str| {
        let (authorization, proof) = (format!("{scheme} {}", scene.token), scene.proof());
        let request = Request::new("GET", "/orders").authorization([&authorization]).dpop([&proof]);
        verifier.verify_request::<NoOtherClaims>(&request).unwrap_err()
    };
    assert_eq!((asked("DPoP"), asked("Bearer")), (Rejected::Missing, Rejected::BadClaims));
    assert_eq!(verifier.verify::<NoOtherClaims>(&scene.token).unwrap_err(), Rejected::BadClaims);
}

#[test]
fn the_form_of_a_proof_is_exact() {
    let scene = Scene::new();
    for typ in ["JWT", "at+jwt", "DPOP+JWT", "application/dpop+jwt", ""] {
        assert_eq!(scene.with_header("typ", Some(json!(typ))), Err(Rejected::BadProof), "{typ}");
    }
    for alg in ["none", "HS256", "RS256", "PS256", "EdDSA", "ES384", "es256", ""] {
        assert_eq!(scene.with_header("alg", Some(json!(alg))), Err(Rejected::BadProof), "{alg}");
    }
    for name in ["typ", "alg", "jwk"] {
        assert_eq!(scene.with_header(name, None), Err(Rejected::BadProof), "{name}");
    }
    for name in ["crit", "b64"] {
        assert_eq!(scene.with_header(name, Some(Value::Null)), Err(Rejected::BadProof), "{name}");
    }
    let private = changed(Value::Object(scene.holder.jwk()), "d", Some(json!("AA")));
    assert_eq!(scene.with_header("jwk", Some(private)), Err(Rejected::BadProof));
    for name in ["jti", "htm", "htu", "iat", "ath"] {
        assert_eq!(scene.with_claim(name, None), Err(Rejected::BadProof), "{name}");
        assert_eq!(scene.with_claim(name, Some(Value::Null)), Err(Rejected::BadProof), "{name}");
    }
    for jti in [String::new(), "x".repeat(257)] {
        assert_eq!(scene.with_claim("jti", Some(json!(jti))), Err(Rejected::BadProof));
    }
    let good = scene.proof();
    let (message, signature) = good.rsplit_once('.').unwrap();
    let twice = {
        let payload = base64url::encode(scene.claims().to_string().replacen('{', "{\"htm\":\"GET\",", 1).as_bytes());
        format!("{}.{payload}.{signature}", message.split_once('.').unwrap().0)
    };
    let long = scene.holder.sign(&scene.header(), &changed(scene.claims(), "x", Some(json!("x".repeat(16_384)))));
    for bad in
        ["", "x", "..", message, &format!("{good}="), &format!("{good}.x"), &format!("{good}, {good}"), &twice, &long]
    {
        assert_eq!(scene.shown(bad), Err(Rejected::BadProof), "{bad}");
    }
    assert_eq!(scene.shown(&good), Ok(()), "none of them has used it up");
}

#[test]
fn a_proof_is_for_one_method_address_and_token() {
    let scene = Scene::new();
    for (name, value) in [
        ("htm", json!("POST")),
        ("htm", json!("get")),
        ("htu", json!("https://orders.example/other")),
        ("htu", json!("https://as.example/orders")),
        ("htu", json!("http://orders.example/orders")),
        ("htu", json!("/orders")),
        ("ath", json!(base64url::encode(&digest::sha256(b"another token")))),
        ("ath", json!("")),
    ] {
        let outcome = scene.with_claim(name, Some(value.clone()));
        assert_eq!(outcome, Err(Rejected::ProofOfOtherRequest), "{name} {value}");
    }
    assert_eq!(scene.with_claim("htu", Some(json!("HTTPS://Orders.example:443/orders?page=3#x"))), Ok(()));
    // The same proof with another token of the same client.
    let (proof, other) = (scene.proof(), scene.issuer.token().bound_to(&scene.holder).sign());
    assert_eq!(scene.asked("DPoP", &other, &[&proof]), Err(Rejected::ProofOfOtherRequest));
    assert_eq!(scene.shown(&proof), Ok(()));
}

#[test]
fn a_proof_is_of_this_minute() {
    let scene = Scene::new();
    let at = |nth: u32, span: f64| {
        let iat = f64::from(u32::try_from(scene.issuer.now()).unwrap()) + span;
        let claims = changed(scene.claims(), "jti", Some(json!(nth.to_string())));
        scene.shown(&scene.holder.sign(&scene.header(), &changed(claims, "iat", Some(json!(iat)))))
    };
    assert_eq!((at(0, -60.0), at(1, 60.0)), (Ok(()), Ok(())));
    for (nth, span) in [(2, -61.0), (3, 61.0), (4, -1e9), (5, 1e9)] {
        assert_eq!(at(nth, span), Err(Rejected::ProofOutOfTime), "{span}");
    }
}

#[test]
fn a_proof_is_made_by_the_key_of_the_token() {
    let scene = Scene::new();
    let thief = TestHolder::new();
    let proof = thief.proof("GET", ORDERS, &scene.token, scene.issuer.now());
    assert_eq!(scene.shown(&proof), Err(Rejected::OtherKey));
    // With the key of the token shown, but signed by another.
    assert_eq!(scene.shown(&thief.sign(&scene.header(), &scene.claims())), Err(Rejected::BadProof));
    assert_eq!(scene.shown(&scene.holder.sign(&scene.header(), &scene.claims())), Ok(()), "it was not used up by that");
}

#[test]
fn a_bad_token_uses_no_proof_up() {
    let scene = Scene::new();
    let proof = scene.proof();
    scene.issuer.go_dark();
    scene.issuer.advance(Duration::from_secs(30));
    let strict = scene.issuer.verifier_with(|builder| builder.dpop("https://orders.example").max_stale(Duration::ZERO));
    let authorization = format!("DPoP {}", scene.token);
    let request = Request::new("GET", "/orders").authorization([&authorization]).dpop([&proof]);
    assert_eq!(strict.verify_request::<NoOtherClaims>(&request).unwrap_err(), Rejected::StatusUnavailable);
    scene.issuer.come_back();
    assert!(strict.verify_request::<NoOtherClaims>(&request).is_ok());
    scene.issuer.revoke(&scene.token);
    assert_eq!(scene.shown(&scene.proof()), Err(Rejected::Revoked));
}

#[test]
fn nothing_of_a_request_is_in_what_is_printed() {
    let (authorization, proof) = ("DPoP secret.token", "secret.proof");
    let printed = format!("{:?}", Request::new("GET", "/orders").authorization([authorization]).dpop([proof]));
    assert!(printed.contains("/orders") && !printed.contains("secret"), "{printed}");
}
