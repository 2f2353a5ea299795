//! Who is in the ring: the current view, an immutable snapshot of ring and
//! links, replaced whole and never edited.
//!
//! Invariant: a reader works on one snapshot from start to end; the view's
//! number grows by one with every change, so an entry's stamp tells under
//! which membership it was stored.

pub(crate) mod accept;
pub(crate) mod ahead;
pub(crate) mod answers;
pub(crate) mod asking;
pub(crate) mod breaker;
pub(crate) mod bulk;
pub(crate) mod call;
pub(crate) mod connection;
pub(crate) mod gate;
pub(crate) mod hello;
#[cfg(any(test, feature = "bench-internals"))]
#[cfg_attr(not(feature = "bench-internals"), allow(dead_code, unreachable_pub))]
pub mod hostile;
pub(crate) mod inbound;
pub(crate) mod lender;
pub(crate) mod link;
pub(crate) mod outbox;
mod plain;
mod secure;
pub(crate) mod session;
pub(crate) mod standing;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod transport;
pub(crate) mod unary;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;

use self::link::{Dialer, Link};
use crate::address::Address;
use crate::generations::{Generations, Slots};
use crate::ring::Ring;

/// One membership: who owns what, and how to reach them.
pub(crate) struct View {
    number: u32,
    table: Arc<Table>,
    /// The one before, for as long as its owners may still hold entries.
    previous: Option<Arc<Table>>,
    /// This node was alone before, and `previous` is how the others were.
    joined: bool,
    /// The latest before, newest first, to know what a peer speaks of.
    earlier: Vec<Arc<Table>>,
}

/// The rings that a view remembers.
const EARLIER: usize = 4;

/// A ring, and the links to its members.
struct Table {
    ring: Ring,
    /// By the ring's member index; `None` is this node.
    links: Vec<Option<Arc<Link>>>,
}

impl Table {
    fn route(&self, key: &str) -> Route<'_> {
        match self
            .ring
            .owner_index(key)
            .and_then(|index| self.links[index].as_ref())
        {
            Some(link) => Route::Remote(link),
            None => Route::Local,
        }
    }

    fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.links.iter().flatten()
    }

    fn link_to(&self, address: &str) -> Option<&Arc<Link>> {
        self.links().find(|link| link.address() == address)
    }
}

fn union(old: &Table, new: &Table) -> Vec<Arc<Link>> {
    let gone = old
        .links()
        .filter(|link| new.link_to(link.address()).is_none());
    new.links().chain(gone).cloned().collect()
}

/// The view that this node's leaving will bring.
pub(crate) struct AfterMe {
    pub(crate) members: Vec<String>,
    pub(crate) view: View,
}

/// What replacing the view brought.
pub(crate) struct Change {
    /// Of the view before.
    pub(crate) digest: u64,
    /// What this node wrote as an owner in it.
    pub(crate) written: Slots,
    /// To the members of both views.
    pub(crate) links: Vec<Arc<Link>>,
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
        let members = self.table.ring.members().iter();
        members.map(|member| member.to_string()).collect()
    }

    pub(crate) fn owner(&self, key: &str) -> Option<&Arc<str>> {
        self.table.ring.owner(key)
    }

    /// Equal on nodes that list the same members.
    pub(crate) fn digest(&self) -> u64 {
        self.table.ring.digest()
    }

    /// The links to all other members.
    pub(crate) fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.table.links()
    }

    pub(crate) fn route(&self, key: &str) -> Route<'_> {
        self.table.route(key)
    }

    pub(crate) fn owns(&self, key: &str) -> bool {
        matches!(self.route(key), Route::Local)
    }

    pub(crate) fn link_to(&self, address: &str) -> Option<&Arc<Link>> {
        self.table.link_to(address)
    }

    /// Whoever owned the key in the view before, if that was another node and
    /// may still hold it (S33).
    pub(crate) fn previous_owner(&self, key: &str) -> Option<&Arc<Link>> {
        match self.previous.as_ref()?.route(key) {
            Route::Remote(link) => Some(link),
            Route::Local => None,
        }
    }

    /// This node was alone before: what it owned then, others owned as well.
    pub(crate) fn joined(&self) -> bool {
        self.joined
    }

    /// The key's owner in an earlier view, by the digest of its members; `None`
    /// when this node never had that view.
    pub(crate) fn owner_in(&self, digest: u64, key: &str) -> Option<&Arc<str>> {
        let mut known = self.known();
        let table = known.find(|table| table.ring.digest() == digest)?;
        table.ring.owner(key)
    }

    /// Whether a peer that speaks of this view is understood.
    pub(crate) fn knows(&self, digest: u64) -> bool {
        self.known().any(|table| table.ring.digest() == digest)
    }

    fn known(&self) -> impl Iterator<Item = &Arc<Table>> {
        let current = std::iter::once(&self.table);
        current.chain(&self.previous).chain(&self.earlier)
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
            table: Arc::new(Table {
                ring: Ring::new(members),
                links,
            }),
            previous: None,
            joined: false,
            earlier: Vec::new(),
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

    /// Where the number stands.
    pub(crate) fn number_cell(&self) -> &AtomicU32 {
        &self.number
    }

    /// This node's own address; `None` without a network.
    pub(crate) fn me(&self) -> Option<&Address> {
        self.me.as_ref()
    }

    /// Replaces the membership by this canonical list; links to members that
    /// stay are kept. `None`: it is the one that stands.
    pub(crate) fn replace(
        &self,
        members: Vec<String>,
        generations: &Generations,
    ) -> Option<Change> {
        let _one_at_a_time = self.changing.lock();
        let old = self.view.load_full();
        let standing = old.table.ring.members().iter().map(|member| &**member);
        if standing.eq(members.iter().map(String::as_str)) {
            return None;
        }
        let table = Arc::new(self.table(&old.table, &members));
        let links = union(&old.table, &table);
        let number = old.number + 1;
        generations.forget_written(number);
        let joined = old.table.links().next().is_none();
        let previous = self.previous(&old.table, &table, &members);
        let earlier = std::iter::once(&old.table).chain(&old.earlier);
        self.view.store(Arc::new(View {
            number,
            table,
            previous,
            joined,
            earlier: earlier.take(EARLIER).cloned().collect(),
        }));
        self.number.store(number, Ordering::Release);
        self.members.send_replace(members);
        Some(Change {
            digest: old.digest(),
            // Whoever writes in the old view from now on finds out afterwards.
            written: generations.written_in(old.number),
            links,
        })
    }

    /// Who owned the keys before: for a node that joins, which was alone, the
    /// others as they were without it.
    fn previous(&self, old: &Arc<Table>, new: &Table, members: &[String]) -> Option<Arc<Table>> {
        if old.links().next().is_some() {
            return Some(old.clone());
        }
        let others = self.others(members);
        (!others.is_empty()).then(|| Arc::new(self.table(new, &others)))
    }

    fn others(&self, members: &[String]) -> Vec<String> {
        let me = self.me.as_ref().map(Address::to_string);
        let others = members.iter().filter(|member| Some(*member) != me.as_ref());
        others.cloned().collect()
    }

    /// The view of the others once this node has left; `None` when there are none.
    pub(crate) fn after_me(&self) -> Option<AfterMe> {
        let view = self.view.load_full();
        let members = self.others(&view.members());
        if members.is_empty() {
            return None;
        }
        let table = Arc::new(self.table(&view.table, &members));
        let view = View {
            number: view.number,
            table,
            previous: None,
            joined: false,
            earlier: Vec::new(),
        };
        Some(AfterMe { members, view })
    }

    fn table(&self, old: &Table, members: &[String]) -> Table {
        let me = self.me.as_ref().map(Address::to_string);
        let ring = Ring::new(members.iter().map(|member| Arc::from(member.as_str())));
        let links = ring
            .members()
            .iter()
            .map(|member| (Some(&**member) != me.as_deref()).then(|| self.link(old, member)))
            .collect();
        Table { ring, links }
    }

    /// The owners of view `number` hold nothing any more that this node could
    /// take; whether they did until now.
    pub(crate) fn forget_previous(&self, number: u32) -> bool {
        let _one_at_a_time = self.changing.lock();
        let view = self.view.load();
        if view.number != number || view.previous.is_none() {
            return false;
        }
        let without = View {
            number,
            table: view.table.clone(),
            previous: None,
            joined: false,
            earlier: Vec::new(),
        };
        self.view.store(Arc::new(without));
        true
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

    /// A link that is in no view: to a member that has left and may come back.
    pub(crate) fn spare_link(&self, member: &str) -> Arc<Link> {
        Arc::new(self.dialer.link(member.into()))
    }

    fn link(&self, old: &Table, member: &Arc<str>) -> Arc<Link> {
        match old.link_to(member) {
            Some(link) => link.clone(),
            None => Arc::new(self.dialer.link(member.clone())),
        }
    }
}
