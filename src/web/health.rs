//! For load balancers and monitoring.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::State;

/// What `/readyz` says.
#[derive(Serialize, ToSchema)]
pub(super) struct ReadyBody {
    /// `ready`, `degraded` (still to be sent requests) or `unready`.
    status: &'static str,
    /// `up` or `down`.
    database: &'static str,
    /// `up`, or `stale`: newer ones could not be loaded, and the old ones sign.
    signing_keys: &'static str,
    /// `up`, or `down`: rate limits then count in each process for itself.
    cache: &'static str,
}

/// The process lives.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, description = "It lives")))]
pub(super) async fn livez() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok\n")
}

/// Whether requests should be sent here. Reads what the last check found, so asking often costs nothing.
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, description = "Ready, or degraded", body = ReadyBody),
    (status = 503, description = "Not ready", body = ReadyBody)))]
pub(super) async fn readyz(state: web::Data<State>) -> HttpResponse {
    let readiness = state.health.readiness(state.app.clock.monotonic());
    let up = |up| if up { "up" } else { "down" };
    // Without keys that it may sign with it serves no token.
    let signs = state.app.keyring.is_confirmed(state.app.clock.monotonic());
    let status = match (readiness.is_ready() && signs, readiness.cache && readiness.signing_keys) {
        (true, true) => "ready",
        (true, false) => "degraded",
        (false, _) => "unready",
    };
    let code = if readiness.is_ready() && signs { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    HttpResponse::build(code).json(ReadyBody {
        status,
        database: up(readiness.database),
        signing_keys: if readiness.signing_keys { "up" } else { "stale" },
        cache: up(readiness.cache),
    })
}

/// Counters and timings for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "health", responses(
    (status = 200, description = "Prometheus text format", content_type = "text/plain")))]
pub(super) async fn metrics(state: web::Data<State>) -> HttpResponse {
    let metrics = &state.app.metrics;
    let readiness = state.health.readiness(state.app.clock.monotonic());
    metrics.set_up("database", readiness.database);
    metrics.set_up("signing_keys", readiness.signing_keys);
    metrics.set_up("cache", readiness.cache);
    metrics.set_status(state.app.status.followers(), state.app.status.last_seq().unwrap_or(0));
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(metrics.render())
}
