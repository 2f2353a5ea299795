//! Hands a batch of finished operations to JavaScript in one call.
//!
//! Values are packed one after the other into the shared batch area, and each item is three
//! numbers in the shared meta area, `[kind, id, size]`; what does not fit this form goes into an
//! array by its place in the batch. Making one Buffer in native code costs more than all of this.
//! The batch is capped, so that a burst does not hold up the event loop.

use kamacache_core::{EvictReason, Value};

use crate::bridge::Bridge;
use crate::error;
use crate::getter;
use crate::js::{self, Answer, Call};
use crate::node;
use crate::queue::Completion;

/// The kinds of items, as `lib/bridge.js` knows them.
const VALUE: f64 = 0.0;
const LARGE_VALUE: f64 = 1.0;
const DONE: f64 = 2.0;
const FAILED: f64 = 3.0;
const STARTED: f64 = 4.0;
const LOAD: f64 = 5.0;
const FORGET: f64 = 6.0;
const LOAD_MANY: f64 = 7.0;
const EVICTED: f64 = 8.0;
const MEMBERS: f64 = 9.0;
const UNWANTED: f64 = 10.0;

/// `drain()` -> an array of extras, or undefined. `meta[0]` = items, `meta[1]` = 1 when more wait.
pub(crate) fn drain<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let bridge = call.bridge;
    let mut batch = Batch {
        call,
        count: 0,
        used: 0,
        extras: None,
    };
    bridge.queue.begin_drain();
    let cap = (bridge.areas.meta.len() - 2) / 3;
    while batch.count < cap {
        let room = bridge.areas.batch.len() - batch.used;
        let Some(item) = bridge.queue.pop_if(|item| match item {
            Completion::Value { value, .. } => {
                value.len() <= room || value.len() > bridge.areas.batch.len()
            }
            _ => true,
        }) else {
            break;
        };
        batch.add(item)?;
    }
    bridge.areas.meta.write(0, batch.count as f64);
    bridge
        .areas
        .meta
        .write(1, if bridge.queue.is_empty() { 0.0 } else { 1.0 });
    batch.extras.map_or_else(|| call.env.undefined(), Ok)
}

struct Batch<'a> {
    call: &'a Call<'a>,
    count: usize,
    used: usize,
    extras: Option<js::Value<'a>>,
}

impl<'a> Batch<'a> {
    fn add(&mut self, item: Completion) -> kamacache_core::Result<()> {
        let (env, bridge) = (self.call.env, self.call.bridge);
        match item {
            Completion::Value { id, value } => {
                bridge.forget_wait(id);
                self.add_value(bridge, id, &value)?;
            }
            Completion::Done { id, flag } => self.note(DONE, id, f64::from(u8::from(flag))),
            Completion::Failed { id, error } => {
                bridge.forget_wait(id);
                self.note_with(FAILED, id, error::to_js(env, &error)?)?;
            }
            Completion::Started { id, node } => {
                self.note_with(STARTED, id, node::adopt(self.call, node)?)?
            }
            Completion::Load { group, token } => {
                let (id, extra) = getter::adopt(self.call, group, token)?;
                self.note_with(LOAD, id, extra)?;
            }
            Completion::LoadMany { group, tokens } => {
                self.note_with(LOAD_MANY, 0, getter::adopt_many(self.call, group, tokens)?)?;
            }
            Completion::Evicted { group, key, reason } => {
                let (key, reason) = (env.make_text(&key)?, env.make_text(evicted_by(reason))?);
                self.note_with(EVICTED, group as i64, env.make_array(&[key, reason])?)?;
            }
            Completion::Members { node, members } => {
                self.note_with(MEMBERS, node, env.make_texts(&members)?)?;
            }
            Completion::Unwanted { load } => self.note(UNWANTED, load, 0.0),
            Completion::Forget { thrown } => self.note(FORGET, thrown, 0.0),
        }
        Ok(())
    }

    fn add_value(&mut self, bridge: &Bridge, id: i64, value: &Value) -> kamacache_core::Result<()> {
        if value.len() > bridge.areas.batch.len() {
            return self.note_with(LARGE_VALUE, id, self.call.env.make_buffer(value)?);
        }
        bridge.areas.batch.write(self.used, value);
        self.used += value.len();
        self.note(VALUE, id, value.len() as f64);
        Ok(())
    }

    fn note(&mut self, kind: f64, id: i64, size: f64) {
        let meta = &self.call.bridge.areas.meta;
        let at = 2 + 3 * self.count;
        meta.write(at, kind);
        meta.write(at + 1, id as f64);
        meta.write(at + 2, size);
        self.count += 1;
    }

    fn note_with(
        &mut self,
        kind: f64,
        id: i64,
        extra: js::Value<'a>,
    ) -> kamacache_core::Result<()> {
        let extras = match self.extras {
            Some(extras) => extras,
            None => self.call.env.make_array(&[])?,
        };
        self.extras = Some(extras);
        self.call.env.put(extras, self.count as u32, extra)?;
        self.note(kind, id, 0.0);
        Ok(())
    }
}

/// The reasons of an `evict` event.
fn evicted_by(reason: EvictReason) -> &'static str {
    match reason {
        EvictReason::Capacity => "capacity",
        EvictReason::Expired => "expired",
        EvictReason::Replaced => "replaced",
        EvictReason::Deleted => "deleted",
        EvictReason::Cleared => "cleared",
        EvictReason::Moved => "moved",
    }
}
