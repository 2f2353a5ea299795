//! The only place where a Python thread waits in Rust: always detached from the
//! interpreter, in slices, looking for signals between them, so that Ctrl-C
//! ends any wait.
//!
//! When the interpreter ends, a thread that comes back to attach would be ended
//! by CPython in the middle of Rust frames. Such a thread parks for good
//! instead; [`end_waits`] is called at exit and returns when none is on its way.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::task::{Context, Poll, Waker};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use kamacache_core::{Error, Result};
use parking_lot::Mutex;
use pyo3::prelude::*;
use tokio::runtime::Handle;

/// How long a signal may go unseen.
const SLICE: Duration = Duration::from_millis(100);

static EXITING: AtomicBool = AtomicBool::new(false);
static EXITING_THREAD: Mutex<Option<ThreadId>> = Mutex::new(None);
/// Threads between detaching and attaching again, parked ones not counted.
static AWAY: AtomicUsize = AtomicUsize::new(0);

/// A boxed future of the core.
pub(crate) type Job<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

/// Calls `poll` with a slice of time until it answers.
///
/// # Errors
/// What a signal handler raised, KeyboardInterrupt above all.
pub(crate) fn until<T: Send>(
    py: Python<'_>,
    mut poll: impl FnMut(Duration) -> Option<T> + Send,
) -> PyResult<T> {
    // Inside a getter another thread of its pool takes the place of this one.
    let _away = kamacache_core::pool::away();
    loop {
        if let Some(answer) = away(py, || poll(SLICE)) {
            return Ok(answer);
        }
        py.check_signals()?;
    }
}

/// Runs `work` detached from the interpreter.
pub(crate) fn away<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    AWAY.fetch_add(1, Ordering::SeqCst);
    let answer = py.detach(|| {
        let answer = work();
        park_at_exit();
        answer
    });
    AWAY.fetch_sub(1, Ordering::SeqCst);
    answer
}

fn park_at_exit() {
    if !EXITING.load(Ordering::SeqCst)
        || *EXITING_THREAD.lock() == Some(std::thread::current().id())
    {
        return;
    }
    AWAY.fetch_sub(1, Ordering::SeqCst);
    loop {
        std::thread::park();
    }
}

/// From here on, threads that come back from a wait park. Waits, detached, for
/// those that are already on their way, half a second at most.
pub(crate) fn end_waits(py: Python<'_>) {
    *EXITING_THREAD.lock() = Some(std::thread::current().id());
    EXITING.store(true, Ordering::SeqCst);
    let deadline = Instant::now() + Duration::from_millis(500);
    py.detach(|| {
        while AWAY.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

/// Polls once on this thread; what is not ready comes back to be spawned.
pub(crate) fn poll_once<T>(
    runtime: &Handle,
    mut job: Job<T>,
) -> std::result::Result<Result<T>, Job<T>> {
    let _inside = runtime.enter();
    match job.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Ok(answer),
        Poll::Pending => Err(job),
    }
}

/// Runs a future of the core to its end, or to a signal; then it goes on alone.
pub(crate) fn block_on<T: Send + 'static>(
    py: Python<'_>,
    runtime: &Handle,
    job: Job<T>,
) -> PyResult<Result<T>> {
    let job = match poll_once(runtime, job) {
        Ok(answer) => return Ok(answer),
        Err(job) => job,
    };
    let (sender, receiver) = channel();
    runtime.spawn(async move {
        // Nobody listens any more after a signal.
        let _ = sender.send(job.await);
    });
    let receiver = Mutex::new(receiver);
    until(py, |slice| match receiver.lock().recv_timeout(slice) {
        Ok(answer) => Some(answer),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => Some(Err(Error::closed())),
    })
}
