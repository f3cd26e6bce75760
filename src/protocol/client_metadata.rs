//! What a client is registered with (RFC 7591 §2, and members of our own). Every rule about it stands here,
//! whichever way the metadata came.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::logout::LogoutUri;
use super::params::has_control_characters;
use super::redirect_uri::{ApplicationType, RedirectUri};
use super::resource::{Resource, Resources};
use super::scope::Scope;
use super::token_request::GrantType;

/// The longest life that any access token may have.
pub const MAX_ACCESS_TTL: Duration = Duration::from_hours(24);
/// The most bytes that a token's `roles` and extra claims may take together, as JSON.
pub const MAX_EXTRA_CLAIMS_BYTES: usize = 4 * 1024;
/// The most bytes of a client's audiences together, so that its tokens stay small enough to be taken back and asked about.
const MAX_AUDIENCES_BYTES: usize = 4 * 1024;

/// The most redirect URIs of each kind that a client may have.
const MAX_REDIRECT_URIS: usize = 50;

/// Claims that we set ourselves or that have a meaning of their own; configuration may not (RFC 9068 §2.2).
const RESERVED_CLAIMS: [&str; 22] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "scope",
    "sid",
    "auth_time",
    "acr",
    "amr",
    "azp",
    "nonce",
    "at_hash",
    "c_hash",
    "cnf",
    "act",
    "status",
    "roles",
    "typ",
];

/// Metadata that was refused.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// Not JSON, or a member that we do not know, or one of the wrong type; the message names it.
    #[error("client metadata: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// A member whose value is not allowed.
    #[error("client metadata: {member}: {rule}")]
    Member {
        /// The member's name.
        member: &'static str,
        /// The rule it broke.
        rule: &'static str,
    },
}

fn refuse<T>(member: &'static str, rule: &'static str) -> Result<T, MetadataError> {
    Err(MetadataError::Member { member, rule })
}

/// How a client authenticates (RFC 7591 §2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// A public client: it has no secret.
    None,
    /// HTTP Basic.
    #[default]
    ClientSecretBasic,
    /// The secret in the form.
    ClientSecretPost,
}

impl AuthMethod {
    /// All of them, as metadata lists them.
    pub const ALL: [&'static str; 3] = ["client_secret_basic", "client_secret_post", "none"];
}

/// The JSON form of [`ClientMetadata`]: what is sent to register a client and what is stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "the specifications have them so")]
pub struct ClientMetadataJson {
    /// RFC 7591 §3.2.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// RFC 7591 §2: for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// RFC 7591 §2.
    pub token_endpoint_auth_method: AuthMethod,
    /// RFC 7591 §2; empty for a resource server that only introspects.
    pub grant_types: Vec<String>,
    /// RFC 7591 §2: everything that the client may ask for.
    pub scope: String,
    /// Ours: the resources that the client may get tokens for, and may introspect tokens of.
    pub audiences: Vec<String>,
    /// Ours: life of its access tokens in seconds; absent means the server's setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token_ttl: Option<u64>,
    /// Ours: fixed claims of its access tokens.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra_claims: Map<String, Value>,
    /// RFC 7591 §2: where answers of the authorization endpoint may go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redirect_uris: Vec<String>,
    /// RFC 7591 §2: `code`, and nothing else; may be left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub response_types: Vec<String>,
    /// OpenID Connect Registration §2.
    pub application_type: ApplicationType,
    /// OpenID Connect RP-Initiated Logout §3.1: where a browser may go after it has logged out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub post_logout_redirect_uris: Vec<String>,
    /// OpenID Connect Back-Channel Logout §2.2: where it is told that somebody logged out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backchannel_logout_uri: Option<String>,
    /// The same: whether it needs `sid`, which it gets anyway.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub backchannel_logout_session_required: bool,
    /// OpenID Connect Front-Channel Logout §2: what a browser shows in a frame when somebody logged out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frontchannel_logout_uri: Option<String>,
    /// The same: whether it needs `iss` and `sid`, which it gets anyway.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub frontchannel_logout_session_required: bool,
    /// OpenID Connect Registration §2: how old a log-in may be, in seconds, when a request does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_max_age: Option<u64>,
    /// Ours: it belongs to whoever runs this server, so that nobody is asked whether it may.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub first_party: bool,
    /// Ours: a confidential client that sends a nonce with each OpenID request may do without PKCE (RFC 9700 §2.1.1).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pkce_optional: bool,
}

/// What a client is registered with, checked.
#[derive(Clone, Debug)]
pub struct ClientMetadata {
    /// For people; may be empty.
    pub name: String,
    /// How it authenticates.
    pub auth_method: AuthMethod,
    /// What it may exchange for tokens.
    pub grant_types: BTreeSet<GrantType>,
    /// Everything that it may ask for.
    pub scope: Scope,
    /// The resources that it may get tokens for; empty means the issuer itself.
    pub audiences: Resources,
    /// Life of its access tokens, when not the server's setting.
    pub access_ttl: Option<Duration>,
    /// Fixed claims of its access tokens.
    pub extra_claims: Map<String, Value>,
    /// Where answers of the authorization endpoint may go.
    pub redirect_uris: Vec<RedirectUri>,
    /// Where it runs.
    pub application_type: ApplicationType,
    /// Where a browser may go after it has logged out.
    pub post_logout_redirect_uris: Vec<RedirectUri>,
    /// Where it is told that somebody logged out.
    pub backchannel_logout: Option<LogoutUri>,
    /// What a browser shows in a frame when somebody logged out.
    pub frontchannel_logout: Option<LogoutUri>,
    /// How old a log-in may be when a request does not say.
    pub default_max_age: Option<Duration>,
    /// Whether it belongs to whoever runs this server.
    pub first_party: bool,
    /// Whether it may do without PKCE when it sends a nonce.
    pub pkce_optional: bool,
}

impl ClientMetadata {
    /// Reads RFC 7591 JSON. A `client_id` in it is returned beside the metadata.
    ///
    /// # Errors
    /// [`MetadataError`], naming the member that is not understood or not allowed.
    pub fn parse(json: &str) -> Result<(Option<String>, Self), MetadataError> {
        let json: ClientMetadataJson = serde_json::from_str(json)?;
        let client_id = json.client_id.clone();
        Ok((client_id, Self::try_from(json)?))
    }

    /// Whether it is a public client (RFC 6749 §2.1).
    pub fn is_public(&self) -> bool {
        self.auth_method == AuthMethod::None
    }

    /// The JSON form, without `client_id`.
    pub fn to_json(&self) -> ClientMetadataJson {
        ClientMetadataJson {
            client_id: None,
            client_name: (!self.name.is_empty()).then(|| self.name.clone()),
            token_endpoint_auth_method: self.auth_method,
            grant_types: self.grant_types.iter().map(|grant_type| grant_type.as_str().to_owned()).collect(),
            scope: self.scope.to_string(),
            audiences: self.audiences.iter().map(ToString::to_string).collect(),
            access_token_ttl: self.access_ttl.map(|ttl| ttl.as_secs()),
            extra_claims: self.extra_claims.clone(),
            redirect_uris: texts(&self.redirect_uris),
            response_types: Vec::new(),
            application_type: self.application_type,
            post_logout_redirect_uris: texts(&self.post_logout_redirect_uris),
            backchannel_logout_uri: self.backchannel_logout.as_ref().map(|uri| uri.as_str().to_owned()),
            backchannel_logout_session_required: self
                .backchannel_logout
                .as_ref()
                .is_some_and(|uri| uri.session_required),
            frontchannel_logout_uri: self.frontchannel_logout.as_ref().map(|uri| uri.as_str().to_owned()),
            frontchannel_logout_session_required: self
                .frontchannel_logout
                .as_ref()
                .is_some_and(|uri| uri.session_required),
            default_max_age: self.default_max_age.map(|age| age.as_secs()),
            first_party: self.first_party,
            pkce_optional: self.pkce_optional,
        }
    }
}

fn texts(uris: &[RedirectUri]) -> Vec<String> {
    uris.iter().map(|uri| uri.as_str().to_owned()).collect()
}

impl TryFrom<ClientMetadataJson> for ClientMetadata {
    type Error = MetadataError;

    fn try_from(json: ClientMetadataJson) -> Result<Self, MetadataError> {
        let name = json.client_name.clone().unwrap_or_default();
        if name.len() > 200 || has_control_characters(&name) {
            return refuse("client_name", "at most 200 bytes without control characters");
        }
        let grant_types = parse_grant_types(&json)?;
        let redirects = parse_redirects(&json, &grant_types)?;
        let (backchannel_logout, frontchannel_logout) = parse_logout_uris(&json, &redirects)?;
        let Ok(scope) = Scope::from_stored(&json.scope) else {
            return refuse("scope", "scope tokens of RFC 6749 section 3.3, divided by one space");
        };
        let mut audiences = Resources::new();
        for audience in &json.audiences {
            let Ok(resource) = Resource::parse(audience) else {
                return refuse("audiences", "each is an absolute URI without a fragment, never a client_id");
            };
            audiences.insert(resource);
        }
        if json.audiences.iter().map(String::len).sum::<usize>() > MAX_AUDIENCES_BYTES {
            return refuse("audiences", "at most 4 KiB together");
        }
        let access_ttl = json.access_token_ttl.map(Duration::from_secs);
        if access_ttl.is_some_and(|ttl| ttl.is_zero() || ttl > MAX_ACCESS_TTL) {
            return refuse("access_token_ttl", "1 to 86400 seconds");
        }
        if json.extra_claims.keys().any(|claim| RESERVED_CLAIMS.contains(&claim.as_str())) {
            return refuse("extra_claims", "a claim of the protocol cannot be set");
        }
        let claims_bytes = serde_json::to_string(&json.extra_claims).map_or(usize::MAX, |text| text.len());
        if claims_bytes > MAX_EXTRA_CLAIMS_BYTES {
            return refuse("extra_claims", "at most 4 KiB as JSON");
        }
        Ok(Self {
            name,
            auth_method: json.token_endpoint_auth_method,
            grant_types,
            scope,
            audiences,
            access_ttl,
            extra_claims: json.extra_claims,
            redirect_uris: redirects.redirect_uris,
            application_type: json.application_type,
            post_logout_redirect_uris: redirects.post_logout,
            backchannel_logout,
            frontchannel_logout,
            default_max_age: json.default_max_age.map(Duration::from_secs),
            first_party: json.first_party,
            pkce_optional: json.pkce_optional,
        })
    }
}

fn parse_grant_types(json: &ClientMetadataJson) -> Result<BTreeSet<GrantType>, MetadataError> {
    let public = json.token_endpoint_auth_method == AuthMethod::None;
    let mut grant_types = BTreeSet::new();
    for name in &json.grant_types {
        let Some(grant_type) = GrantType::parse(name) else {
            return refuse(
                "grant_types",
                "each is one of authorization_code, password, client_credentials, refresh_token",
            );
        };
        // RFC 6749 §4.4: the client credentials grant MUST only be used by confidential clients.
        if public && grant_type == GrantType::ClientCredentials {
            return refuse("grant_types", "a public client may not use client_credentials");
        }
        grant_types.insert(grant_type);
    }
    let begins = |grant_type: &GrantType| matches!(grant_type, GrantType::Password | GrantType::AuthorizationCode);
    if grant_types.contains(&GrantType::RefreshToken) && !grant_types.iter().any(begins) {
        return refuse(
            "grant_types",
            "refresh_token needs a grant that begins one beside it: authorization_code or password",
        );
    }
    Ok(grant_types)
}

/// What a client registers of its own URIs.
struct Redirects {
    redirect_uris: Vec<RedirectUri>,
    post_logout: Vec<RedirectUri>,
}

fn parse_redirects(json: &ClientMetadataJson, grant_types: &BTreeSet<GrantType>) -> Result<Redirects, MetadataError> {
    let parse = |member, uris: &[String]| {
        if uris.len() > MAX_REDIRECT_URIS {
            return refuse(member, "at most 50");
        }
        let parsed = uris.iter().map(|uri| RedirectUri::parse(uri, json.application_type));
        parsed.collect::<Result<Vec<_>, _>>().or_else(|rule| refuse(member, rule))
    };
    let redirect_uris = parse("redirect_uris", &json.redirect_uris)?;
    let post_logout = parse("post_logout_redirect_uris", &json.post_logout_redirect_uris)?;
    let by_code = grant_types.contains(&GrantType::AuthorizationCode);
    // RFC 7591 §2.1: grant types and response types go together.
    if json.response_types.iter().any(|name| name != "code") || (!by_code && !json.response_types.is_empty()) {
        return refuse("response_types", "code, beside the grant type authorization_code");
    }
    // RFC 9700 §2.1: clients that use redirects MUST register them.
    if by_code && redirect_uris.is_empty() {
        return refuse("redirect_uris", "authorization_code needs at least one");
    }
    // RFC 9700 §2.1.1: public clients MUST use PKCE.
    if json.pkce_optional && json.token_endpoint_auth_method == AuthMethod::None {
        return refuse("pkce_optional", "only a confidential client may do without PKCE");
    }
    Ok(Redirects { redirect_uris, post_logout })
}

/// Where a client is told that somebody logged out: called there, and shown in a frame.
type LogoutUris = (Option<LogoutUri>, Option<LogoutUri>);

fn parse_logout_uris(json: &ClientMetadataJson, redirects: &Redirects) -> Result<LogoutUris, MetadataError> {
    let backchannel = parse_logout_uri(
        ("backchannel_logout_uri", json.backchannel_logout_uri.as_deref()),
        ("backchannel_logout_session_required", json.backchannel_logout_session_required),
    )?;
    let frontchannel = parse_logout_uri(
        ("frontchannel_logout_uri", json.frontchannel_logout_uri.as_deref()),
        ("frontchannel_logout_session_required", json.frontchannel_logout_session_required),
    )?;
    // Front-Channel Logout §2: scheme, host and port of a redirect URI, so that nobody frames others.
    if frontchannel.as_ref().is_some_and(|uri| !uri.is_beside(&redirects.redirect_uris)) {
        return refuse("frontchannel_logout_uri", "of the scheme, host and port of one of the redirect_uris");
    }
    Ok((backchannel, frontchannel))
}

fn parse_logout_uri(
    (member, uri): (&'static str, Option<&str>),
    (required_member, required): (&'static str, bool),
) -> Result<Option<LogoutUri>, MetadataError> {
    match uri {
        Some(uri) => LogoutUri::parse(uri, required).map(Some).or_else(|rule| refuse(member, rule)),
        None if required => refuse(required_member, "true only beside the URI that is told"),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> String {
        ClientMetadata::parse(json).unwrap_err().to_string()
    }

    #[test]
    fn metadata_survives_its_json() {
        let json = r#"{"client_id":"web","client_name":"Web","token_endpoint_auth_method":"none",
            "grant_types":["password","refresh_token"],"scope":"read write","audiences":["https://api.example"],
            "access_token_ttl":300,"extra_claims":{"tenant":"one"}}"#;
        survives(json, "web");
        let json = r#"{"client_id":"app","token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"],
            "redirect_uris":["com.example.app:/cb","http://127.0.0.1/cb"],"response_types":["code"],"application_type":"native",
            "post_logout_redirect_uris":["com.example.app:/out"],"backchannel_logout_uri":"https://app.example/out?x=1",
            "backchannel_logout_session_required":true,"frontchannel_logout_uri":"http://127.0.0.1/out",
            "frontchannel_logout_session_required":true,"default_max_age":3600,"first_party":true}"#;
        survives(json, "app");
    }

    fn survives(json: &str, id: &str) {
        let (client_id, metadata) = ClientMetadata::parse(json).unwrap();
        assert_eq!(client_id.as_deref(), Some(id));
        let again = serde_json::to_string(&metadata.to_json()).unwrap();
        let (_, read_back) = ClientMetadata::parse(&again).unwrap();
        assert_eq!(serde_json::to_string(&read_back.to_json()).unwrap(), again);
    }

    #[test]
    fn a_member_that_is_not_understood_or_not_allowed_is_named() {
        for (json, member) in [
            (r#"{"redirect_uri":"https://x"}"#, "redirect_uri"),
            (r#"{"grant_types":["implicit"]}"#, "grant_types"),
            (r#"{"grant_types":["refresh_token"]}"#, "grant_types"),
            (r#"{"grant_types":["client_credentials"],"token_endpoint_auth_method":"none"}"#, "grant_types"),
            (r#"{"token_endpoint_auth_method":"tls_client_auth"}"#, "tls_client_auth"),
            (r#"{"scope":"a  b"}"#, "scope"),
            (r#"{"audiences":["web"]}"#, "audiences"),
            (r#"{"access_token_ttl":86401}"#, "access_token_ttl"),
            (r#"{"access_token_ttl":0}"#, "access_token_ttl"),
            (r#"{"extra_claims":{"aud":"x"}}"#, "extra_claims"),
            (r#"{"scope":"a","scope":"b"}"#, "scope"),
            (r#"{"grant_types":["authorization_code"]}"#, "redirect_uris"),
            (r#"{"redirect_uris":["http://app.example/cb"]}"#, "redirect_uris"),
            (r#"{"redirect_uris":["https://app.example/cb#x"]}"#, "redirect_uris"),
            (r#"{"redirect_uris":["com.example.app:/cb"]}"#, "redirect_uris"),
            (r#"{"post_logout_redirect_uris":["javascript:x"]}"#, "post_logout_redirect_uris"),
            (r#"{"backchannel_logout_uri":"http://app.example/"}"#, "backchannel_logout_uri"),
            (r#"{"backchannel_logout_uri":"https://app.example/#x"}"#, "backchannel_logout_uri"),
            (r#"{"backchannel_logout_uri":"com.example.app:/out"}"#, "backchannel_logout_uri"),
            (r#"{"backchannel_logout_session_required":true}"#, "backchannel_logout_session_required"),
            (r#"{"frontchannel_logout_uri":"https://app.example/"}"#, "frontchannel_logout_uri"),
            (
                r#"{"frontchannel_logout_uri":"https://app.example:8443/","redirect_uris":["https://app.example/cb"]}"#,
                "frontchannel_logout_uri",
            ),
            (r#"{"frontchannel_logout_session_required":true}"#, "frontchannel_logout_session_required"),
            (r#"{"response_types":["code"]}"#, "response_types"),
            (
                r#"{"response_types":["token"],"grant_types":["authorization_code"],"redirect_uris":["https://a.example"]}"#,
                "response_types",
            ),
            (r#"{"pkce_optional":true,"token_endpoint_auth_method":"none"}"#, "pkce_optional"),
            (r#"{"application_type":"desktop"}"#, "desktop"),
        ] {
            assert!(refused(json).contains(member), "{json}: {}", refused(json));
        }
        let many: Vec<_> = (0..50).map(|nth| format!(r#""https://{nth}.example/{}""#, "a".repeat(100))).collect();
        assert!(refused(&format!(r#"{{"audiences":[{}]}}"#, many.join(","))).contains("audiences"));
        let large = format!(r#"{{"extra_claims":{{"x":"{}"}}}}"#, "a".repeat(4096));
        assert!(refused(&large).contains("extra_claims"));
    }
}
