//! The list of `NO_PROXY`: the servers that are reached without a proxy.
//!
//! In go the list and the address of a server, out comes whether the list names that server, by the rules of Go's
//! `golang.org/x/net/http/httpproxy`, which kubectl and client-go follow. Entries that cannot be read are ignored.

use std::net::IpAddr;

use ipnet::IpNet;

/// Returns true if an entry of the list names the server.
pub(super) fn lists(list: &str, host: &str, port: u16) -> bool {
    let host = host.to_ascii_lowercase();
    let address = host.parse::<IpAddr>().ok().map(|it| it.to_canonical());
    let entries = list.split(',').map(|entry| entry.trim().to_ascii_lowercase());
    entries.filter(|entry| !entry.is_empty()).any(|entry| matches(&entry, &host, address, port))
}

fn matches(entry: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if let Ok(network) = entry.parse::<IpNet>() {
        return address.is_some_and(|address| network.contains(&address));
    }
    let (name, entry_port) = split_port(entry);
    if !entry_port.is_empty() && entry_port != port.to_string() {
        return false;
    }
    match (name.parse::<IpAddr>(), address) {
        (Ok(listed), Some(address)) => listed.to_canonical() == address,
        (Ok(_), None) | (Err(_), Some(_)) => false,
        (Err(_), None) => is_domain_of(name, host),
    }
}

/// Splits `host:port` and `[address]:port`; the port is empty where there is none.
fn split_port(entry: &str) -> (&str, &str) {
    match entry.rsplit_once(':') {
        Some((host, port)) if host.starts_with('[') && host.ends_with(']') => {
            (&host[1..host.len() - 1], port)
        }
        Some((host, port)) if !host.contains(':') => (host, port),
        _ => (entry, ""),
    }
}

/// Returns true for a host of the domain. A name stands for itself and its subdomains, and one with a leading dot
/// or `*.` for its subdomains alone.
fn is_domain_of(domain: &str, host: &str) -> bool {
    let domain = domain.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(domain);
    if domain.is_empty() {
        return false;
    }
    if domain.starts_with('.') {
        return host.ends_with(domain);
    }
    host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(list: &str, listed: &[&str], others: &[&str]) {
        for (servers, expect) in [(listed, true), (others, false)] {
            for server in servers {
                let (host, port) = split_port(server);
                let port = if port.is_empty() { 443 } else { port.parse().expect("a port") };
                assert_eq!(lists(list, host, port), expect, "{server} in {list:?}");
            }
        }
    }

    #[test]
    fn empty_list_names_no_server() {
        for list in ["", " , ,", ":", ":443", "[", "foo bar", "[::1"] {
            check(list, &[], &["a.example.com", "10.0.0.1", "[::1]:443"]);
        }
    }

    #[test]
    fn asterisk_alone_names_every_server() {
        check("a, * ,b", &["c.example.com", "10.0.0.1"], &[]);
        check("*a", &[], &["a", "ba"]);
    }

    #[test]
    fn domain_names_itself_and_its_subdomains() {
        check("Example.COM", &["example.com", "API.example.com:6443"], &["badexample.com", "com"]);
        for list in [".example.com", "*.example.com"] {
            check(list, &["a.example.com", "b.a.example.com:6443"], &["example.com", "aexample.com"]);
        }
    }

    #[test]
    fn port_of_an_entry_must_be_equal() {
        check("example.com:6443", &["example.com:6443", "a.example.com:6443"], &["example.com"]);
        check(
            "10.0.0.1:443,[fd00::1]:6443",
            &["10.0.0.1", "[fd00::1]:6443"],
            &["10.0.0.1:6443", "[fd00::1]:443"],
        );
        check("example.com:,example.org:https", &["example.com:6443"], &["example.org"]);
    }

    #[test]
    fn network_names_addresses_alone() {
        check(
            "10.1.2.3/8, fd00::/8",
            &["10.255.0.1:6443", "[fd12::1]:6443"],
            &["11.0.0.1", "10.example.com"],
        );
        check("10.0.0.1", &["10.0.0.1", "[::ffff:10.0.0.1]:443"], &["10.0.0.10", "a.10.0.0.1.example.com"]);
        check("0.0.0.1,.1", &[], &["10.0.0.1"]);
    }
}
