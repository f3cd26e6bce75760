//! Every URL of the product, in one table.

use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig, resource};

use super::pages::{account, assets, authorize, device, logout};
use super::{cors, documents, error, health, oauth, openapi, registration, status};
use crate::metrics::Endpoint;

/// The protocol's endpoints and everything public.
pub(super) fn public(config: &mut ServiceConfig) {
    let post_only = || web::route().to(oauth::method_not_allowed);
    let read_only = || web::route().to(error::read_only);
    let get_and_post = || web::route().to(error::get_and_post);
    // Fetch Standard §4.8: what a browser asks before it sends a request of another origin's page.
    let asked_before = || web::method(Method::OPTIONS);
    config
        .configure(pages)
        .service(
            resource(Endpoint::Token.path())
                .route(web::post().to(oauth::token))
                .route(asked_before().to(cors::preflight_with_cookie))
                .default_service(post_only()),
        )
        .service(
            resource(Endpoint::Revoke.path())
                .route(web::post().to(oauth::revocation))
                .route(asked_before().to(cors::preflight_with_cookie))
                .default_service(post_only()),
        )
        .service(
            resource(Endpoint::DeviceAuthorization.path())
                .route(web::post().to(oauth::device_authorization))
                .route(asked_before().to(cors::preflight))
                .default_service(post_only()),
        )
        .service(
            resource(Endpoint::AuthorizeChallenge.path())
                .route(web::post().to(oauth::authorization_challenge))
                .default_service(post_only()),
        )
        .service(
            resource(Endpoint::Introspect.path())
                .route(web::post().to(oauth::introspection))
                .default_service(post_only()),
        )
        .service(
            resource(Endpoint::PushedRequest.path())
                .route(web::post().to(oauth::pushed_request))
                .route(asked_before().to(cors::preflight))
                .default_service(post_only()),
        )
        .service(
            resource(Endpoint::UserInfo.path())
                .route(web::get().to(oauth::user_information))
                .route(web::post().to(oauth::user_information))
                .route(asked_before().to(cors::preflight_to_read))
                .default_service(get_and_post()),
        )
        .service(document(Endpoint::Style, assets::style))
        .service(document(Endpoint::Logo, assets::logo))
        .service(document(Endpoint::Icon, assets::icon))
        .service(document(Endpoint::Submit, assets::submit))
        .service(document(Endpoint::Jwks, documents::jwks))
        .service(document(Endpoint::Metadata, documents::metadata))
        .service(document(Endpoint::OpenIdMetadata, documents::metadata))
        .service(document(Endpoint::StatusLists, status::aggregation))
        .service(
            resource(Endpoint::StatusEvents.path()).route(web::get().to(status::events)).default_service(read_only()),
        )
        .service(
            resource(Endpoint::StatusReceipts.path())
                .route(web::post().to(status::receipts))
                .default_service(post_only()),
        )
        .service(document(Endpoint::StatusList, status::list))
        .service(document(Endpoint::OpenApi, openapi::openapi))
        .service(document(Endpoint::Livez, health::livez))
        .service(document(Endpoint::Readyz, health::readyz))
        .default_service(web::route().to(error::not_found));
}

/// What browsers are led to.
fn pages(config: &mut ServiceConfig) {
    let get_and_post = || web::route().to(error::get_and_post);
    config
        .service(
            resource(Endpoint::Authorize.path())
                .route(web::get().to(authorize::authorization))
                .route(web::post().to(authorize::authorization))
                .default_service(get_and_post()),
        )
        .service(
            resource(Endpoint::Device.path())
                .route(web::get().to(device::device_page))
                .route(web::post().to(device::device_code))
                .default_service(get_and_post()),
        )
        .service(
            resource(Endpoint::LogIn.path())
                .route(web::get().to(authorize::log_in_page))
                .route(web::post().to(authorize::log_in))
                .default_service(get_and_post()),
        )
        .service(
            resource(Endpoint::SelectAccount.path())
                .route(web::get().to(authorize::select_account_page))
                .route(web::post().to(authorize::select_account))
                .default_service(get_and_post()),
        )
        .service(
            resource(Endpoint::Consent.path())
                .route(web::get().to(authorize::consent_page))
                .route(web::post().to(authorize::consent))
                .default_service(get_and_post()),
        )
        .service(
            resource(Endpoint::Logout.path())
                .route(web::get().to(logout::logout))
                .route(web::post().to(logout::logout))
                .default_service(get_and_post()),
        )
        .service(
            resource(Endpoint::Account.path())
                .route(web::get().to(account::account))
                .route(web::post().to(account::account))
                .default_service(get_and_post()),
        );
}

/// Where clients register themselves and look after that, if they may.
pub(super) fn registrations(config: &mut ServiceConfig) {
    let post_only = || web::route().to(oauth::method_not_allowed);
    config
        .service(
            resource(Endpoint::Register.path())
                .route(web::post().to(registration::register))
                .default_service(post_only()),
        )
        .service(
            resource(Endpoint::Registration.path())
                .route(web::get().to(registration::show))
                .route(web::put().to(registration::replace))
                .route(web::delete().to(registration::remove))
                .default_service(web::route().to(error::get_put_and_delete)),
        );
}

/// What only the operator's network should see.
pub(super) fn metrics(config: &mut ServiceConfig) {
    config.service(document(Endpoint::Metrics, health::metrics));
}

/// A document that is read, whole or its head only.
fn document<F, A>(endpoint: Endpoint, read: F) -> actix_web::Resource
where
    F: actix_web::Handler<A, Output = actix_web::HttpResponse>,
    A: actix_web::FromRequest + 'static,
{
    resource(endpoint.path())
        .route(web::get().to(read.clone()))
        .route(web::head().to(read))
        .default_service(web::route().to(error::read_only))
}
