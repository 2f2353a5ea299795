//! Follows discovery and what is heard of members: lists, goodbyes, returns, and
//! the grace of members that are no longer listed.
//!
//! Invariant: one change after the other, in the order in which they are heard.
//! Started by `Membership::begin`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Event, Membership};
use crate::discovery::Lists;
use crate::options;
use crate::state::State;
use crate::{Error, ErrorKind, Result};

/// Between two looks at members in their grace.
const LOOK: Duration = Duration::from_millis(250);

/// Follows discovery and what is heard of members, one change after the other.
pub(super) async fn follow(
    state: Weak<State>,
    mut lists: Lists,
    mut inbox: mpsc::UnboundedReceiver<Event>,
) {
    let Some(closed) = state.upgrade().map(|state| state.closed.clone()) else {
        return;
    };
    let mut grace = false;
    loop {
        let heard = tokio::select! {
            list = lists.next() => Heard::List(list),
            event = inbox.recv() => Heard::Event(event),
            () = tokio::time::sleep(LOOK), if grace => Heard::Nothing,
            () = closed.cancelled() => return,
        };
        let Some(state) = state.upgrade() else { return };
        match heard {
            Heard::List(Some(list)) => take_list(&state, list).await,
            // A source that ends is out for good.
            Heard::List(None) => {
                state
                    .membership
                    .failed(&Error::internal("discovery has ended"));
                lists = Box::pin(stream::pending());
            }
            Heard::Event(Some(event)) => take_event(&state, event).await,
            Heard::Event(None) => return,
            Heard::Nothing => {}
        }
        grace = look_at_missing(&state).await;
    }
}

enum Heard {
    List(Option<Result<Vec<String>>>),
    Event(Option<Event>),
    Nothing,
}

async fn take_list(state: &Arc<State>, list: Result<Vec<String>>) {
    let answered = match &list {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::NotFound,
    };
    let checked = list.and_then(|list| options::found_members(state.peers.me(), &list));
    let checked = checked.and_then(|members| match members.as_slice() {
        [] => Err(Error::invalid_argument("discovery found no members at all")),
        _ => Ok(members),
    });
    match checked {
        Ok(members) => {
            state.membership.in_order();
            let now = Instant::now();
            Membership::update(state, |roster| roster.list(now, members)).await;
        }
        Err(error) => state.membership.failed(&error),
    }
    if answered {
        state.membership.heard.store(true, Ordering::Relaxed);
    }
}

async fn take_event(state: &Arc<State>, event: Event) {
    match event {
        Event::Left(member, incarnation, adopted) => {
            state.membership.is_gone(&member, incarnation);
            tracing::info!(peer = member, "a member says goodbye");
            Membership::update(state, |roster| roster.goodbye(&member, incarnation)).await;
            let _ = adopted.send(());
        }
        Event::Overheard(member, incarnation) => {
            let met = state.membership.met.lock().last(&member);
            // Who was met since, as another, is not gone.
            if member != state.address && met.is_none_or(|met| met.incarnation == incarnation) {
                Membership::update(state, |roster| roster.goodbye(&member, incarnation)).await;
            }
        }
        Event::Greeted(member, incarnation) => {
            Membership::update(state, |roster| {
                roster.greeted(&member, incarnation);
            })
            .await;
        }
    }
}

/// Dials members in their grace, so that they can show that they answer, and
/// ends the grace of those that do not; whether anyone is in one.
async fn look_at_missing(state: &Arc<State>) -> bool {
    let missing: Vec<String> = {
        let roster = state.membership.roster.lock();
        roster.missing().map(str::to_owned).collect()
    };
    if missing.is_empty() {
        return false;
    }
    let view = arc_swap::Guard::into_inner(state.peers.view());
    for link in missing.iter().filter_map(|member| view.link_to(member)) {
        link.expect();
    }
    let is_suspect = |member: &str| {
        view.link_to(member)
            .is_some_and(|link| link.suspicion().is_some())
    };
    let now = Instant::now();
    Membership::update(state, |roster| roster.look(now, is_suspect)).await;
    true
}
