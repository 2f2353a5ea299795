//! Calling the getter and the batch getter of a group.
//!
//! Invariants: the getter is called without a lock held and never on a network
//! thread. No callback starts once the group is retired. `user_data` is freed
//! once, by the drop of its last holder: the group, or a callback that runs.

use std::ffi::{c_char, c_void};
use std::mem::size_of;
use std::sync::Arc;

use kamacache_core::sync::Mutex;
use kamacache_core::{BoxFuture, Error, Getter, LoadContext, LoadToken, Loaded, Result};

use crate::evict::kamacache_evict_fn;
use crate::guard::{Callback, callback};
use crate::lane::Lane;
use crate::loads::{self, kamacache_load};
use crate::options::{KAMACACHE_FOREVER, kamacache_group_options};
use crate::owned::Owned;
use crate::signals;
use crate::sweeper::Sweeper;

/// What a getter is told about the load; borrowed for the call.
#[repr(C)]
pub struct kamacache_load_info {
    /// Size of this struct in the library.
    pub struct_size: u32,
    /// None defined: 0.
    pub flags: u32,
    /// The group's name, NUL-terminated.
    pub group: *const c_char,
    /// The key: UTF-8 of key_len bytes. A NUL stands behind it, but a key may also hold
    /// NULs: compare key_len bytes, never with strcmp alone.
    pub key: *const c_char,
    /// The key's length in bytes, without the NUL.
    pub key_len: usize,
    /// Time left for the load in milliseconds, or KAMACACHE_FOREVER.
    pub timeout_ms: u64,
}

/// Loads one missing key. It answers exactly once, by one of the kamacache_load_ functions,
/// inside the call or later from any thread. No exception and no longjmp may leave it.
///
/// @param user_data the group's
/// @param info what to load; borrowed for the call; never NULL
/// @param load the token to answer with; never NULL
/// @par Threads
/// Called on a thread that waits in kamacache_group_get, or on a getter thread, which has a
/// stack of 2 MiB; on several at once. It may block, and may make blocking calls on other
/// keys. With getter_queue: on the thread that dispatches the queue, where it must not block
/// on this library.
pub type kamacache_getter = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        info: *const kamacache_load_info,
        load: *mut kamacache_load,
    ),
>;

/// Loads n missing keys at once, n at least 1. It answers each load exactly once, as a
/// kamacache_getter does.
///
/// @param user_data the group's
/// @param infos infos[i] says what loads[i] asks for; borrowed for the call; never NULL
/// @param loads the tokens to answer with; never NULL
/// @param n how many
/// @par Threads
/// As a kamacache_getter; blocking calls are allowed on keys that are not in the batch.
pub type kamacache_batch_getter = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        infos: *const *const kamacache_load_info,
        loads: *const *mut kamacache_load,
        n: usize,
    ),
>;

/// A group's C functions and their user data.
pub(crate) struct Callbacks {
    getter: kamacache_getter,
    batch_getter: kamacache_batch_getter,
    pub(crate) evict: kamacache_evict_fn,
    /// None once the node is closed: no callback starts any more.
    user: Mutex<Option<Arc<Owned>>>,
    /// Where loads wait for the thread that dispatches it, if they do.
    queue: Option<Arc<Lane>>,
    sweeper: Arc<Sweeper>,
    node: u64,
}

/// Loads that wait in a queue of the user's. Dropped with the queue, they fail.
struct Queued(Vec<LoadToken>);

impl Drop for Queued {
    fn drop(&mut self) {
        for token in self.0.drain(..) {
            token.fail(Error::closed());
        }
    }
}

impl Callbacks {
    pub(crate) fn new(
        options: &kamacache_group_options,
        user: Arc<Owned>,
        queue: Option<Arc<Lane>>,
        sweeper: Arc<Sweeper>,
        node: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            getter: options.getter,
            batch_getter: options.batch_getter,
            evict: options.on_evict,
            user: Mutex::new(Some(user)),
            queue,
            sweeper,
            node,
        })
    }

    pub(crate) fn has_getter(&self) -> bool {
        self.getter.is_some() || self.batch_getter.is_some()
    }

    pub(crate) fn has_evict(&self) -> bool {
        self.evict.is_some()
    }

    /// What the getter may do where it is called.
    fn kind(&self) -> Callback {
        match self.queue {
            None => Callback::Getter,
            Some(_) => Callback::Notice,
        }
    }

    /// Whether getters run on the thread that leads a load.
    pub(crate) fn runs_here(&self) -> bool {
        self.queue.is_none()
    }

    /// Hands loads to the user's queue.
    fn enqueue(self: &Arc<Self>, lane: &Arc<Lane>, tokens: Vec<LoadToken>) {
        let (callbacks, mut queued) = (self.clone(), Queued(tokens));
        lane.notice(Box::new(move || {
            let mut tokens = std::mem::take(&mut queued.0);
            match tokens.len() {
                0 => {}
                1 => tokens
                    .pop()
                    .into_iter()
                    .for_each(|token| callbacks.run(token)),
                _ => callbacks.run_batch(tokens),
            }
        }));
    }

    /// Runs the getter for this token on the current thread.
    pub(crate) fn run(&self, token: LoadToken) {
        if self.getter.is_none() {
            return self.run_batch(vec![token]);
        }
        let _running = token.enter();
        // Closed: dropping the token says so.
        let Some(user) = self.user_for(&token) else {
            return;
        };
        let told = Told::new(token.context());
        let load = loads::lend(self.node, token);
        if let Some(getter) = self.getter {
            // SAFETY: the user's own function with the user's own data, both alive for the call.
            callback(self.kind(), || unsafe {
                getter(user.data, &told.info(), load)
            });
        }
        self.returned(&[load]);
    }

    /// Runs the getter for all these tokens: the batch getter once, or the getter
    /// for each, the last one on this thread and the others on the getter threads.
    pub(crate) fn run_all(self: &Arc<Self>, mut tokens: Vec<LoadToken>) {
        if !self.runs_here() && !tokens.is_empty() {
            return self.start_many(tokens);
        }
        if self.batch_getter.is_some() {
            return self.run_batch(tokens);
        }
        let last = tokens.pop();
        for token in tokens {
            self.start(token);
        }
        if let Some(last) = last {
            self.run(last);
        }
    }

    fn run_batch(&self, mut tokens: Vec<LoadToken>) {
        LoadToken::share_scope(&mut tokens);
        // The first one's scope names every key: it is entered last, so that it is the current one.
        let _running: Vec<_> = tokens.iter().rev().map(LoadToken::enter).collect();
        let Some(user) = tokens.first().and_then(|token| self.user_for(token)) else {
            return;
        };
        let told: Vec<_> = tokens
            .iter()
            .map(|token| Told::new(token.context()))
            .collect();
        let infos: Vec<_> = told.iter().map(Told::info).collect();
        let infos: Vec<_> = infos.iter().map(|info| &raw const *info).collect();
        let loads: Vec<_> = tokens
            .into_iter()
            .map(|token| loads::lend(self.node, token))
            .collect();
        if let Some(getter) = self.batch_getter {
            // SAFETY: the user's own function with the user's own data, all alive for the call.
            callback(self.kind(), || unsafe {
                getter(user.data, infos.as_ptr(), loads.as_ptr(), loads.len());
            });
        }
        self.returned(&loads);
    }

    /// The getter has returned from these loads; some may be answered later, or never.
    fn returned(&self, loads: &[*mut kamacache_load]) {
        let left = loads.iter().filter(|load| loads::park(**load)).count();
        if left > 0 {
            self.sweeper.wake();
        }
    }

    /// The user data for a callback; None once the group is retired.
    pub(crate) fn user(&self) -> Option<Arc<Owned>> {
        self.user.lock().clone()
    }

    fn user_for(&self, token: &LoadToken) -> Option<Arc<Owned>> {
        self.user().filter(|_| !token.is_cancelled())
    }

    /// Hands the token to a getter thread. A thread that the pool starts now
    /// inherits this thread's mask.
    pub(crate) fn start(self: &Arc<Self>, token: LoadToken) {
        if let Some(lane) = &self.queue {
            return self.enqueue(lane, vec![token]);
        }
        let callbacks = self.clone();
        signals::blocked(|| token.spawn_on_pool(move |token| callbacks.run(token)));
    }

    /// Hands the tokens to one call of the batch getter on a getter thread, or each
    /// of them to the getter.
    pub(crate) fn start_many(self: &Arc<Self>, tokens: Vec<LoadToken>) {
        if tokens.is_empty() {
            return;
        }
        if self.batch_getter.is_none() {
            return tokens.into_iter().for_each(|token| self.start(token));
        }
        if let Some(lane) = &self.queue {
            return self.enqueue(lane, tokens);
        }
        let callbacks = self.clone();
        let run = move |tokens| callbacks.run_batch(tokens);
        signals::blocked(|| LoadToken::spawn_many_on_pool(tokens, run));
    }

    /// No callback starts from now on; user data goes when the last running one returns.
    pub(crate) fn retire(&self) {
        let user = self.user.lock().take();
        drop(user);
    }
}

/// Hands the core's calls to the C getter.
pub(crate) struct Adapter(pub(crate) Arc<Callbacks>);

impl Getter for Adapter {
    fn load(&self, _: LoadContext) -> BoxFuture<Result<Option<Loaded>>> {
        Box::pin(async { Err(Error::internal("a C getter is started, not awaited")) })
    }

    fn start(self: Arc<Self>, token: LoadToken) {
        self.0.start(token);
    }

    fn start_many(self: Arc<Self>, tokens: Vec<LoadToken>) {
        self.0.start_many(tokens);
    }
}

/// The texts behind a `kamacache_load_info`.
struct Told {
    group: Vec<u8>,
    key: Vec<u8>,
    timeout_ms: u64,
}

impl Told {
    fn new(context: &LoadContext) -> Self {
        let left = context.time_left();
        Self {
            group: terminated(context.group()),
            key: terminated(context.key()),
            timeout_ms: left.map_or(KAMACACHE_FOREVER, |left| {
                u64::try_from(left.as_millis()).unwrap_or(KAMACACHE_FOREVER)
            }),
        }
    }

    fn info(&self) -> kamacache_load_info {
        kamacache_load_info {
            struct_size: size_of::<kamacache_load_info>() as u32,
            flags: 0,
            group: self.group.as_ptr().cast(),
            key: self.key.as_ptr().cast(),
            key_len: self.key.len() - 1,
            timeout_ms: self.timeout_ms,
        }
    }
}

/// The text with a NUL at its end.
pub(crate) fn terminated(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}
