//! Status list tokens (draft-ietf-oauth-status-list §5.1) and checkpoints of the feed: what is over, signed.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde::Serialize;

use super::issue::sign;
use crate::app::App;
use crate::keys::{KeysError, TokenType};
use crate::secret::{Digest, encode_base64url};
use crate::status::view::View;
use crate::status::{Current, ListDocument};

/// How long a verifier may go without asking for a list again.
pub const TTL: Duration = Duration::from_secs(15);
/// How long a list may be relied on: as long as verifiers go on without news by default (5 min), and a minute.
const LIFE: Duration = Duration::from_mins(6);
/// A list with fewer bytes set is compressed as well as can be, in 25 ms at most; a denser one in a tenth of that, a tenth
/// larger.
const SPARSE: usize = 16 * 1024;

/// draft-ietf-oauth-status-list §5.1, and `seq`: the last change in the list, for those who go on by the feed.
#[derive(Serialize)]
struct StatusListClaims<'a> {
    iss: &'a str,
    sub: String,
    iat: i64,
    exp: i64,
    ttl: u64,
    seq: i64,
    status_list: StatusList<'a>,
}

#[derive(Clone, Serialize)]
struct StatusList<'a> {
    bits: u8,
    lst: &'a str,
    aggregation_uri: &'a str,
}

#[derive(Serialize)]
struct CheckpointClaims<'a> {
    iss: &'a str,
    iat: i64,
    seq: i64,
    lists: Vec<String>,
    cuts: String,
}

/// The URI of a list, as tokens name it.
pub fn uri(issuer: &str, list: u32) -> String {
    format!("{issuer}/status/{list}")
}

/// The URI of the list of lists.
pub fn aggregation_uri(issuer: &str) -> String {
    format!("{issuer}/status")
}

/// A list as it was compressed, kept for as long as no bit of it changes.
pub struct Compressed {
    digest: Digest,
    lst: String,
}

/// Signs every list as of the moment when it was last known to be current; `compressed` is what was kept of the last time.
///
/// # Errors
/// [`KeysError`].
pub fn sign_lists(
    app: &App,
    (view, current): (&View, Current),
    compressed: &mut Vec<Compressed>,
) -> Result<Vec<ListDocument>, KeysError> {
    let mut documents = Vec::new();
    for (nth, bits) in view.lists().iter().enumerate() {
        let digest = Digest::sha256(bits);
        match compressed.get_mut(nth) {
            Some(kept) if kept.digest == digest => {}
            Some(kept) => *kept = Compressed { digest, lst: compress(bits) },
            None => compressed.push(Compressed { digest, lst: compress(bits) }),
        }
        let Some(Compressed { lst, .. }) = compressed.get(nth) else { continue };
        let claims = StatusListClaims {
            iss: &app.issuer,
            sub: uri(&app.issuer, u32::try_from(nth).unwrap_or(u32::MAX)),
            iat: current.at.unix_seconds(),
            exp: current.at.plus(LIFE).unix_seconds(),
            ttl: TTL.as_secs(),
            seq: view.seq,
            status_list: StatusList { bits: 1, lst, aggregation_uri: &aggregation_uri(&app.issuer) },
        };
        let token = sign(app, TokenType::StatusList, &claims, LIFE)?;
        documents.push(document(token));
    }
    Ok(documents)
}

/// Signs a checkpoint of the state.
///
/// # Errors
/// [`KeysError`].
pub fn sign_checkpoint(app: &App, (view, current): (&View, Current)) -> Result<String, KeysError> {
    let (lists, cuts) = view.digests();
    let claims = CheckpointClaims { iss: &app.issuer, iat: current.at.unix_seconds(), seq: view.seq, lists, cuts };
    sign(app, TokenType::StatusCheckpoint, &claims, LIFE)
}

/// draft-ietf-oauth-status-list §4.1: DEFLATE in the zlib format.
fn compress(bits: &[u8]) -> String {
    let sparse = bits.iter().filter(|byte| **byte != 0).count() < SPARSE;
    let level = if sparse { Compression::best() } else { Compression::new(6) };
    let mut encoder = ZlibEncoder::new(Vec::new(), level);
    // Writing to memory does not fail.
    let _ = encoder.write_all(bits);
    encode_base64url(&encoder.finish().unwrap_or_default())
}

fn document(token: String) -> ListDocument {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    let _ = encoder.write_all(token.as_bytes());
    ListDocument {
        gzipped: Bytes::from(encoder.finish().unwrap_or_default()),
        etag: encode_base64url(Digest::sha256(token.as_bytes()).as_bytes()),
        token: Bytes::from(token),
    }
}
