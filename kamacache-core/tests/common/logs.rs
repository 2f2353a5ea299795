//! What nodes log, caught for the whole process: tests find their lines by the
//! addresses in them.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::fmt::{Debug, Write};
use std::sync::Once;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::LONG;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From here on, all nodes of this process. Called first by each test.
pub fn catch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Catcher).expect("the first"));
}

/// The lines of warnings that hold all of these texts.
pub fn warnings(texts: &[&str]) -> Vec<String> {
    let lines = LINES.lock();
    let holds = |line: &&String| line.starts_with("WARN") && holds(line, texts);
    lines.iter().filter(holds).cloned().collect()
}

/// All lines that hold all of these texts.
pub fn lines(texts: &[&str]) -> Vec<String> {
    let lines = LINES.lock();
    lines
        .iter()
        .filter(|line| holds(line, texts))
        .cloned()
        .collect()
}

/// Waits for a line that holds all of these texts.
pub async fn said(texts: &[&str]) {
    let wait = async {
        while !LINES.lock().iter().any(|line| holds(line, texts)) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    if tokio::time::timeout(LONG, wait).await.is_err() {
        panic!("nobody said {texts:?}; said was: {:#?}", LINES.lock());
    }
}

/// All of it, for a test that fails.
pub fn all() -> String {
    LINES.lock().join("\n")
}

/// Whether any line holds this text.
pub fn leaked(text: &str) -> bool {
    LINES.lock().iter().any(|line| line.contains(text))
}

fn holds(line: &str, texts: &[&str]) -> bool {
    texts.iter().all(|text| line.contains(text))
}

struct Catcher;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").expect("a string takes all");
    }
}

impl Subscriber for Catcher {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("kamacache") && *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        LINES.lock().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
