//! The token of a request: from its `Authorization` alone, never from a query or a body (RFC 9700 §4.3.2).

use crate::Rejected;

/// The bearer token of a request's `Authorization` values, of which there may be one (RFC 6750 §2.1).
///
/// ```
/// use countersign_verifier::{Rejected, bearer};
///
/// assert_eq!(bearer(["Bearer abc.def.ghi"]), Ok("abc.def.ghi"));
/// assert_eq!(bearer(["Basic eDp5"]), Err(Rejected::Missing));
/// assert_eq!(bearer([] as [&str; 0]), Err(Rejected::Missing));
/// assert_eq!(bearer(["Bearer a", "Bearer b"]), Err(Rejected::Ambiguous));
/// ```
///
/// # Errors
/// [`Rejected::Missing`] without a bearer token, [`Rejected::Ambiguous`] with several values or a malformed one.
pub fn bearer<'h, V>(values: impl IntoIterator<Item = &'h V>) -> Result<&'h str, Rejected>
where
    V: AsRef<[u8]> + ?Sized + 'h,
{
    match presented(values)? {
        (Scheme::Bearer, rest) => token_of(rest),
        (Scheme::Dpop, _) => Err(Rejected::Missing),
    }
}

/// How a token is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// RFC 6750 §2.1.
    Bearer,
    /// RFC 9449 §7.1.
    Dpop,
}

/// The scheme of a request's one `Authorization`, and what follows it.
pub(crate) fn presented<'h, V>(values: impl IntoIterator<Item = &'h V>) -> Result<(Scheme, &'h str), Rejected>
where
    V: AsRef<[u8]> + ?Sized + 'h,
{
    let mut values = values.into_iter();
    let value = values.next().ok_or(Rejected::Missing)?.as_ref();
    // RFC 9110 §5.3: Authorization is no list; whoever sends two makes two readers see two tokens.
    if values.next().is_some() {
        return Err(Rejected::Ambiguous);
    }
    let value = str::from_utf8(value).map_err(|_| Rejected::Ambiguous)?;
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    // RFC 9110 §11.1: the scheme is case-insensitive.
    if scheme.eq_ignore_ascii_case("Bearer") {
        Ok((Scheme::Bearer, rest))
    } else if scheme.eq_ignore_ascii_case("DPoP") {
        Ok((Scheme::Dpop, rest))
    } else {
        Err(Rejected::Missing)
    }
}

/// The token that follows a scheme.
pub(crate) fn token_of(rest: &str) -> Result<&str, Rejected> {
    let token = rest.trim_start_matches(' ');
    // RFC 6750 §2.1, RFC 9110 §11.2: b64token; RFC 9449 §7.1: token68 is the same.
    let (body, _padding) = token.split_at(token.trim_end_matches('=').len());
    let of_a_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    if body.is_empty() || !body.bytes().all(of_a_token) {
        return Err(Rejected::Ambiguous);
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_may_be_spelt_in_any_case() {
        for value in ["Bearer t", "bearer t", "BEARER  t"] {
            assert_eq!(bearer([value]), Ok("t"));
        }
    }

    #[test]
    fn what_cannot_be_read_in_one_way_is_refused() {
        for value in ["Bearer", "Bearer ", "Bearer a b", "Bearer a,Bearer b", "Bearer =", "Bearer a=b", "Bearer \u{e4}"]
        {
            assert_eq!(bearer([value]), Err(Rejected::Ambiguous), "{value}");
        }
        assert_eq!(bearer([b"Bearer \xff".as_slice()]), Err(Rejected::Ambiguous));
        assert_eq!(bearer(["Bearer a", "Basic b"]), Err(Rejected::Ambiguous));
    }

    #[test]
    fn another_scheme_is_no_bearer_token() {
        for value in ["", "Basic eDp5", "DPoP a", "Bearerx a", "Bearer\ta"] {
            assert_eq!(bearer([value]), Err(Rejected::Missing), "{value}");
        }
    }
}
