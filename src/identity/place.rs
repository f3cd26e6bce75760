//! Where a log-in is used from, as coarsely as is of use: the network, and what kind of browser on what kind of system. Kept
//! with the log-in, to be recognised by its owner and to notice a cookie that is somewhere else.

use crate::limits::Network;

/// Browsers by a word that their `User-Agent` has, those first whose word stands beside another's.
const BROWSERS: [(&str, &str); 9] = [
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Chromium/", "Chrome"),
    ("Safari/", "Safari"),
];
/// Systems in the same way.
const SYSTEMS: [(&str, &str); 8] = [
    ("Android", "Android"),
    ("iPhone", "iOS"),
    ("iPad", "iPadOS"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
    ("BSD", "BSD"),
];

/// Where a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The network.
    pub network: Network,
    /// The kind of browser and of system, such as `Firefox, Linux`; empty when neither can be told.
    pub user_agent: String,
}

impl Place {
    /// From the network and the `User-Agent` of a request (RFC 9110 §10.1.5), of which versions are nobody's concern.
    pub fn new(network: Network, user_agent: Option<&str>) -> Self {
        let text = user_agent.unwrap_or_default();
        let find =
            |words: &[(&str, &'static str)]| words.iter().find(|(word, _)| text.contains(word)).map(|(_, name)| *name);
        let parts: Vec<_> = [find(&BROWSERS), find(&SYSTEMS)].into_iter().flatten().collect();
        Self { network, user_agent: parts.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_known_by_its_kind_and_its_system() {
        for (header, expected) in [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox, Linux"),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 \
                 Safari/537.36 Edg/126.0.0.0",
                "Edge, Windows",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 \
                 Safari/605.1.15",
                "Safari, macOS",
            ),
            (
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile \
                 Safari/537.36",
                "Chrome, Android",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                 CriOS/126.0 Mobile/15E148 Safari/604.1",
                "Chrome, iOS",
            ),
            ("curl/8.8.0", ""),
            ("", ""),
            ("\"><script>", ""),
        ] {
            let network = Network::of([192, 0, 2, 1].into());
            assert_eq!(Place::new(network, Some(header)).user_agent, expected, "{header}");
        }
    }
}
