//! A group's operations for JavaScript.
//!
//! Invariant: none of them waits. What is known at once is returned (a hit is copied into the
//! shared area), the rest is answered through the queue under the id that JavaScript gave.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use kamacache_core::{Begin, EvictHook, Pending, Result, Value, blocking};

use crate::getter::{self, JsGetter, Load};
use crate::js::{Answer, Call, Kind};
use crate::options;
use crate::queue::{Completion, Queue, Ticket};

/// What `get` returns instead of a length when the value is not at hand: the caller leads the
/// load and runs the getter now, or waits.
const LEAD: f64 = -1.0;
const WAIT: f64 = -2.0;
/// What `hit` returns when `get` is to be asked.
const MISS: i32 = -1;

/// A group that JavaScript has opened.
#[derive(Clone)]
pub(crate) struct Opened {
    group: blocking::Group,
    /// Somebody listens for evictions. Until then they cost no more than a look at this.
    listening: Arc<AtomicBool>,
}

impl Deref for Opened {
    type Target = blocking::Group;

    fn deref(&self) -> &blocking::Group {
        &self.group
    }
}

fn evict_hook(slot: usize, listening: &Arc<AtomicBool>, queue: &Arc<Queue>) -> EvictHook {
    let (listening, queue) = (Arc::clone(listening), Arc::clone(queue));
    Arc::new(move |key, _, reason| {
        if listening.load(Ordering::Relaxed) {
            let key = key.to_owned();
            queue.push(Completion::Evicted {
                group: slot,
                key,
                reason,
            });
        }
    })
}

/// `listen(group, yes)`: whether evictions are reported. Nothing happens in a closed group any more.
pub(crate) fn listen<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let yes = call.env.boolean(call.arg(1)).unwrap_or(false);
    if let Ok(group) = call.bridge.groups.get(call.id(0)?) {
        group.listening.store(yes, Ordering::Relaxed);
    }
    call.env.undefined()
}

/// `group(node, name, options)` -> the group's number.
pub(crate) fn open<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let bridge = call.bridge;
    let node = bridge.nodes.get(call.id(0)?)?;
    let name = call.env.text(call.arg(1), "a group name")?;
    let (mut options, has_getter) = options::group(call.env, call.arg(2))?;
    let slot = bridge.groups.next();
    let getter = has_getter.then(|| JsGetter::new(slot, &bridge.queue) as _);
    let listening = Arc::new(AtomicBool::new(false));
    options.on_evict = Some(evict_hook(slot, &listening, &bridge.queue));
    let group = node.group(&name, options, getter)?;
    call.env
        .make_number(bridge.groups.add(Opened { group, listening }) as f64)
}

/// `serveFunctions(group, ttl)`: a group that was opened without a getter has one from now on, in
/// `lib/wrap.js`. The ttl of its values is checked, not kept.
pub(crate) fn serve_functions<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let slot = call.id(0)?;
    let group = call.bridge.groups.get(slot)?;
    getter::ttl(call, call.arg(1), "ttl")?;
    let getter = JsGetter::new(slot as usize, &call.bridge.queue);
    group.inner().set_getter(getter)?;
    call.env.undefined()
}

/// `hit(group, key)` -> the length of the value in the hits area, counted as a get; MISS says nothing
/// about the key: go on with `get`.
pub(crate) fn hit<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let slot = call.id(0)?;
    let hits = &call.bridge.areas.hits;
    // What is wrong with a key or a closed group, `get` says.
    let found = call.with_key(1, |key| {
        call.bridge.groups.with(slot, |group| {
            Ok(hits.with(|hits| group.inner().hit_into(key, hits)))
        })
    });
    let length = found.ok().flatten().map_or(MISS, |length| length as i32);
    call.env.make_int(length)
}

/// `get(group, key, id, timeout, load)` -> the length of the value in the hits area, a Buffer when
/// it is too large for that, or LEAD or WAIT. `load` is the load that the caller runs in, if any.
pub(crate) fn get<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let timeout = timeout(call, 3)?;
    let scope = getter::scope(call.bridge, call.number(4));
    let begin = call.bridge.groups.with(call.id(0)?, |group| {
        call.with_key(1, |key| {
            group.inner().begin_in(scope.as_ref(), key, timeout)
        })
    })?;
    match begin {
        Begin::Hit(value) => hand_out(call, &value),
        Begin::Lead(token, pending) => {
            let id = call.id(2)?;
            call.bridge.loads.borrow_mut().insert(id, Load::new(token));
            watch(call, id, pending);
            call.env.make_number(LEAD)
        }
        Begin::Wait(pending) => {
            watch(call, call.id(2)?, pending);
            call.env.make_number(WAIT)
        }
    }
}

/// Answers the get `id` when its wait ends.
fn watch(call: &Call<'_>, id: i64, pending: Pending) {
    let ticket = Ticket::new(id, &call.bridge.queue);
    let abort = pending
        .on_done(move |result| ticket.finish(result, |id, value| Completion::Value { id, value }));
    call.bridge.waits.borrow_mut().insert(id, abort);
}

/// `cancel(id)`: the get leaves its wait. It still ends through the queue.
pub(crate) fn cancel<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let wait = call.bridge.waits.borrow_mut().remove(&call.id(0)?);
    call.env
        .make_boolean(wait.is_some_and(|abort| abort.cancel()))
}

/// `peek(group, key)` -> like `get`, but undefined when the value is not in local memory.
pub(crate) fn peek<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let slot = call.id(0)?;
    if call.env.kind(call.arg(1)) != Kind::String {
        return call.env.undefined();
    }
    // A key that cannot be is in no cache, and neither is anything in a closed one.
    let found = call.with_key(1, |key| {
        call.bridge.groups.with(slot, |group| {
            let group = group.inner();
            let copied = call
                .bridge
                .areas
                .hits
                .with(|hits| group.peek_into(key, hits));
            Ok(match copied {
                Some(Err(_)) => group.peek(key).map(Err),
                copied => copied.and_then(|copied| copied.ok()).map(Ok),
            })
        })
    });
    match found {
        Ok(Some(Ok(length))) => call.env.make_int(length as i32),
        Ok(Some(Err(value))) => hand_out(call, &value),
        _ => call.env.undefined(),
    }
}

fn hand_out<'a>(call: &'a Call<'a>, value: &Value) -> Answer<'a> {
    let hits = &call.bridge.areas.hits;
    if value.len() > hits.len() {
        return call.env.make_buffer(value);
    }
    hits.write(0, value);
    call.env.make_number(value.len() as f64)
}

/// `set(group, key, id, value, ttl, timeout)`
pub(crate) fn set<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let group = call.bridge.groups.get(call.id(0)?)?;
    let key = call.with_key(1, |key| Ok(key.to_owned()))?;
    let value = getter::value(call, call.arg(3), "a value")?;
    let ttl = getter::ttl(call, call.arg(4), "ttl")?;
    let timeout = timeout(call, 5)?;
    let inner = group.inner().clone();
    run(call, &group, async move {
        inner.set_with(&key, value, ttl, timeout).await
    })
}

/// `delete(group, key, id, timeout)`
pub(crate) fn delete<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let group = call.bridge.groups.get(call.id(0)?)?;
    let key = call.with_key(1, |key| Ok(key.to_owned()))?;
    let timeout = timeout(call, 3)?;
    let inner = group.inner().clone();
    run(call, &group, async move {
        inner.delete_with(&key, timeout).await
    })
}

/// `clear(group, timeout, id)`
pub(crate) fn clear<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let group = call.bridge.groups.get(call.id(0)?)?;
    let timeout = timeout(call, 1)?;
    let inner = group.inner().clone();
    run(call, &group, async move { inner.clear(timeout).await })
}

/// Runs `work` for the operation whose id is argument 2: true when it is done at once, which a
/// write to a key of this node's own is, else undefined and the answer comes through the queue.
fn run<'a>(
    call: &'a Call<'a>,
    group: &blocking::Group,
    work: impl Future<Output = Result<()>> + Send + 'static,
) -> Answer<'a> {
    let mut work = Box::pin(work);
    let first = {
        let _timers_and_sockets = group.handle().enter();
        work.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    };
    if let Poll::Ready(result) = first {
        result?;
        return call.env.make_boolean(true);
    }
    let ticket = Ticket::new(call.id(2)?, &call.bridge.queue);
    group.handle().spawn(async move {
        ticket.finish(work.await, |id, ()| Completion::Done { id, flag: true });
    });
    call.env.undefined()
}

fn timeout(call: &Call<'_>, index: usize) -> Result<Option<Duration>> {
    options::given(call.env, call.arg(index), "timeout", options::duration)
}
