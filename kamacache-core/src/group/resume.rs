//! How a promoted waiter goes on with what its leader gave up.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Answer, GroupInner};
use crate::flight::Token;
use crate::peers::Route;

pub(crate) struct Resume {
    group: Arc<GroupInner>,
    key: Arc<str>,
    purpose: Purpose,
}

#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Load,
    Fetch,
}

impl Resume {
    pub(super) fn new(group: &Arc<GroupInner>, key: impl Into<Arc<str>>, purpose: Purpose) -> Self {
        Self {
            group: group.clone(),
            key: key.into(),
            purpose,
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
                group.start(group.token(&self.key, flight, start, None));
            }
            (Purpose::Fetch, Route::Remote(link)) => {
                group.fetch(flight, link, deadline, Instant::now());
            }
            // The key has become ours meanwhile.
            (Purpose::Fetch, Route::Local) => {
                let (group, key) = (group.clone(), self.key.clone());
                group.state.runtime.clone().spawn(async move {
                    let answer = group.load_here(&key).await;
                    flight.complete(answer);
                });
            }
        }
    }
}
