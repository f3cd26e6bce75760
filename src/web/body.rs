//! Reading a body: no more than allowed, no slower than allowed.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use actix_web::web::{BytesMut, Payload};
use futures_util::StreamExt as _;

use super::connection::Turn;
use crate::protocol::params::MAX_BODY_BYTES;
use crate::reason::{Refusal, RequestRefusal};

/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// How long the body of a request with these headers is, in bytes; `None` when it comes in chunks (RFC 9112 §6.3).
pub(super) fn length(headers: &HeaderMap) -> Option<usize> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    Some(announced.unwrap_or(0))
}

/// Reads a body of at most [`MAX_BODY_BYTES`] within ten seconds.
pub(super) async fn read(request: &HttpRequest, mut payload: Payload) -> Result<BytesMut, Refusal> {
    let announced = length(request.headers());
    let turn = request.conn_data::<Turn>();
    // ASVS 2.4.1: a body that says it is too large is not read at all.
    if announced.is_some_and(|length| length > MAX_BODY_BYTES) {
        return Err(RequestRefusal::BodyTooLarge.into());
    }
    let collect = async {
        let mut body = BytesMut::new();
        if let Some(turn) = turn {
            turn.want_body(announced);
        }
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| RequestRefusal::BodyBroken)?;
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(Refusal::from(RequestRefusal::BodyTooLarge));
            }
            body.extend_from_slice(&chunk);
        }
        if let Some(turn) = turn {
            turn.body_was_read(announced);
        }
        Ok(body)
    };
    tokio::time::timeout(BODY_DEADLINE, collect).await.unwrap_or_else(|_| Err(RequestRefusal::BodyTooSlow.into()))
}

/// Reads a body that nobody wants, as far as one might be wanted, so that its connection can go on (RFC 9112 §9.3).
pub(super) async fn discard(request: &HttpRequest, payload: Payload) {
    drop(read(request, payload).await);
}
