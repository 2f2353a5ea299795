//! Who is in the ring: the current view, an immutable snapshot of ring and
//! links, replaced whole and never edited.
//!
//! Invariant: a reader works on one snapshot from start to end; the view's
//! number grows by one with every change, so an entry's stamp tells under
//! which membership it was stored.

pub(crate) mod breaker;
pub(crate) mod call;
pub(crate) mod connection;
pub(crate) mod hello;
#[cfg(any(test, feature = "bench-internals"))]
#[cfg_attr(not(feature = "bench-internals"), allow(dead_code, unreachable_pub))]
pub mod hostile;
pub(crate) mod inbound;
pub(crate) mod lender;
pub(crate) mod link;
pub(crate) mod outbox;
pub(crate) mod session;
pub(crate) mod status;
pub(crate) mod transport;
pub(crate) mod unary;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;

use self::link::{Dialer, Link};
use crate::Result;
use crate::address::Address;
use crate::options;
use crate::ring::Ring;

/// One membership: who owns what, and how to reach them.
pub(crate) struct View {
    number: u32,
    ring: Ring,
    /// By the ring's member index; `None` is this node.
    links: Vec<Option<Arc<Link>>>,
}

/// Where a key's requests go.
pub(crate) enum Route<'a> {
    Local,
    Remote(&'a Arc<Link>),
}

impl View {
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn members(&self) -> Vec<String> {
        self.ring
            .members()
            .iter()
            .map(|member| member.to_string())
            .collect()
    }

    pub(crate) fn owner(&self, key: &str) -> Option<&Arc<str>> {
        self.ring.owner(key)
    }

    /// Equal on nodes that list the same members.
    pub(crate) fn digest(&self) -> u64 {
        self.ring.digest()
    }

    /// The links to all other members.
    pub(crate) fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.links.iter().flatten()
    }

    pub(crate) fn route(&self, key: &str) -> Route<'_> {
        match self
            .ring
            .owner_index(key)
            .and_then(|index| self.links[index].as_ref())
        {
            Some(link) => Route::Remote(link),
            None => Route::Local,
        }
    }

    pub(crate) fn owns(&self, key: &str) -> bool {
        matches!(self.route(key), Route::Local)
    }

    pub(crate) fn link_to(&self, address: &str) -> Option<&Arc<Link>> {
        self.links
            .iter()
            .flatten()
            .find(|link| link.address() == address)
    }
}

/// The current view of this node, and how it is replaced.
pub(crate) struct Peers {
    me: Option<Address>,
    dialer: Dialer,
    view: ArcSwap<View>,
    /// The view's number once more, where a hit reads it without the snapshot.
    number: AtomicU32,
    /// The view's members, for those who wait for a change.
    members: watch::Sender<Vec<String>>,
    changing: Mutex<()>,
}

impl Peers {
    /// A ring of one: this node, or nobody when it has no network.
    pub(crate) fn alone(me: Option<Address>, dialer: Dialer) -> Self {
        let members: Vec<Arc<str>> = me.iter().map(|me| me.to_string().into()).collect();
        let links = vec![None; members.len()];
        let view = View {
            number: 1,
            ring: Ring::new(members),
            links,
        };
        Self {
            me,
            dialer,
            members: watch::Sender::new(view.members()),
            view: ArcSwap::from_pointee(view),
            number: AtomicU32::new(1),
            changing: Mutex::new(()),
        }
    }

    pub(crate) fn view(&self) -> arc_swap::Guard<Arc<View>> {
        self.view.load()
    }

    pub(crate) fn number(&self) -> u32 {
        self.number.load(Ordering::Acquire)
    }

    /// Replaces the membership; links to members that stay are kept. A list
    /// that breaks a rule changes nothing. Whether anything changed.
    pub(crate) fn replace(&self, list: &[impl AsRef<str>]) -> Result<bool> {
        let members = options::member_list(self.me.as_ref(), list)?;
        let _one_at_a_time = self.changing.lock();
        let old = self.view.load_full();
        if old
            .ring
            .members()
            .iter()
            .map(|member| &**member)
            .eq(members.iter().map(String::as_str))
        {
            return Ok(false);
        }
        let me = self.me.as_ref().map(Address::to_string);
        let ring = Ring::new(members.iter().map(|member| Arc::from(member.as_str())));
        let links = ring
            .members()
            .iter()
            .map(|member| (Some(&**member) != me.as_deref()).then(|| self.link(&old, member)))
            .collect();
        let number = old.number + 1;
        self.view.store(Arc::new(View {
            number,
            ring,
            links,
        }));
        self.number.store(number, Ordering::Release);
        self.members.send_replace(members);
        Ok(true)
    }

    /// Sees every later change of the members, whoever caused it.
    pub(crate) fn watch(&self) -> watch::Receiver<Vec<String>> {
        self.members.subscribe()
    }

    /// Lets go of all links; what is under way on them ends.
    pub(crate) fn hang_up(&self) {
        let _one_at_a_time = self.changing.lock();
        for link in self.view.load().links() {
            link.close();
        }
    }

    fn link(&self, old: &View, member: &Arc<str>) -> Arc<Link> {
        match old.link_to(member) {
            Some(link) => link.clone(),
            None => Arc::new(self.dialer.link(member.clone())),
        }
    }
}
