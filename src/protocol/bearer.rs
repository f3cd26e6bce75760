//! How an access token, or another that opens something, is presented: in the `Authorization` header alone (RFC 6750 §2.1,
//! RFC 9449 §7.1). Refuses to know whose it is.

/// How a token is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// RFC 6750 §2.1.
    Bearer,
    /// RFC 9449 §7.1.
    Dpop,
}

/// The token of the header's value, and how it came; neither form nor query is read.
pub fn presented(authorization: &[u8]) -> Option<(Scheme, &str)> {
    let (scheme, token) = std::str::from_utf8(authorization).ok()?.split_once(' ')?;
    let scheme = match scheme {
        name if name.eq_ignore_ascii_case("Bearer") => Scheme::Bearer,
        name if name.eq_ignore_ascii_case("DPoP") => Scheme::Dpop,
        _ => return None,
    };
    Some((scheme, token.trim_matches(' '))).filter(|(_, token)| !token.is_empty())
}

/// The same of a token that is bound to nothing.
pub fn bearer(authorization: &[u8]) -> Option<&str> {
    match presented(authorization)? {
        (Scheme::Bearer, token) => Some(token),
        (Scheme::Dpop, _) => None,
    }
}
