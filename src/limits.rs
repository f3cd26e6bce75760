//! How often something may be tried, by named rule. Failures that guard an account live in the database (they must
//! survive Redis); those that guard against a network, and what is being tried at this moment, live in the cache.

mod client_failures;

pub use client_failures::ClientFailures;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::cache::Cache;
use crate::id::SessionId;
use crate::reason::{CapacityRefusal, LoginRefusal, Refusal};
use crate::secret::{Digest, encode_base64url};

/// The window of the per-network rules.
const MINUTE: Duration = Duration::from_mins(1);
/// A site may have this many networks' worth.
const NETWORKS_OF_SITE: u32 = 4;
/// Log-ins restored from one series in a minute: a browser opens all of its tabs at once.
const RESTORED: u32 = 60;
/// And in a day, in which they are rows: each time that a browser is opened, or has rested.
const RESTORED_IN_A_DAY: u32 = 300;
const DAY: Duration = Duration::from_hours(24);

/// The network that an address is counted under: /24 of IPv4, /64 of IPv6, since the rest is its holder's to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// The network of an address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                Self(IpAddr::V4(Ipv4Addr::new(a, b, c, 0)))
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self(IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)))
            }
        }
    }

    /// What one holder may have of such networks: a /48 of IPv6 (RFC 6177 §2).
    fn site(self) -> Option<String> {
        match self.0 {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => {
                let [a, b, c, ..] = address.segments();
                Some(format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)))
            }
        }
    }

    /// The counts of what comes from here, each with the most that it may reach where a network may reach `allowed`: its
    /// own, and its site's, so that one who has many networks is one.
    fn counts(self, what: &str, allowed: u32) -> impl Iterator<Item = (String, u32)> {
        let site = self.site().map(|site| (site, allowed.saturating_mul(NETWORKS_OF_SITE)));
        let names = [(self.to_string(), allowed)].into_iter().chain(site);
        names.map(move |(name, allowed)| (format!("countersign:{what}:{name}"), allowed))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0, if self.0.is_ipv4() { 24 } else { 64 })
    }
}

/// Failed log-ins from one network in a minute.
pub struct AddressFailures {
    /// How many are let through.
    pub allowed: u32,
}

impl AddressFailures {
    /// The name of what is counted.
    const WHAT: &str = "login_failures";

    /// Counts a log-in as failed before it is tried, so that tries at the same time cannot pass the limit together.
    ///
    /// # Errors
    /// [`LoginRefusal::AddressThrottled`]; it is counted then, too.
    pub fn reserve(&self, cache: &Cache, network: Network) -> Result<(), Refusal> {
        let mut within = true;
        // Each is counted, so that each can be taken back.
        for (key, allowed) in network.counts(Self::WHAT, self.allowed) {
            within &= cache.add(&key, 1, MINUTE) <= i64::from(allowed);
        }
        // ASVS 6.3.1: beyond the limit nothing is tried.
        if within { Ok(()) } else { Err(Refusal::from(LoginRefusal::AddressThrottled).retry_after(MINUTE)) }
    }

    /// Takes the count back: the log-in succeeded, or its password was not looked at.
    pub fn refund(&self, cache: &Cache, network: Network) {
        network.counts(Self::WHAT, self.allowed).for_each(|(key, _)| take_back(cache, &key, MINUTE));
    }
}

/// What anybody may do, so often in a minute from one network, from one site, and from everywhere: most of it leaves a row. Each
/// endpoint has one of its own, so that whoever floods one closes no other.
pub struct PerMinute {
    /// What it is, by the name that it is counted under.
    pub what: &'static str,
    /// How many are let through from one network.
    pub allowed: u32,
    /// How many from all networks together, if that is bounded.
    pub allowed_everywhere: Option<u32>,
}

impl PerMinute {
    /// Counts one, whatever comes of it.
    ///
    /// # Errors
    /// [`CapacityRefusal::TooManyWait`].
    pub fn admit(&self, cache: &Cache, network: Network) -> Result<(), Refusal> {
        // ASVS 2.4.1: one who has many networks fills nothing either, and closes the door to nobody else.
        network.counts(self.what, self.allowed).try_for_each(|(key, allowed)| admit(cache, &key, allowed))?;
        match self.allowed_everywhere {
            Some(allowed) => admit(cache, &format!("countersign:{}", self.what), allowed),
            None => Ok(()),
        }
    }
}

/// Counts a log-in that a browser restores from a series, each of which is a row. Whoever shows its secret has logged in once,
/// so that it is counted for that series and neither for its network nor with what anybody may begin. `false` when it is one too
/// many today: a password is asked for.
///
/// # Errors
/// [`CapacityRefusal::TooManyWait`].
pub fn admit_restored(cache: &Cache, series: &Digest) -> Result<bool, Refusal> {
    let series = encode_base64url(series.as_bytes());
    // ASVS 2.4.1: a browser that repeats itself without end fills nothing.
    admit(cache, &format!("countersign:restored:{series}"), RESTORED)?;
    Ok(cache.add(&format!("countersign:restored_today:{series}"), 1, DAY) <= i64::from(RESTORED_IN_A_DAY))
}

/// Authorization codes of one log-in in a minute, each of which may become a grant.
pub struct Codes {
    /// How many are let through.
    pub allowed: u32,
}

impl Codes {
    /// Counts a code.
    ///
    /// # Errors
    /// [`CapacityRefusal::TooManyWait`].
    pub fn admit(&self, cache: &Cache, session_id: SessionId) -> Result<(), Refusal> {
        admit(cache, &format!("countersign:codes:{session_id}"), self.allowed)
    }
}

/// Codes typed in a minute that no device waits under (RFC 8628 §5.1).
pub struct UserCodeGuesses {
    /// How many are let through from one network.
    pub allowed: u32,
    /// How many from all networks together.
    pub allowed_everywhere: u32,
}

impl UserCodeGuesses {
    /// The name of what is counted.
    const WHAT: &str = "user_codes";

    /// Counts a code as wrong before it is looked up, so that tries at the same time cannot pass the limit together.
    ///
    /// # Errors
    /// [`CapacityRefusal::TooManyWait`].
    pub fn reserve(&self, cache: &Cache, network: Network) -> Result<(), Refusal> {
        self.counts(network).try_for_each(|(key, allowed)| admit(cache, &key, allowed))
    }

    /// Takes the count back: a device waits under the code, or it was not looked up.
    pub fn refund(&self, cache: &Cache, network: Network) {
        self.counts(network).for_each(|(key, _)| take_back(cache, &key, MINUTE));
    }

    fn counts(&self, network: Network) -> impl Iterator<Item = (String, u32)> {
        let everywhere = (format!("countersign:{}", Self::WHAT), self.allowed_everywhere);
        network.counts(Self::WHAT, self.allowed).chain([everywhere])
    }
}

/// How often a device may ask whether the person has answered (RFC 8628 §3.5). Lost with the cache, at the price of a device
/// that asks too often for a while.
pub struct DevicePace;

impl DevicePace {
    /// What a device is told to wait between two questions (RFC 8628 §3.2).
    pub const INTERVAL: Duration = Duration::from_secs(5);
    /// What each question that came too early adds to that (RFC 8628 §3.5).
    const SLOW_DOWN: Duration = Duration::from_secs(5);
    /// What is overlooked: answers take different times.
    const SLACK: Duration = Duration::from_secs(1);
    /// The most that is added.
    const MOST: i64 = 12;

    /// Whether a question about a device that still waits, at most for `life`, comes too early.
    pub fn is_too_fast(&self, cache: &Cache, device: &Digest, life: Duration) -> bool {
        let name = encode_base64url(device.as_bytes());
        let hurries = format!("countersign:device_hurries:{name}");
        let hurried = u32::try_from(cache.add(&hurries, 0, life).clamp(0, Self::MOST)).unwrap_or(0);
        let window = Self::INTERVAL.saturating_sub(Self::SLACK).saturating_add(Self::SLOW_DOWN.saturating_mul(hurried));
        let too_fast = cache.add(&format!("countersign:device_polls:{name}"), 1, window) > 1;
        if too_fast {
            cache.add(&hurries, 1, life);
        }
        too_fast
    }
}

fn admit(cache: &Cache, key: &str, allowed: u32) -> Result<(), Refusal> {
    if cache.add(key, 1, MINUTE) > i64::from(allowed) {
        return Err(Refusal::from(CapacityRefusal::TooManyWait).retry_after(MINUTE));
    }
    Ok(())
}

/// How long a log-in may take before it no longer counts as being tried.
const LONGEST_TRY: Duration = Duration::from_mins(1);

/// A log-in that is being tried under one name: until it ends and its failure is counted, those beside it must reckon
/// with it, so that guesses made at the same time cannot pass a limit together (CWE-307).
pub struct BeingTried<'c> {
    cache: &'c Cache,
    key: String,
    /// How many others are being tried under the same name.
    pub others: u32,
    stays: bool,
}

impl<'c> BeingTried<'c> {
    /// Begins a try under `name`.
    pub fn begin(cache: &'c Cache, name: &Digest) -> Self {
        let key = format!("countersign:login_tries:{}", encode_base64url(name.as_bytes()));
        let others = u32::try_from(cache.add(&key, 1, LONGEST_TRY) - 1).unwrap_or(0);
        Self { cache, key, others, stays: false }
    }

    /// Leaves the try counted until it is forgotten: how it ended could not be written down.
    pub fn leave(mut self) {
        self.stays = true;
    }
}

impl Drop for BeingTried<'_> {
    fn drop(&mut self) {
        if !self.stays {
            take_back(self.cache, &self.key, LONGEST_TRY);
        }
    }
}

/// Takes one from a count, if it is there: below zero, it was forgotten meanwhile.
fn take_back(cache: &Cache, key: &str, window: Duration) {
    if cache.add(key, -1, window) < 0 {
        cache.add(key, 1, window);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};
    use crate::settings::CacheUrl;

    #[test]
    fn an_address_counts_as_its_network() {
        let network = |text: &str| Network::of(text.parse().unwrap()).to_string();
        assert_eq!(network("192.0.2.77"), "192.0.2.0/24");
        assert_eq!(network("::ffff:192.0.2.77"), "192.0.2.0/24");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
    }

    #[test]
    fn failures_from_a_network_are_limited_and_successes_are_not() {
        let clock = Clock::manual(Timestamp::from_micros(0));
        let cache = Cache::open(&CacheUrl::Memory, &clock).unwrap();
        let rule = AddressFailures { allowed: 2 };
        let (here, there) = (Network::of([192, 0, 2, 1].into()), Network::of([198, 51, 100, 1].into()));
        for _ in 0..10 {
            rule.reserve(&cache, here).unwrap();
            rule.refund(&cache, here);
        }
        assert!(rule.reserve(&cache, here).is_ok() && rule.reserve(&cache, here).is_ok());
        assert!(rule.reserve(&cache, here).is_err());
        assert!(rule.reserve(&cache, there).is_ok());
        clock.advance(MINUTE);
        assert!(rule.reserve(&cache, here).is_ok());
    }

    #[test]
    fn requests_that_wait_are_limited_by_network_and_altogether() {
        let clock = Clock::manual(Timestamp::from_micros(0));
        let cache = Cache::open(&CacheUrl::Memory, &clock).unwrap();
        let rule = PerMinute { what: "requests", allowed: 2, allowed_everywhere: Some(5) };
        let network = |nth: u8| Network::of([192, 0, nth, 1].into());
        let mut admitted = 0;
        for nth in [0, 0, 0, 1, 1, 2, 3] {
            admitted += u32::from(rule.admit(&cache, network(nth)).is_ok());
        }
        assert_eq!(admitted, 5, "two, two and one");
        clock.advance(MINUTE);
        assert!(rule.admit(&cache, network(0)).is_ok());
    }

    #[test]
    fn one_household_has_many_networks_and_counts_as_one_site() {
        let clock = Clock::manual(Timestamp::from_micros(0));
        let cache = Cache::open(&CacheUrl::Memory, &clock).unwrap();
        let rule = PerMinute { what: "requests", allowed: 2, allowed_everywhere: None };
        let network = |site: u16, nth: u16| Network::of(Ipv6Addr::new(0x2001, 0xdb8, site, nth, 0, 0, 0, 1).into());
        let admitted = (0..256).filter(|nth| rule.admit(&cache, network(1, *nth)).is_ok()).count();
        assert_eq!(admitted, 8, "four networks' worth");
        assert!(rule.admit(&cache, network(2, 0)).is_ok(), "the neighbour");
    }

    #[test]
    fn guesses_from_the_networks_of_one_site_count_together() {
        let clock = Clock::manual(Timestamp::from_micros(0));
        let cache = Cache::open(&CacheUrl::Memory, &clock).unwrap();
        let network = |site: u16, nth: u16| Network::of(Ipv6Addr::new(0x2001, 0xdb8, site, nth, 0, 0, 0, 1).into());
        let failures = AddressFailures { allowed: 2 };
        let codes = UserCodeGuesses { allowed: 2, allowed_everywhere: 100 };
        for nth in 0..256 {
            // What was right counts for nobody.
            failures.reserve(&cache, network(1, nth)).unwrap();
            failures.refund(&cache, network(1, nth));
            codes.reserve(&cache, network(1, nth)).unwrap();
            codes.refund(&cache, network(1, nth));
        }
        let tried = |nth: u16| {
            let (here, refused) = (network(1, nth), failures.reserve(&cache, network(1, nth)).is_err());
            // A log-in that was refused is not counted.
            if refused {
                failures.refund(&cache, here);
            }
            !refused
        };
        assert_eq!((0..256).filter(|nth| tried(*nth)).count(), 8, "four networks' worth");
        let typed = (0..256).filter(|nth| codes.reserve(&cache, network(1, *nth)).is_ok()).count();
        assert_eq!(typed, 8, "four networks' worth");
        assert!(failures.reserve(&cache, network(2, 0)).is_ok() && codes.reserve(&cache, network(2, 0)).is_ok());
        clock.advance(MINUTE);
        assert!(failures.reserve(&cache, network(1, 9)).is_ok() && codes.reserve(&cache, network(1, 9)).is_ok());
    }

    #[test]
    fn a_flood_of_one_thing_closes_no_other() {
        let clock = Clock::manual(Timestamp::from_micros(0));
        let cache = Cache::open(&CacheUrl::Memory, &clock).unwrap();
        let rule = |what| PerMinute { what, allowed: 1, allowed_everywhere: Some(3) };
        let (flooded, other) = (rule("flooded"), rule("other"));
        let admitted = |nth: u8| flooded.admit(&cache, Network::of([192, 0, nth, 1].into())).is_ok();
        assert_eq!((0..9).filter(|nth| admitted(*nth)).count(), 3);
        assert!(other.admit(&cache, Network::of([192, 0, 0, 1].into())).is_ok());
    }
}
