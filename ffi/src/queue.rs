//! Queues: completions on the user's own thread, for event loops.

use std::ffi::c_int;
use std::sync::Arc;

use kamacache_core::{Error, ErrorKind};

use crate::args;
use crate::error::{OK, kamacache_error, kamacache_status};
use crate::guard::{self, Out};
use crate::lane::Lane;

/// Completions that wait for a thread of the user's to run them.
pub struct kamacache_queue {
    pub(crate) lane: Arc<Lane>,
}

/// Makes a queue: completions that wait for a thread of the program's own.
///
/// @param out the queue, the caller's: free it with kamacache_queue_free; NULL when the
///   call fails
/// @param err NULL, or where the error goes; it is the caller's to free, and NULL after
///   KAMACACHE_OK
/// @retval KAMACACHE_OK done
/// @retval KAMACACHE_INVALID_ARGUMENT out is NULL
/// @retval KAMACACHE_INTERNAL no descriptor is to be had
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread; never blocks.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_queue_new(
    out: *mut *mut kamacache_queue,
    err: *mut *mut kamacache_error,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        let out = Out::new(out);
        guard::boundary(err, || {
            let out = out.wanted()?;
            out.put(Box::into_raw(Box::new(kamacache_queue {
                lane: Lane::queue()?,
            })));
            Ok(OK)
        })
    }
}

/// A descriptor that is readable while callbacks are ready: for poll, epoll, libuv and their
/// like, level-triggered and edge-triggered (EPOLLET): a dispatch that leaves callbacks
/// signals again. Only poll it.
///
/// @param queue the queue; may be NULL
/// @return the descriptor, owned by the queue and closed with it; -1 for NULL
/// @par Threads
/// Any thread; never blocks.
///
/// # Safety
/// `queue` is NULL or a queue not yet freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_queue_fd(queue: *const kamacache_queue) -> c_int {
    guard::plain(-1, || {
        // SAFETY: NULL becomes None; else alive by this function's contract.
        unsafe { queue.as_ref() }.map_or(-1, |queue| queue.lane.fd())
    })
}

/// Runs up to max of the callbacks that are ready now, on this thread. It does not wait for
/// more.
///
/// @param queue the queue; it stays the caller's; NULL does nothing
/// @param max the most to run: a share of the loop's time
/// @return how many it ran; 0 in a process that inherited the queue by fork
/// @par Threads
/// One thread at a time for a queue; takes as long as the callbacks, and else never blocks.
///
/// # Safety
/// `queue` is NULL or a queue not yet freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_queue_dispatch(
    queue: *mut kamacache_queue,
    max: usize,
) -> usize {
    guard::plain(0, || {
        // SAFETY: NULL becomes None; else alive by this function's contract.
        let lane = unsafe { queue.as_ref() }.map(|queue| queue.lane.clone());
        lane.map_or(0, |lane| lane.dispatch(max))
    })
}

/// Waits until callbacks are ready, and runs up to max of them on this thread: for threads
/// that have no event loop.
///
/// @param queue the queue; it stays the caller's
/// @param max the most to run
/// @param timeout_ms how long to wait for the first one, in milliseconds;
///   KAMACACHE_NO_WAIT or 0: not at all; KAMACACHE_FOREVER: no limit
/// @param ran NULL, or where the number of callbacks that were run goes
/// @param err NULL, or where the error goes; it is the caller's to free, and NULL after
///   KAMACACHE_OK
/// @retval KAMACACHE_OK at least one callback was run, unless max is 0
/// @retval KAMACACHE_DEADLINE_EXCEEDED none was ready in time
/// @retval KAMACACHE_INVALID_ARGUMENT queue is NULL
/// @retval KAMACACHE_WOULD_DEADLOCK called inside a callback that must not block
/// @retval KAMACACHE_FORKED this process inherited the queue by fork
/// @retval KAMACACHE_PANICKED a fault of the library
/// @par Threads
/// One thread at a time for a queue, together with kamacache_queue_dispatch; blocks up to
/// timeout_ms, and as long as the callbacks.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_queue_wait(
    queue: *mut kamacache_queue,
    max: usize,
    timeout_ms: u64,
    ran: *mut usize,
    err: *mut *mut kamacache_error,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        let note = |n| {
            if !ran.is_null() {
                ran.write(n);
            }
        };
        note(0);
        guard::boundary(err, || {
            guard::may_block("kamacache_queue_wait")?;
            let lane = args::handle(queue, "queue")?.lane.clone();
            if !lane.wait(args::timeout(timeout_ms).unwrap_or_default())? {
                return Err(Error::new(
                    ErrorKind::DeadlineExceeded,
                    format!("no callback was ready within {timeout_ms} ms"),
                ));
            }
            note(lane.dispatch(max));
            Ok(OK)
        })
    }
}

/// How many callbacks are ready to be run by kamacache_queue_dispatch.
///
/// @param queue the queue; it stays the caller's; may be NULL
/// @return the number at this moment; 0 for NULL, and in a process that inherited the queue
///   by fork
/// @par Threads
/// Any thread; never blocks.
///
/// # Safety
/// `queue` is NULL or a queue not yet freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_queue_len(queue: *const kamacache_queue) -> usize {
    guard::plain(0, || {
        // SAFETY: NULL becomes None; else alive by this function's contract.
        unsafe { queue.as_ref() }.map_or(0, |queue| queue.lane.len())
    })
}

/// Frees a queue. Callbacks that were not delivered, of operations under way too, run now
/// with KAMACACHE_CANCELLED; none runs in a child that inherited the queue by fork. Loads of
/// a group whose getter_queue it is fail from now on.
///
/// @param queue the queue, given up by the caller; NULL is fine
/// @par Threads
/// Not while another thread dispatches the queue; also inside a callback. Runs callbacks on
/// this thread, and else never blocks.
///
/// # Safety
/// `queue` is NULL or a queue not yet freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_queue_free(queue: *mut kamacache_queue) {
    guard::plain((), || {
        if !queue.is_null() {
            // SAFETY: it came from Box::into_raw and the caller gives it up.
            unsafe { Box::from_raw(queue) }.lane.abandon();
        }
    });
}
