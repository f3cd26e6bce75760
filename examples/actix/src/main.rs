//! Orders, on actix-web: each route says in its signature which token it wants.

use std::env;
use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};

use actix_web::web::{self, Data, Json, ServiceConfig};
use actix_web::{App, HttpResponse, HttpServer, Responder};
use countersign_verifier::actix::Allowed;
use countersign_verifier::{Challenge, Claims, Refused, Rejected, Requirement, Secret, StatusSource, Verifier};
use serde::Serialize;
use serde_json::json;

/// What a handler with `Allowed<Read>` asks of a token.
struct Read;

impl Requirement for Read {
    fn admit<T>(claims: &Claims<T>) -> Result<(), Rejected> {
        claims.require_scope("read")
    }
}

/// What a handler with `Allowed<Write>` asks of a token.
struct Write;

impl Requirement for Write {
    fn admit<T>(claims: &Claims<T>) -> Result<(), Rejected> {
        claims.require_scope("write")
    }
}

#[derive(Clone, Serialize)]
struct Order {
    id: String,
    sub: String,
}

#[derive(Default)]
struct Orders(Mutex<Vec<Order>>);

impl Orders {
    fn lock(&self) -> MutexGuard<'_, Vec<Order>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn front() -> impl Responder {
    Json(json!({ "service": "orders" }))
}

/// Whether keys and status lists are there yet.
async fn health(verifier: Data<Verifier>) -> Result<impl Responder, Refused> {
    verifier.ready().map_err(|rejected| Refused::new(rejected, Challenge::new()))?;
    Ok(Json(json!({ "status": "ready" })))
}

async fn list(allowed: Allowed<Read>, orders: Data<Orders>) -> impl Responder {
    let orders = orders.lock();
    let own: Vec<&Order> = orders.iter().filter(|order| order.sub == allowed.claims.sub).collect();
    Json(json!({ "orders": own }))
}

async fn make(allowed: Allowed<Write>, orders: Data<Orders>) -> impl Responder {
    let mut orders = orders.lock();
    let order = Order { id: (orders.len() + 1).to_string(), sub: allowed.claims.sub };
    orders.push(order.clone());
    HttpResponse::Created().json(order)
}

/// The routes, and what they need: the extractors find the verifier by its type.
fn service(verifier: Data<Verifier>, orders: Data<Orders>) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        config
            .app_data(verifier)
            .app_data(orders)
            .route("/", web::get().to(front))
            .route("/healthz", web::get().to(health))
            .service(web::resource("/orders").get(list).post(make));
    }
}

fn setting(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("{name} is needed"))
}

/// Made once; its clones share keys and lists.
fn verifier() -> Result<Verifier, Box<dyn Error>> {
    let status = match env::var("FEED_CLIENT") {
        Ok(client_id) => StatusSource::Feed { client_id, client_secret: Secret::new(setting("FEED_SECRET")?) },
        Err(_) => StatusSource::Poll,
    };
    Ok(Verifier::builder(&setting("ISSUER")?, &setting("AUDIENCE")?).status(status).build()?)
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = env::var("PORT").map_or(Ok(5000), |port| port.parse())?;
    let (verifier, orders) = (Data::new(verifier()?), Data::<Orders>::default());
    let app = move || App::new().configure(service(verifier.clone(), orders.clone()));
    HttpServer::new(app).bind(("127.0.0.1", port))?.run().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_web::http::Method;
    use actix_web::test::{TestRequest, call_service, init_service};
    use countersign_verifier::testing::TestIssuer;

    use super::*;

    fn issuer() -> TestIssuer {
        TestIssuer::new("https://as.example", "https://orders.example")
    }

    /// The status of the answer to a request with that token.
    async fn ask(issuer: &TestIssuer, method: Method, token: &str) -> u16 {
        let app = init_service(App::new().configure(service(Data::new(issuer.verifier()), Data::default()))).await;
        let request = TestRequest::with_uri("/orders").method(method);
        let request = request.insert_header(("Authorization", format!("Bearer {token}")));
        call_service(&app, request.to_request()).await.status().as_u16()
    }

    #[actix_web::test]
    async fn a_good_token_lists_and_orders() {
        let issuer = issuer();
        let token = issuer.token().scope("read write").sign();
        assert_eq!(ask(&issuer, Method::GET, &token).await, 200);
        assert_eq!(ask(&issuer, Method::POST, &token).await, 201);
    }

    #[actix_web::test]
    async fn an_expired_token_is_refused() {
        let issuer = issuer();
        let token = issuer.token().scope("read").expired_by(Duration::from_mins(1)).sign();
        assert_eq!(ask(&issuer, Method::GET, &token).await, 401);
    }

    #[actix_web::test]
    async fn a_revoked_token_is_refused() {
        let issuer = issuer();
        let token = issuer.token().scope("read").sign();
        issuer.revoke(&token);
        assert_eq!(ask(&issuer, Method::GET, &token).await, 401);
    }

    #[actix_web::test]
    async fn who_may_read_may_not_write() {
        let issuer = issuer();
        let token = issuer.token().scope("read").sign();
        assert_eq!(ask(&issuer, Method::POST, &token).await, 403);
    }
}
