//! Gets of peers that wait for loads, over all links.
//!
//! Invariant: a bounded number waits, on one link and in all. Where all places
//! are taken, the link that has most of them gives some up to one that has few,
//! so that nobody who asks for much keeps others out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Inbound;
use crate::{Error, ErrorKind, Result};

/// In all; each takes about 1 KiB.
const MOST: usize = 49_152;
/// On one link; more than a peer of this release ever asks without an answer.
const MOST_OF_LINK: usize = MOST / 6 * 5;
/// A link with fewer than this and twice those of another gives nothing up to it.
const FEW: usize = 1024;

#[derive(Default)]
pub(crate) struct Waits {
    count: AtomicUsize,
    links: Mutex<HashMap<u32, Weak<Inbound>>>,
}

impl Waits {
    pub(super) fn open(&self, link: &Arc<Inbound>) {
        self.links.lock().insert(link.index, Arc::downgrade(link));
    }

    pub(super) fn close(&self, index: u32) {
        self.links.lock().remove(&index);
    }

    /// The link that has most of them gives a part of them up to this one.
    fn make_room(&self, link: &Inbound) -> bool {
        let links: Vec<_> = {
            let links = self.links.lock();
            links.values().filter_map(Weak::upgrade).collect()
        };
        let count = |link: &Inbound| link.waiting.load(Ordering::Relaxed);
        match links.iter().max_by_key(|link| count(link)) {
            Some(most) if count(most) >= 2 * count(link) + FEW => {
                most.refuse_some(count(most) / 4);
                true
            }
            _ => false,
        }
    }
}

/// One get's place among those that wait.
pub(super) struct Wait(pub(super) Arc<Inbound>);

impl Wait {
    /// # Errors
    /// Overloaded: there is none.
    pub(super) fn of(link: &Arc<Inbound>) -> Result<Self> {
        let waits = &link.state.waits;
        let on_link = link.waiting.fetch_add(1, Ordering::Relaxed);
        let in_all = waits.count.fetch_add(1, Ordering::Relaxed);
        // From here on its drop gives both back.
        let wait = Self(link.clone());
        if on_link >= MOST_OF_LINK || (in_all >= MOST && !waits.make_room(link)) {
            return Err(overloaded());
        }
        Ok(wait)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.state.waits.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Inbound {
    /// So many gets of this link are told to come again later.
    fn refuse_some(&self, count: usize) {
        let given: Vec<_> = {
            let mut waits = self.waits.lock();
            let ids: Vec<u64> = waits.keys().take(count).copied().collect();
            let given = ids.iter().filter_map(|id| Some((*id, waits.remove(id)?)));
            given.collect()
        };
        for (id, wait) in given {
            wait.abort();
            self.fail(id, &overloaded());
        }
    }
}

fn overloaded() -> Error {
    Error::new(
        ErrorKind::Overloaded,
        format!(
            "gets wait for loads here: {MOST_OF_LINK} of one peer and {MOST} in all are the limits; try again later"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::outbox::{MAX_UNANSWERED, Outbox};
    use crate::wire::{Hello, Replies};
    use crate::{Node, NodeOptions};

    const _: () = assert!(MOST_OF_LINK > MAX_UNANSWERED);

    #[tokio::test]
    async fn s42_who_makes_thousands_of_gets_wait_keeps_nobody_from_waiting() {
        let node = Node::start(NodeOptions::default()).await.unwrap();
        let open = || {
            let outbox = Outbox::<Replies>::new();
            Inbound::new(node.state().clone(), outbox, &Hello::default(), None)
        };
        let take = |link: &Arc<Inbound>, count: usize| -> Result<Vec<Wait>> {
            (0..count).map(|_| Wait::of(link)).collect()
        };
        let (greedy, second, modest) = (open(), open(), open());
        let waiting = tokio::spawn(std::future::pending::<()>());
        greedy.waits.lock().insert(1, waiting.abort_handle());
        let mut all = vec![take(&greedy, MOST_OF_LINK).unwrap()];
        assert!(Wait::of(&greedy).is_err(), "a link has no more");
        all.push(take(&second, MOST - MOST_OF_LINK - 1).unwrap());
        all.push(take(&modest, 1).unwrap());
        let one_more = take(&modest, 1).expect("the greedy one makes room");
        assert!(waiting.await.unwrap_err().is_cancelled());
        drop((one_more, all));
        let even = [&second, &modest].map(|link| take(link, MOST / 2).unwrap());
        assert!(take(&second, 1).is_err(), "not for one that has as many");
        drop(even);
        assert_eq!(node.state().waits.count.load(Ordering::Relaxed), 0);
    }
}
