//! Redirect URIs (RFC 6749 §3.1.2, RFC 9700 §4.1): what may be registered, and whether the one in a request is one of
//! those. Compared byte for byte; the one exception is the port of a loopback address (RFC 8252 §7.3).

use std::fmt;

use serde::{Deserialize, Serialize};
use url::{Host, Url};
use utoipa::ToSchema;

/// The most bytes of a redirect URI.
const MAX_BYTES: usize = 2000;
/// Parameters of our answer that a registered query must not have (RFC 9700 §4.4).
const ANSWER: [&str; 5] = ["code", "state", "iss", "error", "response"];

/// Where a client runs (OpenID Connect Registration §2, `application_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApplicationType {
    /// On a server, or in a page of one.
    #[default]
    Web,
    /// On a person's device (RFC 8252).
    Native,
}

/// A redirect URI as registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectUri(String);

impl RedirectUri {
    /// Reads a URI that somebody wants to register.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn parse(text: &str, application_type: ApplicationType) -> Result<Self, &'static str> {
        let printable = text.bytes().all(|byte| matches!(byte, 0x21..=0x7e))
            && !text.contains(['"', '<', '>', '\\', '^', '`', '{', '|', '}']);
        if text.len() > MAX_BYTES || !printable {
            return Err("at most 2000 bytes, of the characters of RFC 3986");
        }
        // RFC 6749 §3.1.2: an absolute URI without a fragment.
        if text.contains('#') {
            return Err("without a fragment");
        }
        let Ok(url) = Url::parse(text) else { return Err("an absolute URI") };
        // CVE-2024-8883 and its kin: what comes before an @ is taken for the host by some.
        if !url.username().is_empty()
            || url.password().is_some()
            || text.split(['?', '/']).nth(2).is_some_and(|host| host.contains('@'))
        {
            return Err("without a user");
        }
        // RFC 9700 §4.1.3: there are no patterns. And what the host becomes part of has separators of its own.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'[' | b']' | b':');
        if url.host_str().is_some_and(|host| !host.bytes().all(plain)) {
            return Err("with a plain host name or address");
        }
        // RFC 9700 §4.4: our answer's parameters are ours alone.
        if url.query_pairs().any(|(key, _)| ANSWER.contains(&key.as_ref())) {
            return Err("without code, state, iss, error or response in its query");
        }
        match (url.scheme(), application_type) {
            ("https", _) if text.starts_with("https://") => Ok(Self(text.to_owned())),
            // RFC 9700 §2.6: http never leaves the machine.
            ("http", _) if text.starts_with("http://") && is_this_machine(&url) => Ok(Self(text.to_owned())),
            ("https" | "http", _) => Err("https, or http to 127.0.0.1, [::1] or localhost"),
            // RFC 8252 §7.1: a private-use scheme is a domain name in reverse, so that nobody has another's.
            (scheme, ApplicationType::Native) if scheme.contains('.') && text.starts_with(&format!("{scheme}:")) => {
                Ok(Self(text.to_owned()))
            }
            (_, ApplicationType::Native) => {
                Err("https, http to a loopback address, or a private-use scheme with a dot")
            }
            (_, ApplicationType::Web) => {
                Err("https, or http to 127.0.0.1, [::1] or localhost (a native client may have a scheme of its own)")
            }
        }
    }

    /// The URI as it was registered.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether somebody else's program could have taken the URI's place on the person's device (RFC 8252 §8.6): it is on
    /// loopback or of a private-use scheme.
    pub fn may_be_taken(&self) -> bool {
        !self.0.starts_with("https://")
    }

    /// The URI of a request, if it is this one.
    fn admit(&self, presented: &str, application_type: ApplicationType) -> Option<ValidatedRedirect> {
        // RFC 9700 §2.1: simple string comparison.
        let same = self.0 == presented;
        let same_but_port = || {
            // RFC 8252 §7.3, RFC 9700 §4.1.3: a native client takes whatever port is free, on a loopback literal.
            let (registered, presented) = (loopback(&self.0)?, loopback(presented)?);
            (application_type == ApplicationType::Native && registered == presented).then_some(())
        };
        (same || same_but_port().is_some())
            .then(|| ValidatedRedirect { uri: presented.to_owned(), may_be_taken: self.may_be_taken() })
    }
}

/// Whether a URL is of the machine that its reader runs on.
pub(super) fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address == std::net::Ipv4Addr::LOCALHOST,
        Some(Host::Ipv6(address)) => address == std::net::Ipv6Addr::LOCALHOST,
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Host, and path and query, of a URI on a loopback literal; `None` for any other text.
fn loopback(uri: &str) -> Option<(&str, &str)> {
    const HOSTS: [&str; 2] = ["http://127.0.0.1", "http://[::1]"];
    let (host, rest) = HOSTS.iter().find_map(|host| Some((*host, uri.strip_prefix(host)?)))?;
    let rest = match rest.strip_prefix(':') {
        None => rest,
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (port, rest) = rest.split_at_checked(digits)?;
            let number: u16 = port.parse().ok()?;
            // One spelling of each port.
            if number == 0 || number.to_string() != port {
                return None;
            }
            rest
        }
    };
    // CVE-2024-8883: 127.0.0.1.evil and 127.0.0.1:80@evil are other hosts.
    (rest.is_empty() || rest.starts_with(['/', '?'])).then_some((host, rest))
}

/// A URI with these parameters after those that it has.
pub(super) fn append_query(uri: &str, parameters: &[(&str, &str)]) -> String {
    let mut uri = uri.to_owned();
    if !uri.contains('?') {
        uri.push('?');
    } else if !uri.ends_with(['?', '&']) {
        uri.push('&');
    }
    let start = uri.len();
    url::form_urlencoded::Serializer::for_suffix(&mut uri, start).extend_pairs(parameters);
    uri
}

/// What a content security policy names a registered URI by: its origin, or its scheme where there is none.
pub(super) fn csp_source(uri: &str) -> String {
    match Url::parse(uri) {
        // CSP Level 3 §2.3.1: a host-source has no brackets, so an IPv6 address is named by its scheme alone.
        Ok(url) if matches!(url.host(), Some(Host::Ipv6(_))) => format!("{}:", url.scheme()),
        Ok(url) if url.origin().is_tuple() => url.origin().ascii_serialization(),
        Ok(url) => format!("{}:", url.scheme()),
        Err(_) => "'none'".to_owned(),
    }
}

/// Scheme, host and port, where there are such.
pub(in crate::protocol) fn origin(uri: &str) -> Option<url::Origin> {
    Url::parse(uri).ok().map(|url| url.origin()).filter(url::Origin::is_tuple)
}

/// Whether answers to all of them reach one origin.
pub fn are_of_one_origin(uris: &[RedirectUri]) -> bool {
    let mut origins = uris.iter().map(|uri| origin(uri.as_str()));
    let first = origins.next().flatten();
    first.is_some() && origins.all(|other| other == first)
}

/// The registered URI that a request's `redirect_uri` is, or the only one there is when the request has none.
///
/// `None` when it is none of them, or when there is more than one to choose from (RFC 6749 §3.1.2.3).
pub fn validate(
    registered: &[RedirectUri],
    presented: Option<&str>,
    application_type: ApplicationType,
) -> Option<ValidatedRedirect> {
    match (presented, registered) {
        (Some(presented), _) => registered.iter().find_map(|uri| uri.admit(presented, application_type)),
        (None, [only]) => only.admit(only.as_str(), application_type),
        (None, _) => None,
    }
}

/// A URI that answers may be sent to. Only [`validate`] makes one: before it exists, there is nothing but a page to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatedRedirect {
    uri: String,
    may_be_taken: bool,
}

impl ValidatedRedirect {
    /// The URI.
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// As [`RedirectUri::may_be_taken`].
    pub fn may_be_taken(&self) -> bool {
        self.may_be_taken
    }

    /// The URI with these parameters after those that it has (RFC 6749 §4.1.2).
    pub fn with(&self, parameters: &[(&str, &str)]) -> String {
        append_query(&self.uri, parameters)
    }

    /// What a page's `form-action` must name so that its form may end there (CSP Level 3 §2.3.1): the origin, or the
    /// scheme where there is none.
    pub fn form_action(&self) -> String {
        csp_source(&self.uri)
    }

    /// What a person is told of where an answer goes: the host, or the scheme of a program on the person's device, whose
    /// host is whatever it likes.
    pub fn destination(&self) -> String {
        match Url::parse(&self.uri) {
            Ok(url) if url.origin().is_tuple() => url.host_str().unwrap_or_default().to_owned(),
            Ok(url) => format!("{}:", url.scheme()),
            Err(_) => String::new(),
        }
    }
}

impl fmt::Display for ValidatedRedirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ApplicationType::{Native, Web};

    fn admits(registered: &str, presented: &str, application_type: ApplicationType) -> bool {
        let registered = RedirectUri::parse(registered, application_type).unwrap();
        validate(&[registered], Some(presented), application_type).is_some()
    }

    #[test]
    fn what_may_be_registered() {
        for (text, web, native) in [
            ("https://app.example/cb", true, true),
            ("https://app.example/cb?tenant=1", true, true),
            ("https://app.example", true, true),
            ("http://127.0.0.1/cb", true, true),
            ("http://127.0.0.1:9000/cb", true, true),
            ("http://[::1]/cb", true, true),
            ("http://localhost:3000/cb", true, true),
            ("com.example.app:/cb", false, true),
            ("com.example.app://cb", false, true),
            ("myapp:/cb", false, false),
            ("http://app.example/cb", false, false),
            ("http://127.0.0.1.evil.example/cb", false, false),
            ("http://127.0.0.2/cb", false, false),
            ("https://app.example/cb#frag", false, false),
            ("https://app.example/cb#", false, false),
            ("https://user@app.example/cb", false, false),
            ("https://user:pass@app.example/cb", false, false),
            ("https://@app.example/cb", false, false),
            ("https://app.example/cb?code=1", false, false),
            ("https://app.example/cb?a=1&state=2", false, false),
            ("https://app.example/cb?c%6fde=1", false, false),
            ("https://app.example/cb?iss=1", false, false),
            ("https://app.example/cb?error=1", false, false),
            ("https://app.example/cb?response=1", false, false),
            ("javascript:alert(1)", false, false),
            ("javascript://x.y/%0aalert(1)", false, false),
            ("data:text/html,x", false, false),
            ("vbscript:x", false, false),
            ("file:///etc/passwd", false, false),
            ("HTTPS://app.example/cb", false, false),
            ("https:/app.example/cb", false, false),
            ("https:app.example/cb", false, false),
            ("//app.example/cb", false, false),
            ("/cb", false, false),
            ("", false, false),
            ("https://app.example/c b", false, false),
            ("https://app.example/c\tb", false, false),
            ("https://app.example/\r\nSet-Cookie:x", false, false),
            ("https://app.example\\@evil.example/", false, false),
            ("https://äpp.example/cb", false, false),
            ("https://*.app.example/cb", false, false),
            ("https://a;sandbox/cb", false, false),
            ("https://a,b/cb", false, false),
        ] {
            assert_eq!(RedirectUri::parse(text, Web).is_ok(), web, "web: {text:?}");
            assert_eq!(RedirectUri::parse(text, Native).is_ok(), native, "native: {text:?}");
        }
        assert!(RedirectUri::parse(&format!("https://app.example/{}", "a".repeat(1990)), Web).is_err());
    }

    /// Each of these was a hole in somebody's server: the CVEs of normalising, prefixes, patterns and parsers that differ.
    #[test]
    fn a_redirect_uri_is_compared_byte_for_byte() {
        let registered = "https://app.example/cb";
        assert!(admits(registered, registered, Web) && admits(registered, registered, Native));
        for presented in [
            "https://app.example/cb/",
            "https://app.example/cb?",
            "https://app.example/cb#",
            "https://app.example/cb?x=1",
            "https://app.example/cb/..",
            "https://app.example/cb/..;/",
            "https://app.example/cb/../cb",
            "https://app.example/./cb",
            "https://app.example//cb",
            "https://app.example/%63b",
            "https://app.example/cb%00",
            "https://app.example/cb%0d%0a",
            "https://app.example/cb%2e",
            "https://app.example/cb%252f..",
            "https://app.example/CB",
            "https://APP.example/cb",
            "HTTPS://app.example/cb",
            "http://app.example/cb",
            "https://app.example:443/cb",
            "https://app.example:8443/cb",
            "https://app.example./cb",
            "https://app.example.evil.example/cb",
            "https://evil.example/https://app.example/cb",
            "https://evil.example/?https://app.example/cb",
            "https://evil.example#https://app.example/cb",
            "https://app.example@evil.example/cb",
            "https://app.example/cb@evil.example",
            "https://user@app.example/cb",
            "https://a@b@app.example/cb",
            "https://app.example\\@evil.example/cb",
            "https://app.example\\cb",
            "https://app.example/cb\\",
            "https:/app.example/cb",
            "https:app.example/cb",
            "//app.example/cb",
            "/cb",
            "cb",
            " https://app.example/cb",
            "https://app.example/cb ",
            "https://app.example/cb\t",
            "https://app.example/cb\n",
            "\thttps://app.example/cb",
            "https://app.example/cb\u{0}",
            "https://аpp.example/cb",
            "https://xn--pp-7lc.example/cb",
            "https://app。example/cb",
            "https://*.example/cb",
            "https://app.example/*",
            ".*",
            "javascript:alert(1)",
            "data:text/html,x",
            "com.example.app:/cb",
            "http://127.0.0.1/cb",
            "null",
            "*",
        ] {
            assert!(!admits(registered, presented, Web) && !admits(registered, presented, Native), "{presented:?}");
        }
    }

    #[test]
    fn the_port_of_a_loopback_literal_is_free_for_native_clients_alone() {
        for (registered, presented, admitted) in [
            ("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb", true),
            ("http://127.0.0.1:9000/cb", "http://127.0.0.1:51004/cb", true),
            ("http://127.0.0.1:9000/cb", "http://127.0.0.1/cb", true),
            ("http://[::1]/cb", "http://[::1]:51004/cb", true),
            ("http://127.0.0.1/cb?a=1", "http://127.0.0.1:51004/cb?a=1", true),
            ("http://127.0.0.1/cb?a=1", "http://127.0.0.1:51004/cb?a=2", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb/", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:51004/other", false),
            ("http://127.0.0.1/cb", "http://[::1]:51004/cb", false),
            ("http://127.0.0.1/cb", "http://localhost:51004/cb", false),
            ("http://localhost/cb", "http://localhost:51004/cb", false),
            ("http://localhost/cb", "http://127.0.0.1:51004/cb", false),
            ("http://127.0.0.1/cb", "https://127.0.0.1:51004/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1.evil.example/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:80@evil.example/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1@evil.example/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:0/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:080/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:65536/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:+80/cb", false),
            ("http://127.0.0.1/cb", "http://127.1:51004/cb", false),
            ("http://127.0.0.1/cb", "http://0x7f.0.0.1:51004/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:51004\\cb", false),
            ("http://127.0.0.1", "http://127.0.0.1:51004", true),
            ("http://127.0.0.1", "http://127.0.0.1:51004.evil.example", false),
        ] {
            assert_eq!(admits(registered, presented, Native), admitted, "{registered} {presented}");
            assert!(!admits(registered, presented, Web), "only a native client: {presented}");
        }
    }

    #[test]
    fn a_request_may_leave_it_out_only_where_there_is_one() {
        let uri = |text: &str| RedirectUri::parse(text, Web).unwrap();
        let (one, two) = (uri("https://a.example/"), uri("https://b.example/"));
        assert_eq!(validate(std::slice::from_ref(&one), None, Web).unwrap().as_str(), "https://a.example/");
        assert_eq!(validate(&[one, two], None, Web), None);
        assert_eq!(validate(&[], None, Web), None);
        assert_eq!(validate(&[], Some("https://a.example/"), Web), None);
    }

    #[test]
    fn an_answer_is_put_behind_the_query_that_is_there() {
        let with = |text: &str| {
            let uri = RedirectUri::parse(text, Native).unwrap();
            validate(&[uri], None, Native).unwrap().with(&[("code", "a b"), ("state", "&=#")])
        };
        assert_eq!(with("https://a.example/cb"), "https://a.example/cb?code=a+b&state=%26%3D%23");
        assert_eq!(with("https://a.example/cb?x=1"), "https://a.example/cb?x=1&code=a+b&state=%26%3D%23");
        assert_eq!(with("https://a.example/cb?"), "https://a.example/cb?code=a+b&state=%26%3D%23");
        assert_eq!(with("com.example.app:/cb"), "com.example.app:/cb?code=a+b&state=%26%3D%23");
    }

    #[test]
    fn a_form_may_end_at_the_origin_and_no_further() {
        let of = |text: &str| {
            let redirect = validate(&[RedirectUri::parse(text, Native).unwrap()], None, Native).unwrap();
            (redirect.form_action(), redirect.destination())
        };
        assert_eq!(of("https://a.example/cb?x=1"), ("https://a.example".into(), "a.example".into()));
        assert_eq!(of("http://127.0.0.1:9/cb"), ("http://127.0.0.1:9".into(), "127.0.0.1".into()));
        assert_eq!(of("http://[::1]:9/cb"), ("http:".into(), "[::1]".into()));
        for own in ["com.example.app:/cb", "com.example.app://accounts.example/cb"] {
            assert_eq!(of(own), ("com.example.app:".into(), "com.example.app:".into()));
        }
    }
}
