//! What a client that registers itself may ask for (RFC 7591 §2, OpenID Connect Dynamic Client Registration §2): less than an
//! operator may give it. Refuses to know who registers, and whether anybody may.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::{AuthMethod, ClientMetadata, ClientMetadataJson, MetadataError};
use crate::protocol::resource::Resources;
use crate::protocol::scope::Scope;
use crate::protocol::token_request::GrantType;
use crate::secret::PlainSecret;

/// Members that give power over other people's things, or that nobody has looked into: an operator's to give.
pub const OPERATORS: [&str; 13] = [
    "first_party",
    "authorization_challenge",
    "extra_claims",
    "pkce_optional",
    "allowed_origins",
    "refresh_cookie",
    "access_token_ttl",
    "token_endpoint_audience",
    "token_exchange",
    "tls_client_auth_subject_dn",
    "tls_client_auth_san_dns",
    "tls_client_auth_san_uri",
    "tls_client_certificate_bound_access_tokens",
];

/// Members that are taken in and answered back. RFC 7591 §2: any other is ignored.
const TAKEN: [&str; 29] = [
    "client_name",
    "token_endpoint_auth_method",
    "grant_types",
    "scope",
    "audiences",
    "redirect_uris",
    "response_types",
    "application_type",
    "post_logout_redirect_uris",
    "backchannel_logout_uri",
    "backchannel_logout_session_required",
    "frontchannel_logout_uri",
    "frontchannel_logout_session_required",
    "default_max_age",
    "client_uri",
    "policy_uri",
    "tos_uri",
    "contacts",
    "jwks",
    "jwks_uri",
    "token_endpoint_auth_signing_alg",
    "dpop_bound_access_tokens",
    "require_pushed_authorization_requests",
    "require_signed_request_object",
    "request_object_signing_alg",
    "subject_type",
    "sector_identifier_uri",
    "userinfo_signed_response_alg",
    "id_token_signed_response_alg",
];

/// Members that ask for what is not done here, and that no client can do without once it has asked for it.
const NOT_DONE: [&str; 3] =
    ["id_token_encrypted_response_alg", "userinfo_encrypted_response_alg", "request_object_encryption_alg"];

/// The most bytes of what is kept of a registrant, as JSON: every instance holds all clients in memory.
pub(super) const MAX_BYTES: usize = 16 * 1024;

/// What an operator lets clients have that register themselves.
#[derive(Clone, Debug, Default)]
pub struct Registrable {
    /// The scope that they may ask for, and get when they name none.
    pub scope: Scope,
    /// The resources that they may get tokens for, and get when they name none.
    pub audiences: Resources,
}

/// A request to be registered, or to be registered otherwise.
pub struct Registrant {
    /// Who it says it is (RFC 7592 §2.2).
    pub client_id: Option<String>,
    /// The secret that it says it has (RFC 7592 §2.2).
    pub client_secret: Option<PlainSecret>,
    /// What it wants to be registered with.
    pub metadata: ClientMetadata,
}

impl Registrant {
    /// Reads a request's JSON.
    ///
    /// # Errors
    /// [`MetadataError`], naming the member that is not allowed.
    pub fn parse(json: &[u8], allowed: &Registrable) -> Result<Self, MetadataError> {
        let Members(mut members) = serde_json::from_slice(json)?;
        // RFC 7592 §2.2: null is as good as left out.
        members.retain(|_, value| !value.is_null());
        refuse_power(&members)?;
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let client_id = text("client_id").map(str::to_owned);
        let client_secret = text("client_secret").map(PlainSecret::new);
        let names_grants = members.contains_key("grant_types");
        let taken: Map<String, Value> =
            members.into_iter().filter(|(name, _)| TAKEN.contains(&name.as_str())).collect();
        let (names_scope, names_audiences) = (taken.contains_key("scope"), taken.contains_key("audiences"));
        let mut json: ClientMetadataJson = serde_json::from_value(Value::Object(taken))?;
        if !names_grants {
            // RFC 7591 §2: the default.
            json.grant_types = vec![GrantType::AuthorizationCode.as_str().to_owned()];
        }
        // RFC 7591 §2: "MAY register a client with a default set of scopes".
        if !names_scope {
            json.scope = allowed.scope.to_string();
        }
        if !names_audiences {
            json.audiences = allowed.audiences.iter().map(ToString::to_string).collect();
        }
        let metadata = ClientMetadata::try_from(json)?;
        refuse_beyond(&metadata, allowed)?;
        // CWE-770.
        if serde_json::to_string(&metadata.to_json()).map_or(true, |kept| kept.len() > MAX_BYTES) {
            return Err(MetadataError::TooLarge);
        }
        Ok(Self { client_id, client_secret, metadata })
    }
}

/// What a registrant may not have whatever its value.
fn refuse_power(members: &Map<String, Value>) -> Result<(), MetadataError> {
    let refuse = |member| Err(MetadataError::NotForRegistrants { member });
    if let Some(member) = OPERATORS.iter().chain(&NOT_DONE).find(|name| members.contains_key(**name)) {
        return refuse(member);
    }
    Ok(())
}

/// What a registrant may not have beyond what the operator allows.
fn refuse_beyond(metadata: &ClientMetadata, allowed: &Registrable) -> Result<(), MetadataError> {
    let refuse = |member| Err(MetadataError::NotForRegistrants { member });
    // RFC 9700 §2.4: nobody's password, and nothing without a person behind it: both are an operator's to give.
    let by_code = |grant_type: &GrantType| match grant_type {
        GrantType::AuthorizationCode | GrantType::RefreshToken => true,
        GrantType::Password | GrantType::ClientCredentials | GrantType::TokenExchange | GrantType::DeviceCode => false,
    };
    if !metadata.grant_types.iter().all(by_code) || !metadata.grant_types.contains(&GrantType::AuthorizationCode) {
        return refuse("grant_types");
    }
    // RFC 8705 §2: who is behind a certificate is between an operator and the proxy that verifies it.
    match metadata.auth_method {
        AuthMethod::TlsClientAuth | AuthMethod::SelfSignedTlsClientAuth => return refuse("token_endpoint_auth_method"),
        AuthMethod::None | AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost | AuthMethod::PrivateKeyJwt => {
        }
    }
    if !metadata.scope.is_within(&allowed.scope) {
        return refuse("scope");
    }
    if !metadata.audiences.is_subset(&allowed.audiences) {
        return refuse("audiences");
    }
    Ok(())
}

/// The members of a JSON object, of which none may be there twice: two could be read differently by whoever checks and
/// whoever uses them (RFC 8259 §4).
struct Members(Map<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Unique;

        impl<'de> Visitor<'de> for Unique {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Members, A::Error> {
                let mut members = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a member is there twice"));
                    }
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Unique)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::resource::Resource;

    fn allowed() -> Registrable {
        let audiences = [Resource::parse("https://api.example").unwrap()].into();
        Registrable { scope: Scope::from_stored("email openid").unwrap_or_default(), audiences }
    }

    fn parse(json: &str) -> Result<Registrant, String> {
        Registrant::parse(json.as_bytes(), &allowed()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_is_as_the_specifications_say() {
        let metadata = parse(r#"{"redirect_uris":["https://app.example/cb"]}"#).map(|read| read.metadata).unwrap();
        assert_eq!(metadata.auth_method, AuthMethod::ClientSecretBasic);
        assert_eq!(metadata.grant_types, [GrantType::AuthorizationCode].into());
        assert_eq!(metadata.scope.to_string(), "email openid");
        assert_eq!(metadata.audiences, allowed().audiences);
    }

    #[test]
    fn what_is_not_known_is_ignored_and_null_is_as_good_as_left_out() {
        let json = r#"{"redirect_uris":["https://app.example/cb"],"client_name#de":"Beispiel","logo_uri":7,"x":{"y":[]},
            "scope":null,"first_party":null,"software_statement":"e30.e30.e30","id_token_signed_response_alg":"RS256"}"#;
        assert_eq!(parse(json).map(|read| read.metadata.scope.to_string()).unwrap(), "email openid");
    }

    #[test]
    fn no_more_is_kept_of_a_registrant_than_a_few_pages() {
        let key = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
        let with = |uris: usize, more: &str| {
            let uris: Vec<_> =
                (0..uris).map(|nth| format!(r#""https://{nth}.example/{}""#, "a".repeat(1500))).collect();
            let uris = uris.join(",");
            parse(&format!(r#"{{"redirect_uris":[{uris}],"jwks":{{"keys":[{key}{more}}}]}}}}"#))
        };
        let kept = with(1, &format!(r#","more":[{}0]"#, "0,".repeat(20_000))).unwrap();
        let kept = serde_json::to_string(&kept.metadata.to_json()).unwrap();
        assert!(kept.len() < 2500, "what is not known of a key is not kept: {}", kept.len());
        assert!(with(9, "").is_ok());
        assert_eq!(with(11, "").map(drop).unwrap_err(), "client metadata: more than 16 KiB");
    }

    #[test]
    fn of_every_member_it_is_said_whose_it_is_to_give() {
        let refused = serde_json::from_str::<ClientMetadataJson>(r#"{"?":0}"#).map(drop).unwrap_err().to_string();
        let named: Vec<&str> = refused.split('`').skip(3).step_by(2).collect();
        assert!(named.len() > 30, "{refused}");
        for name in named.into_iter().filter(|name| *name != "client_id") {
            assert_ne!(TAKEN.contains(&name), OPERATORS.contains(&name), "{name}");
        }
    }

    #[test]
    fn what_is_an_operators_to_give_is_refused_by_name() {
        for (member, named) in [
            (r#""first_party":true"#, "first_party"),
            (r#""first_party":false"#, "first_party"),
            (r#""extra_claims":{"admin":true}"#, "extra_claims"),
            (r#""pkce_optional":true"#, "pkce_optional"),
            (r#""access_token_ttl":86400"#, "access_token_ttl"),
            (r#""grant_types":["password"]"#, "grant_types"),
            (r#""grant_types":["authorization_code","client_credentials"]"#, "grant_types"),
            (r#""grant_types":["implicit"]"#, "grant_types"),
            (r#""scope":"openid admin""#, "scope"),
            (r#""audiences":["https://other.example"]"#, "audiences"),
            (r#""id_token_signed_response_alg":"none""#, "none"),
            (r#""subject_type":"other""#, "other"),
            (r#""id_token_encrypted_response_alg":"RSA-OAEP""#, "id_token_encrypted_response_alg"),
            (r#""scope":"openid","scope":"openid""#, "twice"),
            (r#""contacts":"me""#, "sequence"),
            (r#""sector_identifier_uri":"http://bank.example/sector""#, "sector_identifier_uri"),
            (r#""tls_client_auth_san_dns":"bank.example""#, "tls_client_auth_san_dns"),
            (r#""token_endpoint_auth_method":"private_key_jwt""#, "jwks"),
        ] {
            let json = format!(r#"{{"redirect_uris":["https://app.example/cb"],{member}}}"#);
            let refused = parse(&json).map(drop).unwrap_err();
            assert!(refused.contains(named), "{json}: {refused}");
        }
        for json in ["", "[]", "null", "7", "\"x\"", "{", "{}", "\u{0}"] {
            assert!(parse(json).is_err(), "{json}");
        }
    }
}
