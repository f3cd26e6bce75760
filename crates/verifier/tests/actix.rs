//! The extractors and the middleware for actix-web, as a client sees them.
#![allow(clippy::unwrap_used, reason = "a test that meets nonsense has to fail")]

use actix_web::dev::ServiceResponse;
use actix_web::test::{TestRequest, init_service, try_call_service};
use actix_web::{App, Error, rt, web};
use countersign_verifier::actix::{Allowed, Authenticated, MaybeAuthenticated, Protect};
use countersign_verifier::testing::TestIssuer;
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
