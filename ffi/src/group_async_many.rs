//! The calls of many keys, and of all, that end with a callback.
//!
//! Invariants: as in `group_async.rs`.

use std::ffi::c_void;

use kamacache_core::{Result, Ttl, Value};

use crate::args;
use crate::error::{OK, kamacache_error, kamacache_status};
use crate::group::kamacache_group;
use crate::group_async::{clear, kamacache_done_callback, lane_of};
use crate::group_many::{array, kamacache_result, kamacache_slice, pairs_of};
use crate::guard;
use crate::ops::{Answer, Listener, Notify, Op};
use crate::queue::kamacache_queue;

/// Ends a call of many keys.
///
/// @param user_data as the call was given it
/// @param status KAMACACHE_OK: every key has its result, good or bad; else why there are
///   none: KAMACACHE_CANCELLED, KAMACACHE_CLOSED, KAMACACHE_PANICKED
/// @param results one for each key, in their order; borrowed for the call; a value or error
///   whose pointer the callee sets to NULL is the callee's, the library frees the others; NULL
///   when the status is not KAMACACHE_OK
/// @param n how many; 0 when the status is not KAMACACHE_OK
/// @param error the detail when the status is not KAMACACHE_OK, the callee's to free; else
///   NULL
/// @par Threads
/// The callback thread, or the one that dispatches the queue; it must not block on this
/// library.
pub type kamacache_many_callback = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        status: kamacache_status,
        results: *mut kamacache_result,
        n: usize,
        error: *mut kamacache_error,
    ),
>;

/// `results` for the keys that are good, in the places that bad ones leave.
fn merged<T, U>(all: Vec<Result<T>>, results: Vec<Result<U>>) -> Vec<Result<U>> {
    let mut results = results.into_iter();
    all.into_iter()
        .filter_map(|one| match one {
            Ok(_) => results.next(),
            Err(error) => Some(Err(error)),
        })
        .collect()
}

/// As kamacache_group_get_many, without blocking; getters run on getter threads, or where the
/// group's getter_queue is dispatched.
///
/// @param group the group; it stays the caller's
/// @param queue where the callback waits to be run; it stays the caller's; NULL: it runs on
///   the callback thread
/// @param keys n keys, each as in kamacache_group_get; copied; may be NULL when n is 0
/// @param n how many
/// @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
///   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all; KAMACACHE_FOREVER: no
///   limit
/// @param callback called once if this call returns KAMACACHE_OK, never inside it; else
///   never; not NULL
/// @param user_data handed to the callback; the library does not look at it
/// @param op NULL, or where the operation's number goes, for kamacache_cancel: written
///   before the callback can run; 0 when the call fails
/// @param err NULL, or where the error goes; it is the caller's to free, and NULL after
///   KAMACACHE_OK
/// @retval KAMACACHE_OK the operation has begun; its results go to the callback
/// @retval KAMACACHE_INVALID_ARGUMENT NULL
/// @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
/// @retval KAMACACHE_INTERNAL the callback thread cannot be started
/// @retval KAMACACHE_FORKED this process inherited the node or the queue by fork
/// @retval KAMACACHE_PANICKED a fault of the library
/// @par Threads
/// Any thread, also inside a callback; never blocks.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_group_get_many_async(
    group: *mut kamacache_group,
    queue: *mut kamacache_queue,
    keys: *const kamacache_slice,
    n: usize,
    timeout_ms: u64,
    callback: kamacache_many_callback,
    user_data: *mut c_void,
    op: *mut u64,
    err: *mut *mut kamacache_error,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        clear(op);
        guard::boundary(err, || {
            let notify = Notify::Many(callback.ok_or_else(|| args::null("callback"))?);
            let group = args::handle(group, "group")?;
            let opened = group.usable()?.clone();
            let keys: Vec<Result<String>> = array(keys, n, "keys")?
                .iter()
                .map(|key| args::key(key.data.cast(), key.len).map(str::to_owned))
                .collect();
            let inner = opened.group().inner().clone();
            let timeout = args::timeout(timeout_ms);
            let op = Op::begin(&lane_of(group, queue), Listener { notify, user_data }, op)?;
            opened.go_on(&op, async move {
                let good: Vec<_> = keys.iter().flatten().collect();
                let values = inner.get_many(&good, timeout).await;
                let values = values.into_iter().map(|value| value.map(Some)).collect();
                Ok(Answer::Many(merged(keys, values)))
            });
            Ok(OK)
        })
    }
}

/// As kamacache_group_set_many, without blocking.
///
/// @param group the group; it stays the caller's
/// @param queue where the callback waits to be run; it stays the caller's; NULL: it runs on
///   the callback thread
/// @param keys n keys, each as in kamacache_group_set; copied; may be NULL when n is 0
/// @param values n values, copied: values[i] is for keys[i]; may be NULL when n is 0
/// @param n how many
/// @param ttl_ms lifetime of the values, in milliseconds; 0: the group's ttl_ms;
///   KAMACACHE_FOREVER: they never expire; KAMACACHE_TTL_NO_STORE: they are not kept
/// @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
///   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all; KAMACACHE_FOREVER: no
///   limit
/// @param callback called once if this call returns KAMACACHE_OK, never inside it; else
///   never; not NULL
/// @param user_data handed to the callback; the library does not look at it
/// @param op NULL, or where the operation's number goes, for kamacache_cancel: written
///   before the callback can run; 0 when the call fails
/// @param err NULL, or where the error goes; it is the caller's to free, and NULL after
///   KAMACACHE_OK
/// @retval KAMACACHE_OK the operation has begun; its results go to the callback
/// @retval KAMACACHE_INVALID_ARGUMENT NULL
/// @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
/// @retval KAMACACHE_INTERNAL the callback thread cannot be started
/// @retval KAMACACHE_FORKED this process inherited the node or the queue by fork
/// @retval KAMACACHE_PANICKED a fault of the library
/// @par Threads
/// Any thread, also inside a callback; never blocks.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_group_set_many_async(
    group: *mut kamacache_group,
    queue: *mut kamacache_queue,
    keys: *const kamacache_slice,
    values: *const kamacache_slice,
    n: usize,
    ttl_ms: u64,
    timeout_ms: u64,
    callback: kamacache_many_callback,
    user_data: *mut c_void,
    op: *mut u64,
    err: *mut *mut kamacache_error,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        clear(op);
        guard::boundary(err, || {
            let notify = Notify::Many(callback.ok_or_else(|| args::null("callback"))?);
            let group = args::handle(group, "group")?;
            let opened = group.usable()?.clone();
            let pairs: Vec<Result<(String, Value)>> = pairs_of(keys, values, n)?;
            let inner = opened.group().inner().clone();
            let (ttl, timeout) = (Ttl::from_wire_ms(ttl_ms), args::timeout(timeout_ms));
            let op = Op::begin(&lane_of(group, queue), Listener { notify, user_data }, op)?;
            opened.go_on(&op, async move {
                let good = pairs.iter().flatten().cloned();
                let sets = inner.set_many(good, ttl, timeout).await;
                let sets = sets.into_iter().map(|set| set.map(|()| None)).collect();
                Ok(Answer::Many(merged(pairs, sets)))
            });
            Ok(OK)
        })
    }
}

/// As kamacache_group_clear, without blocking.
///
/// @param group the group; it stays the caller's
/// @param queue where the callback waits to be run; it stays the caller's; NULL: it runs on
///   the callback thread
/// @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
///   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all; KAMACACHE_FOREVER: no
///   limit
/// @param callback called once if this call returns KAMACACHE_OK, never inside it; else
///   never; not NULL
/// @param user_data handed to the callback; the library does not look at it
/// @param op NULL, or where the operation's number goes, for kamacache_cancel: written
///   before the callback can run; 0 when the call fails
/// @param err NULL, or where the error goes; it is the caller's to free, and NULL after
///   KAMACACHE_OK
/// @retval KAMACACHE_OK the operation has begun; its result goes to the callback
/// @retval KAMACACHE_INVALID_ARGUMENT NULL
/// @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
/// @retval KAMACACHE_INTERNAL the callback thread cannot be started
/// @retval KAMACACHE_FORKED this process inherited the node or the queue by fork
/// @retval KAMACACHE_PANICKED a fault of the library
/// @par Threads
/// Any thread, also inside a callback; never blocks.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_group_clear_async(
    group: *mut kamacache_group,
    queue: *mut kamacache_queue,
    timeout_ms: u64,
    callback: kamacache_done_callback,
    user_data: *mut c_void,
    op: *mut u64,
    err: *mut *mut kamacache_error,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        clear(op);
        guard::boundary(err, || {
            let notify = Notify::Done(callback.ok_or_else(|| args::null("callback"))?);
            let group = args::handle(group, "group")?;
            let opened = group.usable()?.clone();
            let inner = opened.group().inner().clone();
            let timeout = args::timeout(timeout_ms);
            let op = Op::begin(&lane_of(group, queue), Listener { notify, user_data }, op)?;
            opened.go_on(&op, async move {
                let cleared = inner.clear(timeout).await;
                cleared.map(|()| Answer::Done)
            });
            Ok(OK)
        })
    }
}
