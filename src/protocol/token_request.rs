//! A request to the token endpoint, parsed (RFC 6749 §4.3.2, §4.4.2, §6; RFC 8628 §3.4; RFC 8707 §2.2).

use super::params::{Params, has_control_characters};
use super::resource::{Resource, Resources};
use super::scope::Scope;
use crate::reason::{ExchangeRefusal, Refusal, RequestRefusal};
use crate::secret::{Digest, PlainSecret};

/// The most bytes of a user name or e-mail address.
const MAX_USERNAME_BYTES: usize = 320;
/// The most bytes of a password; longer ones are refused, never truncated.
pub const MAX_PASSWORD_BYTES: usize = 1024;
/// The bounds of `refresh_attempt`, the key by which a client marks the repeats of one refresh.
const ATTEMPT_BYTES: std::ops::RangeInclusive<usize> = 16..=128;

/// The grant types that exist here, by their names in `grant_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GrantType {
    /// RFC 6749 §4.3, for first-party clients that were given it.
    Password,
    /// RFC 6749 §4.4.
    ClientCredentials,
    /// RFC 6749 §6.
    RefreshToken,
    /// RFC 6749 §4.1.
    AuthorizationCode,
    /// RFC 8693 §2.1.
    TokenExchange,
    /// RFC 8628 §3.4.
    DeviceCode,
}

impl GrantType {
    /// All of them, in the order that metadata lists them.
    pub const ALL: [Self; 6] = [
        Self::AuthorizationCode,
        Self::Password,
        Self::ClientCredentials,
        Self::RefreshToken,
        Self::TokenExchange,
        Self::DeviceCode,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::ClientCredentials => "client_credentials",
            Self::RefreshToken => "refresh_token",
            Self::AuthorizationCode => "authorization_code",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
            Self::DeviceCode => "urn:ietf:params:oauth:grant-type:device_code",
        }
    }

    /// The grant type of that name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant_type| grant_type.as_str() == name)
    }
}

/// What a person typed.
pub struct Credentials {
    /// An e-mail address or a user name.
    pub username: String,
    /// The password.
    pub password: PlainSecret,
}

/// What the client offers in exchange for tokens.
pub enum Offer {
    /// A person's user name and password.
    Password(Credentials),
    /// Only the client's own authentication.
    ClientCredentials,
    /// A refresh token.
    RefreshToken {
        /// As presented in the form, if it is there; authentic or not.
        token: Option<PlainSecret>,
        /// The digest of `refresh_attempt`, if sent: repeats of one refresh carry the same.
        attempt: Option<Digest>,
    },
    /// An authorization code.
    AuthorizationCode(PresentedCode),
    /// A device code, as presented; authentic or not.
    DeviceCode(PlainSecret),
    /// Somebody's access token.
    TokenExchange(PresentedExchange),
}

/// An access token to be exchanged, and one of whoever acts (RFC 8693 §2.1).
pub struct PresentedExchange {
    /// As presented; authentic or not.
    pub subject_token: PlainSecret,
    /// As presented, if any; authentic or not.
    pub actor_token: Option<PlainSecret>,
}

/// RFC 8693 §3.
pub const ACCESS_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";

impl PresentedExchange {
    fn parse(params: &Params) -> Result<Self, Refusal> {
        let is_access_token = |name: &'static str| match params.find(name) {
            None | Some(ACCESS_TOKEN_TYPE) => Ok(()),
            Some(_) => Err(Refusal::from(ExchangeRefusal::TokenType).about(name)),
        };
        params.require("subject_token_type")?;
        ["subject_token_type", "actor_token_type", "requested_token_type"].into_iter().try_for_each(is_access_token)?;
        let actor_token = params.find("actor_token").map(PlainSecret::new);
        // RFC 8693 §2.1: actor_token_type is REQUIRED with actor_token, and MUST NOT be there without.
        if actor_token.is_some() != params.find("actor_token_type").is_some() {
            return Err(Refusal::from(RequestRefusal::MissingParameter).about("actor_token"));
        }
        Ok(Self { subject_token: PlainSecret::new(params.require("subject_token")?), actor_token })
    }
}

/// An authorization code and what must come with it (RFC 6749 §4.1.3, RFC 7636 §4.5).
pub struct PresentedCode {
    /// As presented; authentic or not.
    pub code: PlainSecret,
    /// Where the code was sent, if said.
    pub redirect_uri: Option<String>,
    /// What fits the challenge, if said.
    pub verifier: Option<PlainSecret>,
}

/// A well-formed token request.
pub struct TokenRequest {
    /// What is offered.
    pub offer: Offer,
    /// The scope asked for, if any.
    pub scope: Option<Scope>,
    /// The resources asked for; empty means all that are allowed.
    pub resources: Resources,
}

impl TokenRequest {
    /// Reads the parameters that the request's grant type wants.
    ///
    /// # Errors
    /// A [`RequestRefusal`] naming the parameter at fault.
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        let grant_type = GrantType::parse(params.require("grant_type")?).ok_or(RequestRefusal::UnsupportedGrantType)?;
        let offer = match grant_type {
            GrantType::Password => Offer::Password(Credentials::parse(params)?),
            GrantType::ClientCredentials => Offer::ClientCredentials,
            GrantType::RefreshToken => Offer::RefreshToken {
                token: params.find("refresh_token").map(PlainSecret::new),
                attempt: params.find("refresh_attempt").map(parse_attempt).transpose()?,
            },
            GrantType::AuthorizationCode => Offer::AuthorizationCode(PresentedCode {
                code: PlainSecret::new(params.require("code")?),
                redirect_uri: params.find("redirect_uri").map(str::to_owned),
                verifier: params.find("code_verifier").map(PlainSecret::new),
            }),
            GrantType::TokenExchange => Offer::TokenExchange(PresentedExchange::parse(params)?),
            GrantType::DeviceCode => Offer::DeviceCode(PlainSecret::new(params.require("device_code")?)),
        };
        let scope = params.find("scope").map(Scope::parse).transpose()?;
        // RFC 8693 §2.1: here a service is named by where it is, whichever parameter says so.
        let audiences = params.audiences().filter(|_| grant_type == GrantType::TokenExchange);
        let resources = params.resources().chain(audiences).map(Resource::parse).collect::<Result<_, _>>();
        let resources = resources.map_err(|_| RequestRefusal::MalformedResource)?;
        Ok(Self { offer, scope, resources })
    }

    /// The grant type of the request.
    pub fn grant_type(&self) -> GrantType {
        match self.offer {
            Offer::Password(_) => GrantType::Password,
            Offer::ClientCredentials => GrantType::ClientCredentials,
            Offer::RefreshToken { .. } => GrantType::RefreshToken,
            Offer::AuthorizationCode(_) => GrantType::AuthorizationCode,
            Offer::TokenExchange(_) => GrantType::TokenExchange,
            Offer::DeviceCode(_) => GrantType::DeviceCode,
        }
    }
}

impl Credentials {
    /// Reads `username` and `password`.
    ///
    /// # Errors
    /// A [`RequestRefusal`] naming the one that is missing or malformed.
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        let username = params.require("username")?;
        let password = params.require("password")?;
        let malformed = |name| Err(Refusal::from(RequestRefusal::MalformedParameter).about(name));
        if username.len() > MAX_USERNAME_BYTES || has_control_characters(username) {
            return malformed("username");
        }
        // ASVS 6.2.9: bounded, and refused rather than truncated.
        if password.len() > MAX_PASSWORD_BYTES {
            return malformed("password");
        }
        Ok(Self { username: username.to_owned(), password: PlainSecret::new(password) })
    }
}

fn parse_attempt(text: &str) -> Result<Digest, Refusal> {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if !ATTEMPT_BYTES.contains(&text.len()) || !visible {
        return Err(Refusal::from(RequestRefusal::MalformedParameter).about("refresh_attempt"));
    }
    Ok(Digest::sha256(text.as_bytes()))
}
