//! The `struct_size` rules, which let either side be newer than the other.
//!
//! Invariant: nothing past the smaller of the two sizes is read or written; a
//! larger struct is accepted only when what this library does not know is zero. No
//! field is used of which the caller gave a part: every version's size is a multiple
//! of its alignment, and another size is refused.

use std::alloc::Layout;
use std::mem::{MaybeUninit, size_of};
use std::ptr;

use kamacache_core::{Error, Result};

use crate::args;
use crate::guard;

/// A struct whose first field is its own size.
///
/// # Safety
/// `#[repr(C)]`, starts with `struct_size: u32`, and all zeroes is a valid value.
pub(crate) unsafe trait SelfSized: Copy {
    const NAME: &'static str;
}

/// No version of any struct is near this size: a larger one is not initialised.
const ABSURD: usize = 4096;

/// The size of `struct_size` itself.
const HEAD: usize = 4;

/// The smallest struct there is: `struct_size` and the 32 bits after it.
const SMALLEST: usize = 8;

/// What could be read of the caller's struct, zeroes elsewhere, and whether it may be used.
///
/// # Safety
/// `given` is NULL or points to a struct of `struct_size` readable bytes.
pub(crate) unsafe fn read<T: SelfSized>(given: *const T) -> (T, Result<()>) {
    let mut known = MaybeUninit::<T>::zeroed();
    let verdict = if given.is_null() {
        Err(args::null("options"))
    } else {
        // SAFETY: `given` is readable for struct_size bytes; `known` is as large as T.
        unsafe {
            copy(
                given.cast(),
                known.as_mut_ptr().cast(),
                Layout::new::<T>(),
                T::NAME,
            )
        }
    };
    // SAFETY: all zeroes is valid, and so is any prefix that C has written.
    (unsafe { known.assume_init() }, verdict)
}

/// # Safety
/// `from` has `struct_size` readable bytes, `to` is a struct of this layout.
unsafe fn copy(from: *const u8, to: *mut u8, layout: Layout, name: &str) -> Result<()> {
    let known = layout.size();
    // SAFETY: the first field is struct_size.
    let size = unsafe { from.cast::<u32>().read() } as usize;
    if !(SMALLEST..=ABSURD).contains(&size) {
        return Err(Error::invalid_argument(format!(
            "struct_size of {name} is {size}: set it up with {name}_init"
        )));
    }
    // Whole fields: what there is of user data is freed also when the struct is refused.
    let whole = size - size % layout.align();
    // SAFETY: the smaller of what the caller has and what T has.
    unsafe { ptr::copy_nonoverlapping(from, to, whole.min(known)) };
    if whole != size {
        return Err(Error::invalid_argument(format!(
            "struct_size of {name} is {size}, which is no multiple of {}: set it up with {name}_init",
            layout.align()
        )));
    }
    // SAFETY: `known..size` is within the caller's struct.
    let unknown = (known..size).any(|i| unsafe { from.add(i).read() } != 0);
    if unknown {
        return Err(Error::invalid_argument(format!(
            "{name} has {size} bytes and sets a field that version {} does not know ({known} bytes): \
             leave it 0 or use a newer library",
            env!("CARGO_PKG_VERSION")
        )));
    }
    Ok(())
}

/// Zeroes the caller's struct of `size` bytes and notes its size.
///
/// # Safety
/// `options` is NULL or points to `size` writable bytes.
pub(crate) unsafe fn init<T: SelfSized>(options: *mut T, size: usize) {
    guard::leaf((), || {
        let Ok(noted) = u32::try_from(size) else {
            return;
        };
        if options.is_null() || size < SMALLEST {
            return;
        }
        // SAFETY: within the `size` writable bytes.
        unsafe {
            options.cast::<u8>().write_bytes(0, size);
            options.cast::<u32>().write(noted);
        }
    });
}

/// Writes as much of `known` as the caller's struct has room for, zeroes what the
/// caller's struct has beyond, and notes in struct_size how much was written.
///
/// # Safety
/// `to` is NULL or points to a struct of `struct_size` writable bytes.
pub(crate) unsafe fn write<T: SelfSized>(to: *mut T, known: T) -> Result<()> {
    let name = T::NAME;
    if to.is_null() {
        return Err(args::null(name));
    }
    // SAFETY: not NULL; struct_size comes first.
    let size = unsafe { to.cast::<u32>().read() } as usize;
    if !(SMALLEST..=ABSURD).contains(&size) {
        return Err(Error::invalid_argument(format!(
            "struct_size of {name} is {size}: set it to sizeof({name})"
        )));
    }
    let written = size.min(size_of::<T>());
    // SAFETY: `written` bytes are within both structs, `size` bytes within the caller's.
    unsafe {
        let from = (&raw const known).cast::<u8>().add(HEAD);
        let to = to.cast::<u8>();
        ptr::copy_nonoverlapping(from, to.add(HEAD), written - HEAD);
        to.add(written).write_bytes(0, size - written);
        to.cast::<u32>().write(written as u32);
    }
    Ok(())
}
