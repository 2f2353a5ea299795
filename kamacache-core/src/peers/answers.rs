//! What the requests of one caller bring, side by side: one wait for all of
//! them instead of one for each.
//!
//! Invariant: each place is filled at most once; the waiter is woken when the
//! last one is, and by nothing else.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::call::{CallError, Fetched};

type Answer = Result<Fetched, CallError>;

pub(crate) struct Answers {
    places: Mutex<Vec<Option<Answer>>>,
    missing: AtomicUsize,
    complete: Notify,
}

impl Answers {
    /// For so many requests.
    pub(crate) fn new(count: usize) -> Self {
        Self {
            places: Mutex::new((0..count).map(|_| None).collect()),
            missing: AtomicUsize::new(count),
            complete: Notify::new(),
        }
    }

    pub(crate) fn put(&self, place: usize, answer: Answer) {
        let earlier = match self.places.lock().get_mut(place) {
            Some(place) => place.replace(answer),
            None => return,
        };
        if earlier.is_none() && self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.complete.notify_one();
        }
    }

    /// Waits for all of them. For one waiter; cancel-safe.
    pub(crate) async fn all(&self) {
        while self.missing.load(Ordering::Acquire) > 0 {
            self.complete.notified().await;
        }
    }

    /// What has come, by place.
    pub(crate) fn take(&self) -> Vec<Option<Answer>> {
        std::mem::take(&mut *self.places.lock())
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn late() -> Answer {
        Err(CallError::Deadline { sent: true })
    }

    #[test]
    fn the_waiter_is_woken_by_the_last_answer_and_no_other() {
        let answers = Answers::new(3);
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(woken.clone());
        let mut cx = Context::from_waker(&waker);
        let mut wait = pin!(answers.all());
        assert!(wait.as_mut().poll(&mut cx).is_pending());
        // Twice, and beyond the end: neither counts.
        for place in [2, 2, 7, 0] {
            answers.put(place, late());
        }
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        answers.put(1, late());
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(wait.as_mut().poll(&mut cx).is_ready());
        assert!(answers.take().iter().all(Option::is_some));
        assert!(pin!(answers.all()).poll(&mut cx).is_ready());
    }

    #[test]
    fn what_has_come_is_taken_although_the_rest_is_missing() {
        let answers = Answers::new(2);
        answers.put(1, late());
        let taken = answers.take();
        assert!(taken[0].is_none() && taken[1].is_some());
        answers.put(0, late());
    }
}
