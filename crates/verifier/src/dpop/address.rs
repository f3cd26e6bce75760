//! Whether a proof names the address of a request (RFC 9449 §4.3 no. 9): without query and fragment, in one spelling
//! (RFC 3986 §6.2.2, §6.2.3).

/// Whether the `htu` of a proof (RFC 9449 §4.2) names an address: without query and fragment, in whatever spelling (§4.3 no. 9).
///
/// ```
/// use countersign_verifier::is_same_address;
///
/// assert!(is_same_address("HTTPS://as.example:443/%74oken?x=1", "https://as.example/token"));
/// assert!(!is_same_address("https://as.example.evil/token", "https://as.example/token"));
/// ```
pub fn is_same_address(htu: &str, address: &str) -> bool {
    normal(htu).is_some_and(|said| Some(said) == normal(address))
}

/// Whether `htu` names the `path` of the service that clients call by `base`.
pub(super) fn is_same(htu: &str, base: &str, path: &str) -> bool {
    // A path that begins with nothing could go on with the host.
    path.starts_with('/') && is_same_address(htu, &format!("{base}{path}"))
}

/// The one spelling of an address; none for what is none. What shows two readers two hosts is none that we are called by.
fn normal(address: &str) -> Option<String> {
    let address = address.split(['?', '#']).next()?;
    let (scheme, rest) = address.split_once("://")?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    // RFC 3986 §6.2.2.1: scheme and host have no case.
    let (scheme, authority) = (scheme.to_ascii_lowercase(), authority.to_ascii_lowercase());
    // RFC 3986 §6.2.3: a port that the scheme has anyway, or none behind the colon.
    let port = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let host = authority.strip_suffix(port).or_else(|| authority.strip_suffix(':')).unwrap_or(&authority);
    Some(format!("{scheme}://{host}{}", without_dots(&decoded(path))))
}

/// RFC 3986 §6.2.2.1, §6.2.2.2: what needs no percent sign has none, and what has one has it in capitals.
fn decoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        text.push_str(before);
        let byte = escape.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let (width, written) = match (byte, escape.get(..3)) {
            (Some(byte), Some(_)) if plain(byte) => (3, char::from(byte).to_string()),
            (Some(_), Some(whole)) => (3, whole.to_ascii_uppercase()),
            // No escape at all: as it stands.
            _ => (1, "%".to_owned()),
        };
        text.push_str(&written);
        rest = escape.get(width..).unwrap_or_default();
    }
    text + rest
}

/// RFC 3986 §6.2.2.3, §5.2.4, of a path that begins with `/`.
fn without_dots(path: &str) -> String {
    let mut kept = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        if segment == ".." {
            kept.pop();
        }
        let is_dots = matches!(segment, "." | "..");
        if !is_dots {
            kept.push(segment);
        } else if segments.peek().is_none() {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_compared_in_one_spelling_and_without_its_query() {
        for (htu, same) in [
            ("https://orders.example/a/b", true),
            ("HTTPS://Orders.EXAMPLE/a/b", true),
            ("https://orders.example:443/a/b", true),
            ("https://orders.example:/a/b", true),
            ("https://orders.example/a/b?x=1", true),
            ("https://orders.example/a/b#y?z", true),
            ("https://orders.example/%61/%62", true),
            ("https://orders.example/x/../a/./b", true),
            ("https://orders.example/x/%2e%2E/a/%2E/b", true),
            ("https://orders.example/../a/b", true),
            ("https://orders.example/a/b/", false),
            ("https://orders.example/a//b", false),
            ("https://orders.example/A/b", false),
            ("https://orders.example/a%2Fb", false),
            ("https://orders.example/a", false),
            ("https://orders.example", false),
            ("http://orders.example/a/b", false),
            ("https://orders.example:80/a/b", false),
            ("https://orders.example:8443/a/b", false),
            ("https://orders.example.evil/a/b", false),
            ("https://orders.example@evil.example/a/b", false),
            ("https://x@orders.example/a/b", false),
            ("https:\\\\orders.example/a/b", false),
            ("https://orders.example\\@evil/a/b", false),
            ("https:/orders.example/a/b", false),
            ("https:///a/b", false),
            ("ftp://orders.example/a/b", false),
            ("//orders.example/a/b", false),
            ("/a/b", false),
            (" https://orders.example/a/b", false),
            ("https://orders.example/a/b\n", false),
            ("https://\u{f6}rders.example/a/b", false),
            ("", false),
        ] {
            assert_eq!(is_same(htu, "https://orders.example", "/a/b?page=2"), same, "{htu:?}");
        }
        // A proof that names an address with a query is good for the path alone, so the request's is left out too.
        assert!(is_same("https://orders.example/a/b?page=3", "https://orders.example", "/a/b?page=2"));
    }

    #[test]
    fn escapes_have_one_spelling() {
        let same = |htu: &str, path: &str| is_same(&format!("https://a.example{htu}"), "https://a.example", path);
        assert!(same("/caf%c3%a9%7E", "/caf%C3%A9~"));
        assert!(same("/100%", "/100%") && same("/%zz", "/%zz") && same("/%", "/%") && same("/%4", "/%4"));
        assert!(same("/%+1", "/%+1") && !same("/%+1", "/%01"));
        assert!(!same("/%2525", "/%25") && !same("/%2F", "/") && !same("/a%3Fb", "/a?b"));
        assert!(same("", "/") && same("/", "/") && same("/.", "/") && same("/a/..", "/") && same("/a/.", "/a/"));
    }

    #[test]
    fn a_path_cannot_become_part_of_the_host() {
        for path in [".evil.example/a", "", "*", "@evil.example/a", "https://evil.example/a"] {
            let whole = format!("https://orders.example{path}");
            assert!(!is_same(&whole, "https://orders.example", path), "{path}");
        }
        assert!(is_same("https://orders.example//evil.example/a", "https://orders.example", "//evil.example/a"));
        // Behind a proxy that takes a part of the path away.
        assert!(is_same("https://api.example/orders/7", "https://api.example/orders", "/7"));
    }
}
