//! What a client that registers itself is told (RFC 7591 §3.2.1, RFC 7592 §3).

use serde::Serialize;

use super::client_metadata::ClientMetadataJson;

/// The answer to a registration, and to whoever looks at one.
#[derive(Serialize)]
pub struct RegistrationResponse {
    /// Who the client is from now on.
    pub client_id: String,
    /// When it was registered, in seconds.
    pub client_id_issued_at: i64,
    /// Its secret, if it was just made: it is shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// RFC 7591 §3.2.1: beside a secret; 0 of one that does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_expires_at: Option<u64>,
    /// Where the registration is looked at and changed.
    pub registration_client_uri: String,
    /// With what.
    pub registration_access_token: String,
    /// Everything that it is registered with.
    #[serde(flatten)]
    pub metadata: ClientMetadataJson,
}
