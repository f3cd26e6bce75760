//! Device authorization (RFC 8628 §3.1, §3.2): what a device asks, and what it is told.

use serde::Serialize;
use utoipa::ToSchema;

use super::client_credentials::PresentedClient;
use super::params::Params;
use super::resource::{Resource, Resources};
use super::scope::Scope;
use crate::reason::{Refusal, RequestRefusal};

/// A device that asks to be let in, before its client is believed.
pub struct DeviceAuthorizationRequest {
    /// Who it claims to be.
    pub presented: PresentedClient,
    /// The scope asked for, if any.
    pub scope: Option<Scope>,
    /// The resources asked for; empty means all that are allowed.
    pub resources: Resources,
}

impl DeviceAuthorizationRequest {
    /// Reads header and form.
    ///
    /// # Errors
    /// Whatever is wrong with the request itself.
    pub fn parse(content_type: Option<&str>, authorization: Option<&[u8]>, body: &[u8]) -> Result<Self, Refusal> {
        let params = Params::parse(content_type, body)?;
        let presented = PresentedClient::parse(authorization, &params)?;
        let resources: Result<Resources, _> = params.resources().map(Resource::parse).collect();
        Ok(Self {
            presented,
            scope: params.find("scope").map(Scope::parse).transpose()?,
            resources: resources.map_err(|_| RequestRefusal::MalformedResource)?,
        })
    }
}

/// RFC 8628 §3.2.
#[derive(Serialize, ToSchema)]
pub struct DeviceAuthorizationResponse {
    /// What the device shows the token endpoint.
    pub device_code: String,
    /// What the person types.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// The same with the code in it, for a QR code.
    pub verification_uri_complete: String,
    /// Life of both codes in seconds.
    pub expires_in: u64,
    /// The fewest seconds between two questions at the token endpoint.
    pub interval: u64,
}
