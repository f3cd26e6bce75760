//! RFC 9068: what an access token says.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign::keys::TokenType;

use crate::app::{AUDIENCE, TestApp};

/// Claims as a token of the server that holds the key.
fn sign(app: &TestApp, claims: &serde_json::Value) -> String {
    let now = app.app.clock.monotonic();
    app.app.keyring.sign(TokenType::AccessToken, claims, Duration::from_secs(1), now).unwrap()
}

fn keys(value: &serde_json::Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_persons_token_has_exactly_these_members() {
    let app = TestApp::start();
    let (_, tokens) = app.log_in();
    let header = tokens.jose_header();
    assert_eq!(keys(&header), ["alg", "kid", "typ"].into());
    assert_eq!((&header["alg"], &header["typ"]), (&"RS256".into(), &"at+jwt".into()));
    let claims = tokens.claims();
    let of_all = ["iss", "sub", "aud", "client_id", "exp", "iat", "jti", "scope", "status"];
    let of_people = ["sid", "auth_time", "acr", "amr", "roles"];
    assert_eq!(keys(&claims), of_all.into_iter().chain(of_people).collect());
    assert_eq!(claims["iss"], app.base);
    assert_eq!(claims["client_id"], "web");
    assert_eq!(claims["aud"], serde_json::json!([AUDIENCE, "https://other.example"]));
    assert_eq!(claims["amr"], serde_json::json!(["pwd"]));
    assert_eq!(claims["roles"], serde_json::json!(["reader"]));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 600);
    assert_eq!(claims["iat"], app.app.clock.now().unix_seconds());
    assert!(!tokens.claims().to_string().contains('@'), "no e-mail address");
}

#[test]
fn every_token_has_a_jti_of_its_own_and_the_sub_stays() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    let second = party.refresh("web", first.refresh_token()).tokens();
    assert_ne!(first.claims()["jti"], second.claims()["jti"]);
    assert_eq!(first.claims()["sub"], second.claims()["sub"]);
    assert_eq!(first.claims()["jti"].as_str().unwrap().len(), 22, "128 bits");
}

#[test]
fn a_client_may_have_a_life_and_claims_of_its_own() {
    let app = TestApp::start();
    let secret = app
        .client(
            "own",
            serde_json::json!({"grant_types": ["client_credentials"], "access_token_ttl": 120, "extra_claims": {"tenant": {"id": 7}}}),
        )
        .unwrap();
    let tokens = app.relying_party().client_credentials("own", &secret, &[]).tokens();
    assert_eq!((tokens.expires_in, &tokens.claims()["tenant"]), (120, &serde_json::json!({"id": 7})));
    // RFC 9068 §3: a client without resources gets tokens for the issuer itself; aud is never empty.
    assert_eq!(tokens.claims()["aud"], serde_json::json!([app.base]));
}

#[test]
fn claims_that_grew_too_large_are_refused_and_never_cut() {
    let app = TestApp::start();
    let large = serde_json::json!({"x": "a".repeat(3000)});
    app.client(
        "large",
        serde_json::json!({"token_endpoint_auth_method": "none", "grant_types": ["password"], "extra_claims": large}),
    );
    let (account, email) = app.account();
    let party = app.relying_party();
    party.log_in("large", &email).tokens();
    let roles: Vec<_> = (0..40).map(|nth| format!("role-with-a-long-name-number-{nth:03}")).collect();
    let roles = serde_json::to_string(&roles).unwrap();
    app.database.execute(&format!("UPDATE accounts SET roles = '{roles}'"));
    let refused = party.log_in("large", &email);
    assert_eq!((refused.status, refused.error().as_str()), (500, "server_error"));
    assert!(refused.json()["trace"].is_string(), "{} {}", refused.body, account.id);
}

#[test]
fn a_resource_asked_for_is_the_only_audience() {
    let app = TestApp::start();
    let secret = app.confidential_client();
    let party = app.relying_party();
    let tokens = party.client_credentials("svc", &secret, &[("resource", AUDIENCE)]).tokens();
    assert_eq!(tokens.claims()["aud"], serde_json::json!([AUDIENCE]));
}

#[test]
fn our_own_verification_refuses_what_is_not_exactly_ours() {
    use countersign_verifier::Rejected;
    let app = TestApp::start();
    let (_, tokens) = app.log_in();
    let verify = |token: &str| app.app.keyring.verify(token, &app.base, app.app.clock.now()).map(|claims| claims.jti);
    assert!(verify(&tokens.access).is_ok());
    let parts: Vec<_> = tokens.access.split('.').collect();
    let (payload, signature) = (parts[1], parts[2]);
    let kid = tokens.jose_header()["kid"].clone();
    let encode = |json: serde_json::Value| countersign::secret::encode_base64url(json.to_string().as_bytes());
    let with_header = |json| format!("{}.{payload}.{signature}", encode(json));
    let cases = [
        (with_header(serde_json::json!({"alg": "none", "typ": "at+jwt", "kid": kid})), Rejected::WrongHeader),
        (format!("{}.{payload}.", encode(serde_json::json!({"alg": "none"}))), Rejected::Malformed),
        (with_header(serde_json::json!({"alg": "NoNe", "typ": "at+jwt", "kid": kid})), Rejected::WrongHeader),
        (with_header(serde_json::json!({"alg": "HS256", "typ": "at+jwt", "kid": kid})), Rejected::WrongHeader),
        (with_header(serde_json::json!({"alg": "RS384", "typ": "at+jwt", "kid": kid})), Rejected::WrongHeader),
        (with_header(serde_json::json!({"alg": "rs256", "typ": "at+jwt", "kid": kid})), Rejected::WrongHeader),
        (with_header(serde_json::json!({"alg": "RS256", "typ": "JWT", "kid": kid})), Rejected::WrongHeader),
        (with_header(serde_json::json!({"alg": "RS256", "kid": kid})), Rejected::WrongHeader),
        (with_header(serde_json::json!({"alg": "RS256", "typ": "at+jwt"})), Rejected::WrongHeader),
        (
            with_header(serde_json::json!({"alg": "RS256", "typ": "at+jwt", "kid": kid, "crit": ["b64"]})),
            Rejected::WrongHeader,
        ),
        (
            with_header(serde_json::json!({"alg": "RS256", "typ": "at+jwt", "kid": "../../etc/passwd"})),
            Rejected::UnknownKey,
        ),
        (with_header(serde_json::json!({"alg": "RS256", "typ": "at+jwt", "kid": "' OR 1=1"})), Rejected::UnknownKey),
        (
            with_header(serde_json::json!({"alg": "RS256", "typ": "at+jwt", "kid": kid, "jwk": {}})),
            Rejected::BadSignature,
        ),
        (
            with_header(serde_json::json!({"alg": "RS256", "typ": "at+jwt", "kid": kid, "jku": "https://x"})),
            Rejected::BadSignature,
        ),
        (format!("{}.{}.{signature}", parts[0], encode(serde_json::json!({"iss": app.base}))), Rejected::BadSignature),
        (format!("{}.{payload}.{}", parts[0], "A".repeat(signature.len())), Rejected::BadSignature),
        (format!("{}=", tokens.access), Rejected::Malformed),
        (format!("{}.x", tokens.access), Rejected::Malformed),
        (format!(" {}", tokens.access), Rejected::Malformed),
        (".".repeat(10_000), Rejected::Malformed),
        ("{".to_owned(), Rejected::Malformed),
        ("a".repeat(1024 * 1024), Rejected::Malformed),
        (String::new(), Rejected::Malformed),
    ];
    for (token, rejected) in cases {
        assert_eq!(verify(&token), Err(rejected), "{}", &token[..token.len().min(80)]);
    }
    // Claims of the wrong type, signed with the right key.
    let base = tokens.claims();
    let mut resigned = Vec::new();
    for (name, value) in [
        ("exp", serde_json::json!("9999999999")),
        ("exp", serde_json::Value::Null),
        ("iat", serde_json::json!("0")),
        ("iss", serde_json::json!([app.base])),
        ("aud", serde_json::Value::Null),
        ("sub", serde_json::json!(7)),
        ("jti", serde_json::Value::Null),
    ] {
        let mut claims = base.clone();
        claims[name] = value;
        resigned.push((sign(&app, &claims), Rejected::BadClaims));
    }
    let mut other = base.clone();
    other["iss"] = "https://other.example".into();
    resigned.push((sign(&app, &other), Rejected::OtherIssuer));
    let mut early = base.clone();
    early["iat"] = (app.app.clock.now().unix_seconds() + 31).into();
    resigned.push((sign(&app, &early), Rejected::NotYetValid));
    early["iat"] = (app.app.clock.now().unix_seconds() + 30).into();
    assert!(verify(&sign(&app, &early)).is_ok(), "clocks may be half a minute apart");
    for (token, rejected) in resigned {
        assert_eq!(verify(&token), Err(rejected));
    }
    app.advance(Duration::from_secs(600));
    assert_eq!(verify(&tokens.access), Err(Rejected::Expired));
}
