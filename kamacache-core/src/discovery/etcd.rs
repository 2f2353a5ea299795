//! `etcd://HOST:2379,HOST:2379/SERVICE`: a register in etcd. Each node puts its
//! address under a lease that it keeps alive, and watches those of the others:
//! key `/services/SERVICE/ADDRESS`, value the address, as KamaCache-Go does.
//!
//! One [`Session`] lasts as long as one connection: it grants a lease, puts the
//! key, lists, and watches from the revision of the list, so that nothing falls
//! between the two. Whatever ends it, the next one does all of that again, at
//! the next of the hosts.
//!
//! Invariant: a node that has left never registers again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    Certificate, Channel, Client, ConnectOptions, EventType, GetOptions, Identity, KeyValue,
    LeaseKeepAliveStream, LeaseKeeper, PutOptions, TlsOptions, WatchOptions, WatchStream,
};
use parking_lot::Mutex;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tonic::transport::Endpoint;

use super::entries::Entries;
use super::url::Url;
use super::{Discovery, Lists};
use crate::address::Address;
use crate::getter::BoxFuture;
use crate::{Error, ErrorKind, Result};

const PARAMETERS: &[&str] = &[
    "ttl",
    "user",
    "password",
    "password_file",
    "ca",
    "cert",
    "key",
];
const TTL: Duration = Duration::from_secs(10);
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3600);
/// For a connection, and for each step of a session's beginning.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two sessions, doubled with each that fails.
const PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// No address is longer, in bytes.
const MAX_VALUE: usize = 512;

pub(crate) struct Etcd {
    hosts: Vec<String>,
    /// Where the members are: `/services/SERVICE/`.
    folder: String,
    ttl: Duration,
    access: Access,
    register: Mutex<Register>,
}

/// Who this node is to etcd. Files are read at each connection.
struct Access {
    user: Option<String>,
    password: Option<String>,
    password_file: Option<String>,
    ca: Option<String>,
    cert: Option<String>,
    key: Option<String>,
}

/// What this node has in etcd.
enum Register {
    Nothing,
    Lease(Box<Client>, i64),
    Left,
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Etcd")
            .field("hosts", &self.hosts)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Etcd {
    pub(crate) fn open(url: &str, rest: &str) -> Result<Self> {
        let url = Url::parse(url, rest, PARAMETERS)?;
        let hosts: Vec<String> = url.authority.split(',').map(str::to_owned).collect();
        for host in &hosts {
            Address::parse(host).map_err(|_| {
                url.wrong(&format!(
                    "{host:?} is no HOST:PORT; write it as etcd://HOST:2379,HOST:2379/SERVICE"
                ))
            })?;
        }
        let service = url.path.trim_end_matches('/');
        if service.is_empty() {
            return Err(url.wrong("the service is missing; write it as etcd://HOST:2379/SERVICE"));
        }
        Ok(Self {
            hosts,
            folder: format!("/services/{service}/"),
            ttl: url.duration("ttl", TTL, SHORTEST, LONGEST)?,
            access: Access::of(&url)?,
            register: Mutex::new(Register::Nothing),
        })
    }

    fn has_left(&self) -> bool {
        matches!(*self.register.lock(), Register::Left)
    }

    async fn connect(&self, host: &str) -> Result<Client, String> {
        let channel = self.access.endpoint(host).await?.connect().await;
        let channel = Channel::Tonic(channel.map_err(say)?);
        let options = self.access.options().await?;
        Client::from_channel(channel, Some(options))
            .await
            .map_err(say)
    }

    /// Puts this node's key under a lease of its own; whether it did.
    async fn register(&self, client: &mut Client, me: &str) -> Result<Option<i64>, String> {
        if self.has_left() {
            return Ok(None);
        }
        let ttl = i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX);
        let lease = client.lease_grant(ttl, None).await.map_err(say)?.id();
        let options = PutOptions::new().with_lease(lease);
        let key = format!("{}{me}", self.folder);
        client.put(key, me, Some(options)).await.map_err(say)?;
        let left = {
            let mut register = self.register.lock();
            let left = matches!(*register, Register::Left);
            if !left {
                *register = Register::Lease(Box::new(client.clone()), lease);
            }
            left
        };
        if left {
            // It left while this was under way.
            client.lease_revoke(lease).await.map_err(say)?;
            return Ok(None);
        }
        Ok(Some(lease))
    }
}

impl Access {
    fn of(url: &Url) -> Result<Self> {
        let text = |name| url.parameter(name).map(str::to_owned);
        let access = Self {
            user: text("user"),
            password: text("password"),
            password_file: text("password_file"),
            ca: text("ca"),
            cert: text("cert"),
            key: text("key"),
        };
        let passwords = access.password.iter().chain(&access.password_file).count();
        if passwords != usize::from(access.user.is_some()) {
            return Err(url.wrong("user goes with password_file or password, one of them"));
        }
        match (&access.cert, &access.key, &access.ca) {
            (None, None, _) | (Some(_), Some(_), Some(_)) => {}
            _ => return Err(url.wrong("cert and key go together, and with ca")),
        }
        Ok(access)
    }

    /// Where and how to connect. The client's own way, `Client::connect`,
    /// balances: it waits where a connection was refused, and says nothing.
    async fn endpoint(&self, host: &str) -> Result<Endpoint, String> {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{host}")).map_err(say)?;
        let endpoint = endpoint.connect_timeout(PATIENCE);
        let Some(ca) = &self.ca else {
            return Ok(endpoint);
        };
        let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(read(ca).await?));
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            tls = tls.identity(Identity::from_pem(read(cert).await?, read(key).await?));
        }
        endpoint.tls_config(tls).map_err(say)
    }

    async fn options(&self) -> Result<ConnectOptions, String> {
        let mut options = ConnectOptions::new().with_auto_token_refresh(true);
        if let Some(user) = &self.user {
            let password = match (&self.password, &self.password_file) {
                (Some(password), _) => password.clone(),
                (None, Some(file)) => read(file).await?.trim_end().to_owned(),
                (None, None) => String::new(),
            };
            options = options.with_user(user, password);
        }
        Ok(options)
    }
}

async fn read(file: &str) -> Result<String, String> {
    tokio::fs::read_to_string(file)
        .await
        .map_err(|error| format!("{file} cannot be read: {error}"))
}

/// The innermost cause, which says most.
fn say(error: impl std::error::Error + 'static) -> String {
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |cause| {
        cause.source()
    });
    let innermost = causes.last().map(ToString::to_string).unwrap_or_default();
    let whole = error.to_string();
    if whole.contains(&innermost) {
        whole
    } else {
        format!("{whole}: {innermost}")
    }
}

impl Discovery for Etcd {
    fn watch(self: Arc<Self>, me: String) -> Lists {
        let keeper = Keeper {
            etcd: self,
            entries: Entries::new("the register", &me),
            me,
            session: None,
            tries: 0,
            pause: Duration::ZERO,
        };
        Box::pin(futures_util::stream::unfold(
            keeper,
            |mut keeper| async move { Some((keeper.next().await, keeper)) },
        ))
    }

    fn leave(&self) -> BoxFuture<()> {
        let register = std::mem::replace(&mut *self.register.lock(), Register::Left);
        Box::pin(async move {
            if let Register::Lease(mut client, lease) = register {
                // Else it expires by itself.
                let _ = client.lease_revoke(lease).await;
            }
        })
    }
}

/// Keeps one session after the other.
struct Keeper {
    etcd: Arc<Etcd>,
    me: String,
    entries: Entries,
    session: Option<Session>,
    /// Sessions tried so far, which chooses the host.
    tries: usize,
    pause: Duration,
}

impl Keeper {
    async fn next(&mut self) -> Result<Vec<String>> {
        let host = self.host();
        let outcome = match &mut self.session {
            Some(session) => match session.next(&self.etcd).await {
                Ok(members) => Ok(members.list(&mut self.entries)),
                Err(why) => Err(why),
            },
            None => {
                tokio::time::sleep(self.pause).await;
                match Session::open(&self.etcd, &host, &self.me).await {
                    Ok(session) => {
                        let session = self.session.insert(session);
                        Ok(session.members.list(&mut self.entries))
                    }
                    Err(why) => Err(why),
                }
            }
        };
        match outcome {
            Ok(list) => {
                self.pause = Duration::ZERO;
                Ok(list)
            }
            Err(why) => {
                self.session = None;
                self.tries += 1;
                self.pause = (2 * self.pause).clamp(PAUSE, MAX_PAUSE);
                Err(Error::new(
                    ErrorKind::Unavailable,
                    format!("etcd at {host}: {why}; this node registers again when etcd answers"),
                ))
            }
        }
    }

    fn host(&self) -> String {
        self.etcd.hosts[self.tries % self.etcd.hosts.len()].clone()
    }
}

/// From one connection to its loss.
struct Session {
    client: Client,
    members: Members,
    watch: WatchStream,
    lease: Option<Lease>,
}

impl Session {
    async fn open(etcd: &Etcd, host: &str, me: &str) -> Result<Self, String> {
        let opening = async {
            let mut client = etcd.connect(host).await?;
            let lease = match etcd.register(&mut client, me).await? {
                Some(id) => Some(Lease::keep(&mut client, id, etcd.ttl, me).await?),
                None => None,
            };
            let (members, revision) = list(&mut client, &etcd.folder).await?;
            let watch = watch_from(&mut client, &etcd.folder, revision + 1).await?;
            Ok(Self {
                client,
                members,
                watch,
                lease,
            })
        };
        let patience = 2 * PATIENCE;
        match tokio::time::timeout(patience, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(format!("no answer within {patience:?}")),
        }
    }

    /// The members after the next change; an error ends the session.
    async fn next(&mut self, etcd: &Etcd) -> Result<&Members, String> {
        loop {
            let alive = async {
                match &mut self.lease {
                    Some(lease) => lease.stay().await,
                    None => std::future::pending().await,
                }
            };
            let heard = tokio::select! {
                heard = self.watch.message() => heard.map_err(say)?,
                ended = alive => return Err(ended),
            };
            let heard = heard.ok_or("it ended the watch")?;
            if heard.canceled() {
                self.watch_anew(etcd, heard.compact_revision(), heard.cancel_reason())
                    .await?;
                return Ok(&self.members);
            }
            let events = heard.events();
            for event in events {
                if let Some(pair) = event.kv() {
                    match event.event_type() {
                        EventType::Put => self.members.put(pair),
                        EventType::Delete => self.members.remove(pair),
                    }
                }
            }
            if events.is_empty() {
                continue;
            }
            if let Some(lease) = &self.lease
                && !self.members.has(&lease.me)
                && !etcd.has_left()
            {
                return Err("the registration of this node is gone".to_owned());
            }
            return Ok(&self.members);
        }
    }

    /// After a compaction, what this node missed is gone: it lists again.
    async fn watch_anew(&mut self, etcd: &Etcd, compacted: i64, why: &str) -> Result<(), String> {
        if compacted == 0 {
            return Err(format!("it cancelled the watch: {why}"));
        }
        let again = async {
            let (members, revision) = list(&mut self.client, &etcd.folder).await?;
            self.watch = watch_from(&mut self.client, &etcd.folder, revision + 1).await?;
            self.members = members;
            Ok(())
        };
        match tokio::time::timeout(PATIENCE, again).await {
            Ok(done) => done,
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        }
    }
}

/// The members there are, and the revision at which that is so.
async fn list(client: &mut Client, folder: &str) -> Result<(Members, i64), String> {
    let options = GetOptions::new().with_prefix();
    let found = client.get(folder, Some(options)).await.map_err(say)?;
    let revision = found.header().map_or(0, |header| header.revision());
    let mut members = Members::default();
    found.kvs().iter().for_each(|pair| members.put(pair));
    Ok((members, revision))
}

async fn watch_from(
    client: &mut Client,
    folder: &str,
    revision: i64,
) -> Result<WatchStream, String> {
    let options = WatchOptions::new()
        .with_prefix()
        .with_start_revision(revision);
    client.watch(folder, Some(options)).await.map_err(say)
}

/// A lease that is kept alive while [`Lease::stay`] is polled.
struct Lease {
    me: String,
    ttl: Duration,
    keeper: LeaseKeeper,
    answers: LeaseKeepAliveStream,
    tick: Interval,
    /// When the last answer came.
    alive: Instant,
}

impl Lease {
    async fn keep(client: &mut Client, id: i64, ttl: Duration, me: &str) -> Result<Self, String> {
        let (keeper, answers) = client.lease_keep_alive(id).await.map_err(say)?;
        let mut tick = tokio::time::interval(ttl / 3);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            me: me.to_owned(),
            ttl,
            keeper,
            answers,
            tick,
            alive: Instant::now(),
        })
    }

    /// Ends with the reason when the lease is lost. May be dropped and called
    /// again.
    async fn stay(&mut self) -> String {
        loop {
            tokio::select! {
                _ = self.tick.tick() => {
                    if self.alive.elapsed() > self.ttl {
                        return format!("no answer for {:?}", self.alive.elapsed());
                    }
                    if let Err(error) = self.keeper.keep_alive().await {
                        return say(error);
                    }
                }
                answer = self.answers.message() => match answer {
                    Ok(Some(answer)) if answer.ttl() > 0 => self.alive = Instant::now(),
                    Ok(Some(_)) => return "the lease of this node has expired".to_owned(),
                    Ok(None) => return "it ended the keep-alive".to_owned(),
                    Err(error) => return say(error),
                },
            }
        }
    }
}

/// What the register holds: by key, the address that is its value, or a text
/// that is none.
#[derive(Default)]
struct Members(BTreeMap<Vec<u8>, String>);

impl Members {
    fn put(&mut self, pair: &KeyValue) {
        // A value may have a megabyte, of which nothing is an address.
        let kept = &pair.value()[..pair.value().len().min(MAX_VALUE)];
        let value = String::from_utf8_lossy(kept);
        let value = match Address::parse(&value) {
            Ok(address) if kept.len() == pair.value().len() => address.to_string(),
            Ok(_) => format!("{value}..."),
            Err(_) => value.into_owned(),
        };
        self.0.insert(pair.key().to_vec(), value);
    }

    fn remove(&mut self, pair: &KeyValue) {
        self.0.remove(pair.key());
    }

    fn has(&self, address: &str) -> bool {
        self.0.values().any(|member| member == address)
    }

    fn list(&self, entries: &mut Entries) -> Vec<String> {
        let all = self.0.iter();
        entries.members(all.map(|(key, value)| (&**key, &**value)))
    }
}

#[cfg(test)]
const LONG: Duration = Duration::from_secs(20);

#[cfg(test)]
#[path = "../../tests/common/daemons.rs"]
mod daemons;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn s30_a_watch_from_a_compacted_revision_lists_again() {
        let server = daemons::Etcd::start();
        let url = format!("etcd://{}/s", server.address());
        let etcd = Etcd::open(&url, url.strip_prefix("etcd:").unwrap()).unwrap();
        let opened = Session::open(&etcd, &server.address(), "127.0.0.1:7001").await;
        let mut session = opened.unwrap();
        server.ctl(&["put", "/services/s/127.0.0.1:7002", "127.0.0.1:7002"]);
        let (_, revision) = list(&mut session.client, "/services/").await.unwrap();
        server.ctl(&["compact", &revision.to_string()]);
        // As if this node had stood still between its list and its watch.
        let late = watch_from(&mut session.client, &etcd.folder, 1).await;
        session.watch = late.unwrap();
        let both = ["127.0.0.1:7001", "127.0.0.1:7002"];
        let mut entries = Entries::new("the register", "127.0.0.1:7001");
        let members = session.next(&etcd).await.unwrap();
        assert_eq!(members.list(&mut entries), both);
        server.ctl(&["put", "/services/s/127.0.0.1:7003", "127.0.0.1:7003"]);
        let members = session.next(&etcd).await.unwrap();
        assert_eq!(members.list(&mut entries).len(), 3);
    }
}
