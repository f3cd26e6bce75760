//! What a client says of itself, for people (RFC 7591 §2). Nothing is decided by it.

use super::{ClientMetadataJson, MetadataError, refuse};
use crate::protocol::params::has_control_characters;
use crate::protocol::redirect_uri::{RedirectUri, origin};

/// The most bytes of a page that a client names.
const MAX_PAGE_BYTES: usize = 2000;
/// The most contacts that a client may name, and the most bytes of each.
const MAX_CONTACTS: usize = 10;
const MAX_CONTACT_BYTES: usize = 254;

/// What a client says of itself.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// A page about it.
    pub client_uri: Option<String>,
    /// What it does with people's data.
    pub policy_uri: Option<String>,
    /// Its terms.
    pub tos_uri: Option<String>,
    /// How to reach whoever answers for it.
    pub contacts: Vec<String>,
}

impl About {
    /// RFC 7591 §2: pages that people are shown are pages, and contacts are few and short.
    pub(super) fn parse(json: &ClientMetadataJson) -> Result<Self, MetadataError> {
        for (member, page) in
            [("client_uri", &json.client_uri), ("policy_uri", &json.policy_uri), ("tos_uri", &json.tos_uri)]
        {
            if page.as_ref().is_some_and(|page| !is_page(page)) {
                return refuse(member, "an https URL of at most 2000 bytes, without a user");
            }
        }
        let sane = |contact: &String| {
            !contact.is_empty() && contact.len() <= MAX_CONTACT_BYTES && !has_control_characters(contact)
        };
        if json.contacts.len() > MAX_CONTACTS || !json.contacts.iter().all(sane) {
            return refuse("contacts", "at most 10, each of 1 to 254 bytes without control characters");
        }
        Ok(Self {
            client_uri: json.client_uri.clone(),
            policy_uri: json.policy_uri.clone(),
            tos_uri: json.tos_uri.clone(),
            contacts: json.contacts.clone(),
        })
    }

    /// RFC 7591 §5: of whom nobody has looked at, only the pages of where its answers go; another's name proves nothing.
    #[must_use]
    pub fn at(&self, redirect_uris: &[RedirectUri]) -> Self {
        let is_there = |page: &String| {
            let there = origin(page);
            there.is_some() && redirect_uris.iter().any(|uri| origin(uri.as_str()) == there)
        };
        let kept = |page: &Option<String>| page.clone().filter(is_there);
        Self {
            client_uri: kept(&self.client_uri),
            policy_uri: kept(&self.policy_uri),
            tos_uri: kept(&self.tos_uri),
            contacts: self.contacts.clone(),
        }
    }
}

/// RFC 7591 §5: what a person may be led to is a page, and never a script.
fn is_page(text: &str) -> bool {
    let printable = text.bytes().all(|byte| matches!(byte, 0x21..=0x7e) && !matches!(byte, b'"' | b'<' | b'>' | b'\\'));
    // What comes before an @ is taken for the host by some.
    let has_plain_host =
        || url::Url::parse(text).is_ok_and(|url| url.username().is_empty() && url.password().is_none());
    text.len() <= MAX_PAGE_BYTES && printable && text.starts_with("https://") && has_plain_host()
}
