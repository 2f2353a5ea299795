//! How a promoted waiter goes on with what its leader gave up.

use std::sync::Arc;

use tokio::time::Instant;

use super::lead::Leading;
use super::{Answer, GroupInner};
use crate::flight::Token;
use crate::load::Caller;
use crate::peers::Route;

pub(crate) struct Resume {
    group: Arc<GroupInner>,
    key: Arc<str>,
    purpose: Purpose,
    caller: Caller,
}

#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Load,
    Fetch,
}

impl Resume {
    pub(super) fn new(
        group: &Arc<GroupInner>,
        key: impl Into<Arc<str>>,
        purpose: Purpose,
        caller: Caller,
    ) -> Self {
        Self {
            group: group.clone(),
            key: key.into(),
            purpose,
            caller,
        }
    }

    pub(crate) fn group_and_key(&self) -> (Arc<str>, Arc<str>) {
        (self.group.name.clone(), self.key.clone())
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Runs the load by the getter, or the fetch from whoever owns the key now.
    pub(crate) fn run(&self, flight: Token<Answer>, deadline: Option<Instant>) {
        let group = &self.group;
        let view = group.state.peers.view();
        match (self.purpose, view.route(&self.key)) {
            (Purpose::Load, _) => {
                let start = group.load_start(&self.key, &view);
                drop(view);
                let caller = self.caller.clone();
                group.inherit_lead(Leading::new(flight, start, caller, deadline));
            }
            (Purpose::Fetch, Route::Remote(link)) => {
                let caller = self.caller.clone();
                group.fetch(flight, link, deadline, Instant::now(), caller);
            }
            // The key has become ours meanwhile.
            (Purpose::Fetch, Route::Local) => {
                let (group, key) = (group.clone(), self.key.clone());
                let caller = self.caller.clone();
                group.state.runtime.clone().spawn(async move {
                    let answer = group.load_here(&key, caller).await;
                    flight.complete(answer);
                });
            }
        }
    }
}
