//! What a client is registered with (RFC 7591 §2, and members of our own). Every rule about it stands here,
//! whichever way the metadata came.

mod about;
mod exchange;
mod grant_types;
mod json;
mod logout;
mod proof;
pub mod registrant;
mod subject;
mod uris;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::de::Error as _;
use serde_json::{Map, Value};

use super::logout::LogoutUri;
use super::origin::Origin;
use super::params::has_control_characters;
use super::redirect_uri::{ApplicationType, RedirectUri};
use super::resource::{Resource, Resources};
use super::scope::Scope;
use super::token_request::GrantType;

use self::uris::{parse_origins, parse_redirects, refuse_cookie};
pub use about::About;
pub use exchange::ExchangeMode;
pub use json::ClientMetadataJson;
pub use proof::{AuthMethod, CertificateName, Keys, Proof, RequestRules};
pub use subject::{SubjectRules, SubjectType};

/// The longest life that any access token may have.
pub const MAX_ACCESS_TTL: Duration = Duration::from_hours(24);
/// The most bytes that a token's `roles` and extra claims may take together, as JSON.
pub const MAX_EXTRA_CLAIMS_BYTES: usize = 4 * 1024;
/// The most bytes of a client's audiences together, so that its tokens stay small enough to be taken back and asked about.
const MAX_AUDIENCES_BYTES: usize = 4 * 1024;

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
    /// More than a client that registers itself may have kept.
    #[error("client metadata: more than {} KiB", registrant::MAX_BYTES / 1024)]
    TooLarge,
    /// A member, or a value of it, that is an operator's to give.
    #[error("client metadata: {member}: not for a client that registers itself")]
    NotForRegistrants {
        /// The member's name.
        member: &'static str,
    },
}

fn refuse<T>(member: &'static str, rule: &'static str) -> Result<T, MetadataError> {
    Err(MetadataError::Member { member, rule })
}

/// What a client is registered with, checked.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each answers a question of its own")]
pub struct ClientMetadata {
    /// For people; may be empty.
    pub name: String,
    /// How it authenticates.
    pub auth_method: AuthMethod,
    /// What it proves itself and its tokens with.
    pub proof: Proof,
    /// How it must ask for codes.
    pub requests: RequestRules,
    /// What it is told of people.
    pub subjects: SubjectRules,
    /// What becomes of tokens that it exchanges.
    pub exchange: ExchangeMode,
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
    /// The origins whose pages may read what this server answers it.
    pub allowed_origins: Vec<Origin>,
    /// How old a log-in may be when a request does not say.
    pub default_max_age: Option<Duration>,
    /// Whether it belongs to whoever runs this server.
    pub first_party: bool,
    /// Whether its app may send what a person typed to the authorization challenge endpoint.
    pub authorization_challenge: bool,
    /// Whether its refresh tokens travel in a cookie.
    pub refresh_cookie: bool,
    /// Whether it may do without PKCE when it sends a nonce.
    pub pkce_optional: bool,
    /// What it says of itself.
    pub about: About,
}

impl ClientMetadata {
    /// Reads RFC 7591 JSON. A `client_id` in it is returned beside the metadata.
    ///
    /// # Errors
    /// [`MetadataError`], naming the member that is not understood or not allowed.
    pub fn parse(json: &str) -> Result<(Option<String>, Self), MetadataError> {
        // An array would be read as the members' values in their order, and an empty one as nothing but defaults.
        if !json.trim_start().starts_with('{') {
            return Err(serde_json::Error::custom("a JSON object is wanted").into());
        }
        let json: ClientMetadataJson = serde_json::from_str(json)?;
        let client_id = json.client_id.clone();
        Ok((client_id, Self::try_from(json)?))
    }

    /// Within which nobody has two names; `None` when everybody has one for all clients.
    pub fn sector(&self) -> Option<&str> {
        self.subjects.sector.as_deref()
    }

    /// Whether it proves itself by a secret of ours.
    pub fn has_secret(&self) -> bool {
        matches!(self.auth_method, AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost)
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
            allowed_origins: self.allowed_origins.iter().map(|origin| origin.as_str().to_owned()).collect(),
            default_max_age: self.default_max_age.map(|age| age.as_secs()),
            first_party: self.first_party,
            authorization_challenge: self.authorization_challenge,
            refresh_cookie: self.refresh_cookie,
            pkce_optional: self.pkce_optional,
            ..self.proof_json()
        }
    }

    /// The members of the JSON form that are about proofs and requests, and what it says of itself.
    fn proof_json(&self) -> ClientMetadataJson {
        let (proof, requests) = (&self.proof, &self.requests);
        let (jwks, jwks_uri) = match &proof.keys {
            None => (None, None),
            Some(Keys::Registered(set)) => (Some(set.to_json()), None),
            Some(Keys::At(uri)) => (None, Some(uri.clone())),
        };
        let name = |kind: fn(&CertificateName) -> Option<&String>| proof.certificate.as_ref().and_then(kind).cloned();
        ClientMetadataJson {
            jwks,
            jwks_uri,
            token_endpoint_auth_signing_alg: proof.assertion_alg,
            token_endpoint_audience: proof.token_endpoint_audience,
            tls_client_auth_subject_dn: name(CertificateName::subject_dn),
            tls_client_auth_san_dns: name(CertificateName::san_dns),
            tls_client_auth_san_uri: name(CertificateName::san_uri),
            tls_client_certificate_bound_access_tokens: proof.certificate_bound,
            dpop_bound_access_tokens: proof.dpop_bound,
            require_pushed_authorization_requests: requests.pushed,
            require_signed_request_object: requests.signed,
            request_object_signing_alg: requests.alg,
            subject_type: if self.subjects.sector.is_some() { SubjectType::Pairwise } else { SubjectType::Public },
            sector_identifier_uri: self.subjects.sector_identifier_uri.clone(),
            token_exchange: self.exchange,
            client_uri: self.about.client_uri.clone(),
            policy_uri: self.about.policy_uri.clone(),
            tos_uri: self.about.tos_uri.clone(),
            contacts: self.about.contacts.clone(),
            userinfo_signed_response_alg: self.subjects.userinfo_alg,
            id_token_signed_response_alg: self.subjects.id_token_alg,
            ..ClientMetadataJson::default()
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
        let grant_types = grant_types::parse(&json)?;
        let (proof, requests) = (Proof::parse(&json)?, RequestRules::parse(&json)?);
        let redirects = parse_redirects(&json, &grant_types)?;
        let about = About::parse(&json)?;
        // draft-ietf-oauth-first-party-apps §5: a password is typed into an app of one's own alone.
        if json.authorization_challenge && !json.first_party {
            return refuse("authorization_challenge", "only a client that is first_party");
        }
        let subjects = SubjectRules::parse(&json, &redirects.redirect_uris)?;
        let (backchannel_logout, frontchannel_logout) = logout::parse(&json, &redirects.redirect_uris)?;
        let allowed_origins = parse_origins(&json)?;
        refuse_cookie(&json, &grant_types)?;
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
            proof,
            requests,
            subjects,
            exchange: json.token_exchange,
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
            allowed_origins,
            default_max_age: json.default_max_age.map(Duration::from_secs),
            first_party: json.first_party,
            authorization_challenge: json.authorization_challenge,
            refresh_cookie: json.refresh_cookie,
            pkce_optional: json.pkce_optional,
            about,
        })
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
            "frontchannel_logout_session_required":true,"default_max_age":3600,"first_party":true,
            "allowed_origins":["https://app.example","http://localhost:5173"],
            "dpop_bound_access_tokens":true,"require_pushed_authorization_requests":true,"client_uri":"https://app.example",
            "policy_uri":"https://app.example/p","tos_uri":"https://app.example/t","contacts":["ada@app.example"]}"#;
        survives(json, "app");
        let json = r#"{"client_id":"spa","token_endpoint_auth_method":"none","grant_types":["password","refresh_token"],
            "first_party":true,"refresh_cookie":true,"allowed_origins":["https://app.example"]}"#;
        survives(json, "spa");
        let json = r#"{"client_id":"bank","token_endpoint_auth_method":"private_key_jwt","token_endpoint_auth_signing_alg":"ES256",
            "jwks":{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]},
            "token_endpoint_audience":true,"require_signed_request_object":true,"request_object_signing_alg":"EdDSA"}"#;
        survives(json, "bank");
        let json = r#"{"client_id":"tls","token_endpoint_auth_method":"tls_client_auth","tls_client_auth_san_dns":"a.example",
            "jwks_uri":"https://a.example/jwks","tls_client_certificate_bound_access_tokens":true,"subject_type":"pairwise",
            "sector_identifier_uri":"https://a.example/sector","userinfo_signed_response_alg":"RS256",
            "id_token_signed_response_alg":"PS256"}"#;
        survives(json, "tls");
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
            (r#"{"token_endpoint_auth_method":"client_secret_jwt"}"#, "client_secret_jwt"),
            (r#"{"token_endpoint_auth_method":"private_key_jwt"}"#, "jwks"),
            (r#"{"token_endpoint_auth_method":"self_signed_tls_client_auth"}"#, "jwks"),
            (r#"{"token_endpoint_auth_method":"tls_client_auth"}"#, "tls_client_auth_subject_dn"),
            (
                r#"{"token_endpoint_auth_method":"tls_client_auth","tls_client_auth_san_dns":"a","tls_client_auth_san_uri":"b"}"#,
                "tls_client_auth_subject_dn",
            ),
            (r#"{"tls_client_auth_san_dns":"a.example"}"#, "tls_client_auth_subject_dn"),
            (r#"{"jwks":{"keys":[]}}"#, "jwks"),
            (r#"{"jwks_uri":"http://app.example/jwks"}"#, "jwks_uri"),
            (r#"{"jwks_uri":"https://me@app.example/jwks"}"#, "jwks_uri"),
            (r#"{"require_signed_request_object":true}"#, "require_signed_request_object"),
            (r#"{"token_endpoint_auth_signing_alg":"HS256"}"#, "HS256"),
            (r#"{"request_object_signing_alg":"none"}"#, "none"),
            (r#"{"userinfo_signed_response_alg":"HS256"}"#, "HS256"),
            (r#"{"id_token_signed_response_alg":"none"}"#, "none"),
            (r#"{"subject_type":"pairwise"}"#, "subject_type"),
            (
                r#"{"subject_type":"pairwise","redirect_uris":["https://a.example","https://b.example"]}"#,
                "subject_type",
            ),
            (r#"{"sector_identifier_uri":"http://a.example"}"#, "sector_identifier_uri"),
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
            (r#"{"client_uri":"http://app.example"}"#, "client_uri"),
            (r#"{"policy_uri":"javascript:alert(1)"}"#, "policy_uri"),
            (r#"{"tos_uri":"https://app.example/a b"}"#, "tos_uri"),
            (r#"{"contacts":[""]}"#, "contacts"),
            (r#"{"contacts":["a\nb"]}"#, "contacts"),
            (r#"{"allowed_origins":["https://app.example/"]}"#, "allowed_origins"),
            (r#"{"allowed_origins":["*"]}"#, "allowed_origins"),
            (r#"{"refresh_cookie":true}"#, "refresh_cookie"),
            (r#"{"refresh_cookie":true,"token_endpoint_auth_method":"none"}"#, "refresh_cookie"),
            (r#"{"refresh_cookie":true,"first_party":true}"#, "refresh_cookie"),
            (r#"{"refresh_cookie":true,"token_endpoint_auth_method":"none","first_party":true}"#, "refresh_cookie"),
            (
                r#"{"refresh_cookie":true,"token_endpoint_auth_method":"none","first_party":true,
                    "grant_types":["password","refresh_token"],"application_type":"native"}"#,
                "refresh_cookie",
            ),
            (r#"{"allowed_origins":["http://app.example"]}"#, "allowed_origins"),
        ] {
            assert!(refused(json).contains(member), "{json}: {}", refused(json));
        }
        let many: Vec<_> = (0..50).map(|nth| format!(r#""https://{nth}.example/{}""#, "a".repeat(100))).collect();
        assert!(refused(&format!(r#"{{"audiences":[{}]}}"#, many.join(","))).contains("audiences"));
        let large = format!(r#"{{"extra_claims":{{"x":"{}"}}}}"#, "a".repeat(4096));
        assert!(refused(&large).contains("extra_claims"));
    }

    #[test]
    fn a_list_is_no_metadata() {
        assert!(["", "[]", "[null]", "null"].iter().all(|json| refused(json).contains("object")));
    }

    #[test]
    fn a_password_is_typed_into_an_app_of_ones_own_alone() {
        assert!(refused(r#"{"authorization_challenge":true}"#).contains("authorization_challenge"));
    }
}
