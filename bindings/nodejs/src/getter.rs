//! JavaScript's getters: how a load gets to one, and how its answer gets back.
//!
//! Two ways in. A get that leads keeps its token here under the get's own id and JavaScript runs
//! the getter in the caller's context. A load that a peer asked for, or that a waiter inherited,
//! comes through the queue and gets a negative id. From then on they are the same.
//! Invariant: no Rust thread waits for JavaScript, and each id is answered at most once.

use std::sync::Arc;
use std::time::Duration;

use kamacache_core::{
    BoxFuture, Error, ErrorKind, Getter, LoadContext, LoadScope, LoadToken, Loaded, Result,
    RunningGuard, Ttl,
};

use crate::bridge::Bridge;
use crate::error::Thrown;
use crate::js::{self, Answer, Call, Kind};
use crate::options::duration;
use crate::queue::{Completion, Queue};

/// The getter of a group whose user wrote it in JavaScript.
pub(crate) struct JsGetter {
    group: usize,
    queue: Arc<Queue>,
}

impl JsGetter {
    pub(crate) fn new(group: usize, queue: &Arc<Queue>) -> Arc<Self> {
        Arc::new(Self {
            group,
            queue: Arc::clone(queue),
        })
    }
}

impl Getter for JsGetter {
    fn load(&self, _: LoadContext) -> BoxFuture<Result<Option<Loaded>>> {
        Box::pin(async {
            Err(Error::internal(
                "a JavaScript getter answers through its token",
            ))
        })
    }

    fn start(self: Arc<Self>, token: LoadToken) {
        let group = self.group;
        self.queue.push(Completion::Load { group, token });
    }

    fn start_many(self: Arc<Self>, tokens: Vec<LoadToken>) {
        let group = self.group;
        self.queue.push(Completion::LoadMany { group, tokens });
    }
}

/// A load that a JavaScript getter runs.
pub(crate) struct Load {
    token: LoadToken,
    /// Lets `close` wait for the getter.
    _running: RunningGuard,
}

impl Load {
    pub(crate) fn new(token: LoadToken) -> Self {
        Self {
            _running: token.running(),
            token,
        }
    }

    pub(crate) fn fail(self, error: Error) {
        self.token.fail(error);
    }
}

/// The scope of the load that the calling JavaScript runs in, if that load is not answered yet.
pub(crate) fn scope(bridge: &Bridge, id: Option<f64>) -> Option<LoadScope> {
    let loads = bridge.loads.borrow();
    loads
        .get(&(id? as i64))
        .map(|load| load.token.context().scope().clone())
}

/// Takes in a load from the queue: its id, and `[group, key]` for JavaScript.
pub(crate) fn adopt<'a>(
    call: &'a Call<'a>,
    group: usize,
    token: LoadToken,
) -> Result<(i64, js::Value<'a>)> {
    let env = call.env;
    let key = env.make_text(token.context().key())?;
    let extra = env.make_array(&[env.make_number(group as f64)?, key])?;
    Ok((keep(call.bridge, token), extra))
}

/// Takes in several loads from the queue: `[group, ids, keys]`.
pub(crate) fn adopt_many<'a>(
    call: &'a Call<'a>,
    group: usize,
    tokens: Vec<LoadToken>,
) -> Answer<'a> {
    let env = call.env;
    let (mut ids, mut keys) = (Vec::new(), Vec::new());
    for token in tokens {
        keys.push(env.make_text(token.context().key())?);
        ids.push(env.make_number(keep(call.bridge, token) as f64)?);
    }
    env.make_array(&[
        env.make_number(group as f64)?,
        env.make_array(&ids)?,
        env.make_array(&keys)?,
    ])
}

/// Keeps a load that came from the core until it is answered.
fn keep(bridge: &Bridge, token: LoadToken) -> i64 {
    let id = bridge.next_load();
    bridge.loads.borrow_mut().insert(id, Load::new(token));
    id
}

/// `complete(load, value, ttl)`: the key has this value.
pub(crate) fn complete<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let value = value(call, call.arg(1), "the getter's value")?;
    let ttl = ttl(call, call.arg(2), "ctx.ttl")?;
    answer(call, |load| {
        load.token.complete(Loaded::new(value).with_ttl(ttl))
    })
}

/// `notFound(load)`: the data source does not have the key.
pub(crate) fn not_found<'a>(call: &'a Call<'a>) -> Answer<'a> {
    answer(call, |load| load.token.not_found())
}

/// `fail(load, thrown, message, appCode)`: the getter threw or rejected.
pub(crate) fn fail<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let thrown = Thrown::new(call.id(1)?, Arc::clone(&call.bridge.queue));
    let message = call.env.text(call.arg(2), "the getter's message")?;
    let thrown: Arc<dyn std::error::Error + Send + Sync> = Arc::new(thrown);
    let mut error = Error::getter(message).with_source(thrown);
    if let Some(code) = call.number(3) {
        error = error.with_app_code(code as i64);
    }
    answer(call, |load| load.token.fail(error))
}

/// `watchLoad(load)`: says through the queue when the load's value will not be kept.
pub(crate) fn watch<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let id = call.id(0)?;
    if let Some(load) = call.bridge.loads.borrow().get(&id) {
        let queue = Arc::clone(&call.bridge.queue);
        load.token
            .on_unwanted(move || queue.push(Completion::Unwanted { load: id }));
    }
    call.env.undefined()
}

/// `release(load)`: the getter gave up because nobody keeps its value; it runs anew for a waiter.
pub(crate) fn release<'a>(call: &'a Call<'a>) -> Answer<'a> {
    answer(call, drop)
}

/// `refuse(load, message)`: no function of this node loads the key; a peer that asked runs its own.
pub(crate) fn refuse<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let message = call.env.text(call.arg(1), "the message")?;
    answer(call, |load| {
        load.token
            .fail(Error::new(ErrorKind::UnknownGroup, message))
    })
}

fn answer<'a>(call: &'a Call<'a>, answer: impl FnOnce(Load)) -> Answer<'a> {
    let load = call.bridge.loads.borrow_mut().remove(&call.id(0)?);
    let known = load.is_some();
    if let Some(load) = load {
        answer(load);
    }
    call.env.make_boolean(known)
}

/// `timeLeft(load)` -> milliseconds, or undefined when the load has no deadline or is over.
pub(crate) fn time_left<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let loads = call.bridge.loads.borrow();
    match loads
        .get(&call.id(0)?)
        .and_then(|load| load.token.context().time_left())
    {
        Some(left) => call.env.make_number(left.as_secs_f64() * 1e3),
        None => call.env.undefined(),
    }
}

/// `abandon(load)`: its node is closed and nobody waits for the getter any more.
pub(crate) fn abandon<'a>(call: &'a Call<'a>) -> Answer<'a> {
    answer(call, |load| load.token.fail(Error::closed()))
}

/// A value to keep: a string, or the bytes of a Uint8Array. Copied: JavaScript may change its own.
pub(crate) fn value(
    call: &Call<'_>,
    value: js::Value<'_>,
    what: &str,
) -> Result<kamacache_core::Value> {
    if let Some(bytes) = call.env.bytes(value) {
        return Ok(bytes.into());
    }
    match call.env.kind(value) {
        Kind::String => Ok(call.env.text(value, what)?.into()),
        _ => Err(call
            .env
            .wrong(value, what, "a Buffer, a Uint8Array or a string")),
    }
}

/// undefined: the group's; Infinity: never expires; 0: keep nothing; else a duration.
pub(crate) fn ttl(call: &Call<'_>, value: js::Value<'_>, what: &str) -> Result<Ttl> {
    if call.env.kind(value) == Kind::Undefined {
        return Ok(Ttl::Group);
    }
    Ok(match duration(call.env, value, what)? {
        Duration::ZERO => Ttl::NoStore,
        Duration::MAX => Ttl::Forever,
        ttl => Ttl::After(ttl),
    })
}
