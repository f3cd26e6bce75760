//! Whose request it is, when proxies stand in between (ASVS 4.1.3).

use std::net::IpAddr;

use ipnet::IpNet;

/// The most entries of a chain that are looked at.
const MAX_HOPS: usize = 32;

/// The client's address: the nearest one in the chain that is no trusted proxy. `chain` is the configured header's
/// value as received, the nearest hop last. It is believed only as far as trusted proxies wrote it: anyone else's
/// header is ignored, and an entry that is no address ends the search.
pub(super) fn client_address(peer: IpAddr, chain: &[&str], trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let mut nearest = peer.to_canonical();
    let entries = chain.iter().rev().flat_map(|value| value.rsplit(',')).map(str::trim);
    for entry in entries.take(MAX_HOPS) {
        if !is_trusted(nearest) {
            break;
        }
        let Some(address) = parse_entry(entry) else { break };
        nearest = address;
    }
    nearest
}

/// An address with or without a port, an IPv6 one with or without brackets.
fn parse_entry(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(entry, |(address, _)| address);
    let parsed: Option<IpAddr> = bare.parse().ok();
    let with_port = || entry.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    parsed.or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_believed_as_far_as_trusted_proxies_wrote_it() {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].iter().map(|net| net.parse().unwrap()).collect();
        let cases: &[(&str, &[&str], &str)] = &[
            // An untrusted peer's header is ignored.
            ("192.0.2.1", &[], "192.0.2.1"),
            ("192.0.2.1", &["198.51.100.7"], "192.0.2.1"),
            ("192.0.2.1", &["10.0.0.1"], "192.0.2.1"),
            // A trusted peer's last entry counts, whatever stands before it.
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["1.1.1.1, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["junk, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["198.51.100.7, 10.0.0.2"], "198.51.100.7"),
            ("10.0.0.1", &["198.51.100.7,10.0.0.2,10.0.0.3"], "198.51.100.7"),
            ("10.0.0.1", &["198.51.100.7", "10.0.0.2"], "198.51.100.7"),
            // Ports and brackets.
            ("10.0.0.1", &["198.51.100.7:4711"], "198.51.100.7"),
            ("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", &["2001:db8::1"], "2001:db8::1"),
            ("fd00::1", &["2001:db8::1"], "2001:db8::1"),
            ("::ffff:10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["::ffff:198.51.100.7"], "198.51.100.7"),
            // Junk ends the search at the last address that is known.
            ("10.0.0.1", &["junk"], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7, junk, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["198.51.100.7, "], "10.0.0.1"),
            ("10.0.0.1", &["256.1.1.1"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7 ; x"], "10.0.0.1"),
            // Nobody but proxies: the farthest one.
            ("10.0.0.1", &["10.0.0.9, 10.0.0.8"], "10.0.0.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
        ];
        for (peer, chain, expected) in cases {
            let found = client_address(peer.parse().unwrap(), chain, &trusted);
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {chain:?}");
        }
        let endless = "10.0.0.2,".repeat(200) + "10.0.0.3";
        assert!(client_address("10.0.0.1".parse().unwrap(), &[&endless], &trusted).is_ipv4());
    }

    #[test]
    fn without_trusted_proxies_the_peer_is_the_client() {
        let peer: IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!(client_address(peer, &["198.51.100.7"], &[]), peer);
    }
}
