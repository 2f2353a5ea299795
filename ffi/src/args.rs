//! C arguments to Rust and texts back into C buffers.
//!
//! Invariant: NULL, bad UTF-8 and impossible lengths are `InvalidArgument` that
//! names the argument. A length over its limit is refused before the bytes are read;
//! all other limits of keys, names and values are the core's to check.

use std::ffi::{CStr, c_char, c_void};
use std::slice;
use std::time::Duration;

use kamacache_core::{Error, ErrorKind, MAX_GROUP_NAME, MAX_KEY_BYTES, Result};

use crate::options::{KAMACACHE_DEFAULT_TIMEOUT, KAMACACHE_NO_WAIT};

/// A handle the caller holds.
///
/// # Safety
/// `handle` is NULL or one this library gave out and that is not freed yet.
#[inline]
pub(crate) unsafe fn handle<'a, T>(handle: *const T, name: &str) -> Result<&'a T> {
    // SAFETY: NULL becomes None; else alive by this function's contract.
    unsafe { handle.as_ref() }.ok_or_else(|| null(name))
}

/// `len` bytes at `data`; NULL is fine for none.
///
/// # Safety
/// `data` is NULL or points to `len` readable bytes that stay so for `'a`.
#[inline]
pub(crate) unsafe fn bytes<'a>(data: *const c_void, len: usize, name: &str) -> Result<&'a [u8]> {
    if isize::try_from(len).is_err() {
        return Err(Error::invalid_argument(format!(
            "the length of {name} is {len}: no memory is that large"
        )));
    }
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(null(name));
    }
    // SAFETY: not NULL, and readable by this function's contract.
    Ok(unsafe { slice::from_raw_parts(data.cast(), len) })
}

/// A key: UTF-8 of `len` bytes, none of which is read when they are too many.
///
/// # Safety
/// As [`bytes`].
#[inline]
pub(crate) unsafe fn key<'a>(key: *const c_char, len: usize) -> Result<&'a str> {
    if key.is_null() {
        return Err(null("key"));
    }
    if len > MAX_KEY_BYTES {
        return Err(too_long_key(len));
    }
    // SAFETY: forwarded contract.
    let bytes = unsafe { bytes(key.cast(), len, "key") }?;
    utf8(bytes, "key")
}

#[cold]
fn too_long_key(len: usize) -> Error {
    Error::invalid_argument(format!(
        "the length of key is {len}; a key has 1 to {MAX_KEY_BYTES} bytes"
    ))
}

/// A group's name, which must be there; no more of it is read than a name may have.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn group_name<'a>(name: *const c_char) -> Result<&'a str> {
    if name.is_null() {
        return Err(null("name"));
    }
    // SAFETY: not NULL, and readable up to its NUL by this function's contract.
    let len = unsafe { libc::strnlen(name, MAX_GROUP_NAME + 1) };
    if len > MAX_GROUP_NAME {
        return Err(Error::invalid_argument(format!(
            "name has more than {MAX_GROUP_NAME} bytes; a group's name has 1 to {MAX_GROUP_NAME}"
        )));
    }
    // SAFETY: strnlen has read these bytes.
    utf8(unsafe { slice::from_raw_parts(name.cast(), len) }, "name")
}

/// A NUL-terminated text; NULL is None.
///
/// # Safety
/// `text` is NULL or points to a NUL-terminated string that stays so for `'a`.
pub(crate) unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, and NUL-terminated by this function's contract.
    utf8(unsafe { CStr::from_ptr(text) }.to_bytes(), name).map(Some)
}

/// A NUL-terminated text for people; what is not UTF-8 is replaced, NULL is None.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn lossy(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not NULL, and NUL-terminated by this function's contract.
    Some(
        unsafe { CStr::from_ptr(text) }
            .to_string_lossy()
            .into_owned(),
    )
}

/// A NUL-terminated text that must be there.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn required<'a>(ptr: *const c_char, name: &str) -> Result<&'a str> {
    // SAFETY: forwarded contract.
    unsafe { text(ptr, name) }?.ok_or_else(|| null(name))
}

/// An array of `n` NUL-terminated texts.
///
/// # Safety
/// `array` is NULL or points to `n` pointers, each as in [`text`].
pub(crate) unsafe fn texts(
    array: *const *const c_char,
    n: usize,
    name: &str,
) -> Result<Vec<String>> {
    if n == 0 {
        return Ok(Vec::new());
    }
    if array.is_null() {
        return Err(null(name));
    }
    (0..n)
        .map(|i| {
            let name = format!("{name}[{i}]");
            // SAFETY: i < n, which are readable by this function's contract.
            unsafe { required(array.add(i).read(), &name) }.map(str::to_owned)
        })
        .collect()
}

#[inline]
fn utf8<'a>(bytes: &'a [u8], name: &str) -> Result<&'a str> {
    // Most keys; looking for that alone takes half as long as `from_utf8`.
    if bytes.is_ascii() {
        // SAFETY: ASCII is UTF-8.
        return Ok(unsafe { std::str::from_utf8_unchecked(bytes) });
    }
    std::str::from_utf8(bytes).map_err(|e| {
        Error::invalid_argument(format!(
            "{name} is not UTF-8: the byte at offset {} breaks it; encode it as UTF-8",
            e.valid_up_to()
        ))
    })
}

/// The error for a NULL argument.
pub(crate) fn null(name: &str) -> Error {
    Error::invalid_argument(format!("{name} is NULL"))
}

/// A timeout in milliseconds: `KAMACACHE_DEFAULT_TIMEOUT` (None), `KAMACACHE_NO_WAIT`
/// (zero) or `KAMACACHE_FOREVER`.
pub(crate) fn timeout(ms: u64) -> Option<Duration> {
    match ms {
        KAMACACHE_DEFAULT_TIMEOUT => None,
        KAMACACHE_NO_WAIT => Some(Duration::ZERO),
        ms => Some(duration(ms)),
    }
}

/// An option in milliseconds; 0 is the default (None).
pub(crate) fn option(ms: u64) -> Option<Duration> {
    (ms != 0).then(|| duration(ms))
}

/// Milliseconds, `KAMACACHE_FOREVER` being the longest duration there is.
pub(crate) fn duration(ms: u64) -> Duration {
    if ms == u64::MAX {
        Duration::MAX
    } else {
        Duration::from_millis(ms)
    }
}

/// A caller's `buf`, `cap` and `len`, for an answer that is copied out.
pub(crate) struct Buffer<'a> {
    space: &'a mut [u8],
    len: &'a mut usize,
}

impl<'a> Buffer<'a> {
    /// Sets `*len` to 0 at once. `buf` may be NULL when `cap` is 0.
    ///
    /// # Safety
    /// `buf` is NULL or points to `cap` writable bytes, `len` NULL or writable, for `'a`.
    #[inline]
    pub(crate) unsafe fn new(buf: *mut c_void, cap: usize, len: *mut usize) -> Result<Self> {
        // SAFETY: NULL becomes None; else writable by this function's contract.
        let len = unsafe { len.as_mut() }.ok_or_else(|| null("len"))?;
        *len = 0;
        if cap == 0 {
            return Ok(Self {
                space: &mut [],
                len,
            });
        }
        if buf.is_null() {
            return Err(null("buf"));
        }
        let cap = cap.min(isize::MAX.unsigned_abs());
        // SAFETY: not NULL, and writable by this function's contract.
        let space = unsafe { slice::from_raw_parts_mut(buf.cast(), cap) };
        Ok(Self { space, len })
    }

    /// The caller's memory, for an answer that is written in place.
    #[inline]
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.space
    }

    /// Says how long the answer is; the caller's memory already holds it.
    #[inline]
    pub(crate) fn filled(self, len: usize) {
        *self.len = len;
    }

    /// Copies `text` and a final NUL; `*len` is the text's length without it.
    pub(crate) fn text(self, text: &str) -> Result<()> {
        *self.len = text.len();
        let Some(space) = self.space.get_mut(..=text.len()) else {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "buf has {} bytes and the answer needs {} with its NUL",
                    self.space.len(),
                    text.len() + 1
                ),
            ));
        };
        space[..text.len()].copy_from_slice(text.as_bytes());
        space[text.len()] = 0;
        Ok(())
    }
}
