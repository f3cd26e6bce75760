//! Authorization codes (RFC 6749 §4.1.2): opaque to everyone else, authenticated before any database is asked.
//!
//! `csc_` and base64url of `version(1) ‖ handle(16) ‖ HMAC-SHA-256(32)`. A stolen database lacks the MAC key, a leaked MAC
//! key lacks the handles.

use crate::secret::{Digest, PurposeKey, decode_base64url, encode_base64url};
use crate::store::authorization_codes::CodeHandle;

/// What every code starts with, so that scanners of logs can find a leaked one.
pub const PREFIX: &str = "csc_";

const BODY_BYTES: usize = 1 + 16;
const MAC_BYTES: usize = 32;

/// The code as it is handed out, under the newest of `keys`; `None` when there is no key.
pub fn seal(handle: CodeHandle, keys: &[(u8, PurposeKey)]) -> Option<String> {
    let (version, key) = keys.last()?;
    let mut bytes = Vec::with_capacity(BODY_BYTES + MAC_BYTES);
    bytes.push(*version);
    bytes.extend_from_slice(&handle.0);
    bytes.extend_from_slice(key.mac(&[&bytes]).as_bytes());
    Some(format!("{PREFIX}{}", encode_base64url(&bytes)))
}

/// Which code a presented one is, if it is one of ours; `None` for any other text. Every code has one spelling.
pub fn open(text: &str, keys: &[(u8, PurposeKey)]) -> Option<CodeHandle> {
    let bytes = decode_base64url(text.strip_prefix(PREFIX)?)?;
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
    Some(CodeHandle(handle.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_one_spelling_and_is_nobody_elses() {
        let keys = [(1, PurposeKey::new([1; 32])), (2, PurposeKey::new([2; 32]))];
        let code = seal(CodeHandle([7; 16]), &keys).unwrap();
        assert!(open(&code, &keys).is_some_and(|handle| handle.0 == [7; 16]));
        assert!(open(&seal(CodeHandle([7; 16]), &keys[..1]).unwrap(), &keys).is_some(), "older versions open too");
        for at in 0..code.len() {
            for other in ['A', 'B', '_', '=', ' '] {
                let mut changed = code.clone();
                changed.replace_range(at..=at, &other.to_string());
                assert!(changed == code || open(&changed, &keys).is_none(), "{changed}");
            }
            assert!(open(&code[..at], &keys).is_none());
        }
        assert!(open(&format!("{code}A"), &keys).is_none());
        assert!(open(&code, &keys[..1]).is_none());
    }
}
