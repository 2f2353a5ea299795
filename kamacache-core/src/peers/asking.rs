//! What is asked of a peer, from the call to the message that it travels in.
//!
//! Invariant: what waits in line is its own; the time left that a request names
//! is what is left when it enters its message.

use bytes::Bytes;
use tokio::time::Instant;

use super::bulk::Get;
use super::hello;
use super::outbox::Add;
use crate::wire::{Request, Requests};

/// What a request takes beside its key and value.
pub(crate) const REQUEST_BYTES: usize = 48;

pub(crate) enum Asking<'a> {
    Get(Get<'a>),
    /// Anything else, and when its caller gives up.
    Call(Request, Option<Instant>),
}

impl Asking<'_> {
    /// About how much it takes in a message.
    pub(crate) fn bytes(&self) -> usize {
        REQUEST_BYTES
            + match self {
                Self::Get(get) => get.key.len(),
                Self::Call(request, _) => {
                    request.group.len() + request.key.len() + request.value.len()
                }
            }
    }

    /// Enters a message to a peer with these capabilities.
    pub(crate) fn put(self, message: &mut Requests, id: u64, capabilities: u64) {
        let takes = |capability| capabilities & capability != 0;
        match self {
            Self::Get(mut get) => {
                if !takes(hello::TRACE) {
                    get.trace = "";
                }
                get.inside &= takes(hello::INSIDE);
                if takes(hello::BULK) && get.trace.is_empty() {
                    message.add_get(id, get);
                } else {
                    message.requests.push(get.alone(id));
                }
            }
            Self::Call(mut request, _) => {
                if !takes(hello::TRACE) {
                    request.trace = String::new();
                }
                message.requests.push(Request { id, ..request });
            }
        }
    }

    /// The same for one that waits in line.
    pub(crate) fn keep(self, id: u64, capabilities: u64) -> Add<Requests> {
        match self {
            Self::Get(get) => {
                let Get {
                    deadline,
                    borrow,
                    inside,
                    ..
                } = get;
                let group = Bytes::clone(get.group);
                let (key, trace) = (Box::<str>::from(get.key), Box::<str>::from(get.trace));
                Box::new(move |message| {
                    let get = Get {
                        group: &group,
                        key: &key,
                        left_ms: left_ms(deadline, Instant::now()),
                        deadline,
                        borrow,
                        inside,
                        trace: &trace,
                    };
                    Asking::Get(get).put(message, id, capabilities);
                })
            }
            Self::Call(mut request, deadline) => Box::new(move |message| {
                request.left_ms = left_ms(deadline, Instant::now());
                Asking::Call(request, deadline).put(message, id, capabilities);
            }),
        }
    }
}

/// What a request says about its caller's time; rounded up, so that the peer
/// does not give up before the caller does.
pub(crate) fn left_ms(deadline: Option<Instant>, now: Instant) -> u64 {
    deadline.map_or(0, |deadline| {
        let left = deadline.saturating_duration_since(now);
        u64::try_from(left.as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    })
}
