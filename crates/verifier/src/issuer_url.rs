//! Which addresses may be talked to: over TLS, or on this machine (RFC 8414 §2, RFC 9700 §2.6).

/// Why an address may not be used.
///
/// ```
/// use countersign_verifier::{BuildError, UrlError, Verifier};
///
/// let refused = Verifier::builder("http://as.example", "https://orders.example").build().unwrap_err();
/// assert_eq!(refused, BuildError::Url(UrlError::NotSecure));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Neither `https:`, nor `http:` to this machine.
    #[error("the address is not https, nor http to this machine itself")]
    NotSecure,
    /// No address of a server, or one with a user, a query, a fragment or white space.
    #[error("the address is malformed")]
    Malformed,
}

/// Whether it may be talked to.
pub(crate) fn permitted(url: &str) -> Result<(), UrlError> {
    let (secure, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err(UrlError::NotSecure),
    };
    // RFC 8414 §2: an issuer has neither query nor fragment; `@` and `\` would make two readers see two hosts.
    let odd = |byte: u8| !byte.is_ascii_graphic() || b"?#@\\".contains(&byte);
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = split(authority).ok_or(UrlError::Malformed)?;
    let port_is_odd = !port.bytes().all(|byte| byte.is_ascii_digit());
    if host.is_empty() || port_is_odd || url.bytes().any(odd) {
        return Err(UrlError::Malformed);
    }
    if secure || is_loopback(host) { Ok(()) } else { Err(UrlError::NotSecure) }
}

/// Host and port; an address of IPv6 has its brackets off.
fn split(authority: &str) -> Option<(&str, &str)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        return if port.is_empty() { Some((host, "")) } else { Some((host, port.strip_prefix(':')?)) };
    }
    Some(authority.split_once(':').unwrap_or((authority, "")))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_or_this_machine() {
        for url in [
            "https://as.example",
            "https://as.example:8443/tenant",
            "http://127.0.0.1:8080",
            "http://127.9.9.9",
            "http://localhost:1",
            "http://[::1]:8080/x",
        ] {
            assert_eq!(permitted(url), Ok(()), "{url}");
        }
        for url in [
            "http://as.example",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "http://10.0.0.1",
            "HTTPS://as.example",
            "ftp://as.example",
            "as.example",
            "",
            "http://[::2]",
        ] {
            assert_eq!(permitted(url), Err(UrlError::NotSecure), "{url}");
        }
        for url in [
            "https://",
            "https:///x",
            "https://a@b",
            "http://127.0.0.1:80@evil.example",
            "http://127.0.0.1\\@evil",
            "https://as.example?x",
            "https://as.example#x",
            "https://as .example",
            "https://as.example:x",
            "https://[::1",
            "https://\u{e4}.example",
        ] {
            assert_eq!(permitted(url), Err(UrlError::Malformed), "{url}");
        }
    }
}
