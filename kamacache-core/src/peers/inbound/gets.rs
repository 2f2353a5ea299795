//! A peer's Gets: one at a time or in bulk, answered at once from memory, or
//! when the load that they lead or join has ended.
//!
//! Invariant: a bounded number waits; whoever waits may cancel, and the load
//! goes on (S10).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::Span;

use super::waits::Wait;
use super::{Inbound, REPLY_BYTES, Turn, text};
use crate::generations::Slot;
use crate::group::{GroupInner, ServedGet};
use crate::load::LoadToken;
use crate::node_stats::add;
use crate::peers::call::NOT_KEPT;
use crate::peers::lender::bit;
use crate::peers::link::MAX_LINK_VALUE;
use crate::peers::outbox::Refused;
use crate::pending::{Begin, Pending, deadline_after};
use crate::wire::{Gets, Op, Reply, Request};
use crate::{Error, ErrorKind, Result, Value, trace};

/// A Get as it was asked for; one of many in bulk is answered in bulk.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    id: u64,
    left_ms: u64,
    borrow: bool,
    /// Inside a getter of the peer.
    inside: bool,
    bulk: bool,
}

impl Asked {
    pub(super) fn alone(request: &Request) -> Self {
        Self {
            id: request.id,
            left_ms: request.left_ms,
            borrow: request.borrow,
            inside: request.inside,
            bulk: false,
        }
    }
}

/// Loads that one message's gets lead, for one batch getter call.
#[derive(Default)]
pub(super) struct Leads(Vec<(Arc<GroupInner>, Vec<LoadToken>)>);

impl Leads {
    fn add(&mut self, group: &Arc<GroupInner>, token: LoadToken) {
        match self
            .0
            .iter_mut()
            .find(|(known, _)| Arc::ptr_eq(known, group))
        {
            Some((_, tokens)) => tokens.push(token),
            None => self.0.push((group.clone(), vec![token])),
        }
    }

    pub(super) fn start(self) {
        for (group, tokens) in self.0 {
            group.start_many(tokens);
        }
    }
}

impl Inbound {
    /// Gets in bulk; what is in memory is answered without an allocation.
    pub(super) async fn get_all(self: &Arc<Self>, gets: &Gets, leads: &mut Leads, turn: &mut Turn) {
        let Some(each) = gets.each() else {
            add(&self.state.counters.malformed);
            if self.state.warnings.is_due("broken gets") {
                tracing::warn!(
                    peer = &*self.peer,
                    "the peer sent a broken list of gets; its link is closed"
                );
            }
            self.outbox.close();
            return;
        };
        let group = text(&gets.group).map(|name| self.state.find_now(name));
        for (id, left_ms, key) in each {
            let handled = match (&group, text(key)) {
                (Err(error), _) => Err(error.clone()),
                (_, Err(error)) => Err(error),
                (Ok(None), Ok(key)) => {
                    self.get_later(Request {
                        id,
                        op: Op::Get.into(),
                        group: gets.group.clone(),
                        key: bytes::Bytes::copy_from_slice(key.as_bytes()),
                        left_ms,
                        borrow: gets.borrow,
                        inside: gets.inside,
                        ..Request::default()
                    });
                    Ok(())
                }
                (Ok(Some(group)), Ok(key)) => {
                    let asked = Asked {
                        id,
                        left_ms,
                        borrow: gets.borrow,
                        inside: gets.inside,
                        bulk: true,
                    };
                    self.get_here(group, key, asked, &Span::none(), leads)
                }
            };
            if let Err(error) = handled {
                self.fail(id, &error);
            }
            turn.one_more().await;
        }
    }

    pub(super) fn get(self: &Arc<Self>, request: Request, leads: &mut Leads) -> Result<()> {
        let (group, key) = (text(&request.group)?, text(&request.key)?);
        let Some(group) = self.state.find_now(group) else {
            self.get_later(request);
            return Ok(());
        };
        let span = trace::served(group.name(), key, &request.trace);
        self.get_here(&group, key, Asked::alone(&request), &span, leads)
    }

    fn get_here(
        self: &Arc<Self>,
        group: &Arc<GroupInner>,
        key: &str,
        asked: Asked,
        span: &Span,
        leads: &mut Leads,
    ) -> Result<()> {
        if asked.borrow {
            // Before the store is read or a load is joined.
            self.state
                .generations
                .lend(Slot::of(group.name(), key), bit(self.index));
        }
        let begin = || group.begin_for_peer(key, asked.inside, || deadline(asked.left_ms));
        let (begun, served) = span.in_scope(begin)?;
        if served.other_owner.is_some() {
            add(&self.state.counters.misrouted);
        }
        match (begun, served) {
            (Begin::Hit(value), served) => self.answer(asked, &value, &served, 0),
            (Begin::Lead(token, pending), served) => {
                leads.add(group, token);
                self.answer_later(asked, pending, served)?;
            }
            (Begin::Wait(pending), served) => self.answer_later(asked, pending, served)?,
        }
        Ok(())
    }

    fn answer_later(
        self: &Arc<Self>,
        asked: Asked,
        pending: Pending,
        served: ServedGet,
    ) -> Result<()> {
        // Id 0 asks for no answer.
        if asked.id == 0 {
            return Ok(());
        }
        let wait = Wait::of(self)?;
        // Locked until the wait has its place, or a quick one would be gone
        // before it came.
        let mut waits = self.waits.lock();
        if waits.contains_key(&asked.id) {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("a get with the id {} waits already on this link", asked.id),
            ));
        }
        let wait = self.state.runtime.spawn(async move {
            let link = &wait.0;
            let (group, key) = pending.group_and_key();
            let served_now = pending.served().await;
            // Whoever takes it out of those that wait answers it.
            if link.waits.lock().remove(&asked.id).is_none() {
                return;
            }
            match served_now {
                Ok(answer) => {
                    let served = served.with(&answer, link.state.clock.now_ms());
                    let held = if answer.value.len() > MAX_LINK_VALUE && !served.keep {
                        link.state.held.hold(&group, &key, &answer.value)
                    } else {
                        0
                    };
                    link.answer(asked, &answer.value, &served, held);
                }
                Err(error) => link.fail(asked.id, &error),
            }
        });
        waits.insert(asked.id, wait.abort_handle());
        Ok(())
    }

    /// The peer does not want that answer any more; the load goes on (S10).
    pub(super) fn cancel(&self, id: u64) {
        let wait = self.waits.lock().remove(&id);
        if let Some(wait) = wait {
            wait.abort();
            add(&self.state.counters.cancelled);
        }
    }

    /// A young node waits a little for its groups to be opened (S8b).
    fn get_later(self: &Arc<Self>, request: Request) {
        let link = self.clone();
        self.state.runtime.clone().spawn(async move {
            let name = String::from_utf8_lossy(&request.group).into_owned();
            match link.state.group_for_peer(&name).await {
                Err(error) => link.fail(request.id, &error),
                Ok(_) => {
                    let mut leads = Leads::default();
                    link.handle(request, &mut leads);
                    leads.start();
                }
            }
        });
    }

    /// `held`: under which number a large value waits that is not kept.
    pub(super) fn answer(&self, asked: Asked, value: &Value, served: &ServedGet, held: u64) {
        let id = asked.id;
        let ttl_ms = if served.keep {
            served.left_ms
        } else {
            NOT_KEPT
        };
        let by_unary = value.len() > MAX_LINK_VALUE;
        if !asked.bulk || by_unary || served.other_owner.is_some() {
            return self.reply(Reply {
                id,
                value: if by_unary {
                    bytes::Bytes::new()
                } else {
                    value.to_bytes()
                },
                owner: served.other_owner.clone(),
                ttl_ms,
                by_unary,
                held,
                ..Reply::default()
            });
        }
        // Id 0 asks for no answer.
        if id == 0 {
            return;
        }
        let bytes = REPLY_BYTES + value.len();
        let pushed = self
            .outbox
            .push(bytes, |message| message.add_hit(id, ttl_ms, value));
        if pushed == Err(Refused::Full) {
            let value = value.clone();
            self.reply_later(bytes, move |message| message.add_hit(id, ttl_ms, &value));
        }
    }
}

fn deadline(left_ms: u64) -> Option<Instant> {
    if left_ms == 0 {
        None
    } else {
        deadline_after(Duration::from_millis(left_ms))
    }
}
