//! What a token is bound to (RFC 7800 §3, RFC 9449 §6, RFC 8705 §3.1): a key that whoever uses it must show.

use serde::{Deserialize, Serialize};

/// The `cnf` of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Confirmation {
    /// The thumbprint of the key of DPoP proofs (RFC 9449 §6.1).
    #[serde(rename = "jkt")]
    Jkt(String),
    /// The thumbprint of a client certificate (RFC 8705 §3.1).
    #[serde(rename = "x5t#S256")]
    Certificate(String),
}

impl Confirmation {
    /// The `token_type` of an access token that is bound so (RFC 9449 §5); one bound to a certificate is a bearer's (RFC 8705 §3).
    pub const fn token_type(bound: Option<&Self>) -> &'static str {
        match bound {
            Some(Self::Jkt(_)) => "DPoP",
            Some(Self::Certificate(_)) | None => "Bearer",
        }
    }

    /// The JSON that is stored.
    pub fn to_stored(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }

    /// From stored JSON; `None` when it cannot be read.
    pub fn from_stored(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}
