//! Every URL of the product, in one table.

use actix_web::web::{self, ServiceConfig, resource};

use super::{documents, error, health, oauth, openapi};

/// The protocol's endpoints and everything public.
pub(super) fn public(config: &mut ServiceConfig) {
    let post_only = || web::route().to(oauth::method_not_allowed);
    config
        .service(resource("/token").route(web::post().to(oauth::token)).default_service(post_only()))
        .service(resource("/revoke").route(web::post().to(oauth::revocation)).default_service(post_only()))
        .service(resource("/introspect").route(web::post().to(oauth::introspection)).default_service(post_only()))
        .service(document("/jwks.json", documents::jwks))
        .service(document("/.well-known/oauth-authorization-server", documents::metadata))
        .service(document("/openapi.json", openapi::openapi))
        .service(document("/livez", health::livez))
        .service(document("/readyz", health::readyz))
        .default_service(web::route().to(error::not_found));
}

/// What only the operator's network should see.
pub(super) fn metrics(config: &mut ServiceConfig) {
    config.service(document("/metrics", health::metrics));
}

/// A document that is read, whole or its head only.
fn document<F, A>(path: &'static str, read: F) -> actix_web::Resource
where
    F: actix_web::Handler<A, Output = actix_web::HttpResponse>,
    A: actix_web::FromRequest + 'static,
{
    resource(path)
        .route(web::get().to(read.clone()))
        .route(web::head().to(read))
        .default_service(web::route().to(error::read_only))
}
