//! How a client proves that it is itself, that a token is its own, and that a request is (RFC 7591 §2, RFC 8705, RFC 9449,
//! RFC 9126, RFC 9101).

use serde::{Deserialize, Serialize};
use url::{Host, Url};
use utoipa::ToSchema;

use super::{ClientMetadataJson, MetadataError, refuse};
use crate::protocol::jose::{Algorithm, JwkSet};
use crate::protocol::params::has_control_characters;

/// The most bytes of a URI or of a name in a certificate.
const MAX_BYTES: usize = 2000;

/// How a client authenticates (RFC 7591 §2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// A public client: it has no secret.
    None,
    /// HTTP Basic.
    #[default]
    ClientSecretBasic,
    /// The secret in the form.
    ClientSecretPost,
    /// An assertion that it signed (RFC 7523 §2.2).
    PrivateKeyJwt,
    /// A certificate that a trusted proxy has verified (RFC 8705 §2.1).
    TlsClientAuth,
    /// A certificate that it registered (RFC 8705 §2.2).
    SelfSignedTlsClientAuth,
}

impl AuthMethod {
    /// Those that need no proxy, as metadata lists them.
    pub const PLAIN: [&'static str; 4] = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"];
    /// Those that do.
    pub const BY_OWN_CERTIFICATE: &'static str = "self_signed_tls_client_auth";
    /// Those for which the proxy must trust the issuer.
    pub const BY_TRUSTED_CERTIFICATE: &'static str = "tls_client_auth";

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::TlsClientAuth => "tls_client_auth",
            Self::SelfSignedTlsClientAuth => "self_signed_tls_client_auth",
        }
    }
}

/// Where a client's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Here.
    Registered(JwkSet),
    /// At a URI of the client's.
    At(String),
}

/// What a certificate must say of its holder (RFC 8705 §2.1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateName {
    /// The subject, in the form of RFC 4514.
    SubjectDn(String),
    /// A DNS name among the alternative ones.
    SanDns(String),
    /// A URI among the alternative ones.
    SanUri(String),
}

impl CertificateName {
    pub(super) fn subject_dn(&self) -> Option<&String> {
        if let Self::SubjectDn(name) = self { Some(name) } else { None }
    }

    pub(super) fn san_dns(&self) -> Option<&String> {
        if let Self::SanDns(name) = self { Some(name) } else { None }
    }

    pub(super) fn san_uri(&self) -> Option<&String> {
        if let Self::SanUri(name) = self { Some(name) } else { None }
    }
}

/// What a client proves itself and its tokens with.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The keys that it signs with.
    pub keys: Option<Keys>,
    /// The one algorithm of its assertions, if it said.
    pub assertion_alg: Option<Algorithm>,
    /// Whether its assertions may be addressed to the token endpoint.
    pub token_endpoint_audience: bool,
    /// What its certificate says, with `tls_client_auth`.
    pub certificate: Option<CertificateName>,
    /// Whether its access tokens are bound to its certificate (RFC 8705 §3).
    pub certificate_bound: bool,
    /// Whether its access tokens are bound to a key (RFC 9449 §5).
    pub dpop_bound: bool,
}

impl Proof {
    pub(super) fn parse(json: &ClientMetadataJson) -> Result<Self, MetadataError> {
        let keys = parse_keys(json)?;
        let method = json.token_endpoint_auth_method;
        let signs = matches!(method, AuthMethod::PrivateKeyJwt | AuthMethod::SelfSignedTlsClientAuth);
        if signs && keys.is_none() {
            return refuse("jwks", "the authentication method needs jwks or jwks_uri");
        }
        Ok(Self {
            keys,
            assertion_alg: json.token_endpoint_auth_signing_alg,
            token_endpoint_audience: json.token_endpoint_audience,
            certificate: parse_certificate(json)?,
            certificate_bound: json.tls_client_certificate_bound_access_tokens,
            dpop_bound: json.dpop_bound_access_tokens,
        })
    }
}

fn parse_keys(json: &ClientMetadataJson) -> Result<Option<Keys>, MetadataError> {
    match (&json.jwks, &json.jwks_uri) {
        (None, None) => Ok(None),
        // RFC 7591 §2: MUST NOT both be present.
        (Some(_), Some(_)) => refuse("jwks", "jwks or jwks_uri, not both"),
        (Some(jwks), None) => match JwkSet::parse(jwks) {
            Some(set) => Ok(Some(Keys::Registered(set))),
            None => refuse("jwks", "a JWK Set of 1 to 16 public keys: RSA of 2048 to 4096 bits, P-256 or Ed25519"),
        },
        (None, Some(uri)) if is_callable(uri) => Ok(Some(Keys::At(uri.clone()))),
        (None, Some(_)) => {
            refuse("jwks_uri", "an https URL without a user or a fragment (http on loopback, for a test bench)")
        }
    }
}

/// Whether a URI is of the form that calls out may go to; `fetch` decides about its address.
pub(super) fn is_callable(uri: &str) -> bool {
    let Ok(url) = Url::parse(uri) else { return false };
    let on_loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => return false,
    };
    let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    let secure = url.scheme() == "https" || (url.scheme() == "http" && on_loopback);
    uri.len() <= MAX_BYTES && secure && bare && !has_control_characters(uri)
}

fn parse_certificate(json: &ClientMetadataJson) -> Result<Option<CertificateName>, MetadataError> {
    let names: Vec<CertificateName> = [
        json.tls_client_auth_subject_dn.clone().map(CertificateName::SubjectDn),
        json.tls_client_auth_san_dns.clone().map(CertificateName::SanDns),
        json.tls_client_auth_san_uri.clone().map(CertificateName::SanUri),
    ]
    .into_iter()
    .flatten()
    .collect();
    let wanted = usize::from(json.token_endpoint_auth_method == AuthMethod::TlsClientAuth);
    // RFC 8705 §2.1.2: exactly one of them.
    if names.len() != wanted {
        return refuse(
            "tls_client_auth_subject_dn",
            "tls_client_auth, and it alone, has exactly one of it, tls_client_auth_san_dns and tls_client_auth_san_uri",
        );
    }
    let name = names.into_iter().next();
    let text = name.as_ref().and_then(|name| name.subject_dn().or(name.san_dns()).or(name.san_uri()));
    if text.is_some_and(|text| text.is_empty() || text.len() > MAX_BYTES || has_control_characters(text)) {
        return refuse("tls_client_auth_subject_dn", "1 to 2000 bytes without control characters");
    }
    Ok(name)
}

/// How a client must ask for codes.
#[derive(Clone, Debug)]
pub struct RequestRules {
    /// Whether it must push its requests (RFC 9126 §6).
    pub pushed: bool,
    /// Whether it must sign them (RFC 9101 §10.5).
    pub signed: bool,
    /// The one algorithm of its request objects, if it said.
    pub alg: Option<Algorithm>,
}

impl RequestRules {
    pub(super) fn parse(json: &ClientMetadataJson) -> Result<Self, MetadataError> {
        let signed = json.require_signed_request_object;
        if signed && json.jwks.is_none() && json.jwks_uri.is_none() {
            return refuse("require_signed_request_object", "needs jwks or jwks_uri");
        }
        Ok(Self { pushed: json.require_pushed_authorization_requests, signed, alg: json.request_object_signing_alg })
    }
}
