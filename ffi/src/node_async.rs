//! The close that ends with a callback.
//!
//! Invariant: as in `group_async.rs`.

use std::ffi::c_void;

use kamacache_core::Error;

use crate::args;
use crate::error::{OK, kamacache_error, kamacache_status};
use crate::group_async::kamacache_done_callback;
use crate::guard;
use crate::node::kamacache_node;
use crate::ops::{Answer, Listener, Notify, Op};
use crate::queue::kamacache_queue;
use crate::signals;

/// As kamacache_node_close, without blocking: it waits on a thread of its own.
///
/// @param node the node; it stays the caller's, and may be freed inside the callback
/// @param queue where the callback waits to be run; it stays the caller's; NULL: it runs on
///   the thread that waits
/// @param drain_ms how long to wait for getters that run, in milliseconds; 0: not at all;
///   KAMACACHE_FOREVER: no limit
/// @param callback called once if this call returns KAMACACHE_OK, never inside it; else
///   never; not NULL
/// @param user_data handed to the callback; the library does not look at it
/// @param err NULL, or where the error goes; it is the caller's to free, and NULL after
///   KAMACACHE_OK
/// @retval KAMACACHE_OK the close has begun; its result goes to the callback
/// @retval KAMACACHE_INVALID_ARGUMENT node or callback is NULL
/// @retval KAMACACHE_CLOSED the queue was freed
/// @retval KAMACACHE_INTERNAL no thread is to be had
/// @retval KAMACACHE_FORKED this process inherited the node or the queue by fork
/// @retval KAMACACHE_PANICKED a fault of the library
/// @par Threads
/// Any thread, also inside a callback; never blocks.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_node_close_async(
    node: *mut kamacache_node,
    queue: *mut kamacache_queue,
    drain_ms: u64,
    callback: kamacache_done_callback,
    user_data: *mut c_void,
    err: *mut *mut kamacache_error,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        guard::boundary(err, || {
            let notify = Notify::Done(callback.ok_or_else(|| args::null("callback"))?);
            let shared = args::handle(node, "node")?.shared.clone();
            shared.check_process()?;
            let lane = queue.as_ref().map(|queue| queue.lane.clone());
            let listener = Listener { notify, user_data };
            let close = move || {
                let closed = guard::here(|| shared.close(args::duration(drain_ms)));
                closed.map(|()| Answer::Done)
            };
            let thread = std::thread::Builder::new().name("kamacache-close".into());
            let refused = |error| {
                Error::internal(format!(
                    "cannot start a thread that waits for the close: {error}"
                ))
            };
            let Some(lane) = lane else {
                let run = move || listener.call(close());
                signals::blocked(|| thread.spawn(run)).map_err(refused)?;
                return Ok(OK);
            };
            let op = Op::begin(&lane, listener, std::ptr::null_mut())?;
            op.go_on(|| {
                let ended = op.clone();
                let started = signals::blocked(|| thread.spawn(move || ended.finish(close())));
                if let Err(error) = started {
                    op.finish(Err(refused(error)));
                }
            });
            Ok(OK)
        })
    }
}
