//! The tokens that C holds: numbers that look like pointers, looked up here.
//!
//! Invariant: a number is given out once and never again, so a token that was
//! answered, came too late or was made up is told apart and never touches
//! another load. Numbers are spread over the whole range by an odd factor, so
//! that small or stray pointers are not mistaken for tokens.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use kamacache_core::{Error, ErrorKind, LoadToken, Result};
use parking_lot::Mutex;

use crate::args;

/// A load that waits for its answer: a token, not a pointer; never dereferenced.
pub struct kamacache_load {
    _opaque: [u8; 0],
}

/// Odd, so that multiplying by it is a bijection.
const SPREAD: usize = 0x9E37_79B9_7F4A_7C15_u64 as usize;
const GATHER: usize = inverse(SPREAD);
const SHARDS: usize = 16;

type Shard = Mutex<Option<HashMap<usize, Entry>>>;

static LIVE: [Shard; SHARDS] = [const { Mutex::new(None) }; SHARDS];
static NEXT: AtomicUsize = AtomicUsize::new(1);

struct Entry {
    node: u64,
    token: LoadToken,
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
    &LIVE[serial % SHARDS]
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
    shard(serial)
        .lock()
        .get_or_insert_default()
        .insert(serial, Entry { node, token });
    std::ptr::without_provenance_mut(serial.wrapping_mul(SPREAD))
}

/// Takes a token back, to answer it.
///
/// # Errors
/// InvalidArgument for NULL and for what never was a token; Cancelled for one
/// that was answered, timed out, or whose node is closed.
pub(crate) fn take(load: *const kamacache_load) -> Result<LoadToken> {
    let serial = serial(load);
    let entry = shard(serial)
        .lock()
        .as_mut()
        .and_then(|live| live.remove(&serial));
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
    live.as_ref()
        .and_then(|live| live.get(&serial))
        .is_none_or(|entry| entry.token.is_cancelled())
}

/// Takes back every token of a node that is closed.
pub(crate) fn cancel_all_of(node: u64) {
    for shard in &LIVE {
        let taken: Vec<Entry> = match shard.lock().as_mut() {
            Some(live) => live
                .extract_if(|_, entry| entry.node == node)
                .map(|(_, entry)| entry)
                .collect(),
            None => continue,
        };
        // Outside the lock: dropping a token runs the core's code.
        drop(taken);
    }
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
