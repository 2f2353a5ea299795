//! The synchronous facade that bindings use: a node with a small runtime of
//! its own, and the only place that blocks a thread on a future.
//!
//! Invariant: a thread that drives tasks is never blocked; such a call is
//! refused with WouldDeadlock.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::getter::{Getter, Ttl};
use crate::load::LoadScope;
use crate::options::{self, GroupOptions, NodeOptions};
use crate::{Begin, Error, ErrorKind, Pending, Result, Stats, Value, load, pool};

/// Threads of the runtime for its own blocking calls: name lookup and files.
const LOOKUPS: usize = 16;

/// A node with its own runtime. A cheap handle; usable from any thread.
#[derive(Clone)]
pub struct Node {
    inner: crate::Node,
    runtime: Arc<Owned>,
}

/// The runtime ends without waiting, wherever its last handle is dropped.
struct Owned {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Node {
    /// Starts a node and its runtime of `io_threads` workers.
    ///
    /// # Errors
    /// As [`crate::Node::start`]; Internal when no thread can be started.
    pub fn start(options: NodeOptions) -> Result<Self> {
        Threads::start(options)?.open()
    }

    /// The node without its runtime, for what never blocks.
    pub fn inner(&self) -> &crate::Node {
        &self.inner
    }

    /// The runtime, to spawn on.
    pub fn handle(&self) -> &Handle {
        &self.runtime.handle
    }

    /// As [`crate::Node::group`].
    ///
    /// # Errors
    /// As [`crate::Node::group`].
    pub fn group(
        &self,
        name: &str,
        options: GroupOptions,
        getter: Option<Arc<dyn Getter>>,
    ) -> Result<Group> {
        Ok(Group {
            inner: self.inner.group(name, options, getter)?,
            runtime: self.runtime.clone(),
        })
    }

    /// As [`crate::Node::find_group`].
    ///
    /// # Errors
    /// As [`crate::Node::find_group`].
    pub fn find_group(&self, name: &str) -> Result<Group> {
        Ok(Group {
            inner: self.inner.find_group(name)?,
            runtime: self.runtime.clone(),
        })
    }

    /// As [`crate::Node::address`].
    pub fn address(&self) -> &str {
        self.inner.address()
    }

    /// As [`crate::Node::admin_address`].
    pub fn admin_address(&self) -> Option<&str> {
        self.inner.admin_address()
    }

    /// As [`crate::Node::members`].
    pub fn members(&self) -> Vec<String> {
        self.inner.members()
    }

    /// As [`crate::Node::owner`].
    ///
    /// # Errors
    /// As [`crate::Node::owner`].
    pub fn owner(&self, key: &str) -> Result<String> {
        self.inner.owner(key)
    }

    /// As [`crate::Node::set_peers`].
    ///
    /// # Errors
    /// As [`crate::Node::set_peers`].
    pub fn set_peers(&self, peers: &[impl AsRef<str>]) -> Result<()> {
        self.inner.set_peers(peers)
    }

    /// As [`crate::Node::close`], blocking this thread.
    ///
    /// # Errors
    /// As [`crate::Node::close`]; WouldDeadlock on a runtime thread.
    pub fn close(&self, drain: Option<Duration>) -> Result<()> {
        wait_for(&self.runtime.handle, self.inner.close(drain))?
    }
}

/// The threads of a node that is not open yet. They inherit the signal mask of the
/// thread that started them; [`Threads::open`] starts none on its caller's.
pub struct Threads {
    options: NodeOptions,
    owned: Owned,
}

impl Threads {
    /// Starts a runtime of `io_threads` workers.
    ///
    /// # Errors
    /// InvalidArgument for a bad `io_threads`; Internal when no thread can be started.
    pub fn start(mut options: NodeOptions) -> Result<Self> {
        let (workers, getters) = options::threads(&options)?;
        options.getter_threads = Some(getters);
        can_start(workers).map_err(no_thread)?;
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(workers)
            .max_blocking_threads(LOOKUPS)
            .thread_name("kamacache")
            .enable_io()
            .enable_time();
        let runtime = catch_unwind(AssertUnwindSafe(|| builder.build()))
            .map_err(|_| no_thread(io::ErrorKind::WouldBlock.into()))?
            .map_err(no_thread)?;
        let owned = Owned {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        };
        Ok(Self { options, owned })
    }

    /// Opens the node, blocking this thread; all its work is done by the runtime.
    ///
    /// # Errors
    /// As [`crate::Node::start`].
    pub fn open(self) -> Result<Node> {
        let Self { options, owned } = self;
        let inner = wait_for(&owned.handle, async move {
            tokio::spawn(crate::Node::start(options)).await
        })?
        .map_err(|error| Error::internal(format!("the node could not start: {error}")))??;
        Ok(Node {
            inner,
            runtime: Arc::new(owned),
        })
    }
}

/// A group of a blocking [`Node`]. A cheap handle; usable from any thread.
#[derive(Clone)]
pub struct Group {
    inner: crate::Group,
    runtime: Arc<Owned>,
}

impl Group {
    /// The group without its runtime, for what never blocks.
    pub fn inner(&self) -> &crate::Group {
        &self.inner
    }

    /// The runtime, to spawn on.
    pub fn handle(&self) -> &Handle {
        &self.runtime.handle
    }

    /// As [`crate::Group::begin_in`].
    ///
    /// # Errors
    /// As [`crate::Group::begin_in`].
    pub fn begin(
        &self,
        scope: Option<&LoadScope>,
        key: &str,
        timeout: Option<Duration>,
    ) -> Result<Begin> {
        self.inner.begin_in(scope, key, timeout)
    }

    /// Blocks this thread until the pending is decided, by its deadline at the
    /// latest.
    ///
    /// # Errors
    /// As [`crate::Group::get`]; WouldDeadlock on a runtime thread.
    pub fn wait(&self, mut pending: Pending) -> Result<Value> {
        if let Some(result) = pending.try_now() {
            return result;
        }
        wait_for(&self.runtime.handle, pending.wait())?
    }

    /// Blocks this thread for at most `slice`; `None`: not decided yet.
    pub fn wait_slice(&self, pending: &mut Pending, slice: Duration) -> Option<Result<Value>> {
        if let Some(result) = pending.try_now() {
            return Some(result);
        }
        let wait = async { tokio::time::timeout(slice, pending.ready()).await };
        match wait_for(&self.runtime.handle, wait) {
            Ok(decided) => decided.ok(),
            Err(error) => Some(Err(error)),
        }
    }

    /// As [`crate::Group::set_with`], blocking this thread.
    ///
    /// # Errors
    /// As [`crate::Group::set_with`]; WouldDeadlock on a runtime thread.
    pub fn set(
        &self,
        key: &str,
        value: impl Into<Value>,
        ttl: Ttl,
        timeout: Option<Duration>,
    ) -> Result<()> {
        wait_for(
            &self.runtime.handle,
            self.inner.set_with(key, value, ttl, timeout),
        )?
    }

    /// As [`crate::Group::delete_with`], blocking this thread.
    ///
    /// # Errors
    /// As [`crate::Group::delete_with`]; WouldDeadlock on a runtime thread.
    pub fn delete(&self, key: &str, timeout: Option<Duration>) -> Result<()> {
        wait_for(&self.runtime.handle, self.inner.delete_with(key, timeout))?
    }

    /// As [`crate::Group::peek`].
    pub fn peek(&self, key: &str) -> Option<Value> {
        self.inner.peek(key)
    }

    /// As [`crate::Group::peek_into`].
    pub fn peek_into(&self, key: &str, buf: &mut [u8]) -> Option<Result<usize, usize>> {
        self.inner.peek_into(key, buf)
    }

    /// As [`crate::Group::stats`].
    pub fn stats(&self) -> Stats {
        self.inner.stats()
    }
}

/// Uses all thread-local storage of this crate and of tokio that has a destructor, so
/// that it is destroyed after what this thread first uses from now on. False: some of
/// it is destroyed already, and this thread can make no blocking call any more.
pub fn has_locals() -> bool {
    let runtime = match Handle::try_current() {
        Ok(_) => true,
        Err(error) => error.is_missing_context(),
    };
    runtime && load::has_locals() && pool::has_locals()
}

/// Whether the system gives this many threads now: tokio panics, or waits for
/// ever, when it gets some of its workers and not all.
fn can_start(threads: usize) -> io::Result<()> {
    let (hold, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let started: Vec<_> = (0..threads)
        .map(|_| {
            let held = held.clone();
            // Ends when `hold` is dropped.
            std::thread::Builder::new().spawn(move || {
                let _ = held.lock().recv();
            })
        })
        .collect();
    drop(hold);
    let mut refused = None;
    for thread in started {
        match thread {
            Ok(thread) => drop(thread.join()),
            Err(error) => refused = Some(error),
        }
    }
    refused.map_or(Ok(()), Err)
}

fn no_thread(error: io::Error) -> Error {
    Error::internal(format!("cannot start the runtime's threads: {error}"))
}

/// Blocks this thread on a future whose tasks and timers run on `runtime`.
fn wait_for<F: Future>(runtime: &Handle, future: F) -> Result<F::Output> {
    if tokio::task::try_id().is_some() {
        return Err(Error::new(
            ErrorKind::WouldDeadlock,
            "a blocking call was made on a runtime thread or in a completion callback; \
             use the asynchronous call there",
        ));
    }
    let _inside = runtime.enter();
    // Inside a getter another thread takes the place of this one.
    let _away = pool::away();
    Ok(pollster::block_on(future))
}
