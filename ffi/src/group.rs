//! A group in C's hands: get, peek, set, delete, stats.
//!
//! Invariant: what blocks is refused inside a callback that must not block.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use kamacache_core::{Result, Ttl, Value};

use crate::args::{self, Buffer};
use crate::error::{
    KAMACACHE_NOT_FOUND, KAMACACHE_TOO_LARGE, OK, kamacache_error, kamacache_status,
};
use crate::guard::{self, Out};
use crate::lane::Lane;
use crate::opened::Opened;
use crate::shared::Shared;
use crate::sized;
use crate::stats::{self, kamacache_latency, kamacache_stats};
use crate::value::kamacache_value;

/// A group: a namespace of keys with a memory budget and a getter. Any thread
/// may use it.
pub struct kamacache_group {
    node: Arc<Shared>,
    opened: Arc<Opened>,
}

impl kamacache_group {
    pub(crate) fn lend(node: &Arc<Shared>, opened: Arc<Opened>) -> *mut Self {
        Box::into_raw(Box::new(Self {
            node: node.clone(),
            opened,
        }))
    }

    /// Refuses calls in a child of the process, and after close.
    pub(crate) fn usable(&self) -> Result<&Opened> {
        self.node.usable()?;
        Ok(&self.opened)
    }

    /// Where callbacks run that have no queue.
    pub(crate) fn callback_thread(&self) -> &Arc<Lane> {
        &self.node.lane
    }

    /// Refuses a bad key at the call; the ring checks a key before it looks.
    pub(crate) fn checked_key<'a>(&self, key: &'a str) -> Result<&'a str> {
        self.node.node.owner(key)?;
        Ok(key)
    }
}

/// Frees a handle to a group; the group lives until its node is closed. NULL is
/// fine. Any thread, also inside a callback.
///
/// # Safety
/// `group` is NULL or a group not yet freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_group_free(group: *mut kamacache_group) {
    guard::plain((), || {
        if !group.is_null() {
            // SAFETY: it came from Box::into_raw and the caller gives it up.
            let group = unsafe { Box::from_raw(group) };
            if group.node.is_inherited() {
                std::mem::forget(group);
            }
        }
    });
}

/// The value of a key: from memory, from its owner, or by the getter. *out is
/// the caller's to release. Blocks up to timeout_ms (0: the node's default); when
/// this call is the one that loads the key, the getter runs on this thread and
/// timeout_ms does not cut it short. Errors: NOT_FOUND, GETTER_FAILED,
/// DEADLINE_EXCEEDED (the load goes on), REENTRANT_LOAD, UNAVAILABLE,
/// OVERLOADED, CLOSED, WOULD_DEADLOCK, INVALID_ARGUMENT for a bad key.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_group_get(
    group: *mut kamacache_group,
    key: *const c_char,
    key_len: usize,
    timeout_ms: u64,
    out: *mut *mut kamacache_value,
    err: *mut *mut kamacache_error,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        let out = Out::new(out);
        guard::boundary(err, || {
            let out = out.wanted()?;
            guard::may_block("kamacache_group_get")?;
            let group = args::handle(group, "group")?.usable()?;
            let value = group.get(args::key(key, key_len)?, args::timeout(timeout_ms))?;
            out.put(kamacache_value::lend(value));
            Ok(OK)
        })
    }
}

/// The value of a key if it is in this node's memory, else NOT_FOUND. *out is
/// the caller's to release. Any thread; never blocks and never loads.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_group_peek(
    group: *mut kamacache_group,
    key: *const c_char,
    key_len: usize,
    out: *mut *mut kamacache_value,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        let out = Out::new(out);
        guard::status(|| {
            let out = out.wanted()?;
            let group = args::handle(group, "group")?.usable()?;
            let Some(value) = group.group().inner().peek(args::key(key, key_len)?) else {
                return Ok(KAMACACHE_NOT_FOUND as kamacache_status);
            };
            out.put(kamacache_value::lend(value));
            Ok(OK)
        })
    }
}

/// Copies the value of a key into buf if it is in this node's memory, else
/// NOT_FOUND. *len is the value's length; when it is over cap, TOO_LARGE, and
/// buf is left as it is (buf may be NULL when cap is 0). The fastest read. Any
/// thread; never blocks and never loads.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_group_peek_into(
    group: *mut kamacache_group,
    key: *const c_char,
    key_len: usize,
    buf: *mut c_void,
    cap: usize,
    len: *mut usize,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        guard::status(|| {
            let mut buffer = Buffer::new(buf, cap, len)?;
            let group = args::handle(group, "group")?.usable()?;
            let (status, len) = match group
                .group()
                .inner()
                .peek_into(args::key(key, key_len)?, buffer.space())
            {
                None => (KAMACACHE_NOT_FOUND as kamacache_status, 0),
                Some(Ok(copied)) => (OK, copied),
                Some(Err(needed)) => (KAMACACHE_TOO_LARGE as kamacache_status, needed),
            };
            buffer.filled(len);
            Ok(status)
        })
    }
}

/// Stores a value at the key's owner; data is copied and may be NULL when len is
/// 0. ttl_ms: 0 is the group's, else KAMACACHE_FOREVER or milliseconds. Blocks
/// up to timeout_ms (0: the node's default). After OK no get through this node
/// sees an older value. Errors: TOO_LARGE (the old value is gone), UNAVAILABLE
/// or DEADLINE_EXCEEDED say whether it may have been applied, UNKNOWN_GROUP,
/// CLOSED, WOULD_DEADLOCK, INVALID_ARGUMENT.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_group_set(
    group: *mut kamacache_group,
    key: *const c_char,
    key_len: usize,
    data: *const c_void,
    len: usize,
    ttl_ms: u64,
    timeout_ms: u64,
    err: *mut *mut kamacache_error,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        guard::boundary(err, || {
            guard::may_block("kamacache_group_set")?;
            let group = args::handle(group, "group")?.usable()?;
            let key = args::key(key, key_len)?;
            let value = Value::from(args::bytes(data, len, "data")?);
            group.group().set(
                key,
                value,
                Ttl::from_wire_ms(ttl_ms),
                args::timeout(timeout_ms),
            )?;
            Ok(OK)
        })
    }
}

/// Drops a key at its owner, together with every load of it that is under way;
/// OK also when the key is absent. Blocks up to timeout_ms (0: the node's
/// default). Errors as kamacache_group_set.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_group_delete(
    group: *mut kamacache_group,
    key: *const c_char,
    key_len: usize,
    timeout_ms: u64,
    err: *mut *mut kamacache_error,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        guard::boundary(err, || {
            guard::may_block("kamacache_group_delete")?;
            let group = args::handle(group, "group")?.usable()?;
            group
                .group()
                .delete(args::key(key, key_len)?, args::timeout(timeout_ms))?;
            Ok(OK)
        })
    }
}

/// Drops every entry of the group on every member, together with every load that
/// is under way. Blocks up to timeout_ms (0: the node's default). UNAVAILABLE
/// names the members that did not acknowledge; they are told when they are
/// reached again, before anything else. CLOSED, WOULD_DEADLOCK.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_group_clear(
    group: *mut kamacache_group,
    timeout_ms: u64,
    err: *mut *mut kamacache_error,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        guard::boundary(err, || {
            guard::may_block("kamacache_group_clear")?;
            let group = args::handle(group, "group")?.usable()?;
            group.clear(args::timeout(timeout_ms))?;
            Ok(OK)
        })
    }
}

/// Writes the group's counters, as many as stats->struct_size has room for. Any
/// thread; never blocks.
///
/// # Safety
/// `stats` is NULL or points to a struct of `struct_size` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_group_stats(
    group: *mut kamacache_group,
    stats: *mut kamacache_stats,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        guard::status(|| {
            let group = args::handle(group, "group")?.usable()?;
            sized::write(stats, group.group().inner().stats().into())?;
            Ok(OK)
        })
    }
}

/// Writes how long hits (which 0, one in 1,024 measured), loads (1) or fetches (2)
/// took, as much as latency->struct_size has room for. Any thread; never blocks.
///
/// # Safety
/// `latency` is NULL or points to a struct of `struct_size` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_group_latency(
    group: *mut kamacache_group,
    which: i32,
    latency: *mut kamacache_latency,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        guard::status(|| {
            let group = args::handle(group, "group")?.usable()?;
            let measured = group.group().inner().latency(stats::kind_of(which)?);
            sized::write(latency, measured.into())?;
            Ok(OK)
        })
    }
}
