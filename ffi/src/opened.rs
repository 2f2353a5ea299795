//! What all handles to one group share, and its calls: blocking, asynchronous,
//! of many keys.
//!
//! Invariant: a blocking get that leads the load of its key runs the getter on
//! the calling thread; other loads run on the getter threads.

use std::ffi::c_void;
use std::future::Future;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use kamacache_core::{Begin, Error, ErrorKind, Pendings, Result, Ttl, Value, blocking};

use crate::args;
use crate::getter::Callbacks;
use crate::ops::{Answer, Duty, Op, Outcome};

/// An open group.
pub(crate) struct Opened {
    group: blocking::Group,
    callbacks: Arc<Callbacks>,
}

impl Opened {
    pub(crate) fn new(group: blocking::Group, callbacks: Arc<Callbacks>) -> Self {
        Self { group, callbacks }
    }

    /// Lets go of the user data; it is freed when no callback holds it.
    pub(crate) fn retire(&self) {
        self.callbacks.retire();
    }

    /// The user data of its callbacks; None once the node is closed.
    pub(crate) fn user_data(&self) -> Option<*mut c_void> {
        self.callbacks.user().map(|user| user.data)
    }

    pub(crate) fn group(&self) -> &blocking::Group {
        &self.group
    }

    pub(crate) fn get(self: &Arc<Self>, key: &str, timeout: Option<Duration>) -> Result<Value> {
        let begun = match self.group.begin(None, key, timeout)? {
            Begin::Hit(value) => return Ok(value),
            begun => begun,
        };
        // The getter may free the handle that holds this one.
        let this = self.clone();
        this.get_missing(timeout, begun)
    }

    fn get_missing(&self, timeout: Option<Duration>, begun: Begin) -> Result<Value> {
        match begun {
            Begin::Hit(value) => Ok(value),
            Begin::Wait(pending) => self.group.wait(pending),
            Begin::Lead(token, pending) => {
                // A caller that does not wait must not wait for a getter either.
                if self.callbacks.runs_here() && timeout != Some(Duration::ZERO) {
                    self.callbacks.run(token);
                } else {
                    self.callbacks.start(token);
                }
                self.group.wait(pending)
            }
        }
    }

    /// The values of `keys`, in their order: what is here at once, all loads
    /// together. The waits are driven meanwhile: one that inherits a load begins
    /// it at once, whatever this thread runs or waits for.
    pub(crate) fn get_many(
        &self,
        keys: Vec<Result<&str>>,
        timeout: Option<Duration>,
    ) -> Vec<Result<Value>> {
        let (mut tokens, mut waits, mut left) = (Vec::new(), Pendings::default(), false);
        let mut wait = |at, pending| {
            left = true;
            waits.add(at, pending);
            // What it stays if the node goes down with its runtime.
            Err(Error::closed())
        };
        let mut begin = |at, key: Result<&str>| match self.group.begin(None, key?, timeout)? {
            Begin::Hit(value) => Ok(value),
            Begin::Wait(pending) => wait(at, pending),
            Begin::Lead(token, pending) => {
                tokens.push(token);
                wait(at, pending)
            }
        };
        let keys = keys.into_iter().enumerate();
        let mut ends: Vec<_> = keys.map(|(at, key)| begin(at, key)).collect();
        if !left {
            return ends;
        }
        let waits = waits.drive(self.group.handle());
        if timeout == Some(Duration::ZERO) {
            self.callbacks.start_many(tokens);
        } else {
            self.callbacks.run_all(tokens);
        }
        let _away = kamacache_core::pool::away();
        while let Some((at, result)) = waits.next() {
            ends[at] = result;
        }
        ends
    }

    /// Drops every entry of the group on every member.
    pub(crate) fn clear(&self, timeout: Option<Duration>) -> Result<()> {
        let (done, result) = mpsc::channel();
        let group = self.group.inner().clone();
        self.group.handle().spawn(async move {
            // Nobody listens only when the caller's thread is gone.
            let _ = done.send(group.clear(timeout).await);
        });
        let _away = kamacache_core::pool::away();
        // Dropped unsent only when the node goes down with its runtime.
        result.recv().unwrap_or_else(|_| Err(Error::closed()))
    }

    /// Sets each key to its value, all at the same time.
    pub(crate) fn set_many(
        &self,
        pairs: Vec<Result<(String, Value)>>,
        ttl: Ttl,
        timeout: Option<Duration>,
    ) -> Vec<Result<()>> {
        let (done, results) = mpsc::channel();
        let mut ends: Vec<_> = pairs.iter().map(|_| Err(Error::closed())).collect();
        for (i, pair) in pairs.into_iter().enumerate() {
            let (done, group) = (done.clone(), self.group.inner().clone());
            self.group.handle().spawn(async move {
                let set = async {
                    let (key, value) = pair?;
                    group.set_with(&key, value, ttl, timeout).await
                };
                // Nobody listens only when the caller's thread is gone.
                let _ = done.send((i, set.await));
            });
        }
        drop(done);
        for (i, result) in results {
            ends[i] = result;
        }
        ends
    }

    /// Begins a get; `begin` registers the operation once it is known to have begun.
    pub(crate) fn get_async(
        &self,
        key: &str,
        timeout_ms: u64,
        begin: impl FnOnce() -> Result<Arc<Op>>,
    ) -> Result<()> {
        match self.group.begin(None, key, args::timeout(timeout_ms)) {
            Ok(Begin::Hit(value)) => {
                let op = begin()?;
                op.go_on(|| op.finish(Ok(Answer::Value(value))));
            }
            Ok(Begin::Wait(pending)) => {
                let op = begin()?;
                op.go_on(|| op.follow(pending));
            }
            Ok(Begin::Lead(token, pending)) => {
                let op = begin()?;
                op.go_on(|| {
                    op.follow(pending);
                    self.callbacks.start(token);
                });
            }
            // An answer, if a negative one: it goes where answers go.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let op = begin()?;
                op.go_on(|| op.finish(Err(error)));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Runs the rest of an operation as a task of the node's runtime.
    pub(crate) fn go_on(&self, op: &Arc<Op>, work: impl Future<Output = Outcome> + Send + 'static) {
        let duty = Duty::new(op);
        op.go_on(|| {
            let task = self.group.handle().spawn(async move {
                duty.done(work.await);
            });
            let task = task.abort_handle();
            op.on_cancel(Box::new(move || task.abort()));
        });
    }
}
