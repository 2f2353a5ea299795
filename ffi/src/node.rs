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

/// Opens a node and starts serving its peers.
///
/// @param options how; copied; not NULL
/// @param out the node, the caller's: close it with kamacache_node_close, then free it with
///   kamacache_node_free; NULL when the call fails
/// @param err NULL, or where the error goes; it is the caller's to free, and NULL after
///   KAMACACHE_OK
/// @retval KAMACACHE_OK done
/// @retval KAMACACHE_INVALID_ARGUMENT NULL, or an option breaks its rule; the message names
///   both
/// @retval KAMACACHE_UNAVAILABLE the address is taken, or is not one of this host
/// @retval KAMACACHE_INTERNAL no thread or socket is to be had
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @retval KAMACACHE_WOULD_DEADLOCK called inside a callback that must not block
/// @par Threads
/// Any thread; blocks until the node listens.
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

/// Replaces the list of members, this node included. Keys that now belong to another member
/// move to it.
///
/// @param node the node; it stays the caller's
/// @param peers addresses, "host:port", ranges accepted; copied; may be NULL when n is 0
/// @param n how many; 0: a ring of one
/// @param err NULL, or where the error goes; it is the caller's to free, and NULL after
///   KAMACACHE_OK
/// @retval KAMACACHE_OK done
/// @retval KAMACACHE_INVALID_ARGUMENT NULL, or an address breaks its rule; the old list
///   stays
/// @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
/// @retval KAMACACHE_FORKED this process inherited the node by fork
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread; never blocks.
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

/// Writes the members' addresses, sorted, one a line.
///
/// @param node the node; it stays the caller's
/// @param buf where the text goes, with a final NUL; may be NULL when cap is 0
/// @param cap how many bytes buf has
/// @param len where the text's length without the NUL goes, also when buf is too short; not
///   NULL
/// @param err NULL, or where the error goes; it is the caller's to free, and NULL after
///   KAMACACHE_OK
/// @retval KAMACACHE_OK done
/// @retval KAMACACHE_TOO_LARGE buf is too short; *len says what the text needs, less one
///   for the NUL
/// @retval KAMACACHE_INVALID_ARGUMENT node, buf or len is NULL
/// @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
/// @retval KAMACACHE_FORKED this process inherited the node by fork
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread; never blocks.
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

/// Writes the address of the member that owns a key; "" without a network.
///
/// @param node the node; it stays the caller's
/// @param key the key: UTF-8 of 1..4096 bytes, read during the call; it needs no NUL
/// @param key_len its length in bytes, without a NUL
/// @param buf where the text goes, with a final NUL; may be NULL when cap is 0
/// @param cap how many bytes buf has
/// @param len where the text's length without the NUL goes, also when buf is too short; not
///   NULL
/// @retval KAMACACHE_OK done
/// @retval KAMACACHE_TOO_LARGE buf is too short; *len says what the text needs, less one
///   for the NUL
/// @retval KAMACACHE_INVALID_ARGUMENT NULL, or a bad key
/// @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
/// @retval KAMACACHE_FORKED this process inherited the node by fork
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread; never blocks.
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

/// Writes the address that peers dial, with the real port; "" without a network.
///
/// @param node the node; it stays the caller's
/// @param buf where the text goes, with a final NUL; may be NULL when cap is 0
/// @param cap how many bytes buf has
/// @param len where the text's length without the NUL goes, also when buf is too short; not
///   NULL
/// @retval KAMACACHE_OK done
/// @retval KAMACACHE_TOO_LARGE buf is too short; *len says what the text needs, less one
///   for the NUL
/// @retval KAMACACHE_INVALID_ARGUMENT node, buf or len is NULL
/// @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
/// @retval KAMACACHE_FORKED this process inherited the node by fork
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread; never blocks.
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

/// Writes the address of the admin HTTP, with the real port; "" without one.
///
/// @param node the node; it stays the caller's
/// @param buf where the text goes, with a final NUL; may be NULL when cap is 0
/// @param cap how many bytes buf has
/// @param len where the text's length without the NUL goes, also when buf is too short; not
///   NULL
/// @retval KAMACACHE_OK done
/// @retval KAMACACHE_TOO_LARGE buf is too short; *len says what the text needs, less one
///   for the NUL
/// @retval KAMACACHE_INVALID_ARGUMENT node, buf or len is NULL
/// @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
/// @retval KAMACACHE_FORKED this process inherited the node by fork
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread; never blocks.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_node_admin_address(
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
            buffer.text(node.admin_address().unwrap_or_default())?;
            Ok(OK)
        })
    }
}

/// Leaves the cluster and ends the node. From now on calls on it and on its groups return
/// KAMACACHE_CLOSED, and calls that wait return it. After KAMACACHE_OK no getter and no
/// callback runs on a thread of the library, and all user data of groups is freed. Callbacks
/// in queues of the program still wait there: operations that had not ended have the result
/// KAMACACHE_CLOSED, and the next kamacache_queue_dispatch or kamacache_queue_free runs them.
/// A second close is fine, and waits again. The handle is still to be freed.
///
/// @param node the node; it stays the caller's
/// @param drain_ms how long to wait for getters that run, in milliseconds; 0: not at all, and
///   without leaving the cluster in order; KAMACACHE_FOREVER: no limit
/// @param err NULL, or where the error goes; it is the caller's to free, and NULL after
///   KAMACACHE_OK
/// @retval KAMACACHE_OK done
/// @retval KAMACACHE_DEADLINE_EXCEEDED a getter or a callback still runs; the node is
///   closed all the same, and user data is freed when it returns
/// @retval KAMACACHE_WOULD_DEADLOCK called inside a callback
/// @retval KAMACACHE_INVALID_ARGUMENT node is NULL
/// @retval KAMACACHE_FORKED this process inherited the node by fork
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread but a callback's; blocks up to drain_ms, and about a second longer for
/// callbacks that run.
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

/// Frees a node's handle; a node that is not closed is closed with drain 0. Groups and
/// values may be freed before or after.
///
/// @param node the node, given up by the caller; NULL is fine
/// @par Threads
/// Any thread, also inside a callback; blocks for a moment when the node is not closed.
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

/// The user data of a group, also of one whose options were zeroed by hand and never
/// set up: struct_size is 0 then, and every version's struct has these fields.
///
/// # Safety
/// As [`sized::read`].
unsafe fn owner_of(given: *const kamacache_group_options, read: &kamacache_group_options) -> Owned {
    // SAFETY: forwarded contract; fields are read one by one, since the struct may be shorter.
    unsafe {
        if given.is_null() || (&raw const (*given).struct_size).read() != 0 {
            return Owned::new(read.user_data, read.free_user_data);
        }
        let data = (&raw const (*given).user_data).read();
        Owned::new(data, (&raw const (*given).free_user_data).read())
    }
}

/// Opens a group: a namespace of keys with a memory budget and a getter. The group lives
/// until its node is closed.
///
/// @param node the node; it stays the caller's
/// @param name 1..255 characters of A-Z a-z 0-9 . _ : -, the same on all nodes; copied
/// @param options how; copied; the library takes its user_data over, on every status
/// @param out a handle, the caller's: free it with kamacache_group_free; NULL when the call
///   fails
/// @param err NULL, or where the error goes; it is the caller's to free, and NULL after
///   KAMACACHE_OK
/// @retval KAMACACHE_OK done
/// @retval KAMACACHE_INVALID_ARGUMENT NULL, or an option breaks its rule; the message names
///   both
/// @retval KAMACACHE_ALREADY_EXISTS the node has a group of this name
/// @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
/// @retval KAMACACHE_FORKED this process inherited the node by fork
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread; never blocks.
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
            let given = options;
            let (options, usable) = sized::read(options);
            // First of all: from here on every path frees the user data.
            let user = Arc::new(owner_of(given, &options));
            usable?;
            let out = out.wanted()?;
            let node = &args::handle(node, "node")?.shared;
            let queue = options.getter_queue.as_ref();
            let queue = queue.map(|queue| queue.lane.clone());
            let opened = node.open_group(args::group_name(name)?, options, user, queue)?;
            out.put(kamacache_group::lend(node, opened));
            Ok(OK)
        })
    }
}

/// A further handle to a group that is open.
///
/// @param node the node; it stays the caller's
/// @param name its name, read during the call
/// @param out a handle, the caller's: free it with kamacache_group_free; NULL when the call
///   fails
/// @param err NULL, or where the error goes; it is the caller's to free, and NULL after
///   KAMACACHE_OK
/// @retval KAMACACHE_OK done
/// @retval KAMACACHE_UNKNOWN_GROUP the node has no group of this name
/// @retval KAMACACHE_INVALID_ARGUMENT NULL, or a name of more than 255 bytes
/// @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
/// @retval KAMACACHE_FORKED this process inherited the node by fork
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread; never blocks.
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
            let opened = node.find_group(args::group_name(name)?)?;
            out.put(kamacache_group::lend(node, opened));
            Ok(OK)
        })
    }
}
