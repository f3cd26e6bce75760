//! The parameters of a form-encoded request (RFC 6749 §3.2, appendix B): duplicates, sizes and characters are settled
//! here, once. Refuses to know what any parameter means.

use std::borrow::Cow;

use percent_encoding::percent_decode;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::reason::{Refusal, RequestRefusal};

/// The most bytes that a form may have.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// The most parameters that a form may have, known and unknown together.
const MAX_PARAMETERS: usize = 64;
/// The most bytes of one decoded value.
const MAX_VALUE_BYTES: usize = 16 * 1024;

/// Every parameter that some endpoint of ours reads. Others are ignored (RFC 6749 §3.2: MUST ignore unrecognised ones).
pub const KNOWN: [&str; 50] = [
    "grant_type",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "username",
    "password",
    "refresh_token",
    "refresh_attempt",
    "scope",
    "token",
    "token_type_hint",
    "code",
    "redirect_uri",
    "code_verifier",
    "device_code",
    "user_code",
    "auth_session",
    "response_type",
    "response_mode",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "prompt",
    "max_age",
    "ui_locales",
    "id_token_hint",
    "login_hint",
    "request",
    "request_uri",
    "registration",
    "post_logout_redirect_uri",
    "form_token",
    "decision",
    "another",
    "remember",
    "remembered",
    "session",
    "grant",
    "everything",
    "claims",
    "acr_values",
    "claims_locales",
    "dpop_jkt",
    "subject_token",
    "subject_token_type",
    "actor_token",
    "actor_token_type",
    "requested_token_type",
];

/// The parameters that may be repeated (RFC 8707 §2, RFC 8693 §2.1).
pub const REPEATABLE: [&str; 2] = ["resource", "audience"];

/// The recognised parameters of one request. Values are wiped when dropped: any of them may be a secret.
pub struct Params {
    values: Vec<(&'static str, Zeroizing<String>)>,
    repeated: Vec<&'static str>,
}

impl Params {
    /// Reads an `application/x-www-form-urlencoded` body.
    ///
    /// # Errors
    /// A [`RequestRefusal`] when the body is not such a form, not UTF-8, too large in any part, or repeats a parameter.
    pub fn parse(content_type: Option<&str>, body: &[u8]) -> Result<Self, Refusal> {
        let params = Self::parse_form(content_type, body)?;
        // RFC 6749 §3.2: request parameters MUST NOT be included more than once.
        params.refuse_repeated()?;
        Ok(params)
    }

    /// The same, but what is repeated is noted and not refused, as in [`Params::parse_query`].
    ///
    /// # Errors
    /// A [`RequestRefusal`] when the body is not such a form, not UTF-8, or too large in any part.
    pub fn parse_form(content_type: Option<&str>, body: &[u8]) -> Result<Self, Refusal> {
        // RFC 6749 §3.2: parameters travel in the entity body as a form; JSON and multipart are not read.
        if !content_type.is_some_and(is_form) {
            return Err(RequestRefusal::NotAForm.into());
        }
        Self::parse_query(body)
    }

    /// Reads what is encoded like a form, in a query or in a body. What is repeated is noted and not refused yet, since
    /// whom to tell may be among the parameters; of a repeated parameter only the first value is kept.
    ///
    /// # Errors
    /// A [`RequestRefusal`] when it is not UTF-8, or too large in any part.
    pub fn parse_query(text: &[u8]) -> Result<Self, Refusal> {
        if text.len() > MAX_BODY_BYTES {
            return Err(RequestRefusal::BodyTooLarge.into());
        }
        let (mut values, mut repeated) = (Vec::new(), Vec::new());
        for (nth, pair) in text.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).enumerate() {
            if nth >= MAX_PARAMETERS {
                return Err(RequestRefusal::TooManyParameters.into());
            }
            let mut halves = pair.splitn(2, |&byte| byte == b'=');
            let (name, value) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
            let name = decode(name)?;
            let value = decode(value)?;
            let Some(name) = KNOWN.iter().chain(&REPEATABLE).find(|known| **known == *name).copied() else {
                continue;
            };
            if value.len() > MAX_VALUE_BYTES {
                return Err(Refusal::from(RequestRefusal::ParameterTooLarge).about(name));
            }
            if !REPEATABLE.contains(&name) && values.iter().any(|(seen, _)| *seen == name) {
                repeated.push(name);
                continue;
            }
            values.push((name, value));
        }
        // RFC 6749 §3.2: a parameter sent without a value is treated as if it were omitted.
        values.retain(|(_, value)| !value.is_empty());
        Ok(Self { values, repeated })
    }

    /// Those members of a request object that some endpoint of ours reads (RFC 9101 §4): numbers and objects in their JSON
    /// spelling, a list of texts as a parameter that is repeated.
    ///
    /// # Errors
    /// A [`RequestRefusal`] when they are too large in any part.
    pub fn from_members(members: &Map<String, Value>) -> Result<Self, Refusal> {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in members {
            match value {
                Value::Null => {}
                Value::String(text) => drop(form.append_pair(name, text)),
                Value::Array(list) => list.iter().filter_map(Value::as_str).for_each(|text| {
                    form.append_pair(name, text);
                }),
                Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                    form.append_pair(name, &value.to_string());
                }
            }
        }
        let params = Self::parse_query(form.finish().as_bytes())?;
        params.refuse_repeated()?;
        Ok(params)
    }

    /// Puts a value in the place of what was sent.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.values.retain(|(known, _)| *known != name);
        self.values.push((name, Zeroizing::new(value.to_owned())));
    }

    /// RFC 6749 §3.1, §3.2: request parameters MUST NOT be included more than once.
    ///
    /// # Errors
    /// [`RequestRefusal::DuplicatedParameter`], naming the first.
    pub fn refuse_repeated(&self) -> Result<(), Refusal> {
        match self.repeated.first() {
            Some(name) => Err(Refusal::from(RequestRefusal::DuplicatedParameter).about(name)),
            None => Ok(()),
        }
    }

    /// Whether a parameter was given more than once.
    pub fn is_repeated(&self, name: &str) -> bool {
        self.repeated.contains(&name)
    }

    /// Those of the parameters that are among `names`, as a form again, to be kept or read elsewhere.
    pub fn to_form(&self, names: &[&str]) -> String {
        let kept = self.values.iter().filter(|(name, _)| names.contains(name));
        let pairs = kept.map(|(name, value)| (name, value.as_str()));
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
    }

    /// The value of a parameter, if it was sent with one.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that must be there.
    ///
    /// # Errors
    /// [`RequestRefusal::MissingParameter`], naming it.
    pub fn require(&self, name: &'static str) -> Result<&str, Refusal> {
        self.find(name).ok_or_else(|| Refusal::from(RequestRefusal::MissingParameter).about(name))
    }

    /// Every value of `resource` (RFC 8707 §2).
    pub fn resources(&self) -> impl Iterator<Item = &str> {
        self.all("resource")
    }

    /// Every value of `audience` (RFC 8693 §2.1).
    pub fn audiences(&self) -> impl Iterator<Item = &str> {
        self.all("audience")
    }

    fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.values.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

fn is_form(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Undoes form encoding of one name or value; bytes that are not UTF-8 afterwards are refused, never replaced.
fn decode(encoded: &[u8]) -> Result<Zeroizing<String>, Refusal> {
    let spaced: Cow<[u8]> = if encoded.contains(&b'+') {
        encoded.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect::<Vec<u8>>().into()
    } else {
        encoded.into()
    };
    match percent_decode(&spaced).decode_utf8() {
        Ok(text) => Ok(Zeroizing::new(text.into_owned())),
        Err(_) => Err(RequestRefusal::NotUtf8.into()),
    }
}

/// Undoes form encoding of one half of a Basic user-id and password (RFC 6749 §2.3.1).
///
/// # Errors
/// [`RequestRefusal::NotUtf8`] when the bytes are not UTF-8 afterwards.
pub fn decode_component(encoded: &str) -> Result<Zeroizing<String>, Refusal> {
    decode(encoded.as_bytes())
}

/// Whether the text has a character that no identifier or name may have (U+0000–U+001F, U+007F–U+009F).
pub fn has_control_characters(text: &str) -> bool {
    text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    fn parse(body: &[u8]) -> Result<Params, Reason> {
        Params::parse(Some("application/x-www-form-urlencoded"), body).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn a_form_is_read_and_decoded() {
        let params = parse(b"grant_type=password&username=a+b%40c&unknown=1&unknown=2&scope=&resource=x&resource=y")
            .map_err(Reason::id)
            .unwrap();
        assert_eq!(params.find("username"), Some("a b@c"));
        assert_eq!(params.find("scope"), None, "empty is absent");
        assert_eq!(params.resources().collect::<Vec<_>>(), ["x", "y"]);
    }

    #[test]
    fn a_form_that_could_be_read_two_ways_is_refused() {
        for (body, reason) in [
            (&b"scope=a&scope=b"[..], RequestRefusal::DuplicatedParameter),
            (b"scope=&scope=b", RequestRefusal::DuplicatedParameter),
            (b"sc%6fpe=a&scope=b", RequestRefusal::DuplicatedParameter),
            (b"username=%ff", RequestRefusal::NotUtf8),
            (b"username=\xc3\x28", RequestRefusal::NotUtf8),
        ] {
            assert_eq!(parse(body).err(), Some(Reason::Request(reason)), "{}", String::from_utf8_lossy(body));
        }
        let many = "x=1&".repeat(65);
        assert_eq!(parse(many.as_bytes()).err(), Some(Reason::Request(RequestRefusal::TooManyParameters)));
        let long = format!("scope={}", "a".repeat(16 * 1024 + 1));
        assert_eq!(parse(long.as_bytes()).err(), Some(Reason::Request(RequestRefusal::ParameterTooLarge)));
    }

    #[test]
    fn only_a_form_is_a_form() {
        for content_type in [None, Some("application/json"), Some("multipart/form-data"), Some("")] {
            assert!(Params::parse(content_type, b"grant_type=password").is_err(), "{content_type:?}");
        }
        assert!(Params::parse(Some("Application/X-WWW-Form-Urlencoded; charset=UTF-8"), b"a=b").is_ok());
    }
}
