//! A refusal on its way out: the reason, and what log and answer need beside it.

use std::time::Duration;

use super::Reason;
use crate::id::GrantId;
use crate::protocol::client_credentials::ClientId;
use crate::protocol::error_code::ErrorCode;

/// A refusal on its way out: the reason and what log and answer need beside it. Carries ids, never secrets.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// The protocol parameter at fault, by its own name.
    pub parameter: Option<&'static str>,
    /// When to come back, for 429 and 503.
    pub retry_after: Option<Duration>,
    /// Whether the client used the Authorization header (RFC 6749 §5.2 then wants 401 and a challenge).
    pub basic: bool,
    /// The client concerned, once it is known.
    pub client_id: Option<ClientId>,
    /// The grant concerned, once it is known.
    pub grant_id: Option<GrantId>,
    /// Languages that the person reads to whom it is shown, as far as the client said.
    pub ui_locales: Vec<String>,
}

impl Refusal {
    pub(super) fn new(reason: Reason) -> Self {
        let retry_after = matches!(reason.row().status, 429 | 503).then_some(Duration::from_secs(1));
        Self {
            reason,
            parameter: None,
            retry_after,
            basic: false,
            client_id: None,
            grant_id: None,
            ui_locales: Vec::new(),
        }
    }

    /// Names the parameter at fault.
    #[must_use]
    pub fn about(mut self, parameter: &'static str) -> Self {
        self.parameter = Some(parameter);
        self
    }

    /// Says when to come back.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Remembers that the Authorization header was used.
    #[must_use]
    pub fn with_basic(mut self) -> Self {
        self.basic = true;
        self
    }

    /// Names the client concerned.
    #[must_use]
    pub fn of_client(mut self, client_id: &ClientId) -> Self {
        self.client_id = Some(client_id.clone());
        self
    }

    /// Names the grant concerned.
    #[must_use]
    pub fn of_grant(mut self, grant_id: GrantId) -> Self {
        self.grant_id = Some(grant_id);
        self
    }

    /// Names the languages of whoever it is shown to.
    #[must_use]
    pub fn read_in(mut self, ui_locales: &[String]) -> Self {
        ui_locales.clone_into(&mut self.ui_locales);
        self
    }

    /// The HTTP status. RFC 6749 §5.2: `invalid_client` is 401 when the Authorization header was used.
    pub fn status(&self) -> u16 {
        let row = self.reason.row();
        if self.basic && row.code == ErrorCode::InvalidClient { 401 } else { row.status }
    }

    /// The `error_description`: fixed text and at most the name of one of our own parameters, never input.
    pub fn description(&self) -> Option<String> {
        let text = self.reason.row().description?;
        Some(self.parameter.map_or_else(|| text.to_owned(), |name| format!("{text}: {name}")))
    }
}
