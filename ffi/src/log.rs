//! What the library has to say, for a function of the user's.
//!
//! Invariants: nothing is ever written to stderr; the function runs on a thread
//! of its own, so that a slow one delays no request; too many messages at once
//! are dropped, not kept.

use std::ffi::{c_char, c_void};
use std::fmt::Write as _;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Once};

use arc_swap::ArcSwapOption;
use kamacache_core::{Error, Result};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber, span};

use crate::error::{OK, kamacache_status};
use crate::fork::PerProcess;
use crate::getter::terminated;
use crate::guard::{self, Callback, callback};
use crate::lane::Lane;
use crate::owned::{Owned, kamacache_free_fn};

/// How important a message is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kamacache_log_level {
    /// Something is broken.
    KAMACACHE_LOG_ERROR = 1,
    /// Something is wrong and handled.
    KAMACACHE_LOG_WARN = 2,
    /// Something rare and worth knowing.
    KAMACACHE_LOG_INFO = 3,
    /// For finding faults.
    KAMACACHE_LOG_DEBUG = 4,
    /// For finding faults of the library.
    KAMACACHE_LOG_TRACE = 5,
}

pub use kamacache_log_level::*;

/// Takes one message. Both texts are UTF-8 and NUL-terminated.
///
/// @param user_data handed to kamacache_set_logger before; the library's
/// @param level KAMACACHE_LOG_*
/// @param target which part of the library it is from; borrowed for the call; never NULL
/// @param message what it says; borrowed for the call; never NULL
/// @par Threads
/// A thread of the library's own, one message at a time; it must not block on this library.
pub type kamacache_log_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        level: i32,
        target: *const c_char,
        message: *const c_char,
    ),
>;

type LogFn = unsafe extern "C" fn(*mut c_void, i32, *const c_char, *const c_char);

/// Messages that may wait for the user's function.
const MOST_WAITING: usize = 4096;

struct Logger {
    call: LogFn,
    user: Owned,
}

static LEVEL: AtomicI32 = AtomicI32::new(0);
/// Without a lock, so that a child of a fork inherits it usable.
static LOGGER: ArcSwapOption<Logger> = ArcSwapOption::const_empty();
static LANE: PerProcess<Thread> = PerProcess::new();
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Sends the library's messages to a function, for the whole process. Without one, which is
/// how it starts, nothing is written anywhere.
///
/// @param max_level KAMACACHE_LOG_*: less important messages are not sent
/// @param log_fn takes the messages; NULL turns them off
/// @param user_data handed to log_fn; the library's from now on, on every status
/// @param free_fn called once with user_data, when log_fn has been replaced and its last
///   call has returned; NULL: nothing to free
/// @retval KAMACACHE_OK done
/// @retval KAMACACHE_INVALID_ARGUMENT there is no such level
/// @retval KAMACACHE_INTERNAL no thread is to be had
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread; never blocks.
///
/// # Safety
/// `log_fn`, `user_data` and `free_fn` belong together and may be used from any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_set_logger(
    max_level: i32,
    log_fn: kamacache_log_fn,
    user_data: *mut c_void,
    free_fn: kamacache_free_fn,
) -> kamacache_status {
    guard::status(|| {
        let user = Owned::new(user_data, free_fn);
        let (level, logger) = match log_fn {
            None => (0, None),
            Some(call) => (checked(max_level)?, Some(Arc::new(Logger { call, user }))),
        };
        if logger.is_some() {
            install()?;
        }
        LEVEL.store(level, Ordering::Relaxed);
        drop(LOGGER.swap(logger));
        tracing::callsite::rebuild_interest_cache();
        Ok(OK)
    })
}

fn checked(level: i32) -> Result<i32> {
    if (KAMACACHE_LOG_ERROR as i32..=KAMACACHE_LOG_TRACE as i32).contains(&level) {
        return Ok(level);
    }
    Err(Error::invalid_argument(format!(
        "max_level is {level}: it is KAMACACHE_LOG_ERROR 1 to _TRACE 5"
    )))
}

/// Makes this crate the one that hears the core; once.
fn install() -> Result<()> {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if !INSTALLED.swap(true, Ordering::AcqRel) {
        tracing::subscriber::set_global_default(Bridge).map_err(|_| {
            INSTALLED.store(false, Ordering::Release);
            Error::internal("this program listens to tracing already: use that")
        })?;
    }
    Ok(())
}

/// From now on a panic goes to the logger, and never to stderr.
#[inline]
pub(crate) fn hear_panics() {
    static HOOK: Once = Once::new();
    // A test's own panics are for the test's output.
    if cfg!(not(test)) {
        HOOK.call_once(|| std::panic::set_hook(Box::new(panicked)));
    }
}

fn panicked(info: &PanicHookInfo<'_>) {
    if LEVEL.load(Ordering::Relaxed) >= KAMACACHE_LOG_ERROR as i32 {
        say(
            KAMACACHE_LOG_ERROR as i32,
            "kamacache::panic",
            &format!("{info}; please report it"),
        );
    }
}

/// The thread that calls the user's function.
struct Thread(Arc<Lane>);

impl Default for Thread {
    fn default() -> Self {
        Self(Lane::thread())
    }
}

/// In the child of a fork, which has no thread of its parent's.
pub(crate) fn forked() {
    LANE.abandon();
    WAITING.store(0, Ordering::Relaxed);
}

fn say(level: i32, target: &str, message: &str) {
    let Some(logger) = LOGGER.load_full() else {
        return;
    };
    if WAITING.fetch_add(1, Ordering::Relaxed) >= MOST_WAITING {
        WAITING.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    // A NUL would end the message early.
    let message = terminated(&message.replace('\0', "\u{fffd}"));
    let target = terminated(target);
    LANE.get().0.notice(Box::new(move || {
        WAITING.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the user's own function and data; both texts end with a NUL.
        callback(Callback::Notice, || unsafe {
            (logger.call)(
                logger.user.data,
                level,
                target.as_ptr().cast(),
                message.as_ptr().cast(),
            );
        });
    }));
}

/// Hears what the core says.
struct Bridge;

impl Subscriber for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && metadata.target().starts_with("kamacache")
            && number(*metadata.level()) <= LEVEL.load(Ordering::Relaxed)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match LEVEL.load(Ordering::Relaxed) {
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            5 => LevelFilter::TRACE,
            _ => LevelFilter::OFF,
        })
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let metadata = event.metadata();
        say(number(*metadata.level()), metadata.target(), &text.joined());
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

fn number(level: Level) -> i32 {
    (match level {
        Level::ERROR => KAMACACHE_LOG_ERROR,
        Level::WARN => KAMACACHE_LOG_WARN,
        Level::INFO => KAMACACHE_LOG_INFO,
        Level::DEBUG => KAMACACHE_LOG_DEBUG,
        Level::TRACE => KAMACACHE_LOG_TRACE,
    }) as i32
}

/// A message and its fields, as one line.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn joined(self) -> String {
        self.message + &self.fields
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String does not fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}
