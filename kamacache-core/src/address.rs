//! Member addresses in their one canonical form (S4): `host:port`, lower case,
//! IPv6 in brackets as RFC 5952 writes it. Names are never resolved for
//! identity; `listen` and `peers` also take a range of ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::quote::quoted;
use crate::{Error, Result};

/// The widest range of ports one entry may name.
const MAX_RANGE: usize = 1024;

/// A checked `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Ip(IpAddr),
    Name(String),
}

impl Address {
    /// One address. Port 0 is allowed here: only an advertised address may not
    /// have it.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match Self::parse_range(text)?.as_slice() {
            [one] => Ok(one.clone()),
            _ => Err(malformed(text, "a range of ports is not one address")),
        }
    }

    /// One address, or `host:first-last`.
    pub(crate) fn parse_range(text: &str) -> Result<Vec<Self>> {
        let (host, ports) = text
            .rsplit_once(':')
            .ok_or_else(|| malformed(text, "the port is missing"))?;
        let host = Host::parse(text, host)?;
        let (first, last) = match ports.split_once('-') {
            None => (port(text, ports)?, port(text, ports)?),
            Some((first, last)) => (port(text, first)?, port(text, last)?),
        };
        if last < first || usize::from(last - first) >= MAX_RANGE {
            return Err(malformed(
                text,
                &format!("a range goes up and has at most {MAX_RANGE} ports"),
            ));
        }
        if first == 0 && last != 0 {
            return Err(malformed(text, "a range starts at port 1 or above"));
        }
        Ok((first..=last)
            .map(|port| Self {
                host: host.clone(),
                port,
            })
            .collect())
    }

    pub(crate) fn with_port(&self, port: u16) -> Self {
        Self {
            host: self.host.clone(),
            port,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The host, where it is a name.
    #[cfg_attr(not(feature = "admin"), allow(dead_code))]
    pub(crate) fn name(&self) -> Option<&str> {
        match &self.host {
            Host::Name(name) => Some(name),
            Host::Ip(_) => None,
        }
    }

    /// `0.0.0.0` or `::`, which nobody can dial.
    pub(crate) fn is_unspecified(&self) -> bool {
        matches!(self.host, Host::Ip(ip) if ip.is_unspecified())
    }

    /// Only this machine can dial it.
    pub(crate) fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Ip(ip) => ip.is_loopback(),
            Host::Name(name) => name == "localhost" || name.ends_with(".localhost"),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}:{}", self.port),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl Host {
    fn parse(text: &str, host: &str) -> Result<Self> {
        if let Some(inner) = host.strip_prefix('[') {
            let inner = inner
                .strip_suffix(']')
                .ok_or_else(|| malformed(text, "the bracket of an IPv6 address is not closed"))?;
            let ip = Ipv6Addr::from_str(inner)
                .map_err(|_| malformed(text, "what stands in brackets is not an IPv6 address"))?;
            return Ok(Self::Ip(IpAddr::V6(ip)));
        }
        if host.contains(':') {
            return Err(malformed(
                text,
                "an IPv6 address stands in brackets: [::1]:8001",
            ));
        }
        if let Ok(ip) = Ipv4Addr::from_str(host) {
            return Ok(Self::Ip(IpAddr::V4(ip)));
        }
        let name = host.to_ascii_lowercase();
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let label = |l: &str| !l.is_empty() && l.len() <= 63;
        if name.is_empty()
            || name.len() > 253
            || !name.chars().all(legal)
            || !name.split('.').all(label)
        {
            return Err(malformed(
                text,
                "the host is neither an IP address nor a DNS name",
            ));
        }
        if name
            .rsplit('.')
            .next()
            .is_some_and(|l| l.chars().all(|c| c.is_ascii_digit()))
        {
            return Err(malformed(
                text,
                "the host looks like an IPv4 address but is none",
            ));
        }
        Ok(Self::Name(name))
    }
}

fn port(text: &str, port: &str) -> Result<u16> {
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| port.parse().ok())
        .flatten()
        .ok_or_else(|| malformed(text, "the port is not a number from 0 to 65535"))
}

/// A URL in place of an address may carry a user and a password.
fn malformed(text: &str, why: &str) -> Error {
    let shown = match text.rsplit_once('@') {
        Some((_, host)) => format!("***@{host}"),
        None => text.to_owned(),
    };
    Error::invalid_argument(format!(
        "address {} is malformed: {why}; write host:port, as 127.0.0.1:8001 or [::1]:8001",
        quoted(&shown)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s04_addresses_are_canonical() {
        for (text, canonical) in [
            ("127.0.0.1:8001", "127.0.0.1:8001"),
            ("Cache-1.EXAMPLE.com:80", "cache-1.example.com:80"),
            ("[2001:DB8:0:0::1]:8001", "[2001:db8::1]:8001"),
            ("[::1]:0", "[::1]:0"),
            ("localhost:08001", "localhost:8001"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), canonical);
        }
    }

    #[test]
    fn s04_malformed_addresses_name_the_text_and_the_rule() {
        for text in [
            "",
            ":",
            "8001",
            "localhost",
            "localhost:",
            "localhost:x",
            "localhost:65536",
            "::1:8001",
            "[::1:8001",
            "[nope]:1",
            "a b:1",
            "256.0.0.1:1",
            "h..x:1",
            "h:1-0",
            "h:0-3",
            "h:1-5000",
            "h:+1",
        ] {
            let error = Address::parse_range(text).unwrap_err();
            assert!(error.message().contains(&format!("{text:?}")), "{error}");
            assert!(error.message().contains("host:port"), "{error}");
        }
    }

    #[test]
    fn an_error_repeats_no_password_of_a_url() {
        let error = Address::parse("http://me:hush@h:x").unwrap_err();
        assert!(!error.message().contains("hush"), "{error}");
        assert!(error.message().contains("***@h:x"), "{error}");
    }

    #[test]
    fn ranges_name_each_port() {
        let all = Address::parse_range("127.0.0.1:8001-8003").unwrap();
        let all: Vec<String> = all.iter().map(Address::to_string).collect();
        assert_eq!(all, ["127.0.0.1:8001", "127.0.0.1:8002", "127.0.0.1:8003"]);
        assert!(Address::parse("127.0.0.1:8001-8003").is_err());
    }
}
