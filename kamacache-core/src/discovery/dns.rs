//! `dns://NAME:PORT`: the addresses that a name has, each with this port, as a
//! headless service of Kubernetes or a DNS server gives them; with a name that
//! begins with an underscore its SRV records, which carry their ports.
//!
//! Asked again when the records' time to live is over, but not more often than
//! every `interval`, and not later than after `max_ttl`: records with a time to
//! live of a day must not hide a new member for a day. What cannot be resolved
//! is an outage: the last list stays.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{RData, RecordType};

use super::entries::Entries;
use super::url::Url;
use super::{Discovery, Lists};
use crate::{Error, ErrorKind, Result};

const PARAMETERS: &[&str] = &["interval", "max_ttl", "server"];
const INTERVAL: Duration = Duration::from_secs(5);
const MAX_TTL: Duration = Duration::from_secs(60);
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(3600);
/// For one attempt; there are two, and then TCP.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Dns {
    name: String,
    records: Records,
    interval: Duration,
    /// The longest time to live that is honoured.
    max_ttl: Duration,
    /// Empty: those of the system.
    servers: Vec<SocketAddr>,
}

#[derive(Debug)]
enum Records {
    Addresses { port: u16 },
    Services,
}

/// What was found, and how long that stands.
struct Found {
    members: Vec<String>,
    ttl: Duration,
}

impl Dns {
    pub(crate) fn open(url: &str, rest: &str) -> Result<Self> {
        let url = Url::parse(url, rest, PARAMETERS)?;
        let (name, records) = target(&url)?;
        let servers = url.parameters("server").map(|text| {
            let address = text.parse::<SocketAddr>();
            let alone = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
            address.or(alone).map_err(|_| {
                url.wrong(&format!(
                    "server {text:?} is no address; write it as 10.0.0.2:53"
                ))
            })
        });
        Ok(Self {
            name,
            records,
            interval: url.duration("interval", INTERVAL, SHORTEST, LONGEST)?,
            max_ttl: url.duration("max_ttl", MAX_TTL, SHORTEST, LONGEST)?,
            servers: servers.collect::<Result<_>>()?,
        })
    }

    /// Without a cache: the records' times decide when to ask again.
    fn resolver(&self) -> Result<TokioResolver, NetError> {
        let mut builder = if self.servers.is_empty() {
            TokioResolver::builder_tokio()?
        } else {
            let servers = self.servers.iter().map(name_server).collect();
            let config = ResolverConfig::from_name_servers(servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.cache_size = 0;
        options.timeout = PATIENCE;
        options.attempts = 2;
        options.use_hosts_file = ResolveHosts::Never;
        builder.build()
    }

    async fn ask(&self, resolver: &TokioResolver, family: Family) -> Result<Found, NetError> {
        let Records::Addresses { port } = self.records else {
            let lookup = resolver.lookup(&*self.name, RecordType::SRV).await?;
            return Ok(found(&lookup, service));
        };
        let of = |lookup: &Lookup| found(lookup, |data| address(data, port));
        let v4 = async || resolver.lookup(&*self.name, RecordType::A).await;
        let v6 = async || resolver.lookup(&*self.name, RecordType::AAAA).await;
        match family {
            Family::V4 => v4().await.map(|lookup| of(&lookup)),
            Family::V6 => v6().await.map(|lookup| of(&lookup)),
            Family::Any => match v4().await {
                Err(error) if is_empty(&error) => v6().await.map(|lookup| of(&lookup)),
                lookup => lookup.map(|lookup| of(&lookup)),
            },
        }
    }

    fn failed(&self, error: &NetError) -> Error {
        let kind = match self.records {
            Records::Addresses { .. } => "addresses",
            Records::Services => "SRV records",
        };
        let (failure, why) = if is_empty(error) {
            (ErrorKind::NotFound, "there are none".to_owned())
        } else {
            (ErrorKind::Unavailable, error.to_string())
        };
        Error::new(
            failure,
            format!(
                "the {kind} of {:?} cannot be had from DNS: {why}; the last list stays",
                self.name
            ),
        )
    }
}

/// The name and what to ask for it.
fn target(url: &Url) -> Result<(String, Records)> {
    const FORM: &str = "write it as dns://NAME:PORT, or as dns://_SERVICE._tcp.NAME for SRV records, which carry their ports";
    let (name, port) = match url.authority.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (&*url.authority, None),
    };
    let legal = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if name.is_empty() || !name.chars().all(legal) || !url.path.is_empty() {
        return Err(url.wrong(&format!("{name:?} is no DNS name; {FORM}")));
    }
    let records = match (name.starts_with('_'), port) {
        (true, None) => Records::Services,
        (false, Some(port)) => match port.parse() {
            Ok(port @ 1..) => Records::Addresses { port },
            _ => return Err(url.wrong(&format!("{port:?} is no port; {FORM}"))),
        },
        (true, Some(_)) => return Err(url.wrong(&format!("SRV records need no port; {FORM}"))),
        (false, None) => return Err(url.wrong(&format!("the port is missing; {FORM}"))),
    };
    Ok((name.to_owned(), records))
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let on_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    NameServerConfig::new(
        address.ip(),
        true,
        connections.into_iter().map(on_port).collect(),
    )
}

/// Which addresses can be this cluster's: those of the kind that this node
/// advertises, because a name may have both kinds for each node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
    /// This node advertises a name.
    Any,
}

impl Family {
    fn of(me: &str) -> Self {
        match me.parse::<SocketAddr>() {
            Ok(SocketAddr::V4(_)) => Self::V4,
            Ok(SocketAddr::V6(_)) => Self::V6,
            Err(_) => Self::Any,
        }
    }
}

fn found(lookup: &Lookup, member: impl Fn(&RData) -> Option<String>) -> Found {
    let answers = lookup.answers();
    let ttl = answers.iter().map(|record| record.ttl).min().unwrap_or(0);
    Found {
        members: answers
            .iter()
            .filter_map(|record| member(&record.data))
            .collect(),
        ttl: Duration::from_secs(ttl.into()),
    }
}

fn address(data: &RData, port: u16) -> Option<String> {
    let ip: IpAddr = match data {
        RData::A(address) => address.0.into(),
        RData::AAAA(address) => address.0.into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port).to_string())
}

fn service(data: &RData) -> Option<String> {
    let RData::SRV(service) = data else {
        return None;
    };
    let name = service.target.to_utf8();
    Some(format!("{}:{}", name.trim_end_matches('.'), service.port))
}

/// The server answered, and there is no such name or record.
fn is_empty(error: &NetError) -> bool {
    matches!(error, NetError::Dns(DnsError::NoRecordsFound(_)))
}

impl Discovery for Dns {
    fn watch(self: Arc<Self>, me: String) -> Lists {
        let asking = Asking {
            dns: self,
            family: Family::of(&me),
            entries: Entries::new("the DNS answer", &me),
            resolver: None,
            pause: Duration::ZERO,
        };
        Box::pin(futures_util::stream::unfold(
            asking,
            |mut asking| async move { Some((asking.next().await, asking)) },
        ))
    }
}

struct Asking {
    dns: Arc<Dns>,
    family: Family,
    entries: Entries,
    resolver: Option<TokioResolver>,
    pause: Duration,
}

impl Asking {
    async fn next(&mut self) -> Result<Vec<String>> {
        tokio::time::sleep(self.pause).await;
        self.pause = self.dns.interval;
        match self.ask().await {
            Ok(found) => {
                self.pause = self.pause.max(found.ttl.min(self.dns.max_ttl));
                let name = self.dns.name.as_bytes();
                let entries = found.members.iter().map(|member| (name, &**member));
                Ok(self.entries.members(entries))
            }
            Err(error) => {
                // The system's servers may be others by now.
                self.resolver = None;
                Err(self.dns.failed(&error))
            }
        }
    }

    async fn ask(&mut self) -> Result<Found, NetError> {
        let resolver = match &mut self.resolver {
            Some(resolver) => resolver,
            none => none.insert(self.dns.resolver()?),
        };
        self.dns.ask(resolver, self.family).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(url: &str) -> Result<Dns> {
        Dns::open(url, url.strip_prefix("dns:").unwrap())
    }

    #[test]
    fn a_url_says_what_is_asked_whom_and_how_often() {
        let dns =
            open("dns://kama.example:8001?interval=250ms&server=10.0.0.2,[::1]:5353").unwrap();
        assert_eq!(dns.name, "kama.example");
        assert!(matches!(dns.records, Records::Addresses { port: 8001 }));
        assert_eq!(dns.interval, Duration::from_millis(250));
        let servers: Vec<String> = dns.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.2:53", "[::1]:5353"]);
        let dns = open("dns://_kama._tcp.example").unwrap();
        assert!(matches!(dns.records, Records::Services));
        assert_eq!((dns.interval, dns.max_ttl), (INTERVAL, MAX_TTL));
    }

    #[test]
    fn a_wrong_url_says_how_to_write_it() {
        for (wrong, named) in [
            ("dns://", "dns://NAME:PORT"),
            ("dns://name", "port is missing"),
            ("dns://name:0", "\"0\""),
            ("dns://name:http", "\"http\""),
            ("dns://_kama._tcp.x:80", "no port"),
            ("dns://na me:80", "na me"),
            ("dns://name:80/path", "DNS name"),
            ("dns://name:80?server=ns1", "\"ns1\""),
            ("dns://name:80?interval=1ms", "1ms"),
            ("dns://name:80?max_ttl=1d", "max_ttl"),
            ("dns://name:80?interval=often", "often"),
            ("dns://name:80?every=1s", "interval, max_ttl, server"),
        ] {
            let error = open(wrong).unwrap_err();
            assert!(error.message().contains(named), "{error}");
            // What is not known may be a secret.
            let shown = wrong.replace("every=1s", "every=***");
            assert!(error.message().contains(&shown), "{error}");
        }
    }

    #[test]
    fn the_address_that_a_node_advertises_says_which_kind_it_looks_for() {
        assert_eq!(Family::of("10.0.0.1:80"), Family::V4);
        assert_eq!(Family::of("[fe80::1]:80"), Family::V6);
        assert_eq!(Family::of("node-1:80"), Family::Any);
    }
}
