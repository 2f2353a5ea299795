//! To JavaScript: new values, and the one thing that is changed in place, what keeps the process
//! alive.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::AtomicU32;

use kamacache_core::{Error, Result};
use napi::sys;

use super::{Answer, Env, Value, check};
use crate::error;

/// Drops what kept the memory of an ArrayBuffer alive.
unsafe extern "C" fn let_go<K>(_: sys::napi_env, _: *mut c_void, keeper: *mut c_void) {
    // SAFETY: made by Box::into_raw in `make_window`, and called once.
    drop(unsafe { Box::from_raw(keeper.cast::<K>()) });
}

impl<'a> Env<'a> {
    /// The value that one N-API call writes.
    fn made(&self, make: impl FnOnce(*mut sys::napi_value) -> sys::napi_status) -> Answer<'a> {
        let mut value = ptr::null_mut();
        check(make(&mut value), "make a value")?;
        Ok(Value(value, PhantomData))
    }

    pub(crate) fn undefined(&self) -> Answer<'a> {
        // SAFETY: a live environment.
        self.made(|out| unsafe { sys::napi_get_undefined(self.0, out) })
    }

    pub(crate) fn make_number(&self, number: f64) -> Answer<'a> {
        // SAFETY: a live environment.
        self.made(|out| unsafe { sys::napi_create_double(self.0, number, out) })
    }

    /// A small whole number, which JavaScript holds without an allocation.
    pub(crate) fn make_int(&self, number: i32) -> Answer<'a> {
        // SAFETY: a live environment.
        self.made(|out| unsafe { sys::napi_create_int32(self.0, number, out) })
    }

    pub(crate) fn make_boolean(&self, flag: bool) -> Answer<'a> {
        // SAFETY: a live environment.
        self.made(|out| unsafe { sys::napi_get_boolean(self.0, flag, out) })
    }

    pub(crate) fn make_text(&self, text: &str) -> Answer<'a> {
        let (data, len) = (text.as_ptr().cast(), text.len() as isize);
        // SAFETY: the text is alive for the call, which copies it.
        self.made(|out| unsafe { sys::napi_create_string_utf8(self.0, data, len, out) })
    }

    /// A `Buffer` with a copy of `bytes`.
    pub(crate) fn make_buffer(&self, bytes: &[u8]) -> Answer<'a> {
        let (data, len) = (bytes.as_ptr().cast(), bytes.len());
        // SAFETY: the bytes are alive for the call, which copies them.
        self.made(|out| unsafe {
            sys::napi_create_buffer_copy(self.0, len, data, ptr::null_mut(), out)
        })
    }

    /// An `ArrayBuffer` over numbers that belong to `keeper`, which is dropped with it. `None` where
    /// the runtime takes no memory but its own (Electron).
    pub(crate) fn make_window<K>(
        &self,
        keeper: K,
        numbers: impl FnOnce(&K) -> &[AtomicU32],
    ) -> Option<Value<'a>> {
        let keeper = Box::new(keeper);
        let numbers = numbers(&keeper);
        let (data, len) = (numbers.as_ptr(), size_of_val(numbers));
        let hint = Box::into_raw(keeper);
        // SAFETY: `data` lives as long as the keeper, which `let_go` drops once the ArrayBuffer is
        // gone. JavaScript only reads it, atomically.
        let made = self.made(|out| unsafe {
            sys::napi_create_external_arraybuffer(
                self.0,
                data.cast_mut().cast(),
                len,
                Some(let_go::<K>),
                hint.cast(),
                out,
            )
        });
        if made.is_err() {
            // SAFETY: made by Box::into_raw above; N-API has refused, so nobody else drops it.
            drop(unsafe { Box::from_raw(hint) });
        }
        made.ok()
    }

    pub(crate) fn make_array(&self, items: &[Value<'a>]) -> Answer<'a> {
        let len = items.len();
        // SAFETY: a live environment.
        let array =
            self.made(|out| unsafe { sys::napi_create_array_with_length(self.0, len, out) })?;
        for (index, item) in items.iter().enumerate() {
            self.put(array, index as u32, *item)?;
        }
        Ok(array)
    }

    pub(crate) fn make_texts(&self, texts: &[String]) -> Answer<'a> {
        let items: Result<Vec<_>> = texts.iter().map(|text| self.make_text(text)).collect();
        self.make_array(&items?)
    }

    /// `array[index] = item`
    pub(crate) fn put(&self, array: Value<'_>, index: u32, item: Value<'_>) -> Result<()> {
        // SAFETY: all values belong to the current call.
        let status = unsafe { sys::napi_set_element(self.0, array.0, index, item.0) };
        check(status, "fill an array")
    }

    pub(crate) fn make_object(&self, fields: &[(&str, Value<'a>)]) -> Answer<'a> {
        // SAFETY: a live environment.
        let object = self.made(|out| unsafe { sys::napi_create_object(self.0, out) })?;
        for (name, value) in fields {
            let name = self.make_text(name)?;
            // SAFETY: all values belong to the current call.
            let status = unsafe { sys::napi_set_property(self.0, object.0, name.0, value.0) };
            check(status, "fill an object")?;
        }
        Ok(object)
    }

    /// Lets the threadsafe function keep the event loop alive, or not.
    pub(crate) fn keep_alive(
        &self,
        wake: sys::napi_threadsafe_function,
        alive: bool,
    ) -> Result<()> {
        // SAFETY: JavaScript runs, so the environment has not closed its threadsafe function yet.
        let status = unsafe {
            if alive {
                sys::napi_ref_threadsafe_function(self.0, wake)
            } else {
                sys::napi_unref_threadsafe_function(self.0, wake)
            }
        };
        check(status, "change what keeps the process alive")
    }

    pub(super) fn throw(&self, error: &Error) {
        if let Ok(failure) = error::to_js(*self, error) {
            // SAFETY: `failure` belongs to the current call. A pending exception of JavaScript's
            // own makes this fail, and then that one is thrown, which is right.
            unsafe { sys::napi_throw(self.0, failure.0) };
        }
    }
}
