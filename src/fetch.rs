//! Calls out, to URLs that clients registered: to public addresses alone, bounded in size, time and number, never redirected
//! (CWE-918). Refuses to know what is fetched. For threads that may wait; async code does not call it.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Url};
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::settings;

/// The longest that a call may take.
pub const TIMEOUT: Duration = Duration::from_secs(3);
/// The most bytes of an answer.
const MAX_BYTES: usize = 64 * 1024;
/// The most calls at once.
const MAX_CALLS: usize = 8;
/// Those of them that clients may take that registered themselves.
const MAX_CALLS_OF_REGISTRANTS: usize = 3;

/// Networks that are nobody's public address: of this machine, of its neighbours, for special use (RFC 6890 and its registries).
const NOT_PUBLIC: [&str; 30] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "::ffff:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "::1/128",
];

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not an https URL, or one with a user in it.
    #[error("the URL is not one that may be called")]
    Url,
    /// An address that is nobody's public one.
    #[error("the address is not public")]
    Address,
    /// Too many calls at once.
    #[error("too many calls out at once")]
    Busy,
    /// Nobody answered, or not in time.
    #[error("no answer: {0}")]
    NoAnswer(#[source] reqwest::Error),
    /// It took too long, or came too slowly.
    #[error("the answer took more than {} s", TIMEOUT.as_secs())]
    TooSlow,
    /// An answer of another status.
    #[error("the answer has the status {0}")]
    Status(u16),
    /// An answer that is too large or broke off.
    #[error("the answer is too large or broke off")]
    Body,
}

/// Where calls may go.
#[derive(Clone, Debug)]
struct Rule {
    allow_loopback: bool,
    allowed: Vec<IpNet>,
    not_public: Vec<IpNet>,
}

impl Rule {
    fn new(settings: &settings::Fetch) -> Self {
        Self {
            allow_loopback: settings.allow_loopback,
            allowed: settings.allowed_networks.clone(),
            not_public: NOT_PUBLIC.iter().filter_map(|network| network.parse().ok()).collect(),
        }
    }

    fn allows(&self, address: IpAddr) -> bool {
        // An IPv4 address in IPv6 clothes is judged as what it is.
        let address = match address {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        (self.allow_loopback && address.is_loopback()) || within(&self.allowed) || !within(&self.not_public)
    }

    fn parse(&self, url: &str) -> Result<Url, FetchError> {
        let url = Url::parse(url).map_err(|_| FetchError::Url)?;
        let bare = url.username().is_empty() && url.password().is_none();
        let literal = match url.host() {
            Some(url::Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(url::Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(url::Host::Domain(_)) => None,
            None => return Err(FetchError::Url),
        };
        let here = literal.is_some_and(|address| address.is_loopback()) || url.host_str() == Some("localhost");
        let secure = url.scheme() == "https" || (url.scheme() == "http" && here && self.allow_loopback);
        if !secure || !bare {
            return Err(FetchError::Url);
        }
        // A literal address is never resolved.
        if literal.is_some_and(|address| !self.allows(address)) {
            return Err(FetchError::Address);
        }
        Ok(url)
    }
}

/// Resolves names to addresses that calls may go to: the connection is made to what was judged, so that a name that
/// changes in between (DNS rebinding) gains nothing.
impl Resolve for Rule {
    fn resolve(&self, name: Name) -> Resolving {
        let rule = self.clone();
        Box::pin(async move {
            // Apart from the thread that all calls share: a name server may take its time.
            let found = tokio::task::spawn_blocking(move || (name.as_str(), 0).to_socket_addrs()).await??;
            let found: Vec<SocketAddr> = found.filter(|address| rule.allows(address.ip())).collect();
            if found.is_empty() {
                return Err(Box::from(FetchError::Address));
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// For whom a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A client that an operator made.
    Known,
    /// A client that registered itself: public addresses alone, and never the last way out.
    Registrant,
}

/// The way out.
pub struct Fetcher {
    rule: Rule,
    registrants: Rule,
    calls: AtomicUsize,
}

impl Fetcher {
    /// With the rule of the settings.
    pub fn new(settings: &settings::Fetch) -> Self {
        let rule = Rule::new(settings);
        // CWE-918: what an operator opens to clients of its own is not open to whoever registers.
        let registrants = Rule { allowed: Vec::new(), ..rule.clone() };
        Self { rule, registrants, calls: AtomicUsize::new(0) }
    }

    /// What is found at a URL.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn get(&self, url: &str, caller: Caller) -> Result<Vec<u8>, FetchError> {
        self.call(url, caller, Client::get)
    }

    /// What is answered to a form.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn post_form(&self, url: &str, body: String, caller: Caller) -> Result<Vec<u8>, FetchError> {
        let content_type = "application/x-www-form-urlencoded";
        self.call(url, caller, |client, url| client.post(url).header("Content-Type", content_type).body(body))
    }

    fn call(
        &self,
        url: &str,
        caller: Caller,
        request: impl FnOnce(&Client, Url) -> RequestBuilder,
    ) -> Result<Vec<u8>, FetchError> {
        let (rule, most) = match caller {
            Caller::Known => (&self.rule, MAX_CALLS),
            Caller::Registrant => (&self.registrants, MAX_CALLS_OF_REGISTRANTS),
        };
        let url = rule.parse(url)?;
        let _slot = Slot::take(&self.calls, most).ok_or(FetchError::Busy)?;
        let client = build(rule)?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|_| FetchError::Busy)?;
        // CWE-400: all of it together, however slowly the answer drips.
        let answered = runtime.block_on(async { timeout(TIMEOUT, read(request(&client, url))).await });
        // Whoever asks a name server may still wait for it, and nobody for that.
        runtime.shutdown_background();
        answered.unwrap_or(Err(FetchError::TooSlow))
    }
}

/// Sends a request and reads its answer, as far as it may be long.
async fn read(request: RequestBuilder) -> Result<Vec<u8>, FetchError> {
    let no_answer = |error: reqwest::Error| FetchError::NoAnswer(error.without_url());
    let mut answer = request.send().await.map_err(no_answer)?;
    let status = answer.status();
    if !status.is_success() {
        return Err(FetchError::Status(status.as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|_| FetchError::Body)? {
        if body.len() + chunk.len() > MAX_BYTES {
            return Err(FetchError::Body);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A client of one call: its connections go with the runtime that they were made in.
fn build(rule: &Rule) -> Result<Client, FetchError> {
    let built = Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .dns_resolver(Arc::new(rule.clone()))
        .user_agent("countersign")
        .build();
    built.map_err(|error| FetchError::NoAnswer(error.without_url()))
}

/// One of the calls at once.
struct Slot<'c>(&'c AtomicUsize);

impl<'c> Slot<'c> {
    fn take(calls: &'c AtomicUsize, most: usize) -> Option<Self> {
        let slot = Self(calls);
        // The slot gives back what it takes, whether there was one or not.
        (slot.0.fetch_add(1, Ordering::Relaxed) < most).then_some(slot)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow_loopback: bool, allowed: &[&str]) -> Rule {
        let allowed_networks = allowed.iter().map(|network| network.parse().unwrap()).collect();
        Rule::new(&settings::Fetch { allow_loopback, allowed_networks })
    }

    #[test]
    fn calls_go_to_public_addresses_alone() {
        let rule = rule(false, &[]);
        assert_eq!(rule.not_public.len(), NOT_PUBLIC.len(), "every network can be read");
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "fd00::1",
            "fe80::1",
            "2002:7f00:1::",
            "ff02::1",
        ] {
            assert!(!rule.allows(address.parse().unwrap()), "{address}");
        }
        for address in ["93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:93.184.216.34"] {
            assert!(rule.allows(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_setting_lets_calls_go_further() {
        let bench = rule(true, &[]);
        assert!(bench.allows("127.0.0.1".parse().unwrap()) && bench.allows("::1".parse().unwrap()));
        assert!(!bench.allows("10.0.0.1".parse().unwrap()));
        let inside = rule(false, &["10.2.0.0/16"]);
        assert!(inside.allows("10.2.3.4".parse().unwrap()) && inside.allows("::ffff:10.2.3.4".parse().unwrap()));
        assert!(!inside.allows("10.3.0.1".parse().unwrap()) && !inside.allows("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn only_an_https_url_is_called() {
        let strict = rule(false, &[]);
        for url in [
            "http://app.example/",
            "ftp://app.example/",
            "file:///etc/passwd",
            "https://user@app.example/",
            "https://",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://169.254.169.254/latest",
            "http://127.0.0.1/",
            "gopher://app.example",
            "app.example",
            "",
        ] {
            assert!(strict.parse(url).is_err(), "{url}");
        }
        assert!(strict.parse("https://app.example/jwks").is_ok());
        let bench = rule(true, &[]);
        assert!(bench.parse("http://127.0.0.1:8000/").is_ok() && bench.parse("http://localhost:8000/").is_ok());
        assert!(bench.parse("http://app.example/").is_err(), "plain http never leaves the machine");
    }
}
