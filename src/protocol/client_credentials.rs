//! How a client says who it is (RFC 6749 §2.3.1, §3.2.1, RFC 7523 §2.2): Basic, body parameters, an assertion, or its bare
//! identifier, which is all that one with a certificate sends (RFC 8705 §2).
//! Refuses to know whether any of it is true.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::client_assertion::{self, ASSERTION_TYPE};
use super::jose::UnverifiedJws;
use super::params::{Params, decode_component};
use crate::reason::{ClientRefusal, Refusal, RequestRefusal};
use crate::secret::PlainSecret;

/// The most bytes of a `client_id`.
const MAX_BYTES: usize = 128;

/// A client's identifier: 1 to 128 bytes of `A–Z a–z 0–9 - . _ ~`, hence never a URI.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(String);

impl ClientId {
    /// Reads an identifier; `None` outside its alphabet or size.
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        let well_formed = !text.is_empty() && text.len() <= MAX_BYTES && text.bytes().all(allowed);
        well_formed.then(|| Self(text.to_owned()))
    }

    /// The identifier's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The method by which the credentials came (RFC 7591 §2, `token_endpoint_auth_method`).
#[derive(Debug)]
pub enum Method {
    /// `none`, or by certificate: a client that only names itself.
    Bare,
    /// `client_secret_basic`: the Authorization header.
    Basic(PlainSecret),
    /// `client_secret_post`: the form's `client_secret`.
    Post(PlainSecret),
    /// `private_key_jwt`: an assertion that the client signed; none that cannot be read at all.
    Assertion(Option<Box<UnverifiedJws>>),
}

/// What a request says about its client, not yet believed.
#[derive(Debug)]
pub struct PresentedClient {
    /// Who it claims to be.
    pub client_id: ClientId,
    /// What it offers as proof.
    pub method: Method,
}

impl PresentedClient {
    /// Reads the `Authorization` header and the form.
    ///
    /// # Errors
    /// [`ClientRefusal`] or [`RequestRefusal`] when there is no client, more than one method, or a malformed one.
    pub fn parse(authorization: Option<&[u8]>, params: &Params) -> Result<Self, Refusal> {
        let body_id = params.find("client_id");
        let body_secret = params.find("client_secret");
        let assertion = params.find("client_assertion");
        if assertion.is_some() || params.find("client_assertion_type").is_some() {
            // RFC 6749 §2.3: the client MUST NOT use more than one authentication method in each request.
            if authorization.is_some() || body_secret.is_some() {
                return Err(RequestRefusal::TwoClientAuthentications.into());
            }
            return Self::parse_assertion(body_id, assertion, params.find("client_assertion_type"));
        }
        let Some(header) = authorization else {
            let client_id = body_id.ok_or(ClientRefusal::NotNamed)?;
            let client_id = ClientId::parse(client_id).ok_or(ClientRefusal::Unknown)?;
            let method = body_secret.map_or(Method::Bare, |secret| Method::Post(PlainSecret::new(secret)));
            return Ok(Self { client_id, method });
        };
        // RFC 6749 §2.3: the client MUST NOT use more than one authentication method in each request.
        if body_secret.is_some() {
            return Err(Refusal::from(RequestRefusal::TwoClientAuthentications).with_basic());
        }
        let (client_id, secret) = parse_basic(header).map_err(Refusal::with_basic)?;
        if body_id.is_some_and(|id| id != client_id.as_str()) {
            return Err(Refusal::from(RequestRefusal::TwoClientAuthentications).with_basic());
        }
        Ok(Self { client_id, method: Method::Basic(secret) })
    }

    /// RFC 7521 §4.2: `client_id` may be left out, and must be the one that the assertion is of if it is not.
    fn parse_assertion(id: Option<&str>, assertion: Option<&str>, kind: Option<&str>) -> Result<Self, Refusal> {
        let missing = |name| Refusal::from(RequestRefusal::MissingParameter).about(name);
        if kind.ok_or_else(|| missing("client_assertion_type"))? != ASSERTION_TYPE {
            return Err(ClientRefusal::MethodNotOffered.into());
        }
        let jws = UnverifiedJws::parse(assertion.ok_or_else(|| missing("client_assertion"))?);
        let named = jws.as_ref().and_then(|jws| client_assertion::named(&jws.payload));
        let client_id = match (id, named) {
            (Some(id), _) => ClientId::parse(id).ok_or(ClientRefusal::Unknown)?,
            (None, named) => named.ok_or(ClientRefusal::NotNamed)?,
        };
        Ok(Self { client_id, method: Method::Assertion(jws.map(Box::new)) })
    }

    /// Whether the `Authorization` header was used, which decides status and challenge of a refusal (RFC 6749 §5.2).
    pub fn used_header(&self) -> bool {
        matches!(self.method, Method::Basic(_))
    }
}

/// Basic credentials with both halves form-encoded first (RFC 6749 §2.3.1, RFC 7617 §2).
fn parse_basic(header: &[u8]) -> Result<(ClientId, PlainSecret), Refusal> {
    let malformed = || Refusal::from(ClientRefusal::MalformedBasic);
    let text = std::str::from_utf8(header).map_err(|_| malformed())?;
    let (scheme, encoded) = text.split_once(' ').ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return Err(ClientRefusal::MethodNotOffered.into());
    }
    let decoded = STANDARD.decode(encoded.trim()).map(Zeroizing::new).map_err(|_| malformed())?;
    let decoded = std::str::from_utf8(&decoded).map_err(|_| malformed())?;
    let (id, secret) = decoded.split_once(':').ok_or_else(malformed)?;
    let id = decode_component(id).map_err(|_| malformed())?;
    let secret = decode_component(secret).map_err(|_| malformed())?;
    let client_id = ClientId::parse(&id).ok_or(ClientRefusal::Unknown)?;
    Ok((client_id, PlainSecret::new(secret.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    fn presented(header: Option<&str>, body: &str) -> Result<PresentedClient, Reason> {
        let params = Params::parse(Some("application/x-www-form-urlencoded"), body.as_bytes());
        let params = params.map_err(|refusal| refusal.reason)?;
        PresentedClient::parse(header.map(str::as_bytes), &params).map_err(|refusal| refusal.reason)
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[test]
    fn basic_halves_are_form_decoded() {
        let client = presented(Some(&basic("web:a%3Ab%25+c")), "").unwrap();
        assert!(matches!(client.method, Method::Basic(secret) if secret.expose() == "a:b% c"));
    }

    #[test]
    fn a_secret_may_hold_colons() {
        let client = presented(Some(&basic("web:a:b")), "client_id=web").unwrap();
        assert!(matches!(client.method, Method::Basic(secret) if secret.expose() == "a:b"));
    }

    #[test]
    fn malformed_or_doubled_authentication_is_refused() {
        let malformed = Reason::Client(ClientRefusal::MalformedBasic);
        for header in ["Basic", "Basic !!!", "Basic d2Vi", &basic("nocolon"), &basic("web:%ff")] {
            assert_eq!(presented(Some(header), "").err(), Some(malformed), "{header}");
        }
        let twice = Reason::Request(RequestRefusal::TwoClientAuthentications);
        assert_eq!(presented(Some(&basic("a:b")), "client_secret=b").err(), Some(twice));
        assert_eq!(presented(Some(&basic("a:b")), "client_id=c").err(), Some(twice));
        let unknown = Reason::Client(ClientRefusal::Unknown);
        assert_eq!(presented(None, "client_id=https%3A%2F%2Fapi.example").err(), Some(unknown));
        assert_eq!(presented(None, "").err(), Some(Reason::Client(ClientRefusal::NotNamed)));
    }
}
