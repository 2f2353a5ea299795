//! The native half of the npm package `kamacache`: a thin adapter over `kamacache_core`.
//!
//! JavaScript calls `open(wake, hits, batch, meta)` once per environment and gets an object of
//! plain N-API functions, all bound to one [`bridge::Bridge`]. Nothing here blocks the JavaScript
//! thread and nothing here calls JavaScript, save one weak threadsafe function that says "wake":
//! then JavaScript takes the finished operations in a batch (`drain`).
//!
//! Who calls it: `lib/bridge.js`, and nobody else. A failure is thrown as an array
//! `[status, message, appCode, peer, thrown]`, which `lib/errors.js` turns into a `KamaCacheError`.

#![deny(clippy::unwrap_used)]

mod bridge;
mod drain;
mod error;
mod getter;
mod group;
mod js;
mod near;
mod node;
mod options;
mod queue;
mod stats;

use napi::bindgen_prelude::{Function, Object};
use napi::{Env, Unknown};
use napi_derive::napi;

use js::Areas;

/// Opens the native side for the calling environment. `wake` is called, from the event loop, when
/// there is something to `drain`; values travel through the arrays.
///
/// # Errors
/// When the arrays are not typed arrays of the expected types, or Node is out of memory.
#[napi]
pub fn open<'env>(
    env: &'env Env,
    wake: Function<'_, (), Unknown<'static>>,
    hits: Unknown<'_>,
    batch: Unknown<'_>,
    meta: Unknown<'_>,
) -> napi::Result<Object<'env>> {
    let wake = wake
        .build_threadsafe_function::<()>()
        .weak::<true>()
        .build()?;
    bridge::open(env, wake, Areas::take(hits, batch, meta)?)
}
