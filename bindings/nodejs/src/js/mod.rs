//! Plain N-API in safe clothes: reading values ([`read`]), making them ([`make`]), and exporting
//! functions and taking hold of shared arrays ([`export`]).
//!
//! Invariant: this is the only folder of the addon with `unsafe` in it, and no panic leaves it.
//! Why not `#[napi]` functions: the hit path is one call with one string and one number, and the
//! generated wrappers cost several times what the call itself does.

mod export;
mod make;
mod read;

use std::marker::PhantomData;

use kamacache_core::{Error, Result};
use napi::sys;

use crate::bridge::Bridge;

pub(crate) use export::{Areas, bind};

/// The most arguments that an exported function takes.
const MAX_ARGS: usize = 7;
/// Keys up to this many bytes are copied to the stack; longer ones are rare and go the long way.
const SHORT_KEY: usize = 256;

/// One JavaScript value, valid until the current native call returns.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a>(sys::napi_value, PhantomData<&'a ()>);

/// What `typeof` says, as far as the addon cares.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Undefined,
    Null,
    Boolean,
    Number,
    String,
    Object,
    Function,
    Other,
}

impl Kind {
    /// The name for error messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Undefined => "undefined",
            Kind::Null => "null",
            Kind::Boolean => "a boolean",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::Object => "an object",
            Kind::Function => "a function",
            Kind::Other => "a symbol, bigint or external",
        }
    }
}

/// What an exported function gives back to JavaScript.
pub(crate) type Answer<'a> = Result<Value<'a>>;
/// An exported function.
pub(crate) type Export = for<'a> fn(&'a Call<'a>) -> Answer<'a>;

/// The environment of the current native call: makes and reads JavaScript values.
#[derive(Clone, Copy)]
pub(crate) struct Env<'a>(sys::napi_env, PhantomData<&'a ()>);

/// One call of an exported function: its environment, its bridge and its arguments.
pub(crate) struct Call<'a> {
    pub(crate) env: Env<'a>,
    pub(crate) bridge: &'a Bridge,
    args: [sys::napi_value; MAX_ARGS],
}

fn check(status: sys::napi_status, what: &str) -> Result<()> {
    if status == sys::Status::napi_ok {
        return Ok(());
    }
    Err(Error::internal(format!(
        "N-API could not {what} (status {status})"
    )))
}

impl<'a> Call<'a> {
    /// The argument at `index`; `undefined` when the caller gave fewer.
    pub(crate) fn arg(&self, index: usize) -> Value<'a> {
        Value(self.args[index], PhantomData)
    }

    /// The argument at `index` as a number, if it is one.
    pub(crate) fn number(&self, index: usize) -> Option<f64> {
        self.env.number(self.arg(index))
    }

    /// An id or slot that the JavaScript side was given or made itself: always an integer.
    pub(crate) fn id(&self, index: usize) -> Result<i64> {
        match self.number(index) {
            Some(number) => Ok(number as i64),
            None => Err(Error::internal(format!("argument {index} must be an id"))),
        }
    }

    /// Runs `body` with the key at `index`.
    pub(crate) fn with_key<T>(
        &self,
        index: usize,
        body: impl FnOnce(&str) -> Result<T>,
    ) -> Result<T> {
        // Room for one more character, so that a longer key is noticed.
        let mut buffer = [0u8; SHORT_KEY + 8];
        match self.env.copy_text(self.arg(index), &mut buffer) {
            None => Err(self.env.wrong(self.arg(index), "a key", "a string")),
            Some(len) if len > SHORT_KEY || replaced(&buffer[..len]) => {
                body(&self.env.text(self.arg(index), "a key")?)
            }
            Some(len) => match std::str::from_utf8(&buffer[..len]) {
                Ok(key) => body(key),
                Err(_) => Err(Error::internal("N-API gave a key that is not UTF-8")),
            },
        }
    }
}

/// Whether the text holds U+FFFD, which is also what N-API writes in place of a lone surrogate.
fn replaced(text: &[u8]) -> bool {
    text.contains(&0xEF) && text.windows(3).any(|window| window == [0xEF, 0xBF, 0xBD])
}
