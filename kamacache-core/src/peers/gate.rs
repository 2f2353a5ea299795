//! How many connections may be open to this node, and who makes room (S42):
//! first the oldest that has said nothing yet, then the stranger that has asked
//! for nothing for the longest time. A connection that carries a member's link
//! is never turned out, so that members come in however many strangers are here.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Context;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

/// As a thousand members need, a link and one for large values each.
pub(crate) const MAX_CONNECTIONS: usize = 2048;
/// Connections that one member's name protects, the latest. A member has one.
const OF_ONE_MEMBER: usize = 4;

type IsMember = Box<dyn Fn(&str) -> bool + Send + Sync>;

pub(crate) struct Gate {
    limit: usize,
    /// Whether an address is in the view.
    is_member: IsMember,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    count: usize,
    next: u64,
    /// Who has not spoken yet, the oldest first.
    silent: BTreeMap<u64, Arc<Seat>>,
    /// The others, by when they last asked for something.
    spoken: BTreeMap<u64, Arc<Seat>>,
    /// Connections by the address that their hello gave, the oldest first.
    named: HashMap<Box<str>, VecDeque<u64>>,
}

/// One connection, as those see it who serve it.
pub(crate) struct Seat {
    gate: Option<Arc<Gate>>,
    id: u64,
    from: Option<SocketAddr>,
    /// Its place in the order of `Open`.
    place: Mutex<At>,
    /// What it takes of the room, and of that, for large messages.
    pub(crate) taken: AtomicUsize,
    pub(crate) large: AtomicUsize,
    /// Messages over it that wait for a place there.
    pub(crate) waiting: AtomicUsize,
    stopped: AtomicBool,
    why: Mutex<&'static str>,
    reader: AtomicWaker,
}

#[derive(Default)]
struct At {
    /// Where it stands in `silent` or `spoken`.
    order: u64,
    /// The address that its hello gave.
    name: Option<Box<str>>,
}

/// The right of one connection to be open; ends with its drop.
pub(crate) struct Pass(Arc<Seat>);

impl Gate {
    pub(crate) fn new(
        limit: usize,
        is_member: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            limit,
            is_member: Box::new(is_member),
            open: Mutex::default(),
        })
    }

    /// A connection comes. `None`: all others are members', and there are as many
    /// as may be.
    pub(crate) fn enter(self: &Arc<Self>, from: Option<SocketAddr>) -> Option<Pass> {
        let mut open = self.open.lock();
        if open.count >= self.limit && !open.turn_out_one(&self.is_member) {
            return None;
        }
        open.count += 1;
        open.next += 1;
        let id = open.next;
        let seat = Arc::new(Seat {
            gate: Some(self.clone()),
            id,
            from,
            place: Mutex::new(At {
                order: id,
                name: None,
            }),
            taken: AtomicUsize::new(0),
            large: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            why: Mutex::new(""),
            reader: AtomicWaker::new(),
        });
        open.silent.insert(id, seat.clone());
        Some(Pass(seat))
    }

    /// The process can open nothing more: one makes room.
    pub(crate) fn make_room(&self) -> bool {
        self.open.lock().turn_out_one(&self.is_member)
    }
}

impl Open {
    fn turn_out_one(&mut self, is_member: &IsMember) -> bool {
        let silent = self.silent.pop_first().map(|(_, seat)| seat);
        let seat = silent.or_else(|| {
            let stranger = |seat: &Arc<Seat>| !self.is_protected(seat, is_member);
            let oldest = self.spoken.iter().find(|(_, seat)| stranger(seat));
            let order = *oldest?.0;
            self.spoken.remove(&order)
        });
        let found = seat.is_some();
        if let Some(seat) = seat {
            seat.stop("others want to come in, and it has asked for nothing for the longest time");
        }
        found
    }

    fn is_protected(&self, seat: &Seat, is_member: &IsMember) -> bool {
        let place = seat.place.lock();
        let Some(name) = &place.name else {
            return false;
        };
        let same = self.named.get(name);
        let is_late = same.is_some_and(|same| {
            let latest = same.iter().rev().take(OF_ONE_MEMBER);
            latest.into_iter().any(|id| *id == seat.id)
        });
        is_late && is_member(name)
    }

    fn forget_name(&mut self, seat: &Seat) {
        if let Some(name) = &seat.place.lock().name
            && let Some(same) = self.named.get_mut(name)
        {
            same.retain(|id| *id != seat.id);
            if same.is_empty() {
                self.named.remove(name);
            }
        }
    }
}

impl Seat {
    /// A connection that no gate counts: of a test's network.
    pub(crate) fn loose() -> Arc<Self> {
        Arc::new(Self {
            gate: None,
            id: 0,
            from: None,
            place: Mutex::default(),
            taken: AtomicUsize::new(0),
            large: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            why: Mutex::new(""),
            reader: AtomicWaker::new(),
        })
    }

    /// Where it comes from.
    pub(crate) fn from(&self) -> Option<SocketAddr> {
        self.from
    }

    /// It has asked for something that was answered: others are turned out first.
    pub(crate) fn asked(&self) {
        let Some(gate) = &self.gate else { return };
        let mut open = gate.open.lock();
        let mut place = self.place.lock();
        if let Some(seat) = open.spoken.remove(&place.order) {
            open.next += 1;
            place.order = open.next;
            open.spoken.insert(place.order, seat);
        }
    }

    /// A link greeted as this address over it.
    pub(crate) fn greeted(&self, name: &str) {
        let Some(gate) = &self.gate else { return };
        let mut open = gate.open.lock();
        open.forget_name(self);
        self.place.lock().name = Some(name.into());
        open.named
            .entry(name.into())
            .or_default()
            .push_back(self.id);
        drop(open);
        self.asked();
    }

    /// It carries the link of a member, as far as that can be told.
    pub(crate) fn is_member(&self) -> bool {
        let Some(gate) = &self.gate else { return true };
        let open = gate.open.lock();
        open.is_protected(self, &gate.is_member)
    }

    /// Ends the connection, and with it all that is under way on it.
    pub(crate) fn stop(&self, why: &'static str) {
        *self.why.lock() = why;
        self.stopped.store(true, Ordering::Release);
        self.reader.wake();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Why it was stopped.
    pub(crate) fn why(&self) -> &'static str {
        *self.why.lock()
    }

    /// The same for whoever reads from it, which is woken when it is.
    pub(crate) fn poll_stopped(&self, cx: &Context<'_>) -> bool {
        self.reader.register(cx.waker());
        self.is_stopped()
    }
}

impl Pass {
    pub(crate) fn seat(&self) -> &Arc<Seat> {
        &self.0
    }

    /// The connection has greeted: silent ones are turned out before it.
    pub(crate) fn spoke(&self) {
        let Some(gate) = &self.0.gate else { return };
        let mut open = gate.open.lock();
        let mut place = self.0.place.lock();
        if let Some(seat) = open.silent.remove(&place.order) {
            open.next += 1;
            place.order = open.next;
            open.spoken.insert(place.order, seat);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let Some(gate) = &self.0.gate else { return };
        let mut open = gate.open.lock();
        open.count -= 1;
        open.forget_name(&self.0);
        let order = self.0.place.lock().order;
        open.silent.remove(&order);
        open.spoken.remove(&order);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(limit: usize) -> Arc<Gate> {
        Gate::new(limit, |name| name == "member")
    }

    fn stopped(passes: &[&Pass]) -> Vec<bool> {
        let seats = passes.iter().map(|pass| pass.seat().is_stopped());
        seats.collect()
    }

    #[test]
    fn s42_the_oldest_silent_connection_makes_room_and_no_other() {
        let gate = gate(3);
        let [first, second, third] = [(); 3].map(|()| gate.enter(None).unwrap());
        first.spoke();
        let fourth = gate.enter(None).unwrap();
        assert_eq!(stopped(&[&first, &second, &third]), [false, true, false]);
        drop(second);
        drop((third, fourth));
        assert!(!first.seat().is_stopped());
    }

    #[test]
    fn s42_strangers_that_ask_for_nothing_make_room_for_a_member_which_stays() {
        let gate = gate(3);
        let [idle, busy, third] = [(); 3].map(|()| gate.enter(None).unwrap());
        [&idle, &busy, &third].into_iter().for_each(Pass::spoke);
        busy.seat().asked();
        let member = gate.enter(None).expect("a member is not locked out");
        assert_eq!(stopped(&[&idle, &busy, &third]), [true, false, false]);
        drop(idle);
        member.spoke();
        member.seat().greeted("member");
        let crowd: Vec<_> = (0..10)
            .map(|_| {
                let pass = gate.enter(None).expect("a stranger makes room");
                pass.spoke();
                pass.seat().greeted("nobody");
                pass
            })
            .collect();
        assert!(!member.seat().is_stopped() && member.seat().is_member());
        assert!(crowd[..8].iter().all(|pass| pass.seat().is_stopped()));
    }

    #[test]
    fn s42_one_members_name_protects_a_few_connections_only() {
        let gate = gate(8);
        let passes: Vec<_> = (0..8).map(|_| gate.enter(None).unwrap()).collect();
        for pass in &passes {
            pass.spoke();
            pass.seat().greeted("member");
        }
        let newcomer = gate.enter(None).expect("some make room");
        assert!(passes[0].seat().is_stopped());
        assert!(passes[4..].iter().all(|pass| pass.seat().is_member()));
        drop(passes);
        assert!(gate.open.lock().named.is_empty());
        drop(newcomer);
        assert_eq!(gate.open.lock().count, 0);
    }
}
