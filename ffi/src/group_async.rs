//! The calls of a group that end with a callback.
//!
//! Invariant: a call that returned OK has begun one operation, which gives one
//! callback; any other status gives none. Once an operation has begun, its
//! callback may free the group's handle and the queue's: what the rest of the call
//! needs of them is cloned before.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use kamacache_core::{Ttl, Value};

use crate::args;
use crate::error::{KAMACACHE_NOT_FOUND, OK, kamacache_error, kamacache_status};
use crate::group::kamacache_group;
use crate::guard;
use crate::lane::Lane;
use crate::ops::{self, Answer, Listener, Notify, Op};
use crate::queue::kamacache_queue;
use crate::value::kamacache_value;

/// Ends a get.
///
/// @param user_data as the call was given it
/// @param status as kamacache_group_get returns it; also KAMACACHE_CANCELLED
/// @param value the value when the status is KAMACACHE_OK, the callee's to release; else
///   NULL
/// @param error the detail when the status is not KAMACACHE_OK, the callee's to free; else
///   NULL
/// @par Threads
/// The callback thread, or the one that dispatches the queue; it must not block on this
/// library.
pub type kamacache_get_callback = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        status: kamacache_status,
        value: *mut kamacache_value,
        error: *mut kamacache_error,
    ),
>;

/// Ends a set, a delete, a clear or a close.
///
/// @param user_data as the call was given it
/// @param status as kamacache_group_set, kamacache_group_delete, kamacache_group_clear and
///   kamacache_node_close return it; also KAMACACHE_CANCELLED, not of a close
/// @param error the detail when the status is not KAMACACHE_OK, the callee's to free; else
///   NULL
/// @par Threads
/// The callback thread, or the one that dispatches the queue; it must not block on this
/// library.
pub type kamacache_done_callback = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        status: kamacache_status,
        error: *mut kamacache_error,
    ),
>;

/// # Safety
/// `queue` is NULL or a queue not yet freed.
pub(crate) unsafe fn lane_of(group: &kamacache_group, queue: *mut kamacache_queue) -> Arc<Lane> {
    // SAFETY: NULL becomes None; else alive by this function's contract.
    match unsafe { queue.as_ref() } {
        Some(queue) => queue.lane.clone(),
        None => group.callback_thread().clone(),
    }
}

/// Clears `*op` at once.
///
/// # Safety
/// `op` is NULL or writable.
pub(crate) unsafe fn clear(op: *mut u64) {
    if !op.is_null() {
        // SAFETY: not NULL, and writable by this function's contract.
        unsafe { op.write(0) };
    }
}

/// As kamacache_group_get, without blocking. When the key must be loaded here, the getter
/// runs on a getter thread.
///
/// @param group the group; it stays the caller's
/// @param key the key: UTF-8 of 1..4096 bytes, read during the call; it needs no NUL
/// @param key_len its length in bytes, without a NUL
/// @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
///   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all, which is what a time
///   that is over must be given as; KAMACACHE_FOREVER: no limit
/// @param callback called once if this call returns KAMACACHE_OK, never inside it, on the
///   callback thread; else never; not NULL
/// @param user_data handed to the callback; the library does not look at it
/// @param op NULL, or where the operation's number goes, for kamacache_cancel: written
///   before the callback can run; 0 when the call fails
/// @param err NULL, or where the error goes; it is the caller's to free, and NULL after
///   KAMACACHE_OK
/// @retval KAMACACHE_OK the operation has begun; its result goes to the callback
/// @retval KAMACACHE_INVALID_ARGUMENT NULL, or a bad key
/// @retval KAMACACHE_REENTRANT_LOAD called inside a getter that is loading this very key
/// @retval KAMACACHE_OVERLOADED too many loads wait already
/// @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
/// @retval KAMACACHE_FORKED this process inherited the node by fork
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread, also inside a callback; never blocks.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_group_get_async(
    group: *mut kamacache_group,
    key: *const c_char,
    key_len: usize,
    timeout_ms: u64,
    callback: kamacache_get_callback,
    user_data: *mut c_void,
    op: *mut u64,
    err: *mut *mut kamacache_error,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        clear(op);
        guard::boundary(err, || {
            let notify = Notify::Get(callback.ok_or_else(|| args::null("callback"))?);
            let group = args::handle(group, "group")?;
            let lane = group.callback_thread().clone();
            let opened = group.usable()?.clone();
            let begin = || Op::begin(&lane, Listener { notify, user_data }, op);
            opened.get_async(args::key(key, key_len)?, timeout_ms, begin)?;
            Ok(OK)
        })
    }
}

/// As kamacache_group_get_async, with the callback run by kamacache_queue_dispatch.
///
/// @param group the group; it stays the caller's
/// @param queue where the callback waits to be run; it stays the caller's; not NULL
/// @param key the key: UTF-8 of 1..4096 bytes, read during the call; it needs no NUL
/// @param key_len its length in bytes, without a NUL
/// @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
///   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all, which is what a time
///   that is over must be given as; KAMACACHE_FOREVER: no limit
/// @param callback called once if this call returns KAMACACHE_OK, else never; not NULL
/// @param user_data handed to the callback; the library does not look at it
/// @param op NULL, or where the operation's number goes, for kamacache_cancel: written
///   before the callback can run; 0 when the call fails
/// @param err NULL, or where the error goes; it is the caller's to free, and NULL after
///   KAMACACHE_OK
/// @retval KAMACACHE_OK the operation has begun; its result goes to the callback
/// @retval KAMACACHE_INVALID_ARGUMENT NULL, or a bad key
/// @retval KAMACACHE_REENTRANT_LOAD called inside a getter that is loading this very key
/// @retval KAMACACHE_OVERLOADED too many loads wait already
/// @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
/// @retval KAMACACHE_FORKED this process inherited the node by fork
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread, also inside a callback; never blocks.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_group_get_queued(
    group: *mut kamacache_group,
    queue: *mut kamacache_queue,
    key: *const c_char,
    key_len: usize,
    timeout_ms: u64,
    callback: kamacache_get_callback,
    user_data: *mut c_void,
    op: *mut u64,
    err: *mut *mut kamacache_error,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        clear(op);
        guard::boundary(err, || {
            let notify = Notify::Get(callback.ok_or_else(|| args::null("callback"))?);
            let lane = args::handle(queue, "queue")?.lane.clone();
            let opened = args::handle(group, "group")?.usable()?.clone();
            let begin = || Op::begin(&lane, Listener { notify, user_data }, op);
            opened.get_async(args::key(key, key_len)?, timeout_ms, begin)?;
            Ok(OK)
        })
    }
}

/// As kamacache_group_set, without blocking.
///
/// @param group the group; it stays the caller's
/// @param queue where the callback waits to be run; it stays the caller's; NULL: it runs on
///   the callback thread
/// @param key the key: UTF-8 of 1..4096 bytes, read during the call; it needs no NUL
/// @param key_len its length in bytes, without a NUL
/// @param data the value's bytes, copied before the call returns; may be NULL when len is 0
/// @param len how many bytes
/// @param ttl_ms lifetime of the value, in milliseconds; 0: the group's ttl_ms;
///   KAMACACHE_FOREVER: it never expires; KAMACACHE_TTL_NO_STORE: it is not kept
/// @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
///   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all, which is what a time
///   that is over must be given as; KAMACACHE_FOREVER: no limit
/// @param callback called once if this call returns KAMACACHE_OK, never inside it; else
///   never; not NULL
/// @param user_data handed to the callback; the library does not look at it
/// @param op NULL, or where the operation's number goes, for kamacache_cancel: written
///   before the callback can run; 0 when the call fails
/// @param err NULL, or where the error goes; it is the caller's to free, and NULL after
///   KAMACACHE_OK
/// @retval KAMACACHE_OK the operation has begun; its result goes to the callback
/// @retval KAMACACHE_INVALID_ARGUMENT NULL, or a bad key
/// @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
/// @retval KAMACACHE_FORKED this process inherited the node by fork
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread, also inside a callback; never blocks.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_group_set_async(
    group: *mut kamacache_group,
    queue: *mut kamacache_queue,
    key: *const c_char,
    key_len: usize,
    data: *const c_void,
    len: usize,
    ttl_ms: u64,
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
            let key = group.checked_key(args::key(key, key_len)?)?.to_owned();
            let value = Value::from(args::bytes(data, len, "data")?);
            let op = Op::begin(&lane_of(group, queue), Listener { notify, user_data }, op)?;
            let inner = opened.group().inner().clone();
            let (ttl, timeout) = (Ttl::from_wire_ms(ttl_ms), args::timeout(timeout_ms));
            opened.go_on(&op, async move {
                let set = inner.set_with(&key, value, ttl, timeout).await;
                set.map(|()| Answer::Done)
            });
            Ok(OK)
        })
    }
}

/// As kamacache_group_delete, without blocking.
///
/// @param group the group; it stays the caller's
/// @param queue where the callback waits to be run; it stays the caller's; NULL: it runs on
///   the callback thread
/// @param key the key: UTF-8 of 1..4096 bytes, read during the call; it needs no NUL
/// @param key_len its length in bytes, without a NUL
/// @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
///   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all, which is what a time
///   that is over must be given as; KAMACACHE_FOREVER: no limit
/// @param callback called once if this call returns KAMACACHE_OK, never inside it; else
///   never; not NULL
/// @param user_data handed to the callback; the library does not look at it
/// @param op NULL, or where the operation's number goes, for kamacache_cancel: written
///   before the callback can run; 0 when the call fails
/// @param err NULL, or where the error goes; it is the caller's to free, and NULL after
///   KAMACACHE_OK
/// @retval KAMACACHE_OK the operation has begun; its result goes to the callback
/// @retval KAMACACHE_INVALID_ARGUMENT NULL, or a bad key
/// @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
/// @retval KAMACACHE_FORKED this process inherited the node by fork
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread, also inside a callback; never blocks.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_group_delete_async(
    group: *mut kamacache_group,
    queue: *mut kamacache_queue,
    key: *const c_char,
    key_len: usize,
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
            let key = group.checked_key(args::key(key, key_len)?)?.to_owned();
            let op = Op::begin(&lane_of(group, queue), Listener { notify, user_data }, op)?;
            let inner = opened.group().inner().clone();
            let timeout = args::timeout(timeout_ms);
            opened.go_on(&op, async move {
                let delete = inner.delete_with(&key, timeout).await;
                delete.map(|()| Answer::Done)
            });
            Ok(OK)
        })
    }
}

/// Ends an operation early: its callback still runs once, with KAMACACHE_CANCELLED unless
/// the result was decided before. A load goes on and fills the cache; a write may have been
/// applied.
///
/// @param op the number that the call gave
/// @retval KAMACACHE_OK the operation was still under way
/// @retval KAMACACHE_NOT_FOUND it has ended, or never was
/// @retval KAMACACHE_FORKED this process inherited the operation by fork
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread, also inside a callback; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn kamacache_cancel(op: u64) -> kamacache_status {
    guard::status(|| {
        Ok(if ops::cancel(op)? {
            OK
        } else {
            KAMACACHE_NOT_FOUND as kamacache_status
        })
    })
}
