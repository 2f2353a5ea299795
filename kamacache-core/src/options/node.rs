//! The rules of a node's options, and the defaults of those that are not set.

use std::sync::Arc;
use std::time::Duration;

use super::{NodeOptions, member_list};
use crate::address::Address;
use crate::discovery::{self, Discovery, Source};
use crate::peers::link::Times;
use crate::peers::token::Token;
use crate::security::tls::Tls;
use crate::units::bounded;
use crate::{Error, Result};

/// A node's options, checked and complete.
#[derive(Clone, Debug)]
pub(crate) struct NodeConfig {
    /// The addresses to try, first to last; empty: no network.
    pub(crate) listen: Vec<Address>,
    /// The same for the admin HTTP.
    #[cfg_attr(not(feature = "admin"), allow(dead_code))]
    pub(crate) admin: Vec<Address>,
    /// By which names it may be asked, in lower case.
    #[cfg_attr(not(feature = "admin"), allow(dead_code))]
    pub(crate) admin_hosts: Vec<String>,
    pub(crate) advertise: Option<Address>,
    pub(crate) peers: Vec<String>,
    pub(crate) default_timeout: Duration,
    pub(crate) cluster: String,
    pub(crate) times: Times,
    pub(crate) source: Option<Arc<dyn Discovery>>,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) token: Option<Token>,
    pub(crate) remove_grace: Duration,
    pub(crate) warm_window: Duration,
    pub(crate) drain: Duration,
    pub(crate) getter_threads: usize,
}

impl NodeConfig {
    /// A previous owner answers from memory: 10 ms by default, and longer where
    /// the network is known to be slow.
    pub(crate) fn take_timeout(&self) -> Duration {
        self.times.suspect_after / 100
    }

    pub(crate) fn check(mut options: NodeOptions) -> Result<Self> {
        refuse_unavailable(&options)?;
        let source = source(&mut options)?;
        let listen = match &options.listen {
            Some(listen) => Address::parse_range(listen)?,
            None => Vec::new(),
        };
        if listen.is_empty() && !options.peers.is_empty() {
            return Err(Error::invalid_argument(format!(
                "peers {:?} are given but no listen address: peers could not reach this node; set listen",
                options.peers
            )));
        }
        if listen.is_empty() && source.is_some() {
            return Err(Error::invalid_argument(
                "discovery is given but no listen address: peers could not reach this node; set listen",
            ));
        }
        if let (true, Some(advertise)) = (listen.is_empty(), &options.advertise) {
            return Err(Error::invalid_argument(format!(
                "advertise {advertise:?} is given but no listen address; set listen"
            )));
        }
        let advertise = options
            .advertise
            .as_deref()
            .map(Address::parse)
            .transpose()?;
        let admin = match &options.admin_listen {
            Some(admin) => admin_addresses(admin)?,
            None => Vec::new(),
        };
        let admin_hosts = admin_hosts(&options)?;
        let tls = options.tls.as_ref().map(Tls::load).transpose()?;
        let token = Token::of(
            options.cluster_token.as_deref(),
            options.cluster_token_file.as_deref(),
        )?;
        let positive = |name: &str, value: Option<Duration>, default: Duration| match value {
            Some(Duration::ZERO) => Err(Error::invalid_argument(format!(
                "{name} is 0; it must be above 0"
            ))),
            value => Ok(bounded(value.unwrap_or(default))),
        };
        Ok(Self {
            listen,
            admin,
            admin_hosts,
            advertise,
            peers: options.peers,
            default_timeout: positive(
                "default_timeout",
                options.default_timeout,
                Duration::from_secs(5),
            )?,
            cluster: options.cluster.unwrap_or_else(|| "default".to_owned()),
            times: Times {
                connect_timeout: positive(
                    "connect_timeout",
                    options.connect_timeout,
                    Duration::from_secs(1),
                )?,
                heartbeat: positive("heartbeat", options.heartbeat, Duration::from_millis(500))?,
                suspect_after: positive(
                    "suspect_after",
                    options.suspect_after,
                    Duration::from_secs(1),
                )?,
                probe_interval: positive(
                    "probe_interval",
                    options.probe_interval,
                    Duration::from_secs(1),
                )?,
            },
            source,
            tls: tls.map(Arc::new),
            token,
            remove_grace: bounded(options.remove_grace.unwrap_or(Duration::from_secs(10))),
            warm_window: bounded(options.warm_window.unwrap_or(Duration::from_secs(30))),
            getter_threads: threads_within(
                "getter_threads",
                options.getter_threads,
                RUST_GETTER_THREADS,
            )?,
            drain: bounded(options.drain.unwrap_or(Duration::from_secs(5))),
        })
    }

    /// Everything that a start refuses before it takes an address, for those
    /// who only ask.
    ///
    /// # Errors
    /// InvalidArgument, as [`Node::start`](crate::Node::start).
    pub(crate) fn check_start(&self) -> Result<()> {
        // Of a range any address may be the one that is free.
        let mut joined = self.listen.iter().map(|bound| self.joined(bound));
        match joined.next() {
            None | Some(Ok(_)) => Ok(()),
            Some(Err(error)) if joined.all(|other| other.is_err()) => Err(error),
            Some(Err(_)) => Ok(()),
        }
    }

    /// What peers dial, once the listener is bound: it can be dialled, and is
    /// among the peers, if there are any.
    pub(crate) fn joined(&self, bound: &Address) -> Result<Address> {
        let me = self.advertised(bound)?;
        if !self.peers.is_empty() {
            member_list(Some(&me), &self.peers)?;
        }
        Ok(me)
    }

    fn advertised(&self, bound: &Address) -> Result<Address> {
        let address = match &self.advertise {
            None => bound.clone(),
            Some(given) => given.clone(),
        };
        // The port of a bound address is known when it is bound.
        if self.advertise.is_some() && address.port() == 0 {
            return Err(Error::invalid_argument(format!(
                "advertised address {address} has port 0, nobody can dial it; set advertise to a port that reaches this node"
            )));
        }
        if address.is_unspecified() {
            return Err(Error::invalid_argument(format!(
                "advertised address {address} is unspecified, nobody can dial it; set advertise to this host's own address"
            )));
        }
        Ok(address)
    }
}

/// Where the admin HTTP may listen; without a host, on loopback.
fn admin_addresses(text: &str) -> Result<Vec<Address>> {
    let addresses = match text.starts_with(':') {
        true => Address::parse_range(&format!("127.0.0.1{text}")),
        false => Address::parse_range(text),
    };
    addresses.map_err(|error| Error::invalid_argument(format!("admin_listen: {}", error.message())))
}

/// Names without ports, as a `Host` header carries them.
fn admin_hosts(options: &NodeOptions) -> Result<Vec<String>> {
    let hosts = &options.admin_hosts;
    if options.admin_listen.is_none() && !hosts.is_empty() {
        return Err(Error::invalid_argument(format!(
            "admin_hosts {hosts:?} are given but no admin_listen address; set admin_listen"
        )));
    }
    let name = |host: &String| {
        let address = Address::parse(&format!("{host}:1")).ok();
        let name = address.and_then(|address| address.name().map(str::to_owned));
        name.ok_or_else(|| {
            Error::invalid_argument(format!(
                "admin_hosts: {host:?} is no host name; write it as metrics.example.com, without a port (IP addresses are always answered)"
            ))
        })
    };
    hosts.iter().map(name).collect()
}

/// What finds the members; a static list becomes the peers.
fn source(options: &mut NodeOptions) -> Result<Option<Arc<dyn Discovery>>> {
    let given = options.discovery.is_some() || options.custom_discovery.is_some();
    if given && !options.peers.is_empty() {
        return Err(Error::invalid_argument(format!(
            "peers {:?} and discovery are both given; leave one unset",
            options.peers
        )));
    }
    match (&options.discovery, options.custom_discovery.take()) {
        (Some(url), Some(_)) => Err(Error::invalid_argument(format!(
            "discovery {:?} and custom_discovery are both given; leave one unset",
            discovery::shown(url)
        ))),
        (None, custom) => Ok(custom),
        (Some(url), None) => match discovery::open(url)? {
            Source::Watched(source) => Ok(Some(source)),
            Source::Static(peers) => {
                options.peers = peers;
                Ok(None)
            }
        },
    }
}

/// Runtime sizes for the bindings: (io threads, getter threads).
pub(crate) fn threads(options: &NodeOptions) -> Result<(usize, usize)> {
    Ok((
        threads_within("io_threads", options.io_threads, 1)?,
        threads_within("getter_threads", options.getter_threads, 16)?,
    ))
}

/// In Rust as many as tokio has for blocking calls.
const RUST_GETTER_THREADS: usize = 512;

fn threads_within(name: &str, value: Option<usize>, default: usize) -> Result<usize> {
    match value.unwrap_or(default) {
        count @ 1..=1024 => Ok(count),
        count => Err(Error::invalid_argument(format!(
            "{name} is {count}; it must be from 1 to 1024"
        ))),
    }
}

fn refuse_unavailable(options: &NodeOptions) -> Result<()> {
    let unavailable = [(
        "admin_listen",
        options.admin_listen.is_some() && cfg!(not(feature = "admin")),
    )];
    match unavailable.iter().find(|(_, set)| *set) {
        None => Ok(()),
        Some((name, _)) => Err(Error::invalid_argument(format!(
            "option {name} is not available in version {}; leave it unset",
            crate::VERSION
        ))),
    }
}
