//! The threads that run blocking getters, of Rust, C and Python alike. They are
//! apart from the runtime's own threads for blocking work, so that name lookup
//! and files never wait for user code.
//!
//! A job runs while fewer than `limit` threads work, or while its group has less
//! than its share of them: a slow group that fills the pool does not keep the
//! others waiting. A thread that waits for kamacache inside a getter does not
//! count as working ([`away`]): another takes its place, so getters that wait for
//! each other's loads do not starve.
//!
//! Invariants: while the pool is open and has fewer than its most threads, one
//! of them is idle or about to be; no job is run or dropped under the lock.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::sync::{Condvar, Mutex};
use crate::{Error, Result};

/// Threads that may wait inside getters, beside those that work.
const MOST_WAITING: usize = 512;
/// A thread that nothing came for ends, unless it is the last idle one.
const IDLE: Duration = Duration::from_secs(10);

/// Jobs of several groups, and the threads that run them.
///
/// The threads are their owner's: each calls [`Pool::next`] until that says
/// `None`, and starts another whenever [`Pool::wants_thread`] says so.
pub struct Pool<J> {
    inner: Mutex<Inner<J>>,
    changed: Condvar,
    limit: usize,
}

struct Inner<J> {
    /// Of groups with jobs that wait or run, in the order of their turns.
    lines: VecDeque<Line<J>>,
    /// Threads that run a job and do not wait inside it.
    working: usize,
    threads: usize,
    idle: usize,
    closed: bool,
}

/// One group's jobs.
struct Line<J> {
    group: u64,
    jobs: VecDeque<J>,
    working: usize,
    /// Threads that wait inside a job of this group.
    away: usize,
}

impl<J> Line<J> {
    fn is_over(&self) -> bool {
        self.jobs.is_empty() && self.working == 0 && self.away == 0
    }
}

impl<J> Inner<J> {
    fn line(&mut self, group: u64) -> &mut Line<J> {
        let known = self.lines.iter().position(|line| line.group == group);
        let at = known.unwrap_or_else(|| {
            self.lines.push_back(Line {
                group,
                jobs: VecDeque::new(),
                working: 0,
                away: 0,
            });
            self.lines.len() - 1
        });
        &mut self.lines[at]
    }

    /// The next line in turn that may run a job.
    fn ready(&self, limit: usize) -> Option<usize> {
        let busy = self
            .lines
            .iter()
            .filter(|line| line.working > 0 || !line.jobs.is_empty());
        let share = (limit / busy.count().max(1)).max(1);
        let mut lines = self.lines.iter();
        lines.position(|line| {
            !line.jobs.is_empty() && (self.working < limit || line.working < share)
        })
    }

    fn take(&mut self, limit: usize) -> Option<(u64, J)> {
        let mut line = self.lines.remove(self.ready(limit)?)?;
        let job = line.jobs.pop_front();
        line.working += 1;
        self.working += 1;
        let group = line.group;
        self.lines.push_back(line);
        job.map(|job| (group, job))
    }

    /// Changes what a group's threads do; `by` is +1 or -1 thread at work.
    fn shift(&mut self, group: u64, change: impl FnOnce(&mut Line<J>)) {
        let line = self.line(group);
        let before = line.working;
        change(line);
        let after = line.working;
        let over = line.is_over();
        self.working = self.working + after - before;
        if over {
            self.lines.retain(|line| line.group != group);
        }
    }
}

impl<J: Send + 'static> Pool<J> {
    /// A pool of which `limit` threads work at a time. With several groups at
    /// work there may be up to twice as many, and 512 more may wait inside
    /// getters.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                lines: VecDeque::new(),
                working: 0,
                threads: 0,
                idle: 0,
                closed: false,
            }),
            changed: Condvar::new(),
            limit: limit.max(1),
        })
    }

    /// Queues a job of a group, whatever number stands for it.
    ///
    /// # Errors
    /// The job, when the pool is closed.
    pub fn push(&self, group: u64, job: J) -> std::result::Result<(), J> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(job);
        }
        inner.line(group).jobs.push_back(job);
        drop(inner);
        self.changed.notify_one();
        Ok(())
    }

    /// The next job for this thread, which has ended its last one; waits for it.
    /// `None`: this thread is to end.
    pub fn next(self: &Arc<Self>) -> Option<J> {
        let ended = busy();
        let mut inner = self.inner.lock();
        if let Some(busy) = ended {
            inner.shift(busy.group, |line| line.working -= 1);
        }
        inner.idle += 1;
        let taken = loop {
            if let Some(taken) = inner.take(self.limit) {
                break Some(taken);
            }
            if inner.closed {
                break None;
            }
            let timed_out;
            (inner, timed_out) = self.changed.wait_until(inner, Instant::now() + IDLE);
            if timed_out && inner.idle > 1 && inner.ready(self.limit).is_none() {
                break None;
            }
        };
        inner.idle -= 1;
        if taken.is_none() {
            inner.threads -= 1;
        }
        let more = inner.ready(self.limit).is_some();
        drop(inner);
        if more {
            self.changed.notify_one();
        }
        let (group, job) = taken?;
        let pool = self.clone();
        set_busy(Busy { pool, group });
        Some(job)
    }

    /// Whether the caller is to start a thread: none is idle. It counts from now
    /// on; see [`Pool::lost_thread`].
    pub fn wants_thread(&self) -> bool {
        let mut inner = self.inner.lock();
        let most = 2 * self.limit + MOST_WAITING;
        let wanted = !inner.closed && inner.idle == 0 && inner.threads < most;
        inner.threads += usize::from(wanted);
        wanted
    }

    /// A thread that was wanted could not be started. Whether others will take
    /// the jobs.
    pub fn lost_thread(&self) -> bool {
        let mut inner = self.inner.lock();
        inner.threads -= 1;
        inner.threads > 0
    }

    /// Ends the threads; jobs that no thread took are dropped.
    pub fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        let mut jobs = VecDeque::new();
        for line in &mut inner.lines {
            jobs.append(&mut line.jobs);
        }
        inner.lines.retain(|line| !line.is_over());
        drop(inner);
        self.changed.notify_all();
        drop(jobs);
    }
}

/// What [`away`] needs of a pool, whatever its jobs are.
trait Threads {
    fn leave(&self, group: u64);
    fn come_back(&self, group: u64);
}

impl<J> Threads for Pool<J> {
    fn leave(&self, group: u64) {
        self.inner.lock().shift(group, |line| {
            line.working -= 1;
            line.away += 1;
        });
        self.changed.notify_one();
    }

    fn come_back(&self, group: u64) {
        self.inner.lock().shift(group, |line| {
            line.working += 1;
            line.away -= 1;
        });
    }
}

/// The job that a thread runs.
struct Busy {
    pool: Arc<dyn Threads>,
    group: u64,
}

thread_local! {
    static BUSY: RefCell<Option<Busy>> = const { RefCell::new(None) };
}

/// Uses this module's thread-local storage; false: it is destroyed.
pub(crate) fn has_locals() -> bool {
    BUSY.try_with(|_| ()).is_ok()
}

/// What this thread runs; nothing from now on. Nor does a thread that ends.
fn busy() -> Option<Busy> {
    BUSY.try_with(RefCell::take).ok().flatten()
}

fn set_busy(busy: Busy) {
    // Of a thread that ends nothing is waited for any more.
    let _ = BUSY.try_with(|cell| cell.replace(Some(busy)));
}

/// While it lives, its thread waits inside a getter.
#[must_use]
pub struct Away(Option<Busy>);

/// Says that this thread waits from now on: if it runs a job of a pool, another
/// thread may run one in its place.
pub fn away() -> Away {
    let busy = busy();
    if let Some(busy) = &busy {
        busy.pool.leave(busy.group);
    }
    Away(busy)
}

impl Drop for Away {
    fn drop(&mut self) {
        if let Some(busy) = self.0.take() {
            busy.pool.come_back(busy.group);
            set_busy(busy);
        }
    }
}

type Run = Box<dyn FnOnce() + Send>;

/// The pool of a node whose getters are Rust's or C's, with threads of its own.
pub(crate) struct Getters {
    pool: Arc<Pool<Run>>,
    runtime: Handle,
}

impl Getters {
    pub(crate) fn new(limit: usize, runtime: Handle) -> Self {
        Self {
            pool: Pool::new(limit),
            runtime,
        }
    }

    /// Runs `job` on a thread of the pool. A thread that starts now inherits the
    /// signal mask of this one.
    ///
    /// # Errors
    /// Closed, and the job is dropped. Internal when there is no thread and none
    /// can be started; the job may still run once one has been started for
    /// another.
    pub(crate) fn run(&self, group: u64, job: impl FnOnce() + Send + 'static) -> Result<()> {
        let job = Box::new(job);
        self.pool.push(group, job).map_err(|_| Error::closed())?;
        grow(&self.pool, &self.runtime)
    }

    pub(crate) fn close(&self) {
        self.pool.close();
    }
}

/// Starts a thread if one is wanted.
fn grow(pool: &Arc<Pool<Run>>, runtime: &Handle) -> Result<()> {
    if !pool.wants_thread() {
        return Ok(());
    }
    let (mine, handle) = (pool.clone(), runtime.clone());
    let thread = std::thread::Builder::new().name("kamacache-getter".to_owned());
    match thread.spawn(move || serve(&mine, &handle)) {
        Ok(_) => Ok(()),
        // The others take the jobs in time.
        Err(_) if pool.lost_thread() => Ok(()),
        Err(error) => Err(Error::internal(format!(
            "cannot start a getter thread: {error}"
        ))),
    }
}

fn serve(pool: &Arc<Pool<Run>>, runtime: &Handle) {
    let _inside = runtime.enter();
    while let Some(job) = pool.next() {
        // This thread is there, so it cannot fail.
        let _ = grow(pool, runtime);
        // The token says what became of a getter that panics; the thread goes on.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// A job that says that it runs, and ends when it is let go.
    struct Held {
        entered: Sender<&'static str>,
        seen: Receiver<&'static str>,
    }

    impl Held {
        fn new() -> Self {
            let (entered, seen) = channel();
            Self { entered, seen }
        }

        fn push(&self, getters: &Getters, group: u64, name: &'static str) -> Sender<bool> {
            let entered = self.entered.clone();
            let (go, told) = channel();
            let job = move || {
                entered.send(name).unwrap();
                while let Ok(true) = told.recv() {
                    // Waits inside, until it is told once more.
                    let _away = away();
                    let _ = told.recv();
                }
            };
            getters.run(group, job).unwrap();
            go
        }

        fn next(&self) -> &'static str {
            self.seen.recv_timeout(LONG).expect("a job runs")
        }

        fn none(&self) {
            assert!(self.seen.try_recv().is_err(), "nothing more runs");
        }
    }

    fn getters(limit: usize) -> (tokio::runtime::Runtime, Getters) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let getters = Getters::new(limit, runtime.handle().clone());
        (runtime, getters)
    }

    fn working(getters: &Getters) -> usize {
        getters.pool.inner.lock().working
    }

    #[test]
    fn as_many_run_as_the_limit_says_and_the_others_in_order() {
        let (_runtime, getters) = getters(2);
        let held = Held::new();
        let (a, b) = (held.push(&getters, 1, "a"), held.push(&getters, 1, "b"));
        let (c, _d) = (held.push(&getters, 1, "c"), held.push(&getters, 1, "d"));
        let mut first = [held.next(), held.next()];
        first.sort_unstable();
        assert_eq!(first, ["a", "b"]);
        held.none();
        drop(a);
        assert_eq!(held.next(), "c");
        drop(c);
        assert_eq!(held.next(), "d");
        drop(b);
        getters.close();
    }

    #[test]
    fn a_group_that_fills_the_pool_keeps_no_other_waiting() {
        let (_runtime, getters) = getters(4);
        let held = Held::new();
        let slow: Vec<_> = (0..10).map(|_| held.push(&getters, 1, "slow")).collect();
        for _ in 0..4 {
            assert_eq!(held.next(), "slow");
        }
        // Its share, the half, beside those that run already.
        let other: Vec<_> = (0..3).map(|_| held.push(&getters, 2, "other")).collect();
        assert_eq!([held.next(), held.next()], ["other"; 2]);
        assert_eq!(working(&getters), 6);
        drop(other);
        assert_eq!(held.next(), "other");
        drop(slow);
        for _ in 0..6 {
            assert_eq!(held.next(), "slow");
        }
        getters.close();
    }

    #[test]
    fn a_thread_that_waits_inside_a_job_does_not_count() {
        let (_runtime, getters) = getters(1);
        let held = Held::new();
        // Each waits inside for the next: many times the limit.
        let waiting: Vec<_> = (0..50)
            .map(|_| {
                let go = held.push(&getters, 1, "waits");
                assert_eq!(held.next(), "waits");
                go.send(true).unwrap();
                go
            })
            .collect();
        let last = held.push(&getters, 1, "last");
        assert_eq!(held.next(), "last");
        assert_eq!(working(&getters), 1);
        // Whoever comes back works at once; new jobs wait for them.
        drop(waiting);
        drop(last);
        let next = held.push(&getters, 1, "next");
        assert_eq!(held.next(), "next");
        drop(next);
        getters.close();
        assert!(getters.run(1, || ()).is_err());
    }

    #[test]
    fn a_job_that_panics_ends_alone() {
        let (_runtime, getters) = getters(1);
        let held = Held::new();
        getters.run(1, || panic!("a job")).unwrap();
        let go = held.push(&getters, 1, "next");
        assert_eq!(held.next(), "next");
        drop(go);
        getters.close();
    }

    #[test]
    fn what_no_thread_took_is_dropped_at_the_close() {
        let (_runtime, getters) = getters(1);
        let held = Held::new();
        let go = held.push(&getters, 1, "runs");
        assert_eq!(held.next(), "runs");
        let queued = held.push(&getters, 1, "queued");
        getters.close();
        assert!(queued.send(true).is_err(), "the job is gone");
        drop(go);
    }
}
