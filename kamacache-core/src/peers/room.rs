//! The memory that a node gives to what others have begun and not finished:
//! messages of which a part has come, calls whose message waits for its end,
//! replies that the other side does not take. One number for the whole node.
//!
//! Invariants: what is charged is given back once, by whoever charged it or by
//! the one who cut the other side off; nothing is held back from a side that
//! reads and writes. Whoever stands still for [`STILL`] is cut off, and while
//! others wait for memory, for [`STILL_FULL`]: its connection ends, and with it
//! all that it holds.
//!
//! Called by `intake.rs` for what crosses the port, by `inbound.rs` for the
//! queue of a link, and by the node's upkeep.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::gate::Seat;

/// All of it, in bytes.
pub(crate) const ROOM: usize = 64 << 20;
/// Of it, what large messages may take: small ones always find some.
const LARGE: usize = ROOM / 2;
/// What one connection's large messages may take, or one message if it is larger.
const SHARE: usize = LARGE / 2;
/// What one connection may take in all, before it waits for itself.
const OF_CONNECTION: usize = ROOM / 4;
/// Beyond the room, for members: strangers that fill it do not hold them up.
const RESERVE: usize = ROOM / 4;
/// A message of more bytes is large: its place is taken before it is read.
pub(crate) const SMALL: usize = 1 << 20;
/// How long the other side may stand still.
const STILL: Duration = Duration::from_secs(10);
/// The same while others wait for memory.
const STILL_FULL: Duration = Duration::from_secs(1);
/// Fewer bytes than this are no progress.
const STEP: usize = 32 << 10;
/// Strangers' connections on which messages wait for a place at the same time;
/// those of more are refused. The transport holds a part of what waits.
const WAITING: usize = 8;
/// How long one waits for a place.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at who stands still, while others wait.
const LOOK: Duration = Duration::from_millis(100);

/// Calls that are under way at the same time, beside links; each takes a few KiB.
pub(crate) const CALLS: usize = 16_384;

/// Not waiting for the other side.
const AT_WORK: u64 = u64::MAX;

/// The node's memory for what is unfinished.
pub(crate) struct Room {
    begun: Instant,
    taken: AtomicUsize,
    large: AtomicUsize,
    /// Messages that wait for a place, and the connections that they come over.
    waiting: AtomicUsize,
    connections: AtomicUsize,
    calls: AtomicUsize,
    freed: Notify,
    holds: Mutex<Holds>,
}

#[derive(Default)]
struct Holds {
    next: u64,
    all: BTreeMap<u64, Arc<Hold>>,
    looked: Option<Instant>,
}

/// What one call or link holds of it.
pub(crate) struct Hold {
    id: u64,
    seat: Arc<Seat>,
    held: AtomicUsize,
    /// Of it, what large messages have a place for.
    large: AtomicUsize,
    /// Since when the other side has stood still, in milliseconds of the room's
    /// time; or [`AT_WORK`].
    still: AtomicU64,
    moved: AtomicUsize,
    /// Pieces that were given and are not taken.
    given: AtomicUsize,
    /// Its connection was ended: nothing is charged to it any more.
    cut_off: AtomicBool,
}

impl Room {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            taken: AtomicUsize::new(0),
            large: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            freed: Notify::new(),
            holds: Mutex::default(),
        })
    }

    /// A call or a link of this connection begins.
    pub(crate) fn open(self: &Arc<Self>, seat: &Arc<Seat>) -> Place {
        let mut holds = self.holds.lock();
        holds.next += 1;
        let hold = Arc::new(Hold {
            id: holds.next,
            seat: seat.clone(),
            held: AtomicUsize::new(0),
            large: AtomicUsize::new(0),
            still: AtomicU64::new(AT_WORK),
            moved: AtomicUsize::new(0),
            given: AtomicUsize::new(0),
            cut_off: AtomicBool::new(false),
        });
        holds.all.insert(hold.id, hold.clone());
        drop(holds);
        Place(Arc::new(Held {
            room: self.clone(),
            hold,
        }))
    }

    /// A call that is no link begins; `None`: there are [`CALLS`].
    pub(crate) fn call(self: &Arc<Self>) -> Option<Running> {
        let running = Running(self.clone());
        (self.calls.fetch_add(1, Ordering::Relaxed) < CALLS).then_some(running)
    }

    /// Bytes that are charged now.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether something new that others send must wait.
    fn is_full_for(&self, seat: &Seat) -> bool {
        let taken = self.taken.load(Ordering::Relaxed);
        if seat.taken.load(Ordering::Relaxed) >= OF_CONNECTION {
            return true;
        }
        taken >= ROOM && (taken >= ROOM + RESERVE || !seat.is_member())
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(AT_WORK - 1)
    }

    /// Ends the connections of those that have stood still for too long.
    pub(crate) fn tend(&self) {
        self.cut_off(STILL);
    }

    /// The same while others wait; looks now and then only.
    fn press(&self) {
        let mut holds = self.holds.lock();
        if holds.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return;
        }
        holds.looked = Some(Instant::now());
        drop(holds);
        self.cut_off(STILL_FULL);
    }

    fn cut_off(&self, still: Duration) {
        let now = self.now();
        let least = u64::try_from(still.as_millis()).unwrap_or(AT_WORK);
        let holds = self.holds.lock();
        let late: Vec<Arc<Hold>> = holds
            .all
            .values()
            .filter(|hold| {
                let since = hold.still.load(Ordering::Relaxed);
                since != AT_WORK && now.saturating_sub(since) >= least
            })
            .cloned()
            .collect();
        drop(holds);
        for hold in late {
            if !hold.cut_off.swap(true, Ordering::AcqRel) {
                hold.give_back_large(self, usize::MAX);
                self.give_back(hold.empty());
                hold.seat
                    .stop("it neither finished what it had begun to send nor took its replies");
            }
        }
    }

    fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::AcqRel);
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.freed.notify_waiters();
        }
    }

    /// Waits until `take` has found a place; `false`: there was none in time, or
    /// too many wait.
    async fn wait(&self, seat: &Seat, mut take: impl FnMut() -> bool) -> bool {
        if take() {
            return true;
        }
        let waiting = Waiting::of(self, seat);
        // Members wait however many strangers do.
        if waiting.is_too_many && !seat.is_member() {
            return false;
        }
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let freed = self.freed.notified();
            if take() {
                return true;
            }
            self.press();
            if take() {
                return true;
            }
            let _ = tokio::time::timeout(LOOK, freed).await;
        }
        false
    }
}

impl Hold {
    fn add(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::AcqRel);
        self.seat.taken.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Takes so much away, or what there is; how much that was.
    fn subtract(&self, bytes: usize) -> usize {
        let back = subtract(&self.held, bytes);
        self.seat.taken.fetch_sub(back, Ordering::AcqRel);
        back
    }

    fn empty(&self) -> usize {
        self.subtract(usize::MAX)
    }

    fn give_back_large(&self, room: &Room, bytes: usize) {
        let back = subtract(&self.large, bytes);
        self.seat.large.fetch_sub(back, Ordering::AcqRel);
        room.large.fetch_sub(back, Ordering::AcqRel);
    }
}

/// Takes so much away, or what there is; how much that was.
fn subtract(from: &AtomicUsize, bytes: usize) -> usize {
    let mut back = 0;
    // It never fails.
    let _ = from.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
        back = bytes.min(held);
        Some(held - back)
    });
    back
}

struct Waiting<'a> {
    room: &'a Room,
    seat: &'a Seat,
    is_too_many: bool,
}

impl<'a> Waiting<'a> {
    fn of(room: &'a Room, seat: &'a Seat) -> Self {
        room.waiting.fetch_add(1, Ordering::AcqRel);
        let is_first = seat.waiting.fetch_add(1, Ordering::AcqRel) == 0;
        let before = match is_first {
            true => room.connections.fetch_add(1, Ordering::AcqRel),
            false => 0,
        };
        Self {
            room,
            seat,
            is_too_many: before >= WAITING,
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.room.waiting.fetch_sub(1, Ordering::AcqRel);
        if self.seat.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.room.connections.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// A call from its begin to the end of its reply.
pub(crate) struct Running(Arc<Room>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The account of one call or link; clones share it, and with the last one's
/// drop all that it held is given back.
#[derive(Clone)]
pub(crate) struct Place(Arc<Held>);

struct Held {
    room: Arc<Room>,
    hold: Arc<Hold>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.holds.lock().all.remove(&self.hold.id);
        self.room.give_back(self.hold.empty());
    }
}

impl Place {
    /// Charges what is there already, whether or not there is room.
    pub(crate) fn charge(&self, bytes: usize) {
        let Held { room, hold } = &*self.0;
        if hold.cut_off.load(Ordering::Acquire) {
            return;
        }
        hold.add(bytes);
        let before = room.taken.fetch_add(bytes, Ordering::AcqRel);
        if before + bytes >= ROOM {
            room.press();
        }
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        let Held { room, hold } = &*self.0;
        // Whoever was cut off has given it back.
        let back = hold.subtract(bytes);
        if back > 0 {
            room.give_back(back);
        }
    }

    /// From now on this side waits for the other.
    pub(crate) fn waits(&self) {
        let Held { room, hold } = &*self.0;
        if hold.still.load(Ordering::Relaxed) == AT_WORK {
            hold.still.store(room.now(), Ordering::Relaxed);
        }
    }

    /// The other side has sent or taken this many bytes.
    pub(crate) fn moved(&self, bytes: usize) {
        let Held { room, hold } = &*self.0;
        let before = hold.moved.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes >= STEP && hold.still.load(Ordering::Relaxed) != AT_WORK {
            hold.moved.store(0, Ordering::Relaxed);
            hold.still.store(room.now(), Ordering::Relaxed);
        }
    }

    /// It is this side's turn.
    pub(crate) fn works(&self) {
        self.0.hold.still.store(AT_WORK, Ordering::Relaxed);
        self.0.hold.moved.store(0, Ordering::Relaxed);
    }

    /// Something more is given that the other side is to take.
    pub(crate) fn gives(&self) {
        self.0.hold.given.fetch_add(1, Ordering::AcqRel);
        self.waits();
    }

    /// It was taken.
    pub(crate) fn taken(&self) {
        let Held { room, hold } = &*self.0;
        if hold.given.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.works();
        } else {
            hold.still.store(room.now(), Ordering::Relaxed);
        }
    }

    /// Whether something new must wait.
    pub(crate) fn is_full(&self) -> bool {
        self.0.room.is_full_for(&self.0.hold.seat)
    }

    /// Waits while there is no room, before something new is begun; `false`: it
    /// stayed so.
    pub(crate) async fn admitted(self) -> bool {
        let Held { room, hold } = &*self.0;
        room.wait(&hold.seat, || !room.is_full_for(&hold.seat))
            .await
    }

    /// The connection.
    pub(crate) fn seat(&self) -> &Arc<Seat> {
        &self.0.hold.seat
    }

    /// As [`Place::large`], without waiting.
    pub(crate) fn large_now(&self, bytes: usize) -> Option<Large> {
        let bytes = bytes.min(LARGE);
        let Held { room, hold } = &*self.0;
        Large::take(room, &hold.seat, bytes).then(|| Large::of(self, bytes))
    }

    /// A place for a large message or reply, taken before its bytes are there;
    /// `None`: there was none within [`PATIENCE`]. One that is larger than all
    /// that there is takes all.
    pub(crate) async fn large(self, bytes: usize) -> Option<Large> {
        let bytes = bytes.min(LARGE);
        let Held { room, hold } = &*self.0;
        let found = room
            .wait(&hold.seat, || Large::take(room, &hold.seat, bytes))
            .await;
        found.then(|| Large::of(&self, bytes))
    }
}

/// The place of a large message; ends with its drop.
pub(crate) struct Large {
    place: Place,
    bytes: usize,
}

impl Large {
    fn of(place: &Place, bytes: usize) -> Self {
        place.0.hold.add(bytes);
        place.0.hold.large.fetch_add(bytes, Ordering::AcqRel);
        Self {
            place: place.clone(),
            bytes,
        }
    }

    fn take(room: &Room, seat: &Seat, bytes: usize) -> bool {
        let fits = |most: usize| {
            move |taken: usize| {
                let more = taken + bytes;
                (more <= most || taken == 0).then_some(more)
            }
        };
        let (take, share) = (fits(LARGE), fits(SHARE));
        let (order, then) = (Ordering::AcqRel, Ordering::Acquire);
        if room.is_full_for(seat) || seat.large.fetch_update(order, then, share).is_err() {
            return false;
        }
        if room.large.fetch_update(order, then, take).is_err() {
            seat.large.fetch_sub(bytes, Ordering::AcqRel);
            return false;
        }
        room.taken.fetch_add(bytes, Ordering::AcqRel);
        true
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        let Held { room, hold } = &*self.place.0;
        hold.give_back_large(room, self.bytes);
        self.place.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests;
