//! What becomes of tokens that a client exchanges (RFC 8693 §1.1).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether an exchanged token says who acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExchangeMode {
    /// It does: the client acts for the person, and is seen to.
    #[default]
    Delegation,
    /// It does not: the client passes for the person.
    Impersonation,
}

impl ExchangeMode {
    /// Whether it is the one that need not be said.
    pub fn is_delegation(&self) -> bool {
        *self == Self::Delegation
    }
}
