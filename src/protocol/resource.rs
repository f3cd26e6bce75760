//! Resource identifiers (RFC 8707 §2): the URIs that tokens are for, the `aud` of RFC 9068.

use std::collections::BTreeSet;
use std::fmt;

use url::Url;

/// The most bytes that one identifier may have.
const MAX_BYTES: usize = 512;

/// An absolute URI without a fragment that names a resource server. Compared byte for byte, never normalised.
///
/// A `client_id` can never be one (it has no `:`), so an ID token can never pass as an access token (RFC 9068 §5).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource(String);

/// The text is not an absolute URI without a fragment, of 512 bytes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an absolute URI without a fragment (at most {MAX_BYTES} bytes)")]
pub struct NotAResource;

impl Resource {
    /// Reads one identifier.
    ///
    /// # Errors
    /// [`NotAResource`].
    pub fn parse(text: &str) -> Result<Self, NotAResource> {
        let printable = text.bytes().all(|byte| matches!(byte, 0x21..=0x7e));
        // RFC 8707 §2: MUST be an absolute URI (RFC 3986 §4.3), MUST NOT include a fragment component.
        if text.len() > MAX_BYTES || !printable || text.contains('#') || Url::parse(text).is_err() {
            return Err(NotAResource);
        }
        Ok(Self(text.to_owned()))
    }

    /// The identifier as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The resources that a client, a grant or a token is about; none twice.
pub type Resources = BTreeSet<Resource>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_an_absolute_uri() {
        for text in ["https://api.example", "https://api.example/orders?x=1", "urn:example:api"] {
            assert!(Resource::parse(text).is_ok(), "{text}");
        }
        for text in ["", "api", "/orders", "//api.example", "https://a.example/#f", "https://a b", "https://ä.example"]
        {
            assert!(Resource::parse(text).is_err(), "{text}");
        }
    }
}
