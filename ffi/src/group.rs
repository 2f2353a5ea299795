//! A group in C's hands: get, peek, set, delete, stats.
//!
//! Invariant: what blocks is refused inside a callback that must not block.

use std::ffi::{CString, c_char, c_void};
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
    name: CString,
}

impl kamacache_group {
    pub(crate) fn lend(node: &Arc<Shared>, opened: Arc<Opened>) -> *mut Self {
        Box::into_raw(Box::new(Self {
            node: node.clone(),
            name: CString::new(opened.group().inner().name()).unwrap_or_default(),
            opened,
        }))
    }

    /// Refuses calls in a child of the process, and after close.
    #[inline]
    pub(crate) fn usable(&self) -> Result<&Arc<Opened>> {
        self.node.usable()?;
        Ok(&self.opened)
    }

    /// Refuses calls in a child of the process; what was counted stays to be read.
    fn counted(&self) -> Result<&Opened> {
        self.node.check_process()?;
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

/// Frees a handle to a group; the group lives until its node is closed.
///
/// @param group the handle, given up by the caller; NULL is fine
/// @par Threads
/// Any thread, while no other thread uses this handle; also inside a callback, of a call
/// through this handle too; never blocks.
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

/// The name of a group.
///
/// @param group the group; it stays the caller's; may be NULL
/// @return NUL-terminated, owned by the handle and valid until it is freed; NULL for NULL
/// @par Threads
/// Any thread; never blocks.
///
/// # Safety
/// `group` is NULL or a group not yet freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_group_name(group: *const kamacache_group) -> *const c_char {
    guard::leaf(std::ptr::null(), || {
        // SAFETY: NULL becomes None; else alive by this function's contract.
        unsafe { group.as_ref() }.map_or(std::ptr::null(), |group| group.name.as_ptr())
    })
}

/// The user_data that a group was opened with.
///
/// @param group the group; it stays the caller's; may be NULL
/// @return what user_data of the options was; it stays owned by the group, so it is valid
///   until the node is closed; NULL for NULL, after the close, and in a process that inherited
///   the node by fork
/// @par Threads
/// Any thread; never blocks.
///
/// # Safety
/// `group` is NULL or a group not yet freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_group_user_data(group: *const kamacache_group) -> *mut c_void {
    guard::plain(std::ptr::null_mut(), || {
        // SAFETY: NULL becomes None; else alive by this function's contract.
        let group = unsafe { group.as_ref() }.and_then(|group| group.usable().ok());
        group
            .and_then(|group| group.user_data())
            .unwrap_or(std::ptr::null_mut())
    })
}

/// The value of a key: from this node's memory, from the key's owner, or by the getter.
///
/// @param group the group; it stays the caller's
/// @param key the key: UTF-8 of 1..4096 bytes, read during the call; it needs no NUL
/// @param key_len its length in bytes, without a NUL
/// @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
///   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all, which is what a time
///   that is over must be given as; KAMACACHE_FOREVER: no limit
/// @param out the value, the caller's to release; NULL when the call fails
/// @param err NULL, or where the error goes; it is the caller's to free, and NULL after
///   KAMACACHE_OK
/// @retval KAMACACHE_OK done
/// @retval KAMACACHE_NOT_FOUND the data source has no such key, or the group has no getter
/// @retval KAMACACHE_GETTER_FAILED the getter failed; the error has its message and code
/// @retval KAMACACHE_DEADLINE_EXCEEDED not in time; the load goes on and fills the cache
/// @retval KAMACACHE_REENTRANT_LOAD called inside a getter that is loading this very key
/// @retval KAMACACHE_OVERLOADED too many loads wait already
/// @retval KAMACACHE_UNAVAILABLE the owner cannot be reached, and this node has no getter
/// @retval KAMACACHE_INVALID_ARGUMENT NULL, or a bad key
/// @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
/// @retval KAMACACHE_WOULD_DEADLOCK called inside a callback that must not block
/// @retval KAMACACHE_FORKED this process inherited the node by fork
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread, also inside a getter; blocks up to timeout_ms. When this call is the one
/// that loads the key, the getter runs on this thread, and timeout_ms does not cut it
/// short.
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

/// The value of a key if it is in this node's memory.
///
/// @param group the group; it stays the caller's
/// @param key the key: UTF-8 of 1..4096 bytes, read during the call; it needs no NUL
/// @param key_len its length in bytes, without a NUL
/// @param out the value, the caller's to release; NULL when the call fails
/// @retval KAMACACHE_OK done
/// @retval KAMACACHE_NOT_FOUND it is not in this node's memory
/// @retval KAMACACHE_INVALID_ARGUMENT NULL, or the key is not UTF-8
/// @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
/// @retval KAMACACHE_FORKED this process inherited the node by fork
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread; never blocks and never loads.
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

/// Copies the value of a key into buf if it is in this node's memory: the fastest read.
///
/// @param group the group; it stays the caller's
/// @param key the key: UTF-8 of 1..4096 bytes, read during the call; it needs no NUL
/// @param key_len its length in bytes, without a NUL
/// @param buf where the value goes; left as it is when the call fails; may be NULL when cap
///   is 0
/// @param cap how many bytes buf has
/// @param len where the value's length goes, also when buf is too short; not NULL
/// @retval KAMACACHE_OK done
/// @retval KAMACACHE_NOT_FOUND it is not in this node's memory
/// @retval KAMACACHE_TOO_LARGE buf is too short; *len says what it takes
/// @retval KAMACACHE_INVALID_ARGUMENT NULL, or the key is not UTF-8
/// @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
/// @retval KAMACACHE_FORKED this process inherited the node by fork
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread; never blocks and never loads.
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

/// Stores a value at the key's owner. After KAMACACHE_OK no get through this node sees an
/// older value.
///
/// @param group the group; it stays the caller's
/// @param key the key: UTF-8 of 1..4096 bytes, read during the call; it needs no NUL
/// @param key_len its length in bytes, without a NUL
/// @param data the value's bytes, copied; may be NULL when len is 0
/// @param len how many bytes
/// @param ttl_ms lifetime of the value, in milliseconds; 0: the group's ttl_ms;
///   KAMACACHE_FOREVER: it never expires; KAMACACHE_TTL_NO_STORE: it is not kept
/// @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
///   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all, which is what a time
///   that is over must be given as; KAMACACHE_FOREVER: no limit
/// @param err NULL, or where the error goes; it is the caller's to free, and NULL after
///   KAMACACHE_OK
/// @retval KAMACACHE_OK done
/// @retval KAMACACHE_TOO_LARGE the value is over the group's limit; the old value is gone
/// @retval KAMACACHE_UNAVAILABLE the owner cannot be reached, or members disagree about it;
///   the message says whether the write may have been applied
/// @retval KAMACACHE_DEADLINE_EXCEEDED not in time; the write may have been applied
/// @retval KAMACACHE_UNKNOWN_GROUP the owner has no such group
/// @retval KAMACACHE_OVERLOADED too much is on its way to the owner
/// @retval KAMACACHE_INVALID_ARGUMENT NULL, or a bad key
/// @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
/// @retval KAMACACHE_WOULD_DEADLOCK called inside a callback that must not block
/// @retval KAMACACHE_FORKED this process inherited the node by fork
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread, also inside a getter; blocks up to timeout_ms.
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

/// Drops a key at its owner, together with every load of it that is under way; fine also
/// when the key is absent. After KAMACACHE_OK no get through this node sees the old value.
///
/// @param group the group; it stays the caller's
/// @param key the key: UTF-8 of 1..4096 bytes, read during the call; it needs no NUL
/// @param key_len its length in bytes, without a NUL
/// @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
///   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all, which is what a time
///   that is over must be given as; KAMACACHE_FOREVER: no limit
/// @param err NULL, or where the error goes; it is the caller's to free, and NULL after
///   KAMACACHE_OK
/// @retval KAMACACHE_OK done
/// @retval KAMACACHE_UNAVAILABLE the owner cannot be reached, or members disagree about it;
///   the message says whether the write may have been applied
/// @retval KAMACACHE_DEADLINE_EXCEEDED not in time; the write may have been applied
/// @retval KAMACACHE_UNKNOWN_GROUP the owner has no such group
/// @retval KAMACACHE_OVERLOADED too much is on its way to the owner
/// @retval KAMACACHE_INVALID_ARGUMENT NULL, or a bad key
/// @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
/// @retval KAMACACHE_WOULD_DEADLOCK called inside a callback that must not block
/// @retval KAMACACHE_FORKED this process inherited the node by fork
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread, also inside a getter; blocks up to timeout_ms.
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

/// Drops every entry of the group on every member, together with every load that is under
/// way.
///
/// @param group the group; it stays the caller's
/// @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
///   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all, which is what a time
///   that is over must be given as; KAMACACHE_FOREVER: no limit
/// @param err NULL, or where the error goes; it is the caller's to free, and NULL after
///   KAMACACHE_OK
/// @retval KAMACACHE_OK done
/// @retval KAMACACHE_UNAVAILABLE the message names the members that did not acknowledge;
///   they are told when they are reached again, before anything else
/// @retval KAMACACHE_INVALID_ARGUMENT group is NULL
/// @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
/// @retval KAMACACHE_WOULD_DEADLOCK called inside a callback that must not block
/// @retval KAMACACHE_FORKED this process inherited the node by fork
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread, also inside a getter; blocks up to timeout_ms.
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

/// Writes the group's counters on this node; after the node is closed, the last ones.
///
/// @param group the group; it stays the caller's
/// @param stats the caller's struct, its struct_size set; no byte past that is written, what
///   this library does not know is zeroed, and struct_size becomes the size that was written;
///   not NULL
/// @retval KAMACACHE_OK done
/// @retval KAMACACHE_INVALID_ARGUMENT NULL, or struct_size is under 8 or over 4,096
/// @retval KAMACACHE_FORKED this process inherited the node by fork
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread; never blocks.
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
            let group = args::handle(group, "group")?.counted()?;
            sized::write(stats, group.group().inner().stats().into())?;
            Ok(OK)
        })
    }
}

/// Writes how long one kind of operation took on this node, in nanoseconds; after the node
/// is closed, until then.
///
/// @param group the group; it stays the caller's
/// @param which 0: hits, one in 1,024 of which is measured; 1: loads; 2: fetches from
///   owners
/// @param latency the caller's struct, its struct_size set; no byte past that is written, what
///   this library does not know is zeroed, and struct_size becomes the size that was written;
///   not NULL
/// @retval KAMACACHE_OK done
/// @retval KAMACACHE_INVALID_ARGUMENT NULL, another which, or struct_size is under 8 or over
///   4,096
/// @retval KAMACACHE_FORKED this process inherited the node by fork
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread; never blocks.
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
            let group = args::handle(group, "group")?.counted()?;
            let measured = group.group().inner().latency(stats::kind_of(which)?);
            sized::write(latency, measured.into())?;
            Ok(OK)
        })
    }
}
