//! What the requests of one caller bring, side by side: one wait for all of
//! them instead of one for each. What does not end with its answer is told at
//! once.
//!
//! Invariant: each place is filled at most once; the waiter is woken when the
//! last one is, by an answer that goes on, and by nothing else.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::call::{CallError, Fetched};
use crate::ErrorKind;

type Answer = Result<Fetched, CallError>;

pub(crate) struct Answers {
    places: Mutex<Places>,
    missing: AtomicUsize,
    changed: Notify,
}

struct Places {
    answers: Vec<Option<Answer>>,
    /// Places of answers that go on, and have not been taken.
    going_on: Vec<usize>,
}

/// What the waiter is woken with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// Places of answers that go on; each is told once.
    Some(Vec<usize>),
    All,
}

impl Answers {
    /// For so many requests.
    pub(crate) fn new(count: usize) -> Self {
        Self {
            places: Mutex::new(Places {
                answers: (0..count).map(|_| None).collect(),
                going_on: Vec::new(),
            }),
            missing: AtomicUsize::new(count),
            changed: Notify::new(),
        }
    }

    pub(crate) fn put(&self, place: usize, answer: Answer) {
        let goes_on = goes_on(&answer);
        let mut places = self.places.lock();
        let earlier = match places.answers.get_mut(place) {
            Some(place) => place.replace(answer),
            None => return,
        };
        if earlier.is_some() {
            return;
        }
        if goes_on {
            places.going_on.push(place);
        }
        drop(places);
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 || goes_on {
            self.changed.notify_one();
        }
    }

    /// Waits for all of them, or for some that go on. For one waiter;
    /// cancel-safe.
    pub(crate) async fn come(&self) -> Came {
        loop {
            if self.missing.load(Ordering::Acquire) == 0 {
                return Came::All;
            }
            let going_on = std::mem::take(&mut self.places.lock().going_on);
            if !going_on.is_empty() {
                return Came::Some(going_on);
            }
            self.changed.notified().await;
        }
    }

    /// One that has come.
    pub(crate) fn take_one(&self, place: usize) -> Option<Answer> {
        self.places.lock().answers.get_mut(place)?.take()
    }

    /// What has come and was not taken, by place.
    pub(crate) fn take(&self) -> Vec<Option<Answer>> {
        std::mem::take(&mut self.places.lock().answers)
    }
}

/// A large value is asked for once more; an owner that is gone, or has no such
/// group, is stood in for.
fn goes_on(answer: &Answer) -> bool {
    match answer {
        Ok(fetched) => fetched.by_unary,
        Err(CallError::Answered(error)) => error.kind() == ErrorKind::UnknownGroup,
        Err(CallError::Unreachable { .. }) => true,
        Err(_) => false,
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
        let mut wait = pin!(answers.come());
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
        assert!(pin!(answers.come()).poll(&mut cx).is_ready());
    }

    #[tokio::test]
    async fn an_answer_that_goes_on_is_told_before_the_last_and_once() {
        let answers = Answers::new(4);
        answers.put(0, late());
        let gone = || CallError::Unreachable {
            error: crate::Error::closed(),
            sent: false,
        };
        for place in [3, 1] {
            answers.put(place, Err(gone()));
        }
        assert_eq!(answers.come().await, Came::Some(vec![3, 1]));
        assert!(answers.take_one(3).is_some() && answers.take_one(3).is_none());
        let woken = Waker::noop();
        let mut cx = Context::from_waker(woken);
        assert!(pin!(answers.come()).poll(&mut cx).is_pending());
        // Taken is not missing.
        answers.put(2, late());
        assert_eq!(answers.come().await, Came::All);
        let left = answers.take();
        assert!(left[3].is_none() && left[..3].iter().all(Option::is_some));
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
