//! The extractors for axum, and the layer below them, as a client sees them.
#![allow(clippy::unwrap_used, reason = "a test that meets nonsense has to fail")]

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use axum::routing::get;
use countersign_verifier::axum::{Allowed, Authenticated, MaybeAuthenticated};
use countersign_verifier::testing::{TestHolder, TestIssuer};
use countersign_verifier::tower::Protect;
use countersign_verifier::{Challenge, Claims, Rejected, Requirement, Requirements, Verifier};
use tower::ServiceExt;

struct WriteOrders;

impl Requirement for WriteOrders {
    fn admit<T>(claims: &Claims<T>) -> Result<(), Rejected> {
        claims.require_scope("orders:write")
    }
}

async fn whoami(Authenticated(claims): Authenticated) -> String {
    claims.sub
}

async fn greet(MaybeAuthenticated(claims): MaybeAuthenticated) -> String {
    claims.map_or_else(|| "stranger".to_owned(), |claims| claims.sub)
}

async fn order(allowed: Allowed<WriteOrders>) -> String {
    allowed.claims.sub
}

fn router(issuer: &TestIssuer) -> Router {
    let challenge = Challenge::new().realm("orders");
    let layer = Protect::new(issuer.verifier()).require(Requirements::new().scope("admin")).challenge(challenge);
    let behind = Router::new().route("/admin", get(whoami)).layer(layer);
    let routes = Router::new().route("/whoami", get(whoami)).route("/greet", get(greet)).route("/order", get(order));
    routes.merge(behind).with_state(issuer.verifier())
}

fn asked(issuer: &TestIssuer, path: &str, authorization: &[String]) -> Response<Body> {
    let mut request = Request::get(path);
    for value in authorization {
        request = request.header("authorization", value);
    }
    let request = request.body(Body::empty()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(router(issuer).oneshot(request)).unwrap()
}

fn header(response: &Response<Body>, name: &str) -> String {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

#[test]
fn a_good_token_reaches_the_handler() {
    let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    let bearer = |scope: &str| [format!("Bearer {}", issuer.token().scope(scope).sign())];
    for (path, scope) in [("/whoami", ""), ("/greet", ""), ("/order", "orders:write"), ("/admin", "admin")] {
        assert_eq!(asked(&issuer, path, &bearer(scope)).status(), 200, "{path}");
    }
    assert_eq!(asked(&issuer, "/greet", &[]).status(), 200);
}

#[test]
fn refusals_have_their_status_and_their_headers() {
    let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    let good = format!("Bearer {}", issuer.token().sign());
    let response = asked(&issuer, "/whoami", &[]);
    assert_eq!((response.status().as_u16(), header(&response, "www-authenticate").as_str()), (401, "Bearer"));
    assert_eq!(header(&response, "cache-control"), "no-store");
    assert_eq!(header(&response, "content-type"), "application/problem+json");
    let bad = ["Bearer nonsense".to_owned()];
    let response = asked(&issuer, "/greet", &bad);
    assert_eq!(response.status(), 401);
    assert!(header(&response, "www-authenticate").contains("invalid_token"));
    assert_eq!(asked(&issuer, "/whoami", &[good.clone(), good.clone()]).status(), 400);
    let response = asked(&issuer, "/order", std::slice::from_ref(&good));
    assert_eq!(response.status(), 403);
    assert!(header(&response, "www-authenticate").ends_with(r#"scope="orders:write""#));
    let response = asked(&issuer, "/admin", std::slice::from_ref(&good));
    assert_eq!(response.status(), 403);
    assert!(header(&response, "www-authenticate").starts_with(r#"Bearer realm="orders", error="insufficient_scope""#));
    issuer.go_dark();
    issuer.advance(std::time::Duration::from_secs(301));
    let late = [format!("Bearer {}", issuer.token().sign())];
    for path in ["/whoami", "/admin"] {
        let response = asked(&issuer, path, &late);
        assert_eq!((response.status().as_u16(), header(&response, "retry-after").as_str()), (503, "2"), "{path}");
        assert_eq!(header(&response, "www-authenticate"), "");
    }
}

#[test]
fn what_another_verifier_let_through_is_not_taken_for_ours() {
    let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    let partner = TestIssuer::new("https://partner.example", "https://orders.example");
    let answered = |behind: Verifier, state, token: String| {
        let router = Router::new().route("/whoami", get(whoami)).layer(Protect::new(behind)).with_state(state);
        let request = Request::get("/whoami").header("authorization", format!("Bearer {token}"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(router.oneshot(request.body(Body::empty()).unwrap())).unwrap().status().as_u16()
    };
    let (ours, theirs) = (issuer.verifier(), partner.verifier());
    assert_eq!(answered(theirs.clone(), ours.clone(), partner.token().sign()), 401);
    assert_eq!(answered(theirs.clone(), theirs, partner.token().sign()), 200);
    assert_eq!(answered(ours.clone(), ours, issuer.token().sign()), 200);
}

#[derive(Clone, serde::Deserialize)]
struct Tenant {
    tenant: String,
}

/// Three looks at one request: by the layer, and by two extractors, one of them for claims of the service's own.
async fn thrice(Authenticated(claims): Authenticated, own: Allowed<(), Tenant>, again: Allowed<()>) -> String {
    format!("{} {} {}", claims.sub, own.claims.other.tenant, again.claims.sub)
}

#[test]
fn a_bound_token_is_let_through_with_a_proof_that_is_used_once() {
    let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    let verifier = issuer.verifier_with(|builder| builder.dpop("https://orders.example"));
    let layer = Protect::new(verifier.clone()).challenge(Challenge::new().realm("orders"));
    let behind = Router::new().route("/behind", get(thrice)).layer(layer);
    let inner = Router::new().route("/nested", get(whoami));
    let guarded = Router::new().nest("/deep", inner).layer(Protect::new(verifier.clone()));
    let router = Router::new().route("/whoami", get(whoami)).route("/greet", get(greet)).route("/thrice", get(thrice));
    let router = router.merge(behind).merge(guarded).with_state(verifier);
    let holder = TestHolder::new();
    let token = issuer.token().sub("usr_1").claim("tenant", "acme").bound_to(&holder).sign();
    let asked = |path: &str, headers: &[(&str, &str)]| {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let response = runtime.block_on(router.clone().oneshot(request.body(Body::empty()).unwrap())).unwrap();
        (response.status().as_u16(), header(&response, "www-authenticate"))
    };
    let proof = |path: &str| holder.proof("GET", &format!("https://orders.example{path}"), &token, issuer.now());
    let (dpop, bearer) = (format!("DPoP {token}"), format!("Bearer {token}"));
    for path in ["/whoami", "/greet", "/thrice", "/behind", "/deep/nested"] {
        let proof = proof(path);
        let headers = [("authorization", dpop.as_str()), ("dpop", proof.as_str()), ("host", "evil.example")];
        assert_eq!(asked(&format!("{path}?x=1"), &headers).0, 200, "{path}");
        let (status, challenge) = asked(path, &headers);
        let begins = r#"DPoP algs="ES256 EdDSA Ed25519 PS256 RS256", "#;
        assert!(status == 401 && challenge.starts_with(begins), "{path}: {challenge}");
        assert!(challenge.contains(r#"error="invalid_dpop_proof", error_description="the DPoP proof was used"#));
    }
    let evil = holder.proof("GET", "https://evil.example/whoami", &token, issuer.now());
    let good = proof("/whoami");
    for headers in [
        vec![("authorization", dpop.as_str())],
        vec![("authorization", &dpop), ("dpop", &evil), ("host", "evil.example")],
        vec![("authorization", &dpop), ("dpop", &good), ("dpop", &good)],
        vec![("authorization", &bearer), ("dpop", &good)],
    ] {
        for path in ["/whoami", "/greet"] {
            assert_eq!(asked(path, &headers).0, 401, "{path} {headers:?}");
        }
    }
    let (status, challenge) = asked("/behind", &[("authorization", &bearer), ("dpop", &good)]);
    assert!(status == 401 && challenge.starts_with(r#"Bearer realm="orders", error="invalid_token""#), "{challenge}");
    assert!(challenge.ends_with(r#", DPoP algs="ES256 EdDSA Ed25519 PS256 RS256""#), "{challenge}");
    let bare = r#"Bearer, DPoP algs="ES256 EdDSA Ed25519 PS256 RS256""#;
    assert_eq!(asked("/whoami", &[]), (401, bare.to_owned()));
    assert_eq!(asked("/greet", &[]).0, 200);
    let unbound = format!("Bearer {}", issuer.token().claim("tenant", "acme").sign());
    assert_eq!(asked("/thrice", &[("authorization", &unbound)]).0, 200);
    assert_eq!(asked("/whoami", &[("authorization", &dpop), ("dpop", &good)]).0, 200, "nothing had used it up");
}
