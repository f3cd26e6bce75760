//! What handlers take from a request beside its body.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};

use super::State;
use super::client_address::client_address;
use crate::app::App;
use crate::clock::Deadline;
use crate::limits::Network;
use crate::oauth::{PresentedKeys, RequestContext};
use crate::protocol::client_certificate::ClientCertificate;
use crate::reason::{Refusal, RequestRefusal};
use crate::secret::PlainSecret;
use crate::settings::Http;

/// RFC 9449 §4.1.
pub(super) const DPOP: &str = "dpop";

/// After this long a request changes nothing any more.
pub(super) const REQUEST_DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);

/// Network and deadline of a request whose head was just read.
pub(super) fn context(request: &HttpRequest, state: &State) -> RequestContext {
    let peer = peer(request);
    RequestContext {
        network: network(request, &state.app),
        deadline: Deadline::after(&state.app.clock, REQUEST_DEADLINE),
        keys: PresentedKeys {
            proofs: proofs(request.headers()),
            certificate: certificate(request, peer, &state.app.settings.http),
        },
    }
}

fn peer(request: &HttpRequest) -> IpAddr {
    request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip())
}

/// The network that a request came from, as far as those who brought it are believed.
pub(super) fn network(request: &HttpRequest, app: &App) -> Network {
    let (http, peer) = (&app.settings.http, peer(request));
    let chain: Vec<&str> = request
        .headers()
        .get_all(http.client_address_header.as_str())
        .map(|value| value.to_str().unwrap_or_default())
        .collect();
    Network::of(client_address(peer, &chain, &http.trusted_proxies))
}

fn proofs(headers: &HeaderMap) -> Vec<PlainSecret> {
    let text = |value: &HeaderValue| PlainSecret::new(value.to_str().unwrap_or_default());
    headers.get_all(DPOP).map(text).collect()
}

/// RFC 9440 §4: the header of a trusted proxy, and of nobody else; one that came twice says nothing.
fn certificate(request: &HttpRequest, peer: IpAddr, http: &Http) -> Option<ClientCertificate> {
    let trusted = http.trusted_proxies.iter().any(|network| network.contains(&peer.to_canonical()));
    if !http.takes_certificates() || !trusted {
        return None;
    }
    let mut all = request.headers().get_all(http.client_certificate_header.as_str());
    match (all.next(), all.next()) {
        (Some(value), None) => ClientCertificate::parse(value.to_str().ok()?, is_verified(request, http)),
        _ => None,
    }
}

/// What the proxy says of the certificate's issuer, once.
fn is_verified(request: &HttpRequest, http: &Http) -> bool {
    if http.client_verified_header.is_empty() {
        return false;
    }
    let mut all = request.headers().get_all(http.client_verified_header.as_str());
    match (all.next(), all.next()) {
        (Some(value), None) => matches!(value.as_bytes(), b"SUCCESS" | b"0"),
        _ => false,
    }
}

/// The `Content-Type`, if it is one and readable.
pub(super) fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE)?.to_str().ok()
}

/// The `Authorization` header as bytes.
///
/// # Errors
/// [`RequestRefusal::TwoClientAuthentications`] when there are two: a proxy may have judged the other one.
pub(super) fn authorization(headers: &HeaderMap) -> Result<Option<&[u8]>, Refusal> {
    let mut all = headers.get_all(AUTHORIZATION);
    match (all.next(), all.next()) {
        // RFC 6749 §2.3: one authentication method in each request.
        (Some(_), Some(_)) => Err(Refusal::from(RequestRefusal::TwoClientAuthentications).with_basic()),
        (first, _) => Ok(first.map(HeaderValue::as_bytes)),
    }
}
