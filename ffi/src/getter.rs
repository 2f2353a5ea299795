//! Calling the C getter, and the answers it gives.
//!
//! Invariants: this is the only file that calls the user's getter; it does so
//! without a lock held and never on a network thread. `user_data` is freed
//! once, by the drop of its last holder: the group's getter, or a call that runs.

use std::ffi::{c_char, c_int, c_void};
use std::mem::size_of;
use std::sync::Arc;

use kamacache_core::{
    BoxFuture, Error, Getter, LoadContext, LoadToken, Loaded, Result, Ttl, Value,
};
use parking_lot::Mutex;

use crate::args;
use crate::error::{OK, kamacache_status};
use crate::guard::{self, Callback, callback};
use crate::loads;
pub use crate::loads::kamacache_load;
use crate::options::{KAMACACHE_FOREVER, kamacache_group_options};
use crate::signals;

/// What a getter is told about the load; borrowed for the call.
#[repr(C)]
pub struct kamacache_load_info {
    /// Size of this struct in the library.
    pub struct_size: u32,
    /// None defined: 0.
    pub flags: u32,
    /// The group's name, NUL-terminated.
    pub group: *const c_char,
    /// The key: UTF-8, and also NUL-terminated.
    pub key: *const c_char,
    /// The key's length in bytes, without the NUL.
    pub key_len: usize,
    /// Time left for the load, or KAMACACHE_FOREVER.
    pub timeout_ms: u64,
}

/// Loads one missing key. It answers exactly once, by one of the
/// kamacache_load_ functions, inside the call or later from any thread. It may
/// be called from several threads at once; it may make blocking calls on other
/// keys; it must not let an exception escape.
pub type kamacache_getter = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        info: *const kamacache_load_info,
        load: *mut kamacache_load,
    ),
>;

/// Frees what user_data points to. Called once; it must not block on this library.
pub type kamacache_free_fn = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

type GetterFn = unsafe extern "C" fn(*mut c_void, *const kamacache_load_info, *mut kamacache_load);

/// A pointer of the user's that the user's function frees, once.
pub(crate) struct Owned {
    data: *mut c_void,
    free: kamacache_free_fn,
}

// SAFETY: the header demands callbacks and user data that any thread may use.
unsafe impl Send for Owned {}
// SAFETY: as above; this library never looks behind the pointer.
unsafe impl Sync for Owned {}

impl Owned {
    pub(crate) fn new(data: *mut c_void, free: kamacache_free_fn) -> Self {
        Self { data, free }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            // SAFETY: the user's own pair; only this drop calls it.
            callback(Callback::Notice, || unsafe { free(self.data) });
        }
    }
}

/// A group's C getter.
pub(crate) struct CGetter {
    call: GetterFn,
    /// None once the node is closed: no callback starts any more.
    user: Mutex<Option<Arc<Owned>>>,
    node: u64,
}

impl CGetter {
    /// The getter of these options, if there is one, owning their user data.
    pub(crate) fn new(
        options: &kamacache_group_options,
        user: Arc<Owned>,
        node: u64,
    ) -> Option<Arc<Self>> {
        let call = options.getter?;
        Some(Arc::new(Self {
            call,
            user: Mutex::new(Some(user)),
            node,
        }))
    }

    /// Runs the getter for this token on the current thread.
    pub(crate) fn run(&self, token: LoadToken) {
        let _running = token.enter();
        let user = self.user.lock().clone();
        // Closed, or nobody waits any more: dropping the token says so.
        let Some(user) = user.filter(|_| !token.is_cancelled()) else {
            return;
        };
        let told = Told::new(token.context());
        let load = loads::lend(self.node, token);
        // SAFETY: the user's own function with the user's own data, both alive for the call.
        callback(Callback::Getter, || unsafe {
            (self.call)(user.data, &told.info(), load)
        });
    }

    /// Hands the token to a getter thread.
    pub(crate) fn start(self: &Arc<Self>, token: LoadToken) {
        let getter = self.clone();
        // A thread that the pool starts now inherits this thread's mask.
        signals::blocked(|| token.spawn_on_pool(move |token| getter.run(token)));
    }

    /// No callback starts from now on; user data goes when the last running one returns.
    pub(crate) fn retire(&self) {
        let user = self.user.lock().take();
        drop(user);
    }
}

/// Hands the core's calls to the C getter.
pub(crate) struct Adapter(pub(crate) Arc<CGetter>);

impl Getter for Adapter {
    fn load(&self, _: LoadContext) -> BoxFuture<Result<Option<Loaded>>> {
        Box::pin(async { Err(Error::internal("a C getter is started, not awaited")) })
    }

    fn start(self: Arc<Self>, token: LoadToken) {
        self.0.start(token);
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
        let terminated = |text: &str| [text.as_bytes(), b"\0"].concat();
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

/// Bytes of the user's that become a value without a copy.
struct HandedIn {
    data: *const u8,
    len: usize,
    _owner: Owned,
}

// SAFETY: the header demands that any thread may read and free them.
unsafe impl Send for HandedIn {}
// SAFETY: as above; they are only read.
unsafe impl Sync for HandedIn {}

impl AsRef<[u8]> for HandedIn {
    fn as_ref(&self) -> &[u8] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: kamacache_load_complete_owned checked them; `_owner` frees them after this value.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

/// Answers a load with a value, which is copied. data may be NULL when len is 0.
/// ttl_ms: 0 is the group's, else KAMACACHE_FOREVER, KAMACACHE_TTL_NO_STORE or
/// milliseconds. Any thread; never blocks. CANCELLED: the load was answered
/// before, timed out, or its node is closed; INVALID_ARGUMENT: NULL, or not a token.
///
/// # Safety
/// `data` is NULL or points to `len` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_load_complete(
    load: *mut kamacache_load,
    data: *const c_void,
    len: usize,
    ttl_ms: u64,
) -> kamacache_status {
    guard::status(|| {
        // SAFETY: forwarded contract.
        let bytes = unsafe { args::bytes(data, len, "data") }?;
        let token = loads::take(load)?;
        token.complete(Loaded {
            value: Value::from(bytes),
            ttl: Ttl::from_wire_ms(ttl_ms),
        });
        Ok(OK)
    })
}

/// As kamacache_load_complete, without a copy: the library takes the bytes over,
/// on every status, and calls free_fn(user_data) once, when nobody needs them
/// any more, from any thread. free_fn may be NULL for bytes that live forever.
///
/// # Safety
/// `data` is NULL or points to `len` bytes that stay readable and unchanged until `free_fn` is called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_load_complete_owned(
    load: *mut kamacache_load,
    data: *const c_void,
    len: usize,
    free_fn: kamacache_free_fn,
    user_data: *mut c_void,
    ttl_ms: u64,
) -> kamacache_status {
    guard::status(|| {
        let owner = Owned::new(user_data, free_fn);
        // SAFETY: forwarded contract.
        unsafe { args::bytes(data, len, "data") }?;
        let token = loads::take(load)?;
        let value = Value::from_owner(HandedIn {
            data: data.cast(),
            len,
            _owner: owner,
        });
        token.complete(Loaded {
            value,
            ttl: Ttl::from_wire_ms(ttl_ms),
        });
        Ok(OK)
    })
}

/// Answers a load: the data source has no such key. Any thread; never blocks.
/// Statuses as kamacache_load_complete.
#[unsafe(no_mangle)]
pub extern "C" fn kamacache_load_not_found(load: *mut kamacache_load) -> kamacache_status {
    guard::status(|| {
        loads::take(load)?.not_found();
        Ok(OK)
    })
}

/// Answers a load: it failed. Everybody who waits gets GETTER_FAILED with this
/// code and message (UTF-8, copied, cut at 4 KiB; NULL: none), on every node.
/// Any thread; never blocks. Statuses as kamacache_load_complete.
///
/// # Safety
/// `message` is NULL or a NUL-terminated text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_load_fail(
    load: *mut kamacache_load,
    app_code: i64,
    message: *const c_char,
) -> kamacache_status {
    guard::status(|| {
        // SAFETY: forwarded contract.
        let message = unsafe { args::lossy(message) }
            .unwrap_or_else(|| format!("the getter failed with code {app_code}"));
        loads::take(load)?.fail(Error::getter(message).with_app_code(app_code));
        Ok(OK)
    })
}

/// 1 when nobody wants the answer any more (answered, timed out, closed, NULL or
/// not a token), else 0: a long getter may look now and then. Any thread; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn kamacache_load_is_cancelled(load: *const kamacache_load) -> c_int {
    guard::plain(1, || c_int::from(loads::is_cancelled(load)))
}
