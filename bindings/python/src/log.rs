//! What the core tells through `tracing`, on its way to Python's `logging`: a
//! record is queued on whatever thread it arose, and a Python thread takes it.
//!
//! Invariants: no runtime thread attaches to the interpreter for a record; at
//! most [`MOST`] wait, what comes on top is counted and dropped; a child of a
//! fork has a queue of its own, since the lock of the old one may be held by a
//! thread that is gone.

use std::collections::VecDeque;
use std::fmt::{Debug, Write};
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use kamacache_core::sync::{Condvar, Mutex};
use pyo3::prelude::*;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber, span};

use crate::wait;

const MOST: usize = 1024;

/// A level as `logging` numbers it, and the text.
type Record = (u8, String);

#[derive(Default)]
struct Waiting {
    records: VecDeque<Record>,
    lost: usize,
    closed: bool,
}

#[derive(Default)]
struct Records {
    waiting: Mutex<Waiting>,
    filled: Condvar,
}

/// The queue of this process; never freed, since any thread may be in it.
static RECORDS: AtomicPtr<Records> = AtomicPtr::new(ptr::null_mut());
/// Records below this level are not made.
static LEAST: AtomicU8 = AtomicU8::new(u8::MAX);

impl Records {
    /// None until Python listens.
    fn of_process() -> Option<&'static Self> {
        // SAFETY: what is stored here was leaked.
        unsafe { RECORDS.load(Ordering::Acquire).as_ref() }
    }

    fn push(&self, record: Record) {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return;
        }
        if waiting.records.len() >= MOST {
            waiting.lost += 1;
            return;
        }
        waiting.records.push_back(record);
        drop(waiting);
        self.filled.notify_one();
    }

    fn next(&self) -> Option<(Record, usize)> {
        let mut waiting = self.waiting.lock();
        while waiting.records.is_empty() && !waiting.closed {
            waiting = self.filled.wait(waiting);
        }
        let record = waiting.records.pop_front()?;
        Some((record, std::mem::take(&mut waiting.lost)))
    }
}

/// The only subscriber of this module's copy of `tracing`.
struct ToPython;

impl Subscriber for ToPython {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The libraries below us have a lot to say, too.
        metadata.target().starts_with("kamacache")
            && number(*metadata.level()) >= LEAST.load(Ordering::Relaxed)
    }

    fn register_callsite(
        &self,
        metadata: &'static Metadata<'static>,
    ) -> tracing::subscriber::Interest {
        if metadata.is_event() && metadata.target().starts_with("kamacache") {
            tracing::subscriber::Interest::sometimes()
        } else {
            tracing::subscriber::Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn event(&self, event: &Event<'_>) {
        let Some(records) = Records::of_process() else {
            return;
        };
        let mut text = Text::default();
        event.record(&mut text);
        records.push((number(*event.metadata().level()), text.whole()));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// A level as `logging` numbers it.
fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        _ => 10,
    }
}

/// "message (field=value, field=value)".
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn whole(self) -> String {
        if self.fields.is_empty() {
            return self.message;
        }
        format!("{} ({})", self.message, self.fields)
    }

    fn field(&mut self, name: &str, value: std::fmt::Arguments<'_>) {
        let comma = if self.fields.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(self.fields, "{comma}{name}={value}");
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            self.field(field.name(), format_args!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field.name(), format_args!("{value}"));
    }
}

/// What the logging thread waits on. Making one opens this process's queue.
#[pyclass(frozen, module = "kamacache._native")]
pub(crate) struct LogQueue(&'static Records);

#[pymethods]
impl LogQueue {
    #[new]
    fn new() -> Self {
        static ONCE: Once = Once::new();
        let records: &'static Records = Box::leak(Box::default());
        RECORDS.store(ptr::from_ref(records).cast_mut(), Ordering::Release);
        ONCE.call_once(|| {
            // It fails only where a subscriber is set, and this module has no other.
            let _ = tracing::subscriber::set_global_default(ToPython);
        });
        Self(records)
    }

    /// Records below this level of `logging` are not made.
    fn set_level(&self, level: u8) {
        LEAST.store(level, Ordering::Relaxed);
    }

    /// The next record as (level, text), and how many were dropped before it;
    /// None when closed. Waits detached from the interpreter.
    fn next(&self, py: Python<'_>) -> Option<(Record, usize)> {
        wait::away(py, || self.0.next())
    }

    /// Lets the thread end when it has told what waits.
    fn close(&self) {
        self.0.waiting.lock().closed = true;
        self.0.filled.notify_all();
    }
}
