//! A link that a peer opened to this node: its requests are answered from the
//! local door only (S7), in stream order for writes, out of order for loads.
//!
//! Here are the life of such a link, its writes and what members tell each
//! other; `gets.rs` answers its Gets.
//!
//! Invariant: reading pauses while replies wait for room, so a peer that does not
//! read its replies costs bounded memory and blocks nobody else.

mod gets;
pub(crate) mod waits;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tonic::{Code, Status, Streaming};

use self::gets::{Asked, Leads};
use super::outbox::{Later, MAX_OPS, Outbox, Refused, WORTHWHILE_OPS};
use super::room::Place;
use crate::generations::Slots;
use crate::getter::Ttl;
use crate::group::{Form, ServedGet};
use crate::node_stats::add;
use crate::state::State;
use crate::wire::{GroupOptions, Hello, Op, Replies, Reply, Request, Requests};
use crate::{Error, ErrorKind, Result, Value, trace};

/// What a reply takes beside its value and message.
const REPLY_BYTES: usize = 32;
/// Operations of one message that are done without letting others run: who
/// floods a link delays them by no more than these take.
const AT_ONCE: usize = 128;
/// With its hello a peer also says what it owes: clears of all groups, and writes.
const MAX_OWED: usize = MAX_OPS + 64;

/// One inbound link.
pub(crate) struct Inbound {
    state: Arc<State>,
    outbox: Arc<Outbox<Replies>>,
    index: u32,
    /// What the peer says that it is called.
    peer: Box<str>,
    waiting: AtomicUsize,
    /// Replies that have had to wait in line.
    late: AtomicU64,
    /// The gets that wait for a load, by id, as long as they may be cancelled.
    waits: Mutex<HashMap<u64, AbortHandle>>,
    incarnation: u64,
    /// A goodbye is being looked into.
    goodbye: AtomicBool,
    /// The connection it came over, if that is counted.
    place: Option<Place>,
}

impl Inbound {
    pub(crate) fn new(
        state: Arc<State>,
        outbox: Arc<Outbox<Replies>>,
        hello: &Hello,
        place: Option<Place>,
    ) -> Arc<Self> {
        let index = state.lenders.add(outbox.clone(), hello.capabilities);
        let peer: Box<str> = hello.address.as_str().into();
        state.counters.heard(index, &peer, hello.view_digest);
        let link = Arc::new(Self {
            state,
            outbox,
            index,
            peer,
            waiting: AtomicUsize::new(0),
            late: AtomicU64::new(0),
            waits: Mutex::default(),
            incarnation: hello.incarnation,
            goodbye: AtomicBool::new(false),
            place,
        });
        link.state.waits.open(&link);
        link
    }

    /// Answers until the peer or this node closes the link.
    pub(crate) async fn serve(self: Arc<Self>, first: Requests, mut inbound: Streaming<Requests>) {
        let closed = self.state.closed.clone();
        let mut next = Some(first);
        let mut most = MAX_OWED;
        while let Some(message) = next {
            let requests = count(&message);
            if requests > std::mem::replace(&mut most, MAX_OPS) {
                add(&self.state.counters.malformed);
                if self.state.warnings.is_due("operations") {
                    tracing::warn!(
                        peer = &*self.peer,
                        requests,
                        "the peer sent a message of more than {MAX_OPS} operations, which is the limit; its link is closed"
                    );
                }
                break;
            }
            self.take(message).await;
            if requests >= WORTHWHILE_OPS {
                // Its replies leave before the next message is looked at: the
                // peer goes on with them meanwhile.
                tokio::task::yield_now().await;
            }
            self.outbox.has_room().await;
            next = tokio::select! {
                message = inbound.message() => message.unwrap_or_else(|status| {
                    if is_nonsense(&status) {
                        add(&self.state.counters.malformed);
                    }
                    None
                }),
                () = closed.cancelled() => None,
            };
        }
        self.end();
    }

    /// Nothing is lent over this link any more, and nobody waits on it.
    pub(crate) fn end(&self) {
        let waits = std::mem::take(&mut *self.waits.lock());
        waits.into_values().for_each(|wait| wait.abort());
        self.state.counters.gone(self.index);
        let membership = &self.state.membership;
        membership.hung_up(&self.peer, self.incarnation);
        self.state.lenders.remove(self.index);
        self.state.waits.close(self.index);
        self.outbox.close();
    }

    pub(crate) async fn take(self: &Arc<Self>, message: Requests) {
        let _replies_leave_together = self.outbox.cork();
        let mut leads = Leads::default();
        let mut turn = Turn::default();
        // Before the requests, among which their cancellations may be.
        for gets in &message.gets {
            self.get_all(gets, &mut leads, &mut turn).await;
        }
        for request in message.requests {
            self.handle(request, &mut leads);
            turn.one_more().await;
        }
        leads.start();
        for options in message.options {
            self.compare(&options);
        }
        if message.ping > 0 {
            let membership = &self.state.membership;
            if !membership.is_heard(&self.peer, self.incarnation) {
                // An older node has this peer's address; its next hello is
                // refused by name.
                self.outbox.close();
                return;
            }
            let counters = &self.state.counters;
            counters.heard(self.index, &self.peer, message.view_digest);
            let view = self.state.peers.view();
            // It lives, whatever this node's own link to it says.
            if let Some(link) = view.link_to(&self.peer) {
                link.nudge();
            }
            if let Some(place) = &self.place {
                place.seat().asked();
            }
            let digest = view.digest();
            // It overtakes what waits for a slow reader. If it cannot even be
            // queued, the peer learns from its absence.
            let _ = self.outbox.push_urgent(REPLY_BYTES, |replies| {
                replies.pong = message.ping;
                replies.view_digest = digest;
            });
        }
    }

    /// Groups of one name are to have the same options on all nodes (S8b).
    fn compare(&self, options: &GroupOptions) {
        let Ok(name) = std::str::from_utf8(&options.group) else {
            return add(&self.state.counters.malformed);
        };
        let differ = self
            .state
            .find_now(name)
            .is_some_and(|group| group.options_digest() != options.digest);
        if differ && self.state.counters.options_differ(name, &self.peer) {
            tracing::warn!(
                group = name,
                peer = &*self.peer,
                "the peer runs the group with another ttl, limit or policy; each key has those of its owner"
            );
        }
    }

    fn handle(self: &Arc<Self>, request: Request, leads: &mut Leads) {
        let id = request.id;
        let handled = match Op::try_from(request.op) {
            Ok(Op::Get) => self.get(request, leads),
            Ok(Op::Set) => self.set(&request),
            Ok(Op::Delete) => self.delete(&request),
            Ok(Op::Clear) => self.clear(&request),
            Ok(Op::Cancel) => return self.cancel(id),
            Ok(Op::Take) => self.give_up(&request),
            Ok(Op::Give) => self.inherit(&request),
            Ok(Op::Written) => {
                self.hear_of_writes(&request);
                Ok(())
            }
            Ok(Op::Goodbye) => {
                self.hear_goodbye(id);
                Ok(())
            }
            Ok(Op::Leaving) => self.say_whether_it_leaves(id),
            Ok(Op::Unknown) | Err(_) => Err(Error::new(
                ErrorKind::Internal,
                format!(
                    "operation {} is unknown to version {} of kamacache",
                    request.op,
                    crate::VERSION
                ),
            )),
        };
        if let Err(error) = handled {
            if error.kind() == ErrorKind::Internal {
                add(&self.state.counters.malformed);
            }
            self.fail(id, &error);
        }
    }

    fn set(&self, request: &Request) -> Result<()> {
        let (group, key) = (self.state.find(text(&request.group)?)?, text(&request.key)?);
        let (value, ttl) = (
            Value::from(&request.value[..]),
            Ttl::from_wire_ms(request.ttl_ms),
        );
        let span = trace::served(group.name(), key, &request.trace);
        let owned = span.in_scope(|| group.serve_set(key, value, ttl))?;
        self.written(request.id, key, owned);
        Ok(())
    }

    fn delete(&self, request: &Request) -> Result<()> {
        let (group, key) = (self.state.find(text(&request.group)?)?, text(&request.key)?);
        let span = trace::served(group.name(), key, &request.trace);
        let owned = span.in_scope(|| group.serve_delete(key))?;
        self.written(request.id, key, owned);
        Ok(())
    }

    fn clear(&self, request: &Request) -> Result<()> {
        let group = self.state.find(text(&request.group)?)?;
        group.serve_clear(request.view_digest)?;
        self.written(request.id, "", true);
        Ok(())
    }

    /// A new owner takes this node's former entry (S33).
    fn give_up(&self, request: &Request) -> Result<()> {
        let (group, key) = (self.state.find(text(&request.group)?)?, text(&request.key)?);
        let (hit, given) = group.serve_take(key, Form::OfLink)?;
        let served = ServedGet {
            other_owner: None,
            keep: given,
            left_ms: hit
                .stamp
                .expires_at
                .map_or(0, |at| at.saturating_sub(self.state.clock.now_ms()).max(1)),
        };
        self.answer(Asked::alone(request), &hit.value, &served, 0);
        Ok(())
    }

    /// A leaver gives an entry that will be this node's (S32).
    fn inherit(&self, request: &Request) -> Result<()> {
        let (group, key) = (self.state.find(text(&request.group)?)?, text(&request.key)?);
        let value = Value::from(&request.value[..]);
        group.serve_give(key, &value, Ttl::from_wire_ms(request.ttl_ms))?;
        self.done(request.id);
        Ok(())
    }

    /// What the peer wrote as an owner: entries and loads that it may have
    /// overtaken are void from here on, and so are the copies that others have
    /// of them. Costs the same however many there are.
    fn hear_of_writes(self: &Arc<Self>, request: &Request) {
        let written = Slots::from_wire(&request.value);
        let (id, digest) = (request.id, request.view_digest);
        if !written.is_empty() {
            self.state.membership.overheard(digest, &written);
            self.state.peers.tell(&self.peer, digest, &written);
            let lenders = &self.state.lenders;
            lenders.recall_some(&self.state.generations, &written);
            self.state.upkeep.sweep_is_due();
        }
        self.done(id);
    }

    /// Anybody may say goodbye in a member's name, so the member is asked over
    /// this node's own link to it.
    fn hear_goodbye(self: &Arc<Self>, id: u64) {
        let view = self.state.peers.view();
        let member = view.link_to(&self.peer).cloned();
        drop(view);
        // Whoever is no member has none to leave, and one goodbye is enough.
        let Some(member) = member.filter(|_| !self.goodbye.swap(true, Ordering::AcqRel)) else {
            return self.done(id);
        };
        let link = self.clone();
        self.state.runtime.spawn(async move {
            match member.is_leaving().await {
                Some(incarnation) => {
                    let membership = &link.state.membership;
                    membership.said_goodbye(&link.peer, incarnation).await;
                }
                None if link.state.warnings.is_due("goodbye") => tracing::warn!(
                    peer = &*link.peer,
                    from = ?link.place.as_ref().and_then(|place| place.seat().from()),
                    "a goodbye in the name of a member was ignored, because the member itself does not leave or does not answer"
                ),
                None => {}
            }
            link.goodbye.store(false, Ordering::Release);
            link.done(id);
        });
    }

    /// Asked by those who were told that it does.
    fn say_whether_it_leaves(&self, id: u64) -> Result<()> {
        if !self.state.membership.is_leaving() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("{} does not leave the cluster", self.state.address),
            ));
        }
        self.done(id);
        Ok(())
    }

    fn done(&self, id: u64) {
        self.reply(Reply {
            id,
            ..Reply::default()
        });
    }

    fn written(&self, id: u64, key: &str, owned: bool) {
        if owned {
            return self.done(id);
        }
        add(&self.state.counters.misrouted);
        let view = self.state.peers.view();
        let owner = view
            .owner(key)
            .map(|owner| owner.to_string())
            .unwrap_or_default();
        let error = super::status::views_differ(&self.state.address, key, &owner);
        let code = error.kind().code().unsigned_abs();
        self.reply(Reply {
            id,
            code,
            message: error.message().into(),
            owner: Some(owner),
            ..Reply::default()
        });
    }

    fn fail(&self, id: u64, error: &Error) {
        self.reply(Reply {
            id,
            code: error.kind().code().unsigned_abs(),
            message: error.message().into(),
            app_code: error.app_code(),
            ..Reply::default()
        });
    }

    fn reply(&self, reply: Reply) {
        // Id 0 asks for no answer.
        if reply.id == 0 {
            return;
        }
        let bytes = size_of::<Reply>() + reply.value.len() + reply.message.len();
        let mut reply = Some(reply);
        let pushed = self
            .outbox
            .push(bytes, |message| message.replies.extend(reply.take()));
        if pushed == Err(Refused::Full) {
            self.reply_later(bytes, move |message| message.replies.extend(reply));
        }
    }

    /// The replies that wait for a slow reader are in line, and no more requests
    /// are read before they have gone.
    fn reply_later(&self, bytes: usize, add: impl FnOnce(&mut Replies) + Send + 'static) {
        let number = self.late.fetch_add(1, Ordering::Relaxed);
        let later = Later {
            under_way: usize::MAX,
            bytes,
            is_answered: false,
            add: Box::new(add),
        };
        self.outbox.wait_in_line(number, later);
    }
}

/// Lets others run now and then while a long message is worked through.
#[derive(Default)]
struct Turn(usize);

impl Turn {
    async fn one_more(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(AT_ONCE) {
            tokio::task::yield_now().await;
        }
    }
}

fn count(message: &Requests) -> usize {
    let gets = message.gets.iter().map(|gets| gets.ids.len());
    message.requests.len() + gets.sum::<usize>()
}

/// The message itself could not be read, as opposed to a connection that ended.
fn is_nonsense(status: &Status) -> bool {
    let ours = matches!(
        status.code(),
        Code::Internal | Code::OutOfRange | Code::ResourceExhausted
    );
    ours && std::error::Error::source(status).is_none()
}

fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes)
        .map_err(|_| Error::invalid_argument("a key or group name is not UTF-8"))
}
