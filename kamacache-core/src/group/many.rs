//! Many keys at once: one pass over what is here; what is asked of one owner
//! leaves as one message and is waited for as a whole; what this node has to
//! load is one call of a batch getter.
//!
//! Invariant: everything of a batch begins at once and ends by itself: neither a
//! slow load nor a slow owner delays what another key needs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::far::Far;
use super::{GroupInner, Lead};
use crate::load::LoadToken;
use crate::pending::{Begin, Pending};
use crate::pendings::Pendings;
use crate::{Error, Result, Value};

/// How keys ended, by their places in their caller's list.
pub(super) type Ended = Vec<(usize, Result<Value>)>;

/// Keys of one caller that have begun as Gets of their own.
#[derive(Default)]
pub(super) struct Begun {
    ended: Ended,
    leads: Vec<LoadToken>,
    waits: Pendings,
}

impl GroupInner {
    pub(crate) async fn get_many(
        self: &Arc<Self>,
        keys: &[impl AsRef<str>],
        timeout: Option<Duration>,
    ) -> Vec<Result<Value>> {
        let mut near = Begun::default();
        let mut far = Far::new(self, timeout);
        {
            let view = self.state.peers.view();
            for (place, key) in keys.iter().enumerate() {
                let key = key.as_ref();
                match self.answer_here(key) {
                    Some(answer) => near.ended.push((place, answer)),
                    None if far.takes(&view, place, key) => {}
                    None => near.begin(self, place, key, timeout),
                }
            }
            far.ask();
        }
        near.start(self);
        let (near, far) = futures_util::join!(near.end(), join_all(far.batches()));
        let lost = || {
            Err(Error::internal(
                "a key of a batch was neither found nor asked for",
            ))
        };
        let mut results: Vec<_> = keys.iter().map(|_| None).collect();
        for (place, result) in far.into_iter().flatten().chain(near) {
            results[place] = Some(result);
        }
        let results = results.into_iter();
        results.map(|result| result.unwrap_or_else(lost)).collect()
    }
}

impl Begun {
    /// One more key that is not here.
    pub(super) fn begin(
        &mut self,
        group: &Arc<GroupInner>,
        place: usize,
        key: &str,
        timeout: Option<Duration>,
    ) {
        match group.begin_miss(None, key, timeout, Lead::Anywhere) {
            Ok(Begin::Hit(value)) => self.ended.push((place, Ok(value))),
            Ok(Begin::Wait(pending)) => self.add(place, pending),
            Ok(Begin::Lead(token, pending)) => {
                self.leads.push(token);
                self.add(place, pending);
            }
            Err(error) => self.ended.push((place, Err(error))),
        }
    }

    pub(super) fn add(&mut self, place: usize, pending: Pending) {
        self.waits.add(place, pending);
    }

    pub(super) fn add_ended(&mut self, place: usize, result: Result<Value>) {
        self.ended.push((place, result));
    }

    /// Loads together what this node has to load.
    pub(super) fn start(&mut self, group: &GroupInner) {
        if !self.leads.is_empty() {
            group.start_many(std::mem::take(&mut self.leads));
        }
    }

    /// Takes in one of those that end; `None`: all have. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<()> {
        let ended = self.waits.next().await?;
        self.ended.push(ended);
        Some(())
    }

    pub(super) async fn end(mut self) -> Ended {
        while self.next().await.is_some() {}
        self.ended
    }
}
