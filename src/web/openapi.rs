//! The description of the HTTP surface, made from the handlers themselves.

pub(super) mod parameters;

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CROSS_ORIGIN_RESOURCE_POLICY};
use utoipa::OpenApi;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, Schema};

use super::{documents, health, oauth, pages, registration, status};
use crate::protocol::client_metadata::registrant::OPERATORS;

#[derive(OpenApi)]
#[openapi(
    info(title = "Countersign", description = "An OAuth 2.1 authorization server and OpenID Provider in one program"),
    paths(
        pages::authorize::authorization,
        pages::device::device_page,
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
    let mut description = Description::openapi();
    let schemas = description.components.iter_mut().flat_map(|components| components.schemas.iter_mut());
    for (_, schema) in schemas.filter(|(name, _)| *name == "ClientMetadataJson") {
        if let RefOr::T(Schema::Object(metadata)) = schema {
            as_registrants_send_it(metadata);
        }
    }
    description.to_json().unwrap_or_default()
}

/// Client metadata without an operator's members, and without the defaults of what operators give.
fn as_registrants_send_it(metadata: &mut Object) {
    metadata.properties.retain(|member, _| !OPERATORS.contains(&member.as_str()));
    for member in ["grant_types", "scope", "audiences"] {
        match metadata.properties.get_mut(member) {
            Some(RefOr::T(Schema::Array(list))) => list.default = None,
            Some(RefOr::T(Schema::Object(text))) => text.default = None,
            _ => {}
        }
    }
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
