//! Header fields that every answer has.

use actix_web::dev::RequestHead;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CROSS_ORIGIN_OPENER_POLICY, CROSS_ORIGIN_RESOURCE_POLICY, HeaderMap,
    HeaderName, HeaderValue, PERMISSIONS_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};

/// The most bytes that the header fields of a request may have together.
pub(super) const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Method, target, names and values together.
pub(super) fn size_of(head: &RequestHead) -> usize {
    let line = head.method.as_str().len() + head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    line + head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>()
}

/// Adds what is not said otherwise: nothing of ours is cached, framed, sniffed, or tells where it came from
/// (ASVS 3.4, 14.2). Documents that may be cached and read by other pages say so themselves.
pub(super) fn secure(headers: &mut HeaderMap, https: bool) {
    let mut set = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'");
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(X_FRAME_OPTIONS, "DENY");
    set(REFERRER_POLICY, "no-referrer");
    set(CROSS_ORIGIN_OPENER_POLICY, "same-origin");
    set(PERMISSIONS_POLICY, "camera=(), geolocation=(), microphone=()");
    if https {
        // RFC 6797 §6.1.
        set(STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains");
    }
    for (name, value) in [(CACHE_CONTROL, "no-store"), (CROSS_ORIGIN_RESOURCE_POLICY, "same-origin")] {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}
