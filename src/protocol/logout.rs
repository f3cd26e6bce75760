//! Where a client is told that somebody logged out (OpenID Connect Back-Channel Logout §2.2, Front-Channel Logout §2). Calls and
//! frames go there; no answer of ours and no person does.

use super::redirect_uri::{ApplicationType, RedirectUri, append_query, csp_source, origin};

/// A URI that is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutUri {
    uri: RedirectUri,
    /// Whether the client needs to be told which of a person's log-ins is over. It always is.
    pub session_required: bool,
}

impl LogoutUri {
    /// Reads a URI that somebody wants to register: https, or http on this machine (RFC 9700 §2.6).
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn parse(text: &str, session_required: bool) -> Result<Self, &'static str> {
        Ok(Self { uri: RedirectUri::parse(text, ApplicationType::Web)?, session_required })
    }

    /// The URI as it was registered.
    pub fn as_str(&self) -> &str {
        self.uri.as_str()
    }

    /// Whether it has scheme, host and port of one of these (Front-Channel Logout §2).
    pub fn is_beside(&self, uris: &[RedirectUri]) -> bool {
        let own = origin(self.as_str());
        own.is_some() && uris.iter().any(|uri| origin(uri.as_str()) == own)
    }

    /// What a frame shows: the URI with the log-in that is over (Front-Channel Logout §2: `iss` and `sid`).
    pub fn frame(&self, issuer: &str, sid: &str) -> String {
        append_query(self.as_str(), &[("iss", issuer), ("sid", sid)])
    }

    /// What a page's `frame-src` must name so that the frame may be there.
    pub fn frame_source(&self) -> String {
        csp_source(self.as_str())
    }
}
