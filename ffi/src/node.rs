//! A node in C's hands: open, ask, close, free.
//!
//! Invariant: after a close has returned OK no callback of the node runs or
//! starts, and every group's user data is freed. A handle may be freed anywhere,
//! also inside a callback.

use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::time::Duration;

use crate::args::{self, Buffer};
use crate::error::{OK, kamacache_error, kamacache_status};
use crate::group::kamacache_group;
use crate::guard::{self, Out};
use crate::options::{kamacache_group_options, kamacache_node_options};
use crate::owned::Owned;
use crate::shared::Shared;
use crate::signals;
use crate::sized;

/// A node: this process as a member of the cluster. Any thread may use it.
pub struct kamacache_node {
    pub(crate) shared: Arc<Shared>,
}

impl kamacache_node {
    /// Ends the node of a freed handle.
    fn end(self) {
        let shared = self.shared;
        if shared.is_inherited() {
            std::mem::forget(shared);
        } else if guard::in_callback() {
            // A callback must not wait for itself.
            let end = move || drop(shared.close(Duration::ZERO));
            let thread = std::thread::Builder::new().name("kamacache-close".into());
            let _running_on = signals::blocked(|| thread.spawn(end));
        } else {
            drop(shared.close(Duration::ZERO));
        }
    }
}

/// Opens a node and starts serving. The node is the caller's: close it, then
/// free it. Blocks until it listens. Errors: INVALID_ARGUMENT names the option
/// and its rule, UNAVAILABLE the address that is taken.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_node_open(
    options: *const kamacache_node_options,
    out: *mut *mut kamacache_node,
    err: *mut *mut kamacache_error,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        let out = Out::new(out);
        guard::boundary(err, || {
            let out = out.wanted()?;
            guard::may_block("kamacache_node_open")?;
            let (options, usable) = sized::read(options);
            usable?;
            let shared = Arc::new(Shared::open(options.to_core()?)?);
            out.put(Box::into_raw(Box::new(kamacache_node { shared })));
            Ok(OK)
        })
    }
}

/// Replaces the member list, this node included. Any thread; never blocks.
/// Errors: INVALID_ARGUMENT names the address; the old list stays.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_node_set_peers(
    node: *mut kamacache_node,
    peers: *const *const c_char,
    n: usize,
    err: *mut *mut kamacache_error,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        guard::boundary(err, || {
            let node = args::handle(node, "node")?.shared.usable()?;
            node.set_peers(&args::texts(peers, n, "peers")?)?;
            Ok(OK)
        })
    }
}

/// Writes the members' addresses, sorted, one a line, with a final NUL. *len is
/// the text's length without the NUL; a short buffer is TOO_LARGE, with *len set
/// (buf may be NULL when cap is 0). Any thread; never blocks.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_node_members(
    node: *mut kamacache_node,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
    err: *mut *mut kamacache_error,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        guard::boundary(err, || {
            let buffer = Buffer::new(buf.cast::<c_void>(), cap, len)?;
            let node = args::handle(node, "node")?.shared.usable()?;
            buffer.text(&node.members().join("\n"))?;
            Ok(OK)
        })
    }
}

/// Writes the address of the member that owns the key, as kamacache_node_members
/// writes its text; "" without a network. Any thread; never blocks.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_node_owner(
    node: *mut kamacache_node,
    key: *const c_char,
    key_len: usize,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        guard::status(|| {
            let buffer = Buffer::new(buf.cast::<c_void>(), cap, len)?;
            let node = args::handle(node, "node")?.shared.usable()?;
            buffer.text(&node.owner(args::key(key, key_len)?)?)?;
            Ok(OK)
        })
    }
}

/// Writes the address that peers dial, with the real port, as
/// kamacache_node_members writes its text; "" without a network. Any thread;
/// never blocks.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_node_address(
    node: *mut kamacache_node,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        guard::status(|| {
            let buffer = Buffer::new(buf.cast::<c_void>(), cap, len)?;
            let node = args::handle(node, "node")?.shared.usable()?;
            buffer.text(node.address())?;
            Ok(OK)
        })
    }
}

/// Leaves the cluster, waits up to drain_ms for getters that run, and ends the
/// node; calls on it and on its groups return CLOSED from now on. After OK no
/// callback runs any more and all user data is freed. DEADLINE_EXCEEDED: a
/// getter still runs; its user data is freed when it returns. WOULD_DEADLOCK
/// inside a callback. A second close is OK.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_node_close(
    node: *mut kamacache_node,
    drain_ms: u64,
    err: *mut *mut kamacache_error,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        guard::boundary(err, || {
            args::handle(node, "node")?
                .shared
                .close(args::duration(drain_ms))?;
            Ok(OK)
        })
    }
}

/// Frees a node's handle; a node that is not closed is closed with drain 0.
/// Groups and values may be freed before or after. NULL is fine. Any thread, also
/// inside a callback.
///
/// # Safety
/// `node` is NULL or a node not yet freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_node_free(node: *mut kamacache_node) {
    guard::plain((), || {
        if !node.is_null() {
            // SAFETY: it came from Box::into_raw and the caller gives it up.
            unsafe { *Box::from_raw(node) }.end();
        }
    });
}

/// Opens a group; the library takes user_data over, on every status. The handle
/// is the caller's; the group lives until its node is closed. Never blocks.
/// Errors: INVALID_ARGUMENT names the option and its rule, ALREADY_EXISTS the name.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_group_open(
    node: *mut kamacache_node,
    name: *const c_char,
    options: *const kamacache_group_options,
    out: *mut *mut kamacache_group,
    err: *mut *mut kamacache_error,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        let out = Out::new(out);
        guard::boundary(err, || {
            let (options, usable) = sized::read(options);
            // First of all: from here on every path frees the user data.
            let user = Arc::new(Owned::new(options.user_data, options.free_user_data));
            usable?;
            let out = out.wanted()?;
            let node = &args::handle(node, "node")?.shared;
            let opened = node.open_group(args::required(name, "name")?, options, user)?;
            out.put(kamacache_group::lend(node, opened));
            Ok(OK)
        })
    }
}

/// A further handle to a group that is open. Free it like the first. Any
/// thread; never blocks. UNKNOWN_GROUP names the group.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_node_group(
    node: *mut kamacache_node,
    name: *const c_char,
    out: *mut *mut kamacache_group,
    err: *mut *mut kamacache_error,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        let out = Out::new(out);
        guard::boundary(err, || {
            let out = out.wanted()?;
            let node = &args::handle(node, "node")?.shared;
            let opened = node.find_group(args::required(name, "name")?)?;
            out.put(kamacache_group::lend(node, opened));
            Ok(OK)
        })
    }
}
