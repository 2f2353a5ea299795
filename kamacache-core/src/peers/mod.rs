//! Who is in the ring: the current view, an immutable snapshot of ring and
//! links, replaced whole and never edited.
//!
//! Invariant: a reader works on one snapshot from start to end; its number
//! grows by one with every change of members and with every telling, so an
//! entry's stamp says which of them it has missed (`history.rs`).

pub(crate) mod accept;
pub(crate) mod ahead;
pub(crate) mod answers;
pub(crate) mod asking;
pub(crate) mod breaker;
pub(crate) mod bulk;
pub(crate) mod call;
pub(crate) mod connection;
pub(crate) mod gate;
pub(crate) mod held;
pub(crate) mod hello;
mod history;
#[cfg(any(test, feature = "bench-internals"))]
#[cfg_attr(not(feature = "bench-internals"), allow(dead_code, unreachable_pub))]
pub mod hostile;
pub(crate) mod inbound;
pub(crate) mod intake;
pub(crate) mod lender;
pub(crate) mod link;
pub(crate) mod met;
pub(crate) mod outbox;
mod plain;
pub(crate) mod room;
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

use self::history::History;
pub(crate) use self::history::{Standing, is_newer};
use self::link::{Dialer, Link};
use crate::address::Address;
use crate::generations::{Generations, Slot, Slots};
use crate::ring::Ring;

/// One membership: who owns what, and how to reach them.
#[derive(Clone)]
pub(crate) struct View {
    number: u32,
    /// Grows with changes of members only.
    serial: u32,
    table: Arc<Table>,
    /// The one before, for as long as its owners may still hold entries.
    previous: Option<Arc<Table>>,
    /// This node was alone before, and `previous` is how the others were.
    joined: bool,
    history: History,
}

/// A ring, and the links to its members.
struct Table {
    ring: Ring,
    /// By the ring's member index; `None` is this node.
    links: Vec<Option<Arc<Link>>>,
}

impl Table {
    /// To the key's owner; `None`: this node.
    fn link(&self, key: &str) -> Option<&Arc<Link>> {
        let owner = self.ring.owner_index(key)?;
        self.links[owner].as_ref()
    }

    fn route(&self, key: &str) -> Route<'_> {
        self.link(key).map_or(Route::Local, Route::Remote)
    }

    fn owns(&self, key: &str) -> bool {
        self.link(key).is_none()
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
    /// Without anything before it.
    fn first(number: u32, serial: u32, table: Arc<Table>) -> Self {
        Self {
            number,
            serial,
            history: History::begin(number, table.clone()),
            table,
            previous: None,
            joined: false,
        }
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Of the membership: unlike the number it grows with changes of members
    /// only.
    pub(crate) fn serial(&self) -> u32 {
        self.serial
    }

    /// What became of an entry that this node owned as of `number`.
    pub(crate) fn standing(&self, key: &str, slot: impl Fn() -> Slot, number: u32) -> Standing {
        self.history.standing(key, slot, number)
    }

    /// What became of an entry that a leaver gave as of `number`; `None`: no
    /// view has followed yet.
    pub(crate) fn inherited(
        &self,
        key: &str,
        slot: impl Fn() -> Slot,
        number: u32,
    ) -> Option<Standing> {
        self.history.inherited(key, slot, number)
    }

    /// Whether the owner that lent a copy as of `number` has been the key's
    /// owner ever since.
    pub(crate) fn is_still_lent(&self, key: &str, slot: impl Fn() -> Slot, number: u32) -> bool {
        self.history.is_still_lent(key, slot, number)
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
        self.table.owns(key)
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

    /// Whether a peer that speaks of this view is understood.
    pub(crate) fn knows(&self, digest: u64) -> bool {
        self.table_of(digest).is_some()
    }

    /// The members of an earlier view, or of the others before this node joined.
    fn table_of(&self, digest: u64) -> Option<&Arc<Table>> {
        let previous = self.previous.iter();
        let mut known = self.history.tables().chain(previous);
        known.find(|table| table.ring.digest() == digest)
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
        let table = Arc::new(Table {
            ring: Ring::new(members),
            links,
        });
        let view = View::first(1, 1, table);
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
    /// stay are kept, and if `keep_lost`, so are entries that others own now.
    /// `None`: it is the one that stands.
    pub(crate) fn replace(
        &self,
        members: Vec<String>,
        generations: &Generations,
        keep_lost: bool,
    ) -> Option<Change> {
        let _one_at_a_time = self.changing.lock();
        let old = self.view.load_full();
        let standing = old.table.ring.members().iter().map(|member| &**member);
        if standing.eq(members.iter().map(String::as_str)) {
            return None;
        }
        let table = Arc::new(self.table(&old.table, &members));
        let links = union(&old.table, &table);
        let (number, serial) = (old.number.wrapping_add(1), old.serial.wrapping_add(1));
        generations.forget_written(serial);
        let mut history = old.history.clone();
        history.change(number, table.clone(), keep_lost);
        self.adopt(View {
            number,
            serial,
            joined: old.table.links().next().is_none(),
            previous: self.previous(&old.table, &table, &members),
            table,
            history,
        });
        self.members.send_replace(members);
        Some(Change {
            digest: old.digest(),
            // Whoever writes in the old view from now on finds out afterwards.
            written: generations.written_in(old.serial),
            links,
        })
    }

    fn adopt(&self, view: View) {
        let number = view.number;
        self.view.store(Arc::new(view));
        self.number.store(number, Ordering::Release);
    }

    /// A peer wrote these slots as an owner in the view of the digest. Every
    /// entry that it may have overwritten is void from here on; none is touched.
    pub(crate) fn tell(&self, writer: &str, digest: u64, slots: &Slots) {
        let _one_at_a_time = self.changing.lock();
        let mut view = View::clone(&self.view.load());
        view.number = view.number.wrapping_add(1);
        let table = view.table_of(digest).cloned();
        view.history
            .tell(view.number, writer, (digest, table), slots);
        self.adopt(view);
    }

    /// Every entry older than `number` has been swept. While lost keys may be
    /// taken, what those have missed is remembered.
    pub(crate) fn settle(&self, number: u32) {
        let _one_at_a_time = self.changing.lock();
        let mut view = View::clone(&self.view.load());
        if view.previous.is_none() {
            view.history.settle(number);
            self.adopt(view);
        }
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
        let view = View::first(view.number, view.serial, table);
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

    /// The owners before the membership `serial` hold nothing any more that this
    /// node could take, nor does it hold anything for others; whether that was
    /// so until now.
    pub(crate) fn forget_previous(&self, serial: u32) -> bool {
        let _one_at_a_time = self.changing.lock();
        let mut view = View::clone(&self.view.load());
        if view.serial != serial || view.previous.is_none() {
            return false;
        }
        view.previous = None;
        view.joined = false;
        view.history.forget_lost(view.number);
        self.adopt(view);
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
