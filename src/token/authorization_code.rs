//! Authorization codes (RFC 6749 §4.1.2): secret names of their rows, sealed.

use super::sealed;
use crate::secret::PurposeKey;
use crate::store::authorization_codes::CodeHandle;

/// What every code starts with, so that scanners of logs can find a leaked one.
pub const PREFIX: &str = "csc_";

/// The code as it is handed out, under the newest of `keys`; `None` when there is no key.
pub fn seal(handle: CodeHandle, keys: &[(u8, PurposeKey)]) -> Option<String> {
    sealed::seal(PREFIX, handle.0, keys)
}

/// Which code a presented one is, if it is one of ours; `None` for any other text. Every code has one spelling.
pub fn open(text: &str, keys: &[(u8, PurposeKey)]) -> Option<CodeHandle> {
    sealed::open(PREFIX, text, keys).map(CodeHandle)
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
