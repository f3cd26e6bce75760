//! What pages are made of beside their own text: the same for everybody.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use crate::keys::Document;
use crate::web::State;
use crate::web::documents::is_known;
use crate::web::error;

/// How long a browser may keep them.
const CACHING: &str = "public, max-age=3600";

fn asset(request: &HttpRequest, document: &Document, content_type: &'static str) -> HttpResponse {
    // RFC 9110 §13.1.2.
    let known = is_known(request.headers(), &document.etag);
    let mut answer = HttpResponse::build(if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
    answer.insert_header((CACHE_CONTROL, CACHING)).insert_header((ETAG, document.etag.as_str()));
    if known {
        return answer.finish();
    }
    answer.insert_header((CONTENT_TYPE, content_type)).body(document.bytes.clone())
}

pub(in crate::web) async fn style(request: HttpRequest, state: Data<State>) -> HttpResponse {
    asset(&request, &state.look.style, "text/css; charset=utf-8")
}

pub(in crate::web) async fn logo(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    match &state.look.logo {
        Some((document, content_type)) => asset(&request, document, content_type),
        None => error::not_found(request, payload).await,
    }
}

/// What a browser shows of us in its tabs, where there is no logo.
pub(in crate::web) async fn icon(request: HttpRequest) -> HttpResponse {
    let document = Document::of(Bytes::from_static(include_bytes!("../assets/icon.svg")));
    asset(&request, &document, "image/svg+xml")
}

pub(in crate::web) async fn submit(request: HttpRequest) -> HttpResponse {
    let document = Document::of(Bytes::from_static(include_bytes!("../assets/submit.js")));
    asset(&request, &document, "application/javascript; charset=utf-8")
}
