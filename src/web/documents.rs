//! Public documents: the JWKS, as bytes that are ready, and the metadata, which says by what the keys of the moment sign.

use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CROSS_ORIGIN_RESOURCE_POLICY, ETAG, HeaderMap, HeaderValue,
    IF_NONE_MATCH,
};
use actix_web::{HttpRequest, HttpResponse, web};

use super::State;
use crate::keys::Document;

/// How long a document may be kept, and longer while we cannot be reached.
static CACHING: HeaderValue =
    HeaderValue::from_static("public, max-age=300, stale-while-revalidate=60, stale-if-error=3600");

/// The public signing keys (RFC 7517 §5). Always those that verify every token still alive, and the next one.
#[utoipa::path(get, path = "/jwks.json", tag = "documents", responses(
    (status = 200, description = "The JWKS", content_type = "application/jwk-set+json"),
    (status = 304, description = "Unchanged since the given ETag"),
    (status = 503, description = "No key is left that may be published: an operator is needed")))]
pub(super) async fn jwks(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    match state.app.keyring.jwks() {
        Some(document) => serve(&request, &document, "application/jwk-set+json"),
        None => HttpResponse::ServiceUnavailable().insert_header((CACHE_CONTROL, "no-store")).finish(),
    }
}

/// What this server is and does (RFC 8414 §3); the same at `/.well-known/openid-configuration` (OpenID Connect Discovery §4).
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", tag = "documents", responses(
    (status = 200, description = "Authorization server metadata", body = crate::protocol::discovery_document::DiscoveryDocument),
    (status = 304, description = "Unchanged since the given ETag")))]
pub(super) async fn metadata(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    serve(&request, &state.app.discovery(), "application/json")
}

fn serve(request: &HttpRequest, document: &Document, content_type: &'static str) -> HttpResponse {
    let status = if is_known(request.headers(), &document.etag) { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let mut answer = HttpResponse::build(status);
    answer.insert_header((CACHE_CONTROL, CACHING.clone()));
    answer.insert_header((ETAG, document.etag.as_str()));
    // Public to every page: it holds nothing that depends on who asks.
    answer.insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"));
    answer.insert_header((CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin"));
    if status == StatusCode::NOT_MODIFIED {
        return answer.finish();
    }
    answer.content_type(content_type).body(document.bytes.clone())
}

/// RFC 9110 §13.1.2: a list of entity tags, compared weakly, or `*`.
pub(super) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let tags =
        headers.get_all(IF_NONE_MATCH).filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    tags.map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}
