//! Many keys in one call.

use std::ffi::c_void;
use std::ptr;
use std::slice;

use kamacache_core::{Error, Result, Ttl, Value};

use crate::args;
use crate::error::{OK, kamacache_error, kamacache_status, status_of};
use crate::group::kamacache_group;
use crate::guard;
use crate::value::kamacache_value;

/// Bytes of the caller's.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kamacache_slice {
    /// The first byte; may be NULL when len is 0.
    pub data: *const c_void,
    /// How many bytes.
    pub len: usize,
}

/// The outcome for one key. Give an array of them to kamacache_results_clear.
#[repr(C)]
pub struct kamacache_result {
    /// The key's own status.
    pub status: kamacache_status,
    /// 0.
    pub reserved: u32,
    /// The value when the status is KAMACACHE_OK and it was a get, else NULL.
    pub value: *mut kamacache_value,
    /// The detail when the status is not KAMACACHE_OK, else NULL.
    pub error: *mut kamacache_error,
}

impl From<Result<Option<Value>>> for kamacache_result {
    fn from(result: Result<Option<Value>>) -> Self {
        let (status, value, error) = match result {
            Ok(value) => (
                OK,
                value.map_or(ptr::null_mut(), kamacache_value::lend),
                ptr::null_mut(),
            ),
            Err(error) => (
                status_of(error.kind()),
                ptr::null_mut(),
                kamacache_error::lend(&error),
            ),
        };
        Self {
            status,
            reserved: 0,
            value,
            error,
        }
    }
}

/// `n` of the caller's structs; NULL is fine for none.
///
/// # Safety
/// `array` is NULL or points to `n` readable structs that stay so for `'a`.
pub(crate) unsafe fn array<'a, T>(array: *const T, n: usize, name: &str) -> Result<&'a [T]> {
    if n == 0 {
        return Ok(&[]);
    }
    if array.is_null() {
        return Err(args::null(name));
    }
    if n.checked_mul(size_of::<T>())
        .is_none_or(|bytes| isize::try_from(bytes).is_err())
    {
        return Err(Error::invalid_argument(format!(
            "n is {n}: no memory is that large"
        )));
    }
    // SAFETY: not NULL, and readable by this function's contract.
    Ok(unsafe { slice::from_raw_parts(array, n) })
}

/// Keys and their values, copied; an error for a pair that is none.
///
/// # Safety
/// As [`array`], for both.
pub(crate) unsafe fn pairs_of(
    keys: *const kamacache_slice,
    values: *const kamacache_slice,
    n: usize,
) -> Result<Vec<Result<(String, Value)>>> {
    // SAFETY: forwarded contract.
    let (keys, values) = unsafe { (array(keys, n, "keys")?, array(values, n, "values")?) };
    let pair = |(key, value): (&kamacache_slice, &kamacache_slice)| {
        // SAFETY: forwarded contract.
        let key = unsafe { args::key(key.data.cast(), key.len) }?.to_owned();
        // SAFETY: forwarded contract.
        let bytes = unsafe { args::bytes(value.data, value.len, "a value") }?;
        Ok((key, Value::from(bytes)))
    };
    Ok(keys.iter().zip(values).map(pair).collect())
}

/// The caller's results, all zero from the first moment.
struct Results {
    out: *mut kamacache_result,
}

impl Results {
    /// # Safety
    /// `out` is NULL or points to `n` writable results.
    unsafe fn new(out: *mut kamacache_result, n: usize) -> Result<Self> {
        // SAFETY: forwarded contract; nothing is read.
        unsafe { array(out.cast_const(), n, "out") }?;
        if n > 0 {
            // SAFETY: not NULL, and writable by this function's contract.
            unsafe { out.write_bytes(0, n) };
        }
        Ok(Self { out })
    }

    /// The call failed: so did each key.
    ///
    /// # Safety
    /// As [`Results::new`].
    unsafe fn fail(out: *mut kamacache_result, n: usize, status: kamacache_status) {
        // SAFETY: forwarded contract.
        if unsafe { array(out.cast_const(), n, "out") }.is_err() {
            return;
        }
        for i in 0..n {
            // SAFETY: i < n results, zeroed by `new`.
            unsafe { (&raw mut (*out.add(i)).status).write(status) };
        }
    }

    fn write(self, results: impl Iterator<Item = Result<Option<Value>>>) {
        for (i, result) in results.enumerate() {
            // SAFETY: there is one result for each of the n places.
            unsafe { self.out.add(i).write(result.into()) };
        }
    }
}

/// Gets n keys. What must be loaded here is loaded together: by one call of the batch
/// getter, or by the getter, one key on this thread and the others on the getter threads.
///
/// @param group the group; it stays the caller's
/// @param keys n keys, each as in kamacache_group_get; may be NULL when n is 0
/// @param n how many
/// @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
///   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all, which is what a time
///   that is over must be given as; KAMACACHE_FOREVER: no limit
/// @param out n results: keys[i] ends in out[i] with a status of its own; give them to
///   kamacache_results_clear; may be NULL when n is 0
/// @param err NULL, or where the error goes; it is the caller's to free, and NULL after
///   KAMACACHE_OK
/// @retval KAMACACHE_OK every key has its result, good or bad
/// @retval KAMACACHE_INVALID_ARGUMENT NULL; as after every error, each result then has the
///   call's status, no value and no error
/// @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
/// @retval KAMACACHE_WOULD_DEADLOCK called inside a callback that must not block
/// @retval KAMACACHE_FORKED this process inherited the node by fork
/// @retval KAMACACHE_PANICKED a fault of the library; please report it
/// @par Threads
/// Any thread, also inside a getter; blocks up to timeout_ms, and as long as a getter that
/// runs on this thread.
///
/// # Safety
/// Pointers are NULL or as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_group_get_many(
    group: *mut kamacache_group,
    keys: *const kamacache_slice,
    n: usize,
    timeout_ms: u64,
    out: *mut kamacache_result,
    err: *mut *mut kamacache_error,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        let status = guard::boundary(err, || {
            let out = Results::new(out, n)?;
            guard::may_block("kamacache_group_get_many")?;
            // The getter may free the handle.
            let group = args::handle(group, "group")?.usable()?.clone();
            let keys = array(keys, n, "keys")?
                .iter()
                .map(|key| args::key(key.data.cast(), key.len))
                .collect();
            let results = group.get_many(keys, args::timeout(timeout_ms));
            out.write(results.into_iter().map(|result| result.map(Some)));
            Ok(OK)
        });
        if status != OK {
            Results::fail(out, n, status);
        }
        status
    }
}

/// Sets n different keys at the same time.
///
/// @param group the group; it stays the caller's
/// @param keys n keys, each as in kamacache_group_set; may be NULL when n is 0
/// @param values n values, copied: values[i] is for keys[i]; may be NULL when n is 0
/// @param n how many
/// @param ttl_ms lifetime of the value, in milliseconds; 0: the group's ttl_ms;
///   KAMACACHE_FOREVER: it never expires; KAMACACHE_TTL_NO_STORE: it is not kept
/// @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
///   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all, which is what a time
///   that is over must be given as; KAMACACHE_FOREVER: no limit
/// @param out n results: the outcome for keys[i] is in out[i]; give them to
///   kamacache_results_clear; may be NULL when n is 0
/// @param err NULL, or where the error goes; it is the caller's to free, and NULL after
///   KAMACACHE_OK
/// @retval KAMACACHE_OK every key has its result, good or bad
/// @retval KAMACACHE_INVALID_ARGUMENT NULL; as after every error, each result then has the
///   call's status and no error
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
pub unsafe extern "C" fn kamacache_group_set_many(
    group: *mut kamacache_group,
    keys: *const kamacache_slice,
    values: *const kamacache_slice,
    n: usize,
    ttl_ms: u64,
    timeout_ms: u64,
    out: *mut kamacache_result,
    err: *mut *mut kamacache_error,
) -> kamacache_status {
    // SAFETY: forwarded contract.
    unsafe {
        let status = guard::boundary(err, || {
            let out = Results::new(out, n)?;
            guard::may_block("kamacache_group_set_many")?;
            let group = args::handle(group, "group")?.usable()?;
            let pairs = pairs_of(keys, values, n)?;
            let results =
                group.set_many(pairs, Ttl::from_wire_ms(ttl_ms), args::timeout(timeout_ms));
            out.write(results.into_iter().map(|result| result.map(|()| None)));
            Ok(OK)
        });
        if status != OK {
            Results::fail(out, n, status);
        }
        status
    }
}

/// Releases the values and frees the errors of n results, and sets them to zero.
///
/// @param results the results; their values and errors are given up by the caller; NULL is
///   fine
/// @param n how many
/// @par Threads
/// Any thread; never blocks.
///
/// # Safety
/// `results` is NULL or points to `n` results that are zero or came from this library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kamacache_results_clear(results: *mut kamacache_result, n: usize) {
    guard::plain((), || {
        if results.is_null() {
            return;
        }
        // SAFETY: not NULL, and writable by this function's contract.
        let results = unsafe { slice::from_raw_parts_mut(results, n) };
        for result in results {
            // SAFETY: each is NULL or owned by the caller, who gives it up.
            unsafe {
                crate::value::kamacache_value_release(result.value);
                crate::error::kamacache_error_free(result.error);
            }
            *result = kamacache_result {
                status: OK,
                reserved: 0,
                value: ptr::null_mut(),
                error: ptr::null_mut(),
            };
        }
    });
}
