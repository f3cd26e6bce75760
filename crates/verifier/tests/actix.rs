//! The extractors and the middleware for actix-web, as a client sees them.
#![allow(clippy::unwrap_used, reason = "a test that meets nonsense has to fail")]

use actix_web::dev::ServiceResponse;
use actix_web::test::{TestRequest, init_service, try_call_service};
use actix_web::{App, Error, rt, web};
use countersign_verifier::actix::{Allowed, Authenticated, MaybeAuthenticated, Protect};
use countersign_verifier::testing::{TestHolder, TestIssuer};
use countersign_verifier::{Challenge, Claims, Rejected, Requirement, Requirements, Verifier};

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

/// The status and the headers of the answer.
fn asked(issuer: &TestIssuer, path: &str, authorization: &[String]) -> (u16, impl Fn(&str) -> String + use<>) {
    let outcome: Result<ServiceResponse<_>, Error> = rt::System::new().block_on(async {
        let challenge = Challenge::new().realm("orders");
        let protect = Protect::new(issuer.verifier()).require(Requirements::new().scope("admin")).challenge(challenge);
        let app = App::new()
            .app_data(web::Data::new(issuer.verifier()))
            .route("/whoami", web::get().to(whoami))
            .route("/greet", web::get().to(greet))
            .route("/order", web::get().to(order))
            .service(web::scope("/behind").wrap(protect).route("/admin", web::get().to(whoami)));
        let app = init_service(app).await;
        let mut request = TestRequest::get().uri(path);
        for value in authorization {
            request = request.append_header(("authorization", value.as_str()));
        }
        try_call_service(&app, request.to_request()).await
    });
    let response =
        outcome.map_or_else(|error| error.error_response(), |response| response.into_parts().1.map_into_boxed_body());
    let headers = response.headers().clone();
    let header =
        move |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    (response.status().as_u16(), header)
}

#[test]
fn a_good_token_reaches_the_handler() {
    let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    let bearer = |scope: &str| [format!("Bearer {}", issuer.token().scope(scope).sign())];
    for (path, scope) in [("/whoami", ""), ("/greet", ""), ("/order", "orders:write"), ("/behind/admin", "admin")] {
        assert_eq!(asked(&issuer, path, &bearer(scope)).0, 200, "{path}");
    }
    assert_eq!(asked(&issuer, "/greet", &[]).0, 200);
}

#[test]
fn refusals_have_their_status_and_their_headers() {
    let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    let good = format!("Bearer {}", issuer.token().sign());
    let (status, header) = asked(&issuer, "/whoami", &[]);
    assert_eq!((status, header("www-authenticate").as_str()), (401, "Bearer"));
    assert_eq!(
        (header("cache-control").as_str(), header("content-type").as_str()),
        ("no-store", "application/problem+json")
    );
    let (status, header) = asked(&issuer, "/greet", &["Bearer nonsense".to_owned()]);
    assert!(status == 401 && header("www-authenticate").contains("invalid_token"));
    assert_eq!(asked(&issuer, "/whoami", &[good.clone(), good.clone()]).0, 400);
    let (status, header) = asked(&issuer, "/order", std::slice::from_ref(&good));
    assert!(status == 403 && header("www-authenticate").ends_with(r#"scope="orders:write""#));
    let (status, header) = asked(&issuer, "/behind/admin", std::slice::from_ref(&good));
    assert_eq!(status, 403);
    assert!(header("www-authenticate").starts_with(r#"Bearer realm="orders", error="insufficient_scope""#));
    issuer.go_dark();
    issuer.advance(std::time::Duration::from_secs(301));
    let late = [format!("Bearer {}", issuer.token().sign())];
    for path in ["/whoami", "/behind/admin"] {
        let (status, header) = asked(&issuer, path, &late);
        assert_eq!(
            (status, header("retry-after").as_str(), header("www-authenticate").as_str()),
            (503, "2", ""),
            "{path}"
        );
    }
}

#[test]
fn what_another_verifier_let_through_is_not_taken_for_ours() {
    let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    let partner = TestIssuer::new("https://partner.example", "https://orders.example");
    let answered = |own: Option<Verifier>| {
        let header = ("authorization", format!("Bearer {}", partner.token().sign()));
        rt::System::new().block_on(async {
            let app = App::new().wrap(Protect::new(partner.verifier())).route("/whoami", web::get().to(whoami));
            let app = match own {
                Some(own) => app.app_data(web::Data::new(own)),
                None => app,
            };
            let app = init_service(app).await;
            let request = TestRequest::get().uri("/whoami").append_header(header).to_request();
            let outcome = try_call_service(&app, request).await;
            outcome.map_or_else(|error| error.error_response().status(), |response| response.status()).as_u16()
        })
    };
    assert_eq!(answered(Some(issuer.verifier())), 401);
    assert_eq!(answered(None), 200, "there is one verifier only");
}

#[derive(Clone, serde::Deserialize)]
struct Tenant {
    tenant: String,
}

/// Looks at one request more than once, one time for claims of the service's own.
async fn thrice(Authenticated(claims): Authenticated, own: Allowed<(), Tenant>, again: Allowed<()>) -> String {
    format!("{} {} {}", claims.sub, own.claims.other.tenant, again.claims.sub)
}

#[test]
fn a_bound_token_is_let_through_with_a_proof_that_is_used_once() {
    let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    let verifier = issuer.verifier_with(|builder| builder.dpop("https://orders.example"));
    let holder = TestHolder::new();
    let token = issuer.token().sub("usr_1").claim("tenant", "acme").bound_to(&holder).sign();
    let proof = |path: &str| holder.proof("GET", &format!("https://orders.example{path}"), &token, issuer.now());
    let (dpop, bearer) = (format!("DPoP {token}"), format!("Bearer {token}"));
    rt::System::new().block_on(async {
        let protect = Protect::new(verifier.clone()).challenge(Challenge::new().realm("orders"));
        let app = App::new()
            .app_data(web::Data::new(verifier.clone()))
            .route("/whoami", web::get().to(whoami))
            .route("/greet", web::get().to(greet))
            .route("/order", web::get().to(order))
            .route("/thrice", web::get().to(thrice))
            .service(web::scope("/behind").wrap(protect).route("/thrice", web::get().to(thrice)));
        let app = init_service(app).await;
        let asked = async |path: &str, headers: &[(&str, &str)]| {
            let mut request = TestRequest::get().uri(path);
            for header in headers {
                request = request.append_header(*header);
            }
            let outcome: Result<ServiceResponse<_>, Error> = try_call_service(&app, request.to_request()).await;
            let response = outcome
                .map_or_else(|error| error.error_response(), |response| response.into_parts().1.map_into_boxed_body());
            let challenge = response.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
            (response.status().as_u16(), challenge.unwrap_or_default())
        };
        for path in ["/whoami", "/greet", "/thrice", "/behind/thrice"] {
            let proof = proof(path);
            let headers = [("authorization", dpop.as_str()), ("dpop", proof.as_str()), ("host", "evil.example")];
            assert_eq!(asked(&format!("{path}?x=1"), &headers).await.0, 200, "{path}");
            let (status, challenge) = asked(path, &headers).await;
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
                assert_eq!(asked(path, &headers).await.0, 401, "{path} {headers:?}");
            }
        }
        let (status, challenge) = asked("/order", &[("authorization", &dpop), ("dpop", &proof("/order"))]).await;
        assert!(status == 403 && challenge.starts_with("DPoP algs="), "{challenge}");
        let (status, challenge) = asked("/behind/thrice", &[("authorization", &bearer), ("dpop", &good)]).await;
        assert!(status == 401 && challenge.starts_with(r#"Bearer realm="orders", error="invalid_token""#));
        assert!(challenge.ends_with(r#", DPoP algs="ES256 EdDSA Ed25519 PS256 RS256""#), "{challenge}");
        let bare = r#"Bearer, DPoP algs="ES256 EdDSA Ed25519 PS256 RS256""#;
        assert_eq!(asked("/whoami", &[]).await, (401, bare.to_owned()));
        assert_eq!(asked("/greet", &[]).await.0, 200);
        assert_eq!(
            asked("/whoami", &[("authorization", &dpop), ("dpop", &good)]).await.0,
            200,
            "nothing had used it up"
        );
    });
}
