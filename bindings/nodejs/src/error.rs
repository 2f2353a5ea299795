//! Errors on their way to JavaScript, and what a getter threw on its way through the core.
//!
//! Invariant: the object that a getter threw never leaves JavaScript. The core carries its number,
//! and when nobody can ask for it any more the number goes back to JavaScript to be forgotten.

use std::fmt;
use std::sync::Arc;

use kamacache_core::Error;

use crate::js::{Answer, Env};
use crate::queue::{Completion, Queue};

/// A failure as JavaScript takes it apart: `[status, message, appCode, peer, thrown]`.
pub(crate) fn to_js<'a>(env: Env<'a>, error: &Error) -> Answer<'a> {
    let thrown = error
        .source_arc()
        .and_then(|source| source.downcast_ref::<Thrown>());
    env.make_array(&[
        env.make_number(f64::from(error.kind().code()))?,
        env.make_text(error.message())?,
        error
            .app_code()
            .map_or_else(|| env.undefined(), |code| env.make_number(code as f64))?,
        error
            .peer()
            .map_or_else(|| env.undefined(), |peer| env.make_text(peer))?,
        thrown.map_or_else(
            || env.undefined(),
            |thrown| env.make_number(thrown.id as f64),
        )?,
    ])
}

/// The number under which JavaScript keeps what a getter threw.
pub(crate) struct Thrown {
    id: i64,
    queue: Arc<Queue>,
}

impl Thrown {
    pub(crate) fn new(id: i64, queue: Arc<Queue>) -> Self {
        Self { id, queue }
    }
}

impl Drop for Thrown {
    fn drop(&mut self) {
        self.queue.push(Completion::Forget { thrown: self.id });
    }
}

impl fmt::Debug for Thrown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thrown")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Thrown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what the JavaScript getter threw")
    }
}

impl std::error::Error for Thrown {}
