//! base64url without padding (RFC 7515 §2). Exactly one spelling of each value is read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The text of `bytes`.
pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of exactly the text that [`encode`] writes: no padding, no white space, no trailing bits that are not zero.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// `N` bytes of such a text.
pub(crate) fn decode_exactly<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_spelling_of_each_value() {
        assert_eq!(decode("_w"), Some(vec![255]));
        for other in ["_x", "_w=", "_w==", "/w", "+w", " _w", "_w\n", "_", "ä"] {
            assert_eq!(decode(other), None, "{other:?}");
        }
        assert_eq!(decode_exactly::<1>("_w"), Some([255]));
        assert_eq!(decode_exactly::<2>("_w"), None);
        assert_eq!(encode(&[251, 255]), "-_8");
    }
}
