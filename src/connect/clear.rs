//! Clear text: what is sent without TLS can be read by everybody on the way.

use std::net::IpAddr;

use reqwest::Url;

/// Endings of names that are given out inside of a network only.
const PRIVATE_NAMES: &[&str] =
    &["localhost", "local", "internal", "lan", "home.arpa", "test", "invalid", "svc", "intranet"];

/// Whether a URL leads over the open network without TLS. A loopback or private address is taken for near, and so is a name
/// without a dot, as services in a container's network have, or one that only a private network can know.
pub fn is_in_the_open(url: &Url) -> bool {
    if !matches!(url.scheme(), "http" | "nats") {
        return false;
    }
    let host = url.host_str().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).trim_end_matches('.');
    match host.parse::<IpAddr>() {
        Ok(address) => !is_near(address.to_canonical()),
        Err(_) => {
            let host = host.to_ascii_lowercase();
            let is_private = |ending: &&str| host.strip_suffix(*ending).is_some_and(|rest| rest.ends_with('.'));
            host.contains('.') && !PRIVATE_NAMES.iter().any(is_private)
        }
    }
}

fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            // Shared by a carrier, or by a VPN such as Tailscale (RFC 6598).
            let is_shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 0x40;
            v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified() || is_shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leaves_the_own_network_without_tls_is_in_the_open() {
        let open = |url: &str| is_in_the_open(&Url::parse(url).unwrap());
        for far in [
            "http://api.example.com/v1",
            "http://8.8.8.8",
            "nats://n.example.com:4222",
            "http://[2606:4700::1]/",
            "http://localhost.example.com",
            "http://172.32.0.1",
            "http://100.128.0.1",
        ] {
            assert!(open(far), "{far}");
        }
        for near in [
            "https://api.example.com",
            "tls://n.example.com",
            "http://127.0.0.1:8080",
            "http://localhost:1",
            "http://receiver:8080/x",
            "http://10.0.0.5",
            "http://192.168.1.1",
            "http://100.64.0.1",
            "http://[::1]/",
            "http://[fd00::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://crm.internal./x",
            "http://app.default.svc.cluster.local",
            "nats://nats:4222",
        ] {
            assert!(!open(near), "{near}");
        }
    }
}
