//! A compact JWS (RFC 7515 §3.1) of one of our types: its parts, its header, its signature. Refuses to know what is
//! said inside.

use serde::Deserialize;

use crate::keys::{Algorithm, KeySet, MAX_KID_BYTES};
use crate::{Rejected, base64url, json};

/// A JWS whose signature has not been looked at.
pub(crate) struct Unverified<'t> {
    message: &'t str,
    signature: Vec<u8>,
    /// The algorithm that it says it was signed by.
    alg: Algorithm,
    /// The key that it says it was signed with.
    pub(crate) kid: String,
    /// What it says.
    pub(crate) payload: Vec<u8>,
}

/// The header. RFC 8725 §3.10: members that name a key from outside (`jku`, `jwk`, `x5u`, `x5c`) are not read at all.
#[derive(Deserialize)]
struct Header {
    /// RFC 8725 §3.1: one of those that an issuer may sign by, exactly spelt; whether it is the key's, is asked of the key.
    alg: Algorithm,
    typ: String,
    kid: String,
    #[serde(default, deserialize_with = "json::present")]
    crit: bool,
    #[serde(default, deserialize_with = "json::present")]
    b64: bool,
}

#[derive(Deserialize)]
struct Issuer {
    iss: String,
}

/// Takes `token` apart, if it is no longer than `max_bytes` and of one of `types`.
pub(crate) fn parse<'t>(token: &'t str, max_bytes: usize, types: &[&str]) -> Result<Unverified<'t>, Rejected> {
    // RFC 8725 §3.14: a bound before any work.
    if token.len() > max_bytes {
        return Err(Rejected::Malformed);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(Rejected::Malformed)?;
    let (header, payload) = message.split_once('.').ok_or(Rejected::Malformed)?;
    // RFC 7515 §3.1: three parts; a fourth would be a `.` in the payload, which is no base64url. §2: no padding.
    let decoded = |part: &str| base64url::decode(part).filter(|bytes| !bytes.is_empty()).ok_or(Rejected::Malformed);
    let (header, payload, signature) = (decoded(header)?, decoded(payload)?, decoded(signature)?);
    let header: Header = json::parse(&header).ok_or(Rejected::WrongHeader)?;
    // RFC 8725 §3.11: the type is said, so that no other JWT passes for this one.
    if !types.contains(&header.typ.as_str()) {
        return Err(Rejected::WrongHeader);
    }
    // RFC 7515 §4.1.11: an extension that is not understood; there is none that is. RFC 7797 §3: neither is b64.
    if header.crit || header.b64 {
        return Err(Rejected::WrongHeader);
    }
    // RFC 8725 §3.10: a kid is looked up, so its length is bounded.
    if header.kid.is_empty() || header.kid.len() > MAX_KID_BYTES {
        return Err(Rejected::WrongHeader);
    }
    Ok(Unverified { message, signature, alg: header.alg, kid: header.kid, payload })
}

impl Unverified<'_> {
    /// Whether it says that it is `issuer`'s, which decides whose keys are asked (RFC 8725 §3.8).
    pub(crate) fn is_of(&self, issuer: &str) -> Result<(), Rejected> {
        let Issuer { iss } = json::read(&self.payload).ok_or(Rejected::BadClaims)?;
        if iss == issuer { Ok(()) } else { Err(Rejected::OtherIssuer) }
    }

    /// Whether the key that it names made its signature.
    pub(crate) fn verify(&self, keys: &KeySet) -> Result<(), Rejected> {
        let key = keys.find(&self.kid).ok_or(Rejected::UnknownKey)?;
        // RFC 8725 §3.1: the key's own algorithm, which the header can only repeat.
        if self.alg != key.alg {
            return Err(Rejected::WrongHeader);
        }
        key.public.verify_sig(self.message.as_bytes(), &self.signature).map_err(|_| Rejected::BadSignature)
    }

    /// What it says. RFC 8725 §2.4: not if a member comes twice, at whatever depth.
    pub(crate) fn claims<T: serde::de::DeserializeOwned>(&self) -> Result<T, Rejected> {
        json::parse(&self.payload).ok_or(Rejected::BadClaims)
    }

    /// What it says, if it can be read; members that come twice are for [`Unverified::is_unique`].
    pub(crate) fn read<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        json::read(&self.payload)
    }

    /// RFC 8725 §2.4: whether no member comes twice, at whatever depth.
    pub(crate) fn is_unique(&self) -> bool {
        json::no_member_comes_twice(&self.payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(header: &str) -> Result<(), Rejected> {
        let token = format!("{}.{}.c2ln", base64url::encode(header.as_bytes()), base64url::encode(b"{}"));
        parse(&token, 8192, &["at+jwt"]).map(|_| ())
    }

    #[test]
    fn the_header_is_exactly_that_of_our_tokens() {
        assert_eq!(parsed(r#"{"alg":"RS256","typ":"at+jwt","kid":"k"}"#), Ok(()));
        assert_eq!(parsed(r#"{"alg":"PS256","typ":"at+jwt","kid":"k"}"#), Ok(()));
        let ignored = r#"{"alg":"RS256","typ":"at+jwt","kid":"k","jku":"https://x","jwk":{},"x5u":"","x5c":[]}"#;
        assert_eq!(parsed(ignored), Ok(()));
        let long = format!(r#"{{"alg":"RS256","typ":"at+jwt","kid":"{}"}}"#, "k".repeat(129));
        for header in [
            r#"{"alg":"none","typ":"at+jwt","kid":"k"}"#,
            r#"{"alg":"HS256","typ":"at+jwt","kid":"k"}"#,
            r#"{"alg":"rs256","typ":"at+jwt","kid":"k"}"#,
            r#"{"alg":"ps256","typ":"at+jwt","kid":"k"}"#,
            r#"{"alg":"PS384","typ":"at+jwt","kid":"k"}"#,
            r#"{"alg":["PS256"],"typ":"at+jwt","kid":"k"}"#,
            r#"{"typ":"at+jwt","kid":"k"}"#,
            r#"{"alg":"RS256","typ":"JWT","kid":"k"}"#,
            r#"{"alg":"RS256","kid":"k"}"#,
            r#"{"alg":"RS256","typ":"at+jwt"}"#,
            r#"{"alg":"RS256","typ":"at+jwt","kid":""}"#,
            r#"{"alg":"RS256","typ":"at+jwt","kid":7}"#,
            r#"{"alg":"RS256","typ":"at+jwt","kid":"k","crit":["exp"]}"#,
            r#"{"alg":"RS256","typ":"at+jwt","kid":"k","crit":null}"#,
            r#"{"alg":"RS256","typ":"at+jwt","kid":"k","b64":false}"#,
            r#"{"alg":"RS256","typ":"at+jwt","kid":"k","kid":"k"}"#,
            r#"{"alg":"RS256","typ":"at+jwt","kid":"k","x":{"y":1,"y":1}}"#,
            r#"["RS256","at+jwt","k"]"#,
            "no JSON",
            &long,
        ] {
            assert_eq!(parsed(header), Err(Rejected::WrongHeader), "{header}");
        }
    }

    #[test]
    fn three_parts_of_strict_base64url_and_nothing_else() {
        let header = base64url::encode(br#"{"alg":"RS256","typ":"at+jwt","kid":"k"}"#);
        let whole = format!("{header}.e30.c2ln");
        assert!(parse(&whole, whole.len(), &["at+jwt"]).is_ok());
        assert_eq!(parse(&whole, whole.len() - 1, &["at+jwt"]).err(), Some(Rejected::Malformed));
        for token in [
            String::new(),
            "a".to_owned(),
            "a.b".to_owned(),
            "..".to_owned(),
            format!("{header}.e30."),
            format!("{header}..c2ln"),
            format!(".{header}.e30.c2ln"),
            format!("{header}.e30.c2ln.c2ln"),
            format!("{header}.e30.c2ln="),
            format!("{header}.e31.c2ln"),
            format!("{header}.e30.c2l+"),
            format!("{header}.e30.c2ln\n"),
            format!(" {header}.e30.c2ln"),
        ] {
            assert_eq!(parse(&token, 8192, &["at+jwt"]).err(), Some(Rejected::Malformed), "{token:?}");
        }
    }
}
