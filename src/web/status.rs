//! What is over, for verifiers elsewhere: the signed lists, the feed of changes, and what verifiers say of themselves.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING,
    CROSS_ORIGIN_RESOURCE_POLICY, ETAG, HeaderMap, HeaderValue, VARY,
};
use actix_web::web::{Bytes, Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use countersign_verifier::status_list;
use futures_util::stream::unfold;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use super::documents::is_known;
use super::oauth::hop;
use super::seats::Seat;
use super::{State, body, error, extract};
use crate::oauth::status::{authorize, still_may, take_receipt};
use crate::reason::{CapacityRefusal, Refusal};
use crate::status::{Entry, EntryKind, Follower, Next};
use crate::store::clients::Client;

/// How often a follower hears of us though nothing happens.
const BEAT: Duration = Duration::from_secs(2);
/// How long an asker may have us wait for something to happen.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How long a change may take from one instance to another.
const LAG: Duration = Duration::from_millis(500);

/// For as long as a verifier may go without asking again (draft-ietf-oauth-status-list §13.7).
static CACHING: HeaderValue = HeaderValue::from_static("public, max-age=15");

/// The lists there are (draft-ietf-oauth-status-list §9.3).
#[utoipa::path(get, path = "/status", tag = "status", responses(
    (status = 200, description = "`status_lists`: the URI of every list", content_type = "application/json"),
    (status = 503, description = "Nothing could be signed yet: ask another", body = error::ErrorBody)))]
pub(super) async fn aggregation(request: HttpRequest, state: Data<State>) -> HttpResponse {
    if state.app.status.served_lists() == 0 {
        return error::refuse(&request, &state, &CapacityRefusal::CannotSign.into());
    }
    let lists = u32::try_from(state.app.status.served_lists()).unwrap_or(0);
    let uris: Vec<String> = (0..lists).map(|list| status_list::uri(&state.app.issuer, u64::from(list))).collect();
    let mut answer = error::json(StatusCode::OK, &json!({ "status_lists": uris }));
    make_public(answer.headers_mut());
    answer
}

/// A list: one bit for each grant, set once it is over (draft-ietf-oauth-status-list §8.2).
#[utoipa::path(get, path = "/status/{list}", tag = "status", params(("list" = u32, Path, description = "From 0")),
    responses(
        (status = 200, description = "A status list token", content_type = "application/statuslist+jwt"),
        (status = 503, description = "Nothing could be signed yet: ask another", body = error::ErrorBody),
        (status = 304, description = "Unchanged since the given ETag"),
        (status = 404, description = "There is no such list")))]
pub(super) async fn list(request: HttpRequest, list: Path<String>, state: Data<State>) -> HttpResponse {
    // There is one list at least, as soon as it could be signed.
    if state.app.status.served_lists() == 0 {
        return error::refuse(&request, &state, &CapacityRefusal::CannotSign.into());
    }
    let number = list.parse().ok().filter(|number: &u32| number.to_string() == *list);
    let Some(document) = number.and_then(|number| state.app.status.document(number)) else {
        return error::problem(StatusCode::NOT_FOUND, "there is no such list");
    };
    let gzip = accepts_gzip(request.headers());
    let etag = format!("\"{}{}\"", document.etag, if gzip { "-gzip" } else { "" });
    let known = is_known(request.headers(), &etag);
    let mut answer = HttpResponse::build(if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
    answer.insert_header((ETAG, etag)).insert_header((VARY, "Accept-Encoding"));
    let mut answer = if known {
        answer.finish()
    } else {
        answer.content_type("application/statuslist+jwt");
        if gzip {
            answer.insert_header((CONTENT_ENCODING, "gzip")).body(document.gzipped)
        } else {
            answer.body(document.token)
        }
    };
    make_public(answer.headers_mut());
    answer
}

/// Public to every page, and to caches for a moment: it holds nothing that depends on who asks.
fn make_public(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, CACHING.clone());
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
}

/// RFC 9110 §12.5.3, as far as it matters: gzip is named and not refused.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let named = headers.get_all(ACCEPT_ENCODING).filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight.split_once('=').is_some_and(|(_, q)| q.trim().parse() == Ok(0.0_f32));
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

/// What a follower asks for.
#[derive(Deserialize)]
pub(super) struct FollowQuery {
    /// The last change that it knows of.
    since: Option<i64>,
    /// Seconds to wait for something to happen: then it is no stream but one JSON answer.
    wait: Option<u64>,
}

/// What is over, from the change after `since` on, as it happens: server-sent events, or with `wait` one JSON answer.
#[utoipa::path(get, path = "/status/events", tag = "status",
    params(
        ("since" = Option<i64>, Query, description = "The last change that is known; without it, from now on"),
        ("wait" = Option<u64>, Query, description = "Seconds to wait for the next change: one JSON answer, no stream")),
    responses(
        (status = 200, description = "`hello`, then `change`, `beat` and `ckpt`; `reset` when `since` is not known here"),
        (status = 401, description = "Client authentication failed", body = error::ErrorBody),
        (status = 403, description = "The client lacks the scope `status.read`", body = error::ErrorBody),
        (status = 503, description = "This instance does not know at the moment, or too many follow: ask another", body = error::ErrorBody)))]
pub(super) async fn events(
    request: HttpRequest,
    query: Option<Query<FollowQuery>>,
    state: Data<State>,
) -> HttpResponse {
    let context = extract::context(&request, &state);
    let admitted = extract::authorization(request.headers()).and_then(|header| authorize(&state.app, header, &context));
    let client = match admitted {
        Ok(client) => client,
        Err(refusal) => return error::refuse(&request, &state, &refusal),
    };
    let Some(Query(query)) = query else {
        return error::refuse(&request, &state, &crate::reason::RequestRefusal::MalformedParameter.into());
    };
    // ASVS 15.2.2: who follows keeps a connection.
    let Some(seat) = state.seats.take(client.id.as_str()) else {
        return error::refuse(&request, &state, &CapacityRefusal::TooManyFollow.into());
    };
    // WHATWG HTML Living Standard §9.2: an event source that comes back says where it was in this header.
    let header = request.headers().get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    let since = query.since.or(header);
    let wants_json = request.headers().get(ACCEPT).is_some_and(|accept| accept == "application/json");
    settle(&state, since).await;
    match query.wait {
        Some(wait) => poll(&request, &state, since, Duration::from_secs(wait).min(LONGEST_WAIT)).await,
        None if wants_json => poll(&request, &state, since, Duration::ZERO).await,
        None => stream(&state, (client, seat), since),
    }
}

/// Whoever comes from another instance may know of a change that has not arrived here yet.
async fn settle(state: &State, since: Option<i64>) {
    let mut moves = state.app.status.moves();
    let arrived = async {
        while state.app.status.last_seq().is_some_and(|seq| since.is_some_and(|since| since > seq)) {
            if moves.changed().await.is_err() {
                return;
            }
        }
    };
    drop(timeout(LAG, arrived).await);
}

/// Somebody who follows by a stream.
struct Following {
    state: Data<State>,
    client: Arc<Client>,
    _seat: Seat,
    follower: Option<Follower>,
    first: Option<String>,
    moves: watch::Receiver<u64>,
    beat: Interval,
}

fn stream(state: &Data<State>, (client, seat): (Arc<Client>, Seat), since: Option<i64>) -> HttpResponse {
    let moves = state.app.status.moves();
    let (first, follower) = match state.app.status.follow(since) {
        Some((hello, follower)) => (framed(None, "hello", &hello), Some(follower)),
        None => (framed(None, "reset", "{}"), None),
    };
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let following = Following { state: state.clone(), client, _seat: seat, follower, first: Some(first), moves, beat };
    let body = unfold(following, |mut following| async move {
        let text = following.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), following))
    });
    HttpResponse::Ok()
        .content_type("text/event-stream")
        // Proxies that gather answers before they pass them on are asked not to.
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(body)
}

impl Following {
    /// What is to be sent next; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            self.moves.borrow_and_update();
            // Whoever is told to begin anew does so by another connection.
            let follower = self.follower.as_mut()?;
            match self.state.app.status.next(follower) {
                Next::Entries(entries) if !entries.is_empty() => return Some(entries.iter().map(frame).collect()),
                Next::Entries(_) => {}
                Next::Lost => {
                    self.follower = None;
                    return Some(framed(None, "reset", "{}"));
                }
            }
            tokio::select! {
                moved = self.moves.changed() => moved.ok()?,
                _ = self.beat.tick() => {
                    let now = self.state.app.clock.monotonic();
                    // A server that stops lets go of those who follow, and so does one that follows no more itself: it says
                    // nothing, and they look for another.
                    if self.state.health.readiness(now).draining || !still_may(&self.state.app, &self.client) {
                        return None;
                    }
                    let follower = self.follower.as_ref()?;
                    if let Some(seq) = self.state.app.status.beat(follower, now) {
                        return Some(framed(None, "beat", &json!({ "n": seq }).to_string()));
                    }
                }
            }
        }
    }
}

fn frame(entry: &Entry) -> String {
    match entry.kind {
        EntryKind::Change(seq) => framed(Some(seq), "change", &entry.data),
        EntryKind::Checkpoint => framed(None, "ckpt", &entry.data),
    }
}

fn framed(id: Option<i64>, event: &str, data: &str) -> String {
    let mut text = String::with_capacity(data.len() + 64);
    if let Some(id) = id {
        // Writing to memory does not fail.
        let _ = writeln!(text, "id: {id}");
    }
    let _ = write!(text, "event: {event}\ndata: {data}\n\n");
    text
}

/// The changes since, or the next one that comes, in one answer.
async fn poll(request: &HttpRequest, state: &Data<State>, since: Option<i64>, wait: Duration) -> HttpResponse {
    let status = &state.app.status;
    let mut moves = status.moves();
    let Some((hello, mut follower)) = status.follow(since) else {
        return error::json(StatusCode::OK, &json!({ "events": [{ "event": "reset", "data": {} }] }));
    };
    let mut come = Vec::new();
    let lost = timeout(wait, async {
        loop {
            moves.borrow_and_update();
            match status.next(&mut follower) {
                Next::Entries(entries) => come.extend(entries),
                Next::Lost => return true,
            }
            // A checkpoint is no news to wait for.
            if come.iter().any(|entry| matches!(entry.kind, EntryKind::Change(_))) {
                return false;
            }
            if moves.changed().await.is_err() {
                return true;
            }
        }
    });
    if lost.await == Ok(true) {
        return error::json(StatusCode::OK, &json!({ "events": [{ "event": "reset", "data": {} }] }));
    }
    let last_checkpoint = come.iter().rposition(|entry| entry.kind == EntryKind::Checkpoint);
    let mut events = vec![event("hello", &hello)];
    for (nth, entry) in come.iter().enumerate() {
        match entry.kind {
            EntryKind::Change(_) => events.push(event("change", &entry.data)),
            EntryKind::Checkpoint if Some(nth) == last_checkpoint => {
                events.push(json!({ "event": "ckpt", "data": &*entry.data }));
            }
            EntryKind::Checkpoint => {}
        }
    }
    let now = state.app.clock.monotonic();
    if status.current_head(now).is_none() {
        return error::refuse(request, state, &CapacityRefusal::StoreUnavailable.into());
    }
    // What has come meanwhile comes with the next answer, and the beat after it.
    if let Some(seq) = status.beat(&follower, now) {
        events.push(json!({ "event": "beat", "data": { "n": seq } }));
    }
    error::json(StatusCode::OK, &json!({ "events": events }))
}

fn event(name: &str, data: &str) -> Value {
    json!({ "event": name, "data": serde_json::from_str::<Value>(data).unwrap_or_default() })
}

/// Takes note of how far a verifier has come.
#[utoipa::path(post, path = "/status/receipts", tag = "status",
    request_body(content = String, content_type = "application/json",
        description = "`verifier`: 16 random bytes in base64url; `name`; `seq`: the last change that it knows of; `leaves`: true when it ends"),
    responses(
        (status = 204, description = "Noted"),
        (status = 400, description = "It cannot be read", body = error::ErrorBody),
        (status = 401, description = "Client authentication failed", body = error::ErrorBody),
        (status = 403, description = "The client lacks the scope `status.read`", body = error::ErrorBody)))]
pub(super) async fn receipts(request: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    let outcome = async {
        let body = body::read(&request, payload).await?;
        let context = extract::context(&request, &state);
        let client = authorize(&state.app, extract::authorization(request.headers())?, &context)?;
        let app = state.app.clone();
        hop(&request, &state, &state.lanes.token, move |()| take_receipt(&app, &client, &body)).await
    };
    let outcome: Result<(), Refusal> = outcome.await;
    match outcome {
        Ok(()) => HttpResponse::NoContent().finish(),
        Err(refusal) => error::refuse(&request, &state, &refusal),
    }
}
