//! Orders, on axum: each route says in its signature which token it wants.

use std::env;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use countersign_verifier::axum::Allowed;
use countersign_verifier::{Challenge, Claims, Refused, Rejected, Requirement, Secret, StatusSource, Verifier};
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;

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

#[derive(Clone, Default)]
struct Orders(Arc<Mutex<Vec<Order>>>);

impl Orders {
    fn lock(&self) -> MutexGuard<'_, Vec<Order>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of the service; the extractors find the verifier in it.
#[derive(Clone)]
struct Service {
    verifier: Verifier,
    orders: Orders,
}

impl FromRef<Service> for Verifier {
    fn from_ref(service: &Service) -> Self {
        service.verifier.clone()
    }
}

impl FromRef<Service> for Orders {
    fn from_ref(service: &Service) -> Self {
        service.orders.clone()
    }
}

async fn front() -> impl IntoResponse {
    Json(json!({ "service": "orders" }))
}

/// Whether keys and status lists are there yet.
async fn health(State(verifier): State<Verifier>) -> Result<impl IntoResponse, Refused> {
    verifier.ready().map_err(|rejected| Refused::new(rejected, Challenge::new()))?;
    Ok(Json(json!({ "status": "ready" })))
}

async fn list(allowed: Allowed<Read>, State(orders): State<Orders>) -> impl IntoResponse {
    let orders = orders.lock();
    let own: Vec<&Order> = orders.iter().filter(|order| order.sub == allowed.claims.sub).collect();
    Json(json!({ "orders": own }))
}

async fn make(allowed: Allowed<Write>, State(orders): State<Orders>) -> impl IntoResponse {
    let mut orders = orders.lock();
    let order = Order { id: (orders.len() + 1).to_string(), sub: allowed.claims.sub };
    orders.push(order.clone());
    (StatusCode::CREATED, Json(order))
}

fn router(verifier: Verifier) -> Router {
    Router::new()
        .route("/", get(front))
        .route("/healthz", get(health))
        .route("/orders", get(list).post(make))
        .with_state(Service { verifier, orders: Orders::default() })
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

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = env::var("PORT").map_or(Ok(5000), |port| port.parse())?;
    let router = router(verifier()?);
    axum::serve(TcpListener::bind(("127.0.0.1", port)).await?, router).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use axum::http::{Method, Request};
    use countersign_verifier::testing::TestIssuer;
    use tower::ServiceExt as _;

    use super::*;

    fn issuer() -> TestIssuer {
        TestIssuer::new("https://as.example", "https://orders.example")
    }

    /// The status of the answer to a request with that token.
    async fn ask(issuer: &TestIssuer, method: Method, token: &str) -> u16 {
        let request =
            Request::builder().method(method).uri("/orders").header("Authorization", format!("Bearer {token}"));
        let answer = router(issuer.verifier()).oneshot(request.body(Body::empty()).unwrap()).await;
        answer.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn a_good_token_lists_and_orders() {
        let issuer = issuer();
        let token = issuer.token().scope("read write").sign();
        assert_eq!(ask(&issuer, Method::GET, &token).await, 200);
        assert_eq!(ask(&issuer, Method::POST, &token).await, 201);
    }

    #[tokio::test]
    async fn an_expired_token_is_refused() {
        let issuer = issuer();
        let token = issuer.token().scope("read").expired_by(Duration::from_mins(1)).sign();
        assert_eq!(ask(&issuer, Method::GET, &token).await, 401);
    }

    #[tokio::test]
    async fn a_revoked_token_is_refused() {
        let issuer = issuer();
        let token = issuer.token().scope("read").sign();
        issuer.revoke(&token);
        assert_eq!(ask(&issuer, Method::GET, &token).await, 401);
    }

    #[tokio::test]
    async fn who_may_read_may_not_write() {
        let issuer = issuer();
        let token = issuer.token().scope("read").sign();
        assert_eq!(ask(&issuer, Method::POST, &token).await, 403);
    }
}
