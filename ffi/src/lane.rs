//! Lanes run callbacks, one after the other: a node's callback thread, or a queue
//! that the user dispatches.
//!
//! Invariants: a callback never runs inside the call that began its operation,
//! never on a runtime thread, never under a lock; an ended lane takes nothing; in a
//! child of a fork an inherited lane runs nothing, and its lock is not touched.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kamacache_core::sync::{Condvar, Mutex};
use kamacache_core::{Error, Result};

use crate::fork::Process;
use crate::ops::{Op, Outcome, cancelled_error};
use crate::signals;

/// A callback of its own, not the end of an operation.
type Notice = Box<dyn FnOnce() + Send>;

enum Ready {
    Op(Arc<Op>, Outcome),
    Notice(Notice),
}

/// Runs callbacks, one after the other.
pub(crate) struct Lane {
    queue: Mutex<Queue>,
    /// Something is ready, or the lane has ended.
    ready: Condvar,
    /// Nothing is outstanding any more.
    idle: Condvar,
    /// None: a thread of the library runs the callbacks.
    fd: Option<OwnedFd>,
    process: Process,
}

#[derive(Default)]
struct Queue {
    outstanding: HashMap<u64, Arc<Op>>,
    /// Notices that have not run to their end.
    notices: usize,
    ready: VecDeque<Ready>,
    started: bool,
    ended: bool,
}

impl Queue {
    fn is_idle(&self) -> bool {
        self.outstanding.is_empty() && self.notices == 0
    }
}

impl Lane {
    /// A lane with a thread of its own, which starts with the first operation.
    pub(crate) fn thread() -> Arc<Self> {
        Arc::new(Self::new(None))
    }

    /// A lane that the user dispatches when its descriptor is readable.
    pub(crate) fn queue() -> Result<Arc<Self>> {
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            let error = io::Error::last_os_error();
            return Err(Error::internal(format!(
                "cannot open a queue's descriptor: {error}"
            )));
        }
        // SAFETY: just opened, owned by nobody else.
        Ok(Arc::new(Self::new(Some(unsafe {
            OwnedFd::from_raw_fd(fd)
        }))))
    }

    fn new(fd: Option<OwnedFd>) -> Self {
        Self {
            queue: Mutex::default(),
            ready: Condvar::new(),
            idle: Condvar::new(),
            fd,
            process: Process::current(),
        }
    }

    /// The descriptor of a queue.
    pub(crate) fn fd(&self) -> RawFd {
        self.fd.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// An operation begins.
    ///
    /// # Errors
    /// Closed when the lane has ended, Internal when it gets no thread, Forked.
    pub(crate) fn admit(self: &Arc<Self>, op: &Arc<Op>) -> Result<()> {
        self.process.check()?;
        let mut queue = self.queue.lock();
        self.start(&mut queue)?;
        queue.outstanding.insert(op.id, op.clone());
        Ok(())
    }

    /// Runs a callback that ends no operation; not at all once the lane has ended.
    pub(crate) fn notice(self: &Arc<Self>, notice: Notice) {
        if self.process.is_gone() {
            return;
        }
        let mut queue = self.queue.lock();
        if self.start(&mut queue).is_ok() {
            queue.notices += 1;
            self.make_ready(&mut queue, Ready::Notice(notice));
        }
    }

    /// The first use of a lane starts its thread; an ended lane takes nothing.
    fn start(self: &Arc<Self>, queue: &mut Queue) -> Result<()> {
        if queue.ended {
            return Err(Error::closed());
        }
        if self.fd.is_none() && !queue.started {
            let lane = self.clone();
            let thread = std::thread::Builder::new().name("kamacache-callback".into());
            signals::blocked(|| thread.spawn(move || lane.serve())).map_err(|error| {
                Error::internal(format!("cannot start the callback thread: {error}"))
            })?;
            queue.started = true;
        }
        Ok(())
    }

    /// An operation is decided.
    pub(crate) fn push(&self, op: Arc<Op>, outcome: Outcome) {
        if self.process.is_gone() {
            return;
        }
        let mut queue = self.queue.lock();
        // Else it was delivered already, by a close or the end of its queue; a
        // queue that has ended would hold it, and it the queue, forever.
        let abandoned = queue.ended && self.fd.is_some();
        if !abandoned && queue.outstanding.contains_key(&op.id) {
            self.make_ready(&mut queue, Ready::Op(op, outcome));
        }
    }

    fn make_ready(&self, queue: &mut Queue, ready: Ready) {
        queue.ready.push_back(ready);
        if queue.ready.len() == 1 {
            self.signal();
        }
        self.ready.notify_one();
    }

    fn run(&self, ready: Ready) {
        match ready {
            Ready::Op(op, outcome) => op.deliver(outcome),
            Ready::Notice(notice) => {
                notice();
                let mut queue = self.queue.lock();
                queue.notices -= 1;
                self.tell_idle(&queue);
            }
        }
    }

    /// An operation's callback has returned.
    pub(crate) fn delivered(&self, id: u64) {
        let mut queue = self.queue.lock();
        let gone = queue.outstanding.remove(&id);
        self.tell_idle(&queue);
        drop(queue);
        drop(gone);
    }

    fn tell_idle(&self, queue: &Queue) {
        if queue.is_idle() {
            self.idle.notify_all();
        }
    }

    /// The callback thread.
    fn serve(&self) {
        loop {
            let mut queue = self.queue.lock();
            while queue.ready.is_empty() {
                if queue.ended {
                    return;
                }
                queue = self.ready.wait(queue);
            }
            let next = queue.ready.pop_front();
            drop(queue);
            if let Some(next) = next {
                self.run(next);
            }
        }
    }

    /// Runs up to `max` of the callbacks that are ready now, on this thread.
    pub(crate) fn dispatch(&self, max: usize) -> usize {
        if self.process.is_gone() {
            return 0;
        }
        let ready: Vec<_> = {
            let mut queue = self.queue.lock();
            let n = max.min(queue.ready.len());
            let taken = queue.ready.drain(..n).collect();
            if queue.ready.is_empty() {
                self.clear();
            } else {
                // For who is told of edges only: there is more.
                self.signal();
            }
            taken
        };
        let n = ready.len();
        for next in ready {
            self.run(next);
        }
        n
    }

    /// Refuses a lane of a parent's.
    pub(crate) fn check(&self) -> Result<()> {
        self.process.check()
    }

    /// How many callbacks are ready.
    pub(crate) fn len(&self) -> usize {
        if self.process.is_gone() {
            return 0;
        }
        self.queue.lock().ready.len()
    }

    /// Waits until a callback is ready; false after `patience`, and when the lane
    /// has ended.
    ///
    /// # Errors
    /// Forked.
    pub(crate) fn wait(&self, patience: Duration) -> Result<bool> {
        self.process.check()?;
        let deadline = Instant::now().checked_add(patience);
        let mut queue = self.queue.lock();
        while queue.ready.is_empty() && !queue.ended {
            let Some(deadline) = deadline else {
                queue = self.ready.wait(queue);
                continue;
            };
            let (held, timed_out) = self.ready.wait_until(queue, deadline);
            queue = held;
            if timed_out {
                break;
            }
        }
        Ok(!queue.ready.is_empty())
    }

    /// Ends every operation with Closed and waits until the callbacks have
    /// returned; false when one still ran after `patience`.
    pub(crate) fn close(&self, patience: Duration) -> bool {
        let deadline = Instant::now().checked_add(patience);
        let outstanding: Vec<_> = self.queue.lock().outstanding.values().cloned().collect();
        for op in outstanding {
            op.finish(Err(Error::closed()));
        }
        let mut queue = self.queue.lock();
        while !queue.is_idle() {
            let Some(deadline) = deadline else {
                queue = self.idle.wait(queue);
                continue;
            };
            let (held, timed_out) = self.idle.wait_until(queue, deadline);
            queue = held;
            if timed_out {
                break;
            }
        }
        queue.ended = true;
        self.ready.notify_all();
        queue.is_idle()
    }

    /// Ends a queue: every operation that is not delivered gets Cancelled, here and now.
    pub(crate) fn abandon(self: Arc<Self>) {
        if self.process.is_gone() {
            // SAFETY: the child's copy of the descriptor, closed once: what owns it is never dropped.
            unsafe { libc::close(self.fd()) };
            std::mem::forget(self);
            return;
        }
        let mut queue = self.queue.lock();
        queue.ended = true;
        self.ready.notify_all();
        let ready = std::mem::take(&mut queue.ready);
        let mut left: Vec<_> = queue.outstanding.values().cloned().collect();
        drop(queue);
        drop(ready);
        left.sort_by_key(|op| op.id);
        for op in left {
            op.cancel();
            op.deliver(Err(cancelled_error()));
        }
    }

    /// Makes the descriptor readable.
    fn signal(&self) {
        if let Some(fd) = &self.fd {
            let one = 1_u64;
            // SAFETY: writes 8 bytes of `one` to an open descriptor.
            unsafe { libc::write(fd.as_raw_fd(), (&raw const one).cast(), 8) };
        }
    }

    /// Makes the descriptor unreadable again.
    fn clear(&self) {
        if let Some(fd) = &self.fd {
            let mut count = 0_u64;
            // SAFETY: reads 8 bytes into `count` from an open descriptor that does not block.
            unsafe { libc::read(fd.as_raw_fd(), (&raw mut count).cast(), 8) };
        }
    }
}
