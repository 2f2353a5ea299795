//! How many connections may be open to this node, and who makes room (S42): the
//! oldest that has said nothing yet. Who has greeted is never turned out, so
//! that thousands of silent connections hold no peer up.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// More than a thousand members need.
pub(crate) const MAX_CONNECTIONS: usize = 4096;

pub(crate) struct Gate {
    limit: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    count: usize,
    next: u64,
    /// Who has not spoken yet, the oldest first.
    silent: BTreeMap<u64, CancellationToken>,
}

/// The right of one connection to be open; ends with its drop.
pub(crate) struct Pass {
    gate: Arc<Gate>,
    id: u64,
}

impl Gate {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            open: Mutex::default(),
        })
    }

    /// A connection comes; with what tells it that it must make room. `None`:
    /// all others have spoken, and there are as many as may be.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<(Pass, CancellationToken)> {
        let mut open = self.open.lock();
        if open.count >= self.limit && !open.turn_out_one() {
            return None;
        }
        open.count += 1;
        open.next += 1;
        let (id, turned_out) = (open.next, CancellationToken::new());
        open.silent.insert(id, turned_out.clone());
        let gate = self.clone();
        Some((Pass { gate, id }, turned_out))
    }

    /// The process can open nothing more: a silent connection makes room.
    pub(crate) fn make_room(&self) -> bool {
        self.open.lock().turn_out_one()
    }
}

impl Open {
    fn turn_out_one(&mut self) -> bool {
        match self.silent.pop_first() {
            Some((_, turned_out)) => {
                turned_out.cancel();
                true
            }
            None => false,
        }
    }
}

impl Pass {
    /// The connection has greeted: it stays as long as it likes.
    pub(crate) fn spoke(&self) {
        self.gate.open.lock().silent.remove(&self.id);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut open = self.gate.open.lock();
        open.count -= 1;
        open.silent.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s42_the_oldest_silent_connection_makes_room_and_no_other() {
        let gate = Gate::new(3);
        let (first, out_first) = gate.enter().unwrap();
        let (second, out_second) = gate.enter().unwrap();
        let (third, out_third) = gate.enter().unwrap();
        first.spoke();
        let (fourth, _) = gate.enter().unwrap();
        let turned_out = [&out_first, &out_second, &out_third].map(|token| token.is_cancelled());
        assert_eq!(turned_out, [false, true, false]);
        drop(second);
        third.spoke();
        fourth.spoke();
        assert!(gate.enter().is_none(), "all have spoken");
        assert!(!gate.make_room());
        drop(third);
        assert!(gate.enter().is_some());
    }
}
