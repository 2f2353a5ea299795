//! Who is a member, over the life of a node: follows discovery, goodbyes and
//! returns, adopts each change of view, and leaves in order.
//!
//! Invariant: a view is adopted whole and at a cost that does not depend on the
//! entries, which are compared with it when they are read, and what this node wrote under the old one is told to the
//! members of both (S19, S31).

mod follow;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, future, stream};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use self::follow::follow;
use crate::discovery::Discovery;
use crate::discovery::outage::Outage;
use crate::discovery::roster::Roster;
use crate::generations::{Slot, Slots};
use crate::group::Gift;
use crate::options;
use crate::peers::hello;
use crate::peers::link::{Link, MAX_LINK_VALUE};
use crate::peers::met::Acquaintances;
use crate::peers::{Change, Route, View};
use crate::state::State;
use crate::store::Walk;
use crate::wire::{Hello, Incarnation};
use crate::{Error, ErrorKind, Result};

/// Entries that are on their way to a next owner at the same time.
const GIVING: usize = 256;
/// The same of those that are too large for a link.
const GIVING_LARGE: usize = 4;
/// How long members may take to hear a goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// Changes of view that others tell of, remembered for one warm window.
const MAX_OVERHEARD: usize = 64;

/// What happened to another member.
enum Event {
    /// It said goodbye; whoever brought that is told when it is adopted.
    Left(String, u64, oneshot::Sender<()>),
    Greeted(String, u64),
    /// Another member says that it said goodbye.
    Overheard(String, u64),
}

pub(crate) struct Membership {
    roster: Mutex<Roster>,
    source: Option<Arc<dyn Discovery>>,
    events: mpsc::UnboundedSender<Event>,
    inbox: Mutex<Option<mpsc::UnboundedReceiver<Event>>>,
    /// Members that said goodbye: how many, and the links that wait for them.
    left: AtomicUsize,
    met: Mutex<Acquaintances>,
    awaited: Mutex<HashMap<String, Arc<Link>>>,
    /// Slots written by others in views that this node did not know then.
    overheard: Mutex<Vec<(u64, Slots)>>,
    warm_window: Duration,
    adopted: Mutex<Instant>,
    /// Since when and why discovery has been out, and how often it failed.
    outage: Mutex<Outage>,
    failures: AtomicU64,
    /// Discovery has answered once, be it with a list that cannot be used.
    heard: AtomicBool,
    /// This node says goodbye, or has said it.
    leaving: AtomicBool,
}

impl Membership {
    pub(crate) fn new(
        me: Option<String>,
        source: Option<Arc<dyn Discovery>>,
        remove_grace: Duration,
        warm_window: Duration,
        suspect_after: Duration,
    ) -> Self {
        let (events, inbox) = mpsc::unbounded_channel();
        Self {
            roster: Mutex::new(Roster::new(me, remove_grace)),
            source,
            events,
            inbox: Mutex::new(Some(inbox)),
            left: AtomicUsize::new(0),
            met: Mutex::new(Acquaintances::new(suspect_after)),
            awaited: Mutex::default(),
            overheard: Mutex::default(),
            warm_window,
            adopted: Mutex::new(Instant::now()),
            outage: Mutex::default(),
            failures: AtomicU64::new(0),
            heard: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
        }
    }

    /// How old the view is for want of discovery; `None` while that is in order.
    pub(crate) fn stale(&self) -> Option<Duration> {
        self.outage.lock().stale()
    }

    /// The members are as good as they get: given, or asked for.
    #[cfg_attr(not(feature = "admin"), allow(dead_code))]
    pub(crate) fn has_heard(&self) -> bool {
        self.source.is_none() || self.heard.load(Ordering::Relaxed)
    }

    /// Lists that could not be had or broke a rule.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// A node has greeted, which this one has dialled itself: it is the one at
    /// that address.
    ///
    /// # Errors
    /// Unavailable: an older living node has its address.
    pub(crate) fn greeted(&self, hello: &Hello) -> Result<()> {
        let (member, incarnation) = (&*hello.address, hello.incarnation);
        let age = hello::age(hello).unwrap_or_default();
        let now = Instant::now();
        self.met.lock().greets(now, member, incarnation, age)?;
        // The task that takes them ends with the node.
        if self.left.load(Ordering::Acquire) > 0 {
            let event = Event::Greeted(member.to_owned(), incarnation);
            let _ = self.events.send(event);
        }
        for left in hello.left.iter().take(MAX_OVERHEARD) {
            let event = Event::Overheard(left.address.clone(), left.number);
            let _ = self.events.send(event);
        }
        Ok(())
    }

    /// A heartbeat came over a link of this node; whether its address is still
    /// its own.
    pub(crate) fn is_heard(&self, member: &str, incarnation: u64) -> bool {
        let mut met = self.met.lock();
        met.is_heard(Instant::now(), member, incarnation)
    }

    /// A node has said goodbye.
    fn is_gone(&self, member: &str, incarnation: u64) {
        self.met.lock().said_goodbye(member, incarnation);
    }

    /// A link of this node has ended.
    pub(crate) fn hung_up(&self, member: &str, incarnation: u64) {
        self.met.lock().hung_up(member, incarnation);
    }

    /// Members of the list that have said goodbye, for others to know.
    pub(crate) fn left(&self) -> Vec<Incarnation> {
        if self.left.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let roster = self.roster.lock();
        let left = roster.left().map(|(address, number)| Incarnation {
            address: address.to_owned(),
            number,
        });
        left.collect()
    }

    /// Somebody has dialled this node and calls itself so, which proves nothing:
    /// a member that has left is asked itself whether it is back, and what this
    /// hello says of others is not believed.
    ///
    /// # Errors
    /// As [`Membership::greeted`].
    pub(crate) fn heard_of(&self, view: &View, hello: &Hello) -> Result<()> {
        let (member, incarnation) = (&*hello.address, hello.incarnation);
        let link = view.link_to(member);
        if link.is_some_and(|link| link.answers_as_another(incarnation)) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "two living nodes advertise {member}: another than incarnation {incarnation:016x}, which is refused, answers there; give each node an advertise address of its own"
                ),
            ));
        }
        let mut met = self.met.lock();
        let age = match met.last(member) {
            // Nobody takes a living member's address by saying that it is older;
            // whoever is dialled there may.
            Some(other) if other.incarnation != incarnation => Duration::ZERO,
            _ => hello::age(hello).unwrap_or_default(),
        };
        met.greets(Instant::now(), member, incarnation, age)?;
        drop(met);
        if self.left.load(Ordering::Acquire) > 0
            && let Some(link) = self.awaited.lock().get(member)
        {
            link.nudge();
        }
        Ok(())
    }

    /// Whether this node has begun to say goodbye.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// A member says goodbye; ends when that is adopted.
    pub(crate) async fn said_goodbye(&self, member: &str, incarnation: u64) {
        // A node without a network has no members to lose.
        if self.inbox.lock().is_some() {
            return;
        }
        let (adopted, done) = oneshot::channel();
        let event = Event::Left(member.to_owned(), incarnation, adopted);
        if self.events.send(event).is_ok() {
            let _ = done.await;
        }
    }

    /// A peer has written these slots as an owner in the view of the digest.
    pub(crate) fn overheard(&self, digest: u64, written: &Slots) {
        let mut overheard = self.overheard.lock();
        // What does not fit is about views that are long gone.
        if overheard.len() < MAX_OVERHEARD {
            overheard.push((digest, written.clone()));
        }
    }

    /// Whether a former entry in this slot may have been overwritten by a node
    /// that owned it in a view unknown here.
    pub(crate) fn is_doubtful(&self, view: &View, slot: Slot) -> bool {
        let overheard = self.overheard.lock();
        overheard
            .iter()
            .any(|(digest, written)| !view.knows(*digest) && written.contains(slot))
    }

    /// What brings a node's members to it from now on.
    pub(crate) fn begin(state: &Arc<State>) {
        let membership = &state.membership;
        let Some(inbox) = membership.inbox.lock().take() else {
            return;
        };
        let lists = match &membership.source {
            Some(source) => source.clone().watch(state.address.clone()),
            None => Box::pin(stream::pending()),
        };
        state
            .runtime
            .spawn(follow(Arc::downgrade(state), lists, inbox));
    }

    /// The user's own list.
    ///
    /// # Errors
    /// InvalidArgument: the list breaks a rule, or members come from discovery.
    pub(crate) fn set(state: &Arc<State>, list: &[impl AsRef<str>]) -> Result<()> {
        let membership = &state.membership;
        if membership.source.is_some() {
            return Err(Error::invalid_argument(
                "the members of this node come from discovery; change them there, or start the node with peers",
            ));
        }
        let members = options::member_list(state.peers.me(), list)?;
        let mut roster = membership.roster.lock();
        roster.set(members);
        if let Some(change) = membership.replace(state, &roster) {
            tell_written(state, &change);
        }
        Ok(())
    }

    fn keeps_former(&self) -> bool {
        !self.warm_window.is_zero()
    }

    /// Swaps the view for the roster's members.
    fn replace(&self, state: &State, roster: &Roster) -> Option<Change> {
        self.left.store(roster.left().count(), Ordering::Release);
        let keep_lost = self.keeps_former();
        for group in state.all_groups() {
            group.expect_takers(keep_lost);
        }
        let members = roster.members();
        let change = state
            .peers
            .replace(members, &state.generations, keep_lost)?;
        state.upkeep.sweep_is_due();
        *self.adopted.lock() = Instant::now();
        tracing::info!(members = ?roster.members(), "members changed");
        Some(change)
    }

    /// Changes the roster, and adopts what comes of it.
    async fn update(state: &Arc<State>, alter: impl FnOnce(&mut Roster)) {
        let membership = &state.membership;
        let change = {
            let mut roster = membership.roster.lock();
            alter(&mut roster);
            let change = membership.replace(state, &roster);
            membership.await_those_who_left(state, &roster);
            change
        };
        if let Some(change) = change {
            tell_written(state, &change);
        }
    }

    /// Members that left and are still listed are probed until they greet.
    fn await_those_who_left(&self, state: &State, roster: &Roster) {
        let mut awaited = self.awaited.lock();
        awaited.retain(|member, _| roster.left().any(|(left, _)| left == member));
        for (member, _) in roster.left() {
            if !awaited.contains_key(member) {
                let link = state.peers.spare_link(member);
                link.expect();
                awaited.insert(member.to_owned(), link);
            }
        }
    }

    fn failed(&self, error: &Error) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.outage.lock().failed(error);
    }

    /// Why discovery is out at present; `None` while it is in order.
    #[cfg_attr(not(feature = "admin"), allow(dead_code))]
    pub(crate) fn outage_reason(&self) -> Option<String> {
        self.outage.lock().reason()
    }

    fn in_order(&self) {
        if self.outage.lock().ends() {
            tracing::info!("discovery is back");
        }
    }

    /// After `warm_window` nobody takes from previous owners any more.
    pub(crate) async fn tend(state: &Arc<State>) {
        let membership = &state.membership;
        for link in membership.awaited.lock().values() {
            link.expect();
        }
        let serial = state.peers.view().serial();
        if membership.adopted.lock().elapsed() >= membership.warm_window
            && state.peers.forget_previous(serial)
        {
            membership.overheard.lock().clear();
            for group in state.all_groups() {
                group.expect_no_takers();
            }
            state.upkeep.sweep_is_due();
        }
    }

    // ---- leaving in order (S32) ----

    /// Gives the hottest entries to their next owners, says goodbye, owns
    /// nothing from then on, and tells what was written meanwhile. The last
    /// member, and one with no time to drain, only leaves the register.
    pub(crate) async fn leave(state: &Arc<State>, drain: Duration) {
        let deregister = async {
            if let Some(source) = &state.membership.source {
                source.leave().await;
            }
        };
        let Some(after) = state.peers.after_me().filter(|_| !drain.is_zero()) else {
            let _ = timeout(GOODBYE, deregister).await;
            return;
        };
        let begun = Instant::now();
        // What was written before is in what is given.
        state
            .generations
            .forget_written(state.peers.view().serial());
        let giving = async {
            let _no_sweep = state.upkeep.walk().await;
            give(state, &after.view, begun + drain).await;
        };
        let _ = timeout(drain / 2, giving).await;
        let deadline = Instant::now() + GOODBYE.min(drain);
        state.membership.leaving.store(true, Ordering::Release);
        let goodbyes = after.view.links().map(|link| link.say_goodbye(deadline));
        let _ = timeout_at(
            deadline,
            future::join(future::join_all(goodbyes), deregister),
        )
        .await;
        if let Some(change) = state
            .peers
            .replace(after.members, &state.generations, false)
        {
            let _ = timeout_at(deadline, future::join_all(telling(&change))).await;
        }
    }
}

/// Gives every owned entry, the hottest of each group first.
async fn give(state: &Arc<State>, after: &View, deadline: Instant) {
    for group in state.all_groups() {
        let give = async |(key, value, ttl): Gift| {
            if let Route::Remote(link) = after.route(&key) {
                let name = group.wire_name();
                let _ = link.give(name, &key, &value, ttl, deadline).await;
            }
        };
        let mut large = Vec::new();
        let slices = stream::unfold(Walk::default(), |mut walk| {
            let group = group.clone();
            async move {
                tokio::task::yield_now().await;
                Some((group.next_gifts(&mut walk)?, walk))
            }
        });
        let small = slices.flat_map(|gifts| {
            let is_small = |gift: &Gift| gift.1.len() <= MAX_LINK_VALUE;
            let (small, others): (Vec<_>, Vec<_>) = gifts.into_iter().partition(is_small);
            large.extend(others);
            stream::iter(small)
        });
        let given = small.map(&give).buffer_unordered(GIVING);
        given.for_each(|()| future::ready(())).await;
        let given = stream::iter(large)
            .map(&give)
            .buffer_unordered(GIVING_LARGE);
        given.for_each(|()| future::ready(())).await;
    }
}

/// Tells the members of both views what this node wrote in the old one.
fn tell_written(state: &State, change: &Change) {
    for told in telling(change) {
        state.runtime.spawn(told);
    }
}

fn telling(change: &Change) -> impl Iterator<Item = impl Future<Output = ()> + Send + use<>> {
    let links = match change.written.is_empty() {
        true => &[][..],
        false => &change.links,
    };
    // The same bytes for all of them.
    let written = Bytes::from(change.written.to_wire());
    let tell = move |link: &Arc<Link>| link.tell_written(change.digest, written.clone());
    links.iter().map(tell)
}
