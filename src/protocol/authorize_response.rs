//! The answer of the authorization endpoint (RFC 6749 §4.1.2, RFC 9207): a code or an error, for a redirect URI that was
//! found to be the client's.

use super::authorize_request::ResponseMode;
use super::redirect_uri::ValidatedRedirect;
use crate::reason::Refusal;

/// Where an answer goes, and how.
#[derive(Clone, Debug)]
pub struct ReturnTo {
    /// The client's redirect URI.
    pub redirect: ValidatedRedirect,
    /// Query or form.
    pub mode: ResponseMode,
    /// The request's `state`.
    pub state: Option<String>,
    /// Languages of whoever brings it there.
    pub ui_locales: Vec<String>,
}

/// An answer on its way to the client.
#[derive(Debug)]
pub struct AuthorizeResponse {
    /// Where it goes.
    pub return_to: ReturnTo,
    parameters: Vec<(&'static str, String)>,
}

impl AuthorizeResponse {
    /// A code.
    pub fn code(return_to: ReturnTo, issuer: &str, code: String) -> Self {
        Self::new(return_to, issuer, vec![("code", code)])
    }

    /// An error (RFC 6749 §4.1.2.1).
    pub fn error(return_to: ReturnTo, issuer: &str, refusal: &Refusal) -> Self {
        let mut parameters = vec![("error", refusal.reason.row().code.as_str().to_owned())];
        parameters.extend(refusal.description().map(|text| ("error_description", text)));
        Self::new(return_to, issuer, parameters)
    }

    fn new(return_to: ReturnTo, issuer: &str, mut parameters: Vec<(&'static str, String)>) -> Self {
        parameters.extend(return_to.state.clone().map(|state| ("state", state)));
        // RFC 9207 §2: errors included, so that a client of several issuers cannot be mixed up.
        parameters.push(("iss", issuer.to_owned()));
        Self { return_to, parameters }
    }

    /// What the answer says, in order.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// The redirect URI with the answer in its query.
    pub fn location(&self) -> String {
        self.return_to.redirect.with(&self.parameters().collect::<Vec<_>>())
    }
}
