//! Near copies of a group's values in JavaScript's own memory, which `lib/near.js` keeps.
//!
//! Invariant: a copy is made of an entry that this node owns, and `near` says what it is to be
//! checked against.

use std::sync::atomic::AtomicU32;

use kamacache_core::Freshness;

use crate::js::{Answer, Call};

/// What `near` returns instead of a length.
const NONE: i32 = -1;

/// `freshness(group)` -> `[room, generations, view, clears]`: how many bytes of near copies the group may
/// have, and what they are checked against, in place; undefined where there can be none.
pub(crate) fn freshness<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let (env, slot) = (call.env, call.id(0)?);
    let group = call.bridge.groups.get(slot)?;
    let room = group.inner().near_room();
    if room == 0 {
        return env.undefined();
    }
    let freshness = group.inner().freshness();
    let generations = env.make_window(freshness.clone(), Freshness::generations);
    let view = env.make_window(freshness.clone(), view);
    let clears = env.make_window(freshness, clears);
    match (generations, view, clears) {
        (Some(generations), Some(view), Some(clears)) => {
            env.make_array(&[env.make_number(room as f64)?, generations, view, clears])
        }
        _ => env.undefined(),
    }
}

fn clears(freshness: &Freshness) -> &[AtomicU32] {
    std::slice::from_ref(freshness.clears())
}

fn view(freshness: &Freshness) -> &[AtomicU32] {
    std::slice::from_ref(freshness.view())
}

/// `near(group, key, hits)` -> the length of the value in the hits area, or NONE when it cannot be a
/// near copy. `hits` are counted if it can. The meta area says how long it stands: slot, generation,
/// view, milliseconds left (negative where the value never expires), clears.
pub(crate) fn near<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let slot = call.id(0)?;
    let count = call.number(2).unwrap_or(0.0) as u64;
    let areas = &call.bridge.areas;
    let found = call.with_key(1, |key| {
        call.bridge.groups.with(slot, |group| {
            let copy = |buffer: &mut [u8]| group.inner().near_into(key, count, buffer);
            Ok(areas.hits.with(copy))
        })
    });
    // What is wrong with a key or a closed group, `get` says.
    let Some(near) = found.ok().flatten() else {
        return call.env.make_int(NONE);
    };
    let left = near.left.map_or(-1.0, |left| left.as_millis() as f64);
    let told = [
        near.slot as f64,
        near.generation.into(),
        near.view.into(),
        left,
        near.clears.into(),
    ];
    for (at, number) in told.into_iter().enumerate() {
        areas.meta.write(at, number);
    }
    call.env.make_int(near.length as i32)
}

/// `addHits(group, hits)`: hits of near copies that `near` has not been told of.
pub(crate) fn add_hits<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let hits = call.number(1).unwrap_or(0.0) as u64;
    if let Ok(group) = call.bridge.groups.get(call.id(0)?) {
        group.inner().add_hits(hits);
    }
    call.env.undefined()
}
