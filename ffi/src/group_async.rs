//! The calls of a group that end with a callback.
//!
//! Invariant: a call that returned OK has begun one operation, which gives one
//! callback; any other status gives none.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use kamacache_core::{Ttl, Value};

use crate::args;
use crate::error::{KAMACACHE_NOT_FOUND, OK, kamacache_error, kamacache_status};
use crate::group::kamacache_group;
use crate::guard;
use crate::lane::Lane;
use crate::ops::{self, Listener, Notify, Op};
use crate::queue::kamacache_queue;
use crate::value::kamacache_value;

/// Ends a get. value (when the status is OK) and error (when it is not) are the
/// callee's to release and free. It must not block on this library.
pub type kamacache_get_callback = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        status: kamacache_status,
        value: *mut kamacache_value,
        error: *mut kamacache_error,
    ),
>;

/// Ends a set or delete. error (when the status is not OK) is the callee's to
/// free. It must not block on this library.
pub type kamacache_done_callback = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        status: kamacache_status,
        error: *mut kamacache_error,
    ),
>;

/// # Safety
/// `queue` is NULL or a queue not yet freed.
unsafe fn lane_of(group: &kamacache_group, queue: *mut kamacache_queue) -> &Arc<Lane> {
    // SAFETY: NULL becomes None; else alive by this function's contract.
    match unsafe { queue.as_ref() } {
        Some(queue) => &queue.lane,
        None => group.callback_thread(),
    }
}

/// Clears `*op` at once.
///
/// # Safety
/// `op` is NULL or writable.
unsafe fn clear(op: *mut u64) {
    if !op.is_null() {
        // SAFETY: not NULL, and writable by this function's contract.
        unsafe { op.write(0) };
    }
}

/// As kamacache_group_get, without blocking: the callback runs once, on the
/// library's callback thread, never inside this call. When the key must be
/// loaded here, the getter runs on a getter thread. *op (op may be NULL) is
/// written before the callback can run; it is for kamacache_cancel. Any thread.
/// Errors, without a callback: INVALID_ARGUMENT, REENTRANT_LOAD, CLOSED.
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
            let lane = group.callback_thread();
            let begin = || Op::begin(lane, Listener { notify, user_data }, op);
            group
                .usable()?
                .get_async(args::key(key, key_len)?, timeout_ms, begin)?;
            Ok(OK)
        })
    }
}

/// As kamacache_group_get_async; the callback runs in kamacache_queue_dispatch.
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
            let lane = &args::handle(queue, "queue")?.lane;
            let begin = || Op::begin(lane, Listener { notify, user_data }, op);
            let group = args::handle(group, "group")?.usable()?;
            group.get_async(args::key(key, key_len)?, timeout_ms, begin)?;
            Ok(OK)
        })
    }
}

/// As kamacache_group_set, without blocking: data is copied before the call
/// returns, and the callback runs once, in kamacache_queue_dispatch, or on the
/// library's callback thread when queue is NULL. Any thread.
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
            let opened = group.usable()?;
            let key = group.checked_key(args::key(key, key_len)?)?.to_owned();
            let value = Value::from(args::bytes(data, len, "data")?);
            let op = Op::begin(lane_of(group, queue), Listener { notify, user_data }, op)?;
            let inner = opened.group().inner().clone();
            let (ttl, timeout) = (Ttl::from_wire_ms(ttl_ms), args::timeout(timeout_ms));
            opened.write_async(&op, async move {
                inner.set_with(&key, value, ttl, timeout).await
            });
            Ok(OK)
        })
    }
}

/// As kamacache_group_delete, without blocking; else as kamacache_group_set_async.
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
            let opened = group.usable()?;
            let key = group.checked_key(args::key(key, key_len)?)?.to_owned();
            let op = Op::begin(lane_of(group, queue), Listener { notify, user_data }, op)?;
            let inner = opened.group().inner().clone();
            let timeout = args::timeout(timeout_ms);
            opened.write_async(&op, async move { inner.delete_with(&key, timeout).await });
            Ok(OK)
        })
    }
}

/// Ends an operation early: its callback still runs once, with CANCELLED unless
/// the result was decided before. A load goes on and fills the cache; a write
/// may have been applied. NOT_FOUND when the operation has ended or never was.
/// Any thread; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn kamacache_cancel(op: u64) -> kamacache_status {
    guard::status(|| {
        Ok(if ops::cancel(op) {
            OK
        } else {
            KAMACACHE_NOT_FOUND as kamacache_status
        })
    })
}
