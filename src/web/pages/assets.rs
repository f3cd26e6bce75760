//! What pages are made of beside their own text: the same for everybody.

use actix_web::http::header::{CACHE_CONTROL, ContentType};
use actix_web::{HttpResponse, mime};

/// How long a browser may keep them.
const CACHING: &str = "public, max-age=3600";

fn asset(content_type: ContentType, body: &'static str) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, CACHING)).insert_header(content_type).body(body)
}

pub(in crate::web) async fn style() -> HttpResponse {
    asset(ContentType(mime::TEXT_CSS_UTF_8), include_str!("../assets/style.css"))
}

pub(in crate::web) async fn submit() -> HttpResponse {
    asset(ContentType(mime::APPLICATION_JAVASCRIPT_UTF_8), include_str!("../assets/submit.js"))
}
