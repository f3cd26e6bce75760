//! Secret names on their way through a client: opaque to it, authenticated before any database is asked.
//!
//! A prefix and base64url of `version(1) ‖ handle(16) ‖ HMAC-SHA-256(32)`. A stolen database lacks the MAC key, a leaked MAC
//! key lacks the handles.

use crate::secret::{Digest, PurposeKey, decode_base64url, encode_base64url};

const BODY_BYTES: usize = 1 + 16;
const MAC_BYTES: usize = 32;

/// The handle as it is handed out, under the newest of `keys`; `None` when there is no key.
pub(super) fn seal(prefix: &str, handle: [u8; 16], keys: &[(u8, PurposeKey)]) -> Option<String> {
    let (version, key) = keys.last()?;
    let mut bytes = Vec::with_capacity(BODY_BYTES + MAC_BYTES);
    bytes.push(*version);
    bytes.extend_from_slice(&handle);
    bytes.extend_from_slice(key.mac(&[&bytes]).as_bytes());
    Some(format!("{prefix}{}", encode_base64url(&bytes)))
}

/// The handle in a presented text, if it is one of ours; `None` for any other. Every handle has one spelling.
pub(super) fn open(prefix: &str, text: &str, keys: &[(u8, PurposeKey)]) -> Option<[u8; 16]> {
    let bytes = decode_base64url(text.strip_prefix(prefix)?)?;
    if bytes.len() != BODY_BYTES + MAC_BYTES {
        return None;
    }
    let (body, mac) = bytes.split_at_checked(BODY_BYTES)?;
    let (version, handle) = body.split_first()?;
    let (_, key) = keys.iter().find(|(known, _)| known == version)?;
    // RFC 6749 §10.10: cannot be guessed. The comparison is in constant time.
    if key.mac(&[body]) != Digest::from_slice(mac)? {
        return None;
    }
    handle.try_into().ok()
}
