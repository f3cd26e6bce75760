//! The issuer of a trial, over HTTP: its metadata, its JWKS, its status list. Nothing of the product's own.

use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::web::{self, Data};
use actix_web::{App, HttpResponse, HttpServer};
use countersign_verifier::conformance::Trial;
use serde_json::json;

use crate::clock::Clock;

/// What it serves from.
struct Served {
    trial: Arc<Trial>,
    issuer: String,
}

/// Serves a trial's issuer until the handle stops it.
///
/// # Errors
/// What the system says.
pub fn serve(trial: Arc<Trial>, issuer: &str, listener: TcpListener) -> std::io::Result<ServerHandle> {
    let served = Data::new(Served { trial, issuer: issuer.to_owned() });
    let factory = move || {
        App::new()
            .app_data(served.clone())
            .route("/.well-known/oauth-authorization-server", web::get().to(metadata))
            .route("/.well-known/openid-configuration", web::get().to(metadata))
            .route("/jwks.json", web::get().to(jwks))
            .route("/status", web::get().to(lists))
            .route("/status/0", web::get().to(list))
    };
    let server = HttpServer::new(factory).workers(1).disable_signals().listen(listener)?.run();
    let handle = server.handle();
    drop(actix_web::rt::spawn(server));
    Ok(handle)
}

async fn metadata(served: Data<Served>) -> HttpResponse {
    let issuer = &served.issuer;
    HttpResponse::Ok().json(json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/jwks.json"),
        "token_endpoint": format!("{issuer}/token"),
        "status_list_aggregation_endpoint": format!("{issuer}/status"),
        "response_types_supported": [],
    }))
}

async fn jwks(served: Data<Served>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/jwk-set+json").body(served.trial.jwks())
}

async fn lists(served: Data<Served>) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status_lists": [format!("{}/status/0", served.issuer)] }))
}

async fn list(served: Data<Served>) -> HttpResponse {
    let token = served.trial.status_list(Clock::system().now().unix_seconds());
    HttpResponse::Ok().content_type("application/statuslist+jwt").body(token)
}
