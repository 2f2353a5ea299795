//! The tokens that C holds, numbers that look like pointers, and the answers that
//! are given with them.
//!
//! Invariant: a number is given out once and never again, so a token that was
//! answered, came too late or was made up is told apart and never touches
//! another load. Numbers are spread over the whole range by an odd factor, so
//! that small or stray pointers are not mistaken for tokens.

use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

use kamacache_core::sync::Mutex;
use kamacache_core::{Error, ErrorKind, LoadToken, Loaded, Result, Ttl, Value};

use crate::args;
use crate::error::{OK, kamacache_status};
use crate::fork::{self, PerProcess};
use crate::guard;
use crate::owned::{Owned, kamacache_free_fn};

/// A load that waits for its answer: a token, not a pointer; never dereferenced.
pub struct kamacache_load {
    _opaque: [u8; 0],
}

/// Odd, so that multiplying by it is a bijection.
const SPREAD: usize = 0x9E37_79B9_7F4A_7C15_u64 as usize;
const GATHER: usize = inverse(SPREAD);
const SHARDS: usize = 16;

type Shard = Mutex<HashMap<usize, Entry>>;

static LIVE: PerProcess<[Shard; SHARDS]> = PerProcess::new();
static NEXT: AtomicUsize = AtomicUsize::new(1);
/// Tokens with smaller serials are those of a process that this one was forked from.
static FIRST: AtomicUsize = AtomicUsize::new(0);

/// In the child of a fork: the parent's tokens are none of its own.
pub(crate) fn forked() {
    LIVE.abandon();
    FIRST.store(NEXT.load(Ordering::Relaxed), Ordering::Relaxed);
}

struct Entry {
    node: u64,
    token: LoadToken,
    /// The getter has returned: nothing of this load runs.
    parked: bool,
}

/// The inverse of an odd number modulo the word size, by Newton's iteration.
const fn inverse(odd: usize) -> usize {
    let mut x = odd;
    let mut i = 0;
    while i < 6 {
        x = x.wrapping_mul(2_usize.wrapping_sub(odd.wrapping_mul(x)));
        i += 1;
    }
    x
}

fn shard(serial: usize) -> &'static Shard {
    &LIVE.get()[serial % SHARDS]
}

/// Which load this was, counted from 1; 0 for NULL.
fn serial(load: *const kamacache_load) -> usize {
    load.addr().wrapping_mul(GATHER)
}

fn issued(serial: usize) -> bool {
    (1..NEXT.load(Ordering::Relaxed)).contains(&serial)
}

/// Puts a token into C's hands.
pub(crate) fn lend(node: u64, token: LoadToken) -> *mut kamacache_load {
    let serial = NEXT.fetch_add(1, Ordering::Relaxed);
    shard(serial).lock().insert(
        serial,
        Entry {
            node,
            token,
            parked: false,
        },
    );
    std::ptr::without_provenance_mut(serial.wrapping_mul(SPREAD))
}

/// Takes a token back, to answer it.
///
/// # Errors
/// InvalidArgument for NULL and for what never was a token; Cancelled for one
/// that was answered, timed out, or whose node is closed; Forked for a parent's.
pub(crate) fn take(load: *const kamacache_load) -> Result<LoadToken> {
    let serial = serial(load);
    if (1..FIRST.load(Ordering::Relaxed)).contains(&serial) {
        return Err(fork::forked());
    }
    let entry = shard(serial).lock().remove(&serial);
    match entry {
        Some(entry) if !entry.token.is_cancelled() => Ok(entry.token),
        Some(_) => Err(late()),
        None if serial == 0 => Err(args::null("load")),
        None if issued(serial) => Err(late()),
        None => Err(Error::invalid_argument(
            "load is not a token: pass the one that the getter was called with",
        )),
    }
}

fn late() -> Error {
    Error::new(
        ErrorKind::Cancelled,
        "this load was answered before, timed out, or its node is closed: the answer is dropped",
    )
}

/// Whether nobody wants the answer any more; also for what is no token.
pub(crate) fn is_cancelled(load: *const kamacache_load) -> bool {
    let serial = serial(load);
    let live = shard(serial).lock();
    live.get(&serial)
        .is_none_or(|entry| entry.token.is_cancelled())
}

/// The getter of this load has returned; whether it left the load unanswered.
pub(crate) fn park(load: *const kamacache_load) -> bool {
    let serial = serial(load);
    let mut live = shard(serial).lock();
    live.get_mut(&serial).is_some_and(|entry| {
        entry.parked = true;
        true
    })
}

/// Takes back what nobody will run or keep any more, its permit with it: loads of
/// the node that were given up while no getter ran. Whether others are parked.
pub(crate) fn reclaim(node: u64) -> bool {
    let mut parked = false;
    for shard in LIVE.get() {
        let given_up = extract(shard, |entry| {
            let mine = entry.node == node && entry.parked;
            let given_up = mine && entry.token.is_cancelled();
            parked |= mine && !given_up;
            given_up
        });
        drop(given_up);
    }
    parked
}

/// Entries leave under the lock and are dropped outside it: dropping a token
/// runs the core's code.
fn extract(shard: &Shard, mut gone: impl FnMut(&Entry) -> bool) -> Vec<Entry> {
    let mut live = shard.lock();
    live.extract_if(|_, entry| gone(entry))
        .map(|(_, entry)| entry)
        .collect()
}

/// Takes back every token of a node that is closed.
pub(crate) fn cancel_all_of(node: u64) {
    for shard in LIVE.get() {
        drop(extract(shard, |entry| entry.node == node));
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

/// Answers a load with a value.
///
/// @param load the token that the getter was called with; used up by an answer that is
///   taken
/// @param data the value's bytes, copied; may be NULL when len is 0
/// @param len how many bytes
/// @param ttl_ms lifetime of the value, in milliseconds; 0: the group's ttl_ms;
///   KAMACACHE_FOREVER: it never expires; KAMACACHE_TTL_NO_STORE: it is not kept
/// @retval KAMACACHE_OK the answer is taken
/// @retval KAMACACHE_CANCELLED the load was answered before, was given up, or its node is
///   closed; the answer is dropped
/// @retval KAMACACHE_FORKED this process inherited the load by fork; the answer is dropped
/// @retval KAMACACHE_INVALID_ARGUMENT load is NULL or never was a token, or data is NULL; a
///   load is then still unanswered
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread, inside the getter's call or after it; never blocks.
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
        let token = take(load)?;
        token.complete(Loaded {
            value: Value::from(bytes),
            ttl: Ttl::from_wire_ms(ttl_ms),
        });
        Ok(OK)
    })
}

/// As kamacache_load_complete, with bytes that the library takes over, on every status. Who
/// waits for this load gets these very bytes, when they lie at a multiple of 16; the cache
/// keeps a copy of its own.
///
/// @param load the token that the getter was called with; used up by an answer that is
///   taken
/// @param data the value's bytes, which must not change; may be NULL when len is 0
/// @param len how many bytes
/// @param free_fn called once with user_data, from any thread, when nobody needs the bytes
///   any more, also when this call fails; NULL for bytes that live forever
/// @param user_data handed to free_fn
/// @param ttl_ms lifetime of the value, in milliseconds; 0: the group's ttl_ms;
///   KAMACACHE_FOREVER: it never expires; KAMACACHE_TTL_NO_STORE: it is not kept
/// @retval KAMACACHE_OK the answer is taken
/// @retval KAMACACHE_CANCELLED the load was answered before, was given up, or its node is
///   closed; the answer is dropped
/// @retval KAMACACHE_FORKED this process inherited the load by fork; the answer is dropped
/// @retval KAMACACHE_INVALID_ARGUMENT load is NULL or never was a token, or data is NULL
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread, inside the getter's call or after it; never blocks.
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
        let token = take(load)?;
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

/// Answers a load: the data source has no such key.
///
/// @param load the token that the getter was called with; used up by an answer that is
///   taken
/// @retval KAMACACHE_OK the answer is taken
/// @retval KAMACACHE_CANCELLED the load was answered before, was given up, or its node is
///   closed; the answer is dropped
/// @retval KAMACACHE_FORKED this process inherited the load by fork; the answer is dropped
/// @retval KAMACACHE_INVALID_ARGUMENT load is NULL, or never was a token
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread, inside the getter's call or after it; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn kamacache_load_not_found(load: *mut kamacache_load) -> kamacache_status {
    guard::status(|| {
        take(load)?.not_found();
        Ok(OK)
    })
}

/// Answers a load: it failed. Everybody who waits for it, on any node, gets
/// KAMACACHE_GETTER_FAILED with this code and message. Failures are not kept.
///
/// @param load the token that the getter was called with; used up by an answer that is
///   taken
/// @param app_code a code of the program's own; see kamacache_error_app_code
/// @param message NUL-terminated UTF-8, copied, cut at 4 KiB; NULL: the library makes one
/// @retval KAMACACHE_OK the answer is taken
/// @retval KAMACACHE_CANCELLED the load was answered before, was given up, or its node is
///   closed; the answer is dropped
/// @retval KAMACACHE_FORKED this process inherited the load by fork; the answer is dropped
/// @retval KAMACACHE_INVALID_ARGUMENT load is NULL, or never was a token
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread, inside the getter's call or after it; never blocks.
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
        take(load)?.fail(Error::getter(message).with_app_code(app_code));
        Ok(OK)
    })
}

/// Whether nobody wants the answer of a load any more. A long getter may look now and then.
///
/// @param load the token; it stays as it is; may be NULL
/// @return 1 when the load was answered, was given up or is of a closed node, and for what
///   is no token and NULL; else 0
/// @par Threads
/// Any thread; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn kamacache_load_is_cancelled(load: *const kamacache_load) -> c_int {
    guard::plain(1, || c_int::from(is_cancelled(load)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreading_is_undone_by_gathering() {
        for n in [0_usize, 1, 2, 12345, usize::MAX] {
            assert_eq!(n.wrapping_mul(SPREAD).wrapping_mul(GATHER), n);
        }
    }

    #[test]
    fn a_forged_token_is_told_from_a_late_one() {
        let forged = std::ptr::without_provenance(0x7fff_1234_5678);
        assert_eq!(
            take(forged).err().map(|e| e.kind()),
            Some(ErrorKind::InvalidArgument)
        );
        assert_eq!(
            take(std::ptr::null()).err().map(|e| e.kind()),
            Some(ErrorKind::InvalidArgument)
        );
        assert!(is_cancelled(forged));
    }
}
