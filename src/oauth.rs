//! What OAuth 2.0 requires of each endpoint. Synchronous and straight-line; refuses to know what HTTP library there is.

pub mod authorize;
pub mod authorize_challenge;
pub mod client_auth;
pub mod device;
pub mod end_session;
pub mod grant;
pub mod introspect;
pub mod possession;
pub mod pushed_request;
pub mod refresh_cookie;
pub mod register;
pub mod revoke;
pub mod status;
pub mod token;
pub mod userinfo;

use crate::clock::Deadline;
use crate::limits::Network;
use crate::protocol::client_certificate::ClientCertificate;
use crate::protocol::client_credentials::{ClientId, PresentedClient};
use crate::protocol::params::Params;
use crate::reason::{Refusal, RequestRefusal};
use crate::secret::PlainSecret;

/// The keys that whoever sends a request proves to have.
#[derive(Clone, Debug, Default)]
pub struct PresentedKeys {
    /// The values of the header `DPoP` (RFC 9449 §4.1).
    pub proofs: Vec<PlainSecret>,
    /// The certificate of the client, as a trusted proxy passed it on (RFC 8705).
    pub certificate: Option<ClientCertificate>,
}

/// What is known of a request beside its parameters.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The network that it came from.
    pub network: Network,
    /// When it must no longer change anything.
    pub deadline: Deadline,
    /// The keys that it proves.
    pub keys: PresentedKeys,
}

/// A client that presents one token: a request to revoke or to introspect (RFC 7009 §2.1, RFC 7662 §2.1).
pub struct PresentedToken {
    presented: PresentedClient,
    token: Option<PlainSecret>,
}

impl PresentedToken {
    /// Reads header and form. `token_type_hint` is not needed: our tokens tell themselves apart.
    ///
    /// # Errors
    /// Whatever is wrong with the request itself.
    pub fn parse(content_type: Option<&str>, authorization: Option<&[u8]>, body: &[u8]) -> Result<Self, Refusal> {
        let params = Params::parse(content_type, body)?;
        let presented = PresentedClient::parse(authorization, &params)?;
        Ok(Self { presented, token: params.find("token").map(PlainSecret::new) })
    }

    /// RFC 7009 §2.1, RFC 7662 §2.1: the token is required.
    fn token(&self) -> Result<&PlainSecret, Refusal> {
        self.token.as_ref().ok_or_else(|| Refusal::from(RequestRefusal::MissingParameter).about("token"))
    }

    /// Who presents it, as far as it says.
    pub fn client_id(&self) -> &ClientId {
        &self.presented.client_id
    }
}
