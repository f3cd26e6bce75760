//! Web origins (RFC 6454) of a client's own pages, from which a browser may read our answers: what may be registered, and
//! whether the one in a request is one of those. Compared byte for byte, as browsers spell them.

use std::borrow::Borrow;

use url::Url;

use super::redirect_uri::is_this_machine;

/// The most bytes of an origin.
const MAX_BYTES: usize = 300;

/// An origin as registered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin(String);

impl Borrow<str> for Origin {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Origin {
    /// Reads an origin that somebody wants to register.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str =
            "each is https://HOST or https://HOST:PORT as browsers spell it, or http on 127.0.0.1, [::1] or localhost";
        if text.len() > MAX_BYTES {
            return Err("at most 300 bytes");
        }
        let Ok(url) = Url::parse(text) else { return Err(RULE) };
        // RFC 6454 §6.2: one spelling: lower case, no port that the scheme has anyway, nothing behind.
        if url.origin().ascii_serialization() != text {
            return Err(RULE);
        }
        // RFC 9700 §2.6: no patterns. What a URL may have in its host, a registered origin need not.
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-[]:".contains(&byte);
        if !url.host_str().is_some_and(|host| host.bytes().all(plain)) {
            return Err(RULE);
        }
        match url.scheme() {
            "https" => Ok(Self(text.to_owned())),
            // What is not encrypted never leaves the machine.
            "http" if is_this_machine(&url) => Ok(Self(text.to_owned())),
            _ => Err(RULE),
        }
    }

    /// The origin as a browser spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_one_spelling_and_no_pattern() {
        for good in [
            "https://app.example",
            "https://app.example:8443",
            "https://xn--bcher-kva.example",
            "https://[2001:db8::1]",
            "http://localhost:5173",
            "http://127.0.0.1",
            "http://[::1]:8080",
        ] {
            assert_eq!(Origin::parse(good).map(|origin| origin.as_str().to_owned()).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "*",
            "null",
            "https://",
            "https://*",
            "https://*.example",
            "https://app.example/",
            "https://app.example/x",
            "https://app.example?x",
            "https://app.example#x",
            "https://App.example",
            "HTTPS://app.example",
            "https://app.example:443",
            "https://user@app.example",
            "https://bücher.example",
            " https://app.example",
            "https://app.example https://b.example",
            "https://app_1.example",
            "http://app.example",
            "http://127.0.0.1.evil.example",
            "http://127.0.0.2",
            "file:///x",
            "com.example.app:",
            "data:x",
        ] {
            assert!(Origin::parse(bad).is_err(), "{bad}");
        }
        assert!(Origin::parse(&format!("https://{}.example", "a".repeat(300))).is_err());
    }
}
