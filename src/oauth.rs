//! What OAuth 2.0 requires of each endpoint. Synchronous and straight-line; refuses to know what HTTP library there is.

pub mod client_auth;
pub mod grant;
pub mod introspect;
pub mod revoke;
pub mod token;

use crate::clock::Deadline;
use crate::limits::Network;

/// What is known of a request beside its parameters.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The network that it came from.
    pub network: Network,
    /// When it must no longer change anything.
    pub deadline: Deadline,
}
