//! The key `network`: which addresses may be connected to. The rule looks at the address that is connected to, not at the name that led there:
//! a resolver of its own leaves only what is allowed of the addresses a name has, and a host that is an address is checked
//! before anything is sent. A connection that is used again led to an allowed address when it was made.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde::{Deserialize, Deserializer};

use crate::settings::OneOrMany;

const EXPECTED: &str = "expected \"any\", \"public\" or a list of address ranges, such as [\"10.0.0.0/8\"]";

/// Which addresses may be connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Everything but link-local and metadata addresses.
    #[default]
    Any,
    /// What IANA's registries call globally reachable.
    Public,
    /// These ranges.
    Listed(Arc<[IpNet]>),
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let refused = || serde::de::Error::custom(EXPECTED);
        match OneOrMany::<String>::deserialize(deserializer).map_err(|_| refused())? {
            OneOrMany::One(word) if word == "any" => Ok(Self::Any),
            OneOrMany::One(word) if word == "public" => Ok(Self::Public),
            // As the environment has a list; no word that is meant has a comma in it.
            OneOrMany::One(words) if words.contains(',') => {
                let ranges: Option<Arc<[IpNet]>> = words.split(',').map(parse_range).collect();
                ranges.map(Self::Listed).ok_or_else(refused)
            }
            OneOrMany::Many(list) if !list.is_empty() => {
                let ranges: Option<Arc<[IpNet]>> = list.iter().map(|range| parse_range(range)).collect();
                ranges.map(Self::Listed).ok_or_else(refused)
            }
            _ => Err(refused()),
        }
    }
}

/// A range, or one address.
fn parse_range(text: &str) -> Option<IpNet> {
    text.trim().parse().ok().or_else(|| text.trim().parse::<IpAddr>().ok().map(IpNet::from))
}

/// An address that a rule refuses: the rule, and not the address or its name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Link-local or metadata, and not listed.
    #[error("network refuses addresses in {0} ({1}) unless it lists them")]
    Guarded(&'static str, &'static str),
    /// Not public.
    #[error("network = \"public\" refuses addresses in {0} ({1})")]
    NotPublic(&'static str, &'static str),
    /// Outside of the list.
    #[error("network lists other addresses than this one")]
    NotListed,
}

impl Network {
    /// Whether this address may be connected to.
    pub fn check(&self, address: IpAddr) -> Result<(), Refusal> {
        let meant = meanings(address);
        let guarded = meant.iter().find_map(|address| range_of(*address, GUARDED));
        match self {
            Self::Any => guarded.map_or(Ok(()), |(range, why)| Err(Refusal::Guarded(range, why))),
            Self::Public => match guarded.or_else(|| meant.iter().find_map(|address| not_public(*address))) {
                Some((range, why)) => Err(Refusal::NotPublic(range, why)),
                None => Ok(()),
            },
            Self::Listed(ranges) => {
                let address = meant[0];
                let mut listing = ranges.iter().filter(|range| range.contains(&address));
                match guarded {
                    None => listing.next().map(|_| ()).ok_or(Refusal::NotListed),
                    // 0.0.0.0/0 is not how somebody asks for a metadata service.
                    Some((guard, why)) => {
                        let names_it =
                            listing.any(|range| parse_range(guard).is_some_and(|guard| guard.contains(range)));
                        if names_it { Ok(()) } else { Err(Refusal::Guarded(guard, why)) }
                    }
                }
            }
        }
    }

    /// Checks a host that is an address. Its many spellings are one by now: a URL was parsed.
    pub fn check_host(&self, url: &Url) -> Result<(), Refusal> {
        let host = url.host_str().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        host.parse().map_or(Ok(()), |address| self.check(address))
    }
}

/// Resolves names, and leaves only the addresses that the rule allows.
pub struct Resolver(pub Network);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let network = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(allowed(&network, found)?)
        })
    }
}

fn allowed(network: &Network, found: impl Iterator<Item = SocketAddr>) -> Result<Addrs, Refusal> {
    let mut refusal = None;
    let mut kept = vec![];
    for address in found {
        match network.check(address.ip()) {
            Ok(()) => kept.push(address),
            Err(refused) => refusal = refusal.or(Some(refused)),
        }
    }
    match refusal {
        Some(refusal) if kept.is_empty() => Err(refusal),
        _ => Ok(Box::new(kept.into_iter())),
    }
}

/// What an address may lead to: itself, or the IPv4 address within one that is a form of it. Where a network translates by
/// a form of its own, all that it may be.
fn meanings(address: IpAddr) -> Vec<IpAddr> {
    let IpAddr::V6(v6) = address else { return vec![address] };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match (a, b, c, d, e, f) {
        // Mapped, and the compatible ones of old, of which `::` and `::1` are none.
        (0, 0, 0, 0, 0, 0xffff) => vec![v4(g, h)],
        (0, 0, 0, 0, 0, 0) if (g, h) > (0, 1) => vec![v4(g, h)],
        // Mapped in the way of SIIT.
        (0, 0, 0, 0, 0xffff, 0) => vec![v4(g, h)],
        // NAT64, 6to4, Teredo.
        (0x64, 0xff9b, 0, 0, 0, 0) => vec![v4(g, h)],
        (0x2002, ..) => vec![v4(b, c)],
        (0x2001, 0, ..) => vec![v4(!g, !h)],
        // NAT64 of one's own (RFC 8215): with a prefix of 96 bits, or of 48, where eight bits stand between (RFC 6052).
        (0x64, 0xff9b, 1, ..) => vec![address, v4(g, h), v4(d, (e << 8) | (f >> 8))],
        // ISATAP (RFC 5214).
        (.., 0x0 | 0x200, 0x5efe) => vec![address, v4(g, h)],
        _ => vec![address],
    }
}

type Range = (&'static str, &'static str);

/// What no sink means: the neighbours on the wire, and the services that give credentials to whoever asks from inside of a
/// cloud's machine.
const GUARDED: &[Range] = &[
    ("169.254.0.0/16", "link-local and cloud metadata"),
    ("fe80::/10", "link-local"),
    ("fd00:ec2::/32", "cloud metadata"),
    ("192.0.0.192/32", "cloud metadata"),
    ("fd20:ce::254/128", "cloud metadata"),
    ("100.100.100.200/32", "cloud metadata"),
    ("168.63.129.16/32", "cloud metadata"),
];

/// IANA's special-purpose registries (iana-ipv4-special-registry, iana-ipv6-special-registry), where they do not say
/// "globally reachable", and multicast.
const NOT_PUBLIC: &[Range] = &[
    ("0.0.0.0/8", "this host"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "carrier's NAT"),
    ("127.0.0.0/8", "loopback"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "protocol assignments"),
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "6to4 relays"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "benchmarks"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved and broadcast"),
    ("::/128", "this host"),
    ("::1/128", "loopback"),
    ("2001::/23", "protocol assignments"),
    ("2001:db8::/32", "documentation"),
    ("3fff::/20", "documentation"),
    ("fc00::/7", "private"),
    ("fec0::/10", "private"),
    ("ff00::/8", "multicast"),
];

/// Parts of the above that the registries do call globally reachable.
const STILL_PUBLIC: &[Range] = &[
    ("192.0.0.9/32", "port control"),
    ("192.0.0.10/32", "TURN"),
    ("2001:1::1/128", "port control"),
    ("2001:1::2/128", "TURN"),
    ("2001:1::3/128", "service registration"),
    ("2001:3::/32", "AMT"),
    ("2001:4:112::/48", "AS112"),
    ("2001:20::/28", "ORCHIDv2"),
    ("2001:30::/28", "drone ids"),
];

fn not_public(address: IpAddr) -> Option<Range> {
    if range_of(address, STILL_PUBLIC).is_some() {
        return None;
    }
    // Of IPv6 only this part is given out at all; what is special outside of it need not be listed.
    let given_out = |v6: Ipv6Addr| v6.segments()[0] & 0xe000 == 0x2000;
    let unassigned =
        matches!(address, IpAddr::V6(v6) if !given_out(v6)).then_some(("::/0 outside of 2000::/3", "not public"));
    range_of(address, NOT_PUBLIC).or(unassigned)
}

fn range_of(address: IpAddr, ranges: &[Range]) -> Option<Range> {
    ranges.iter().copied().find(|(range, _)| parse_range(range).is_some_and(|range| range.contains(&address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(ranges: &[&str]) -> Network {
        Network::Listed(ranges.iter().map(|range| parse_range(range).unwrap()).collect())
    }

    fn allows(network: &Network, address: &str) -> bool {
        network.check(address.parse().unwrap()).is_ok()
    }

    #[test]
    fn every_range_of_the_tables_can_be_read() {
        for (range, _) in GUARDED.iter().chain(NOT_PUBLIC).chain(STILL_PUBLIC) {
            assert!(range.parse::<IpNet>().is_ok(), "{range}");
        }
    }

    #[test]
    fn public_is_what_the_registries_call_globally_reachable() {
        for address in "\
            0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.255.0.1 169.254.169.254 \
            172.16.0.1 172.31.255.255 192.0.0.8 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 \
            198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255 100.100.100.200 168.63.129.16 :: ::1 \
            ::ffff:10.0.0.1 ::127.0.0.1 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::169.254.169.254 \
            64:ff9b:1::1 2002:7f00:1:: 2002:a9fe:a9fe::1 2001:0:1:2:3:4:80ff:fffe 2001:2::1 2001:10::1 \
            2001:db8::1 3fff::1 5f00::1 100::1 fc00::1 fd00::1 fd00:ec2::254 fe80::1 febf::1 fec0::1 ff02::1 \
            4000::1"
            .split_whitespace()
        {
            assert!(!allows(&Network::Public, address), "{address}");
        }
        for address in "\
            1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.0 172.15.0.1 172.32.0.1 192.0.0.9 192.0.1.1 192.31.196.1 \
            192.52.193.1 192.175.48.1 223.255.255.255 2606:4700::1111 2001:200::1 2001:4860:4860::8888 \
            2001:3::1 2620:4f:8000::1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808:: 2001:0:1:2:3:4:f7f7:f7f7"
            .split_whitespace()
        {
            assert!(allows(&Network::Public, address), "{address}");
        }
    }

    #[test]
    fn any_still_refuses_link_local_and_metadata_addresses_in_every_wrapping() {
        for address in [
            "169.254.169.254",
            "169.254.0.1",
            "fe80::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::",
            "2001:0:1:2:3:4:5601:5601",
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:a9fe:a9:fe00::",
            "2001:470:1:2:0:5efe:169.254.169.254",
            "2001:470:1:2:200:5efe:169.254.169.254",
        ] {
            assert!(!allows(&Network::Any, address), "{address}");
            assert!(!allows(&listed(&["0.0.0.0/0", "::/0"]), address), "{address}: everything is not its name");
        }
        for address in ["127.0.0.1", "::1", "10.0.0.1", "fd00::1", "8.8.8.8"] {
            assert!(allows(&Network::Any, address), "{address}");
        }
        assert!(allows(&listed(&["169.254.169.254"]), "169.254.169.254"));
        assert!(allows(&listed(&["169.254.0.0/16"]), "::ffff:169.254.169.254"));
        assert!(!allows(&listed(&["169.254.169.254"]), "169.254.0.1"));
    }

    #[test]
    fn a_list_allows_what_it_names_and_nothing_else() {
        let network = listed(&["10.0.0.0/8", "fd00::/8", "192.0.2.7"]);
        for address in ["10.255.0.1", "fd12::1", "192.0.2.7", "::ffff:10.0.0.1"] {
            assert!(allows(&network, address), "{address}");
        }
        for address in ["11.0.0.1", "127.0.0.1", "8.8.8.8", "192.0.2.8", "::1"] {
            assert!(!allows(&network, address), "{address}");
        }
    }

    #[test]
    fn of_a_name_with_several_addresses_only_the_allowed_ones_are_left() {
        let found = || ["127.0.0.1:0", "8.8.8.8:0", "[::1]:0"].map(|a| a.parse::<SocketAddr>().unwrap()).into_iter();
        let kept: Vec<_> = allowed(&Network::Public, found()).unwrap().map(|a| a.ip().to_string()).collect();
        assert_eq!(kept, ["8.8.8.8"]);
        let refusal = allowed(&Network::Public, found().take(1)).err().unwrap();
        assert_eq!(refusal.to_string(), "network = \"public\" refuses addresses in 127.0.0.0/8 (loopback)");
    }

    #[test]
    fn a_rule_is_a_word_or_a_list_of_ranges() {
        let read = |text: &str| serde_json::from_str::<Network>(text);
        assert_eq!(read("\"any\"").unwrap(), Network::Any);
        assert_eq!(read("\"public\"").unwrap(), Network::Public);
        for list in ["[\"10.0.0.0/8\", \"::1\"]", "\"10.0.0.0/8, ::1\"", "\"['10.0.0.0/8', '::1']\""] {
            assert_eq!(read(list).unwrap(), listed(&["10.0.0.0/8", "::1"]), "{list}");
        }
        for wrong in ["\"private\"", "[]", "[\"10.0.0.0/33\"]", "[\"crm.example.com\"]", "\"10.0.0.0/8\"", "1"] {
            assert!(read(wrong).unwrap_err().to_string().contains("expected \"any\""), "{wrong}");
        }
    }
}
