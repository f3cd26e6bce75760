//! The description of the HTTP surface, made from the handlers themselves.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CROSS_ORIGIN_RESOURCE_POLICY};
use utoipa::OpenApi;

use super::{documents, health, oauth, pages, registration, status};

#[derive(OpenApi)]
#[openapi(
    info(title = "Countersign", description = "Token issuer and authorization server"),
    paths(
        pages::authorize::authorization,
        pages::logout::logout,
        pages::account::account,
        oauth::token,
        oauth::authorization_challenge,
        oauth::device_authorization,
        oauth::revocation,
        oauth::introspection,
        oauth::user_information,
        oauth::pushed_request,
        registration::register,
        registration::show,
        registration::replace,
        registration::remove,
        documents::jwks,
        documents::metadata,
        status::aggregation,
        status::list,
        status::events,
        status::receipts,
        health::livez,
        health::readyz,
        health::metrics
    )
)]
struct Description;

/// The document as JSON.
fn document() -> String {
    Description::openapi().to_json().unwrap_or_default()
}

/// Public to every page, as the documents are that it describes.
pub(super) async fn openapi() -> HttpResponse {
    static DOCUMENT: LazyLock<String> = LazyLock::new(document);
    HttpResponse::Ok()
        .insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .insert_header((CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin"))
        .content_type("application/json")
        .body(DOCUMENT.as_str())
}
