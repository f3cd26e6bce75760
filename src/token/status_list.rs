//! Status list tokens (draft-ietf-oauth-status-list §5.1) and checkpoints of the feed: what is over, signed.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use countersign_verifier::feed::CheckpointClaims;
use countersign_verifier::status_list::{self, StatusList, StatusListClaims};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::issue::sign;
use crate::app::App;
use crate::keys::{KeysError, TokenType};
use crate::secret::{Digest, encode_base64url};
use crate::status::view::View;
use crate::status::{Current, ListDocument};

/// How long a verifier may go without asking for a list again, in seconds.
const TTL: i64 = 15;
/// How long a list may be relied on: as long as verifiers go on without news by default (5 min), and a minute.
const LIFE: Duration = Duration::from_mins(6);
/// A list with fewer bytes set is compressed as well as can be, in 25 ms at most; a denser one in a tenth of that, a tenth
/// larger.
const SPARSE: usize = 16 * 1024;

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
        let number = u64::try_from(nth).unwrap_or(u64::MAX);
        let claims = StatusListClaims {
            iss: app.issuer.clone(),
            sub: status_list::uri(&app.issuer, number),
            iat: current.at.unix_seconds(),
            exp: Some(current.at.plus(LIFE).unix_seconds()),
            ttl: Some(TTL),
            status_list: StatusList { bits: 1, lst: lst.clone() },
            // For those who go on by the feed.
            seq: Some(view.head.seq.unsigned_abs()),
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
    let (iss, seq) = (app.issuer.clone(), view.head.seq.unsigned_abs());
    let claims = CheckpointClaims { iss, iat: current.at.unix_seconds(), seq, lists, cuts };
    sign(app, TokenType::StatusCheckpoint, &claims, LIFE)
}

/// As well as is worth the time.
fn compress(bits: &[u8]) -> String {
    let sparse = bits.iter().filter(|byte| **byte != 0).count() < SPARSE;
    status_list::encode(bits, if sparse { 9 } else { 6 })
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
