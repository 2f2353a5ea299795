//! From JavaScript: what a value is, and what it holds. Nothing here keeps a value.

use std::marker::PhantomData;
use std::ptr;

use kamacache_core::{Error, Result};
use napi::sys;

use super::{Env, Kind, Value, check};

impl<'a> Env<'a> {
    pub(crate) fn kind(&self, value: Value<'_>) -> Kind {
        let mut kind = -1;
        // SAFETY: `value` belongs to the current call, `kind` outlives the call.
        unsafe { sys::napi_typeof(self.0, value.0, &mut kind) };
        match kind {
            sys::ValueType::napi_undefined => Kind::Undefined,
            sys::ValueType::napi_null => Kind::Null,
            sys::ValueType::napi_boolean => Kind::Boolean,
            sys::ValueType::napi_number => Kind::Number,
            sys::ValueType::napi_string => Kind::String,
            sys::ValueType::napi_object => Kind::Object,
            sys::ValueType::napi_function => Kind::Function,
            _ => Kind::Other,
        }
    }

    /// The error for a value of the wrong type.
    pub(crate) fn wrong(&self, value: Value<'_>, what: &str, rule: &str) -> Error {
        Error::invalid_argument(format!(
            "{what} must be {rule}, got {}",
            self.kind(value).name()
        ))
    }

    pub(crate) fn number(&self, value: Value<'_>) -> Option<f64> {
        let mut number = 0.0;
        // SAFETY: `value` belongs to the current call; N-API refuses what is not a number.
        let status = unsafe { sys::napi_get_value_double(self.0, value.0, &mut number) };
        (status == sys::Status::napi_ok).then_some(number)
    }

    pub(crate) fn boolean(&self, value: Value<'_>) -> Option<bool> {
        let mut flag = false;
        // SAFETY: `value` belongs to the current call; N-API refuses what is not a boolean.
        let status = unsafe { sys::napi_get_value_bool(self.0, value.0, &mut flag) };
        (status == sys::Status::napi_ok).then_some(flag)
    }

    /// Copies a string as UTF-8 into `buffer`, whole characters only. `None`: not a string.
    pub(super) fn copy_text(&self, value: Value<'_>, buffer: &mut [u8]) -> Option<usize> {
        let mut len = 0;
        // SAFETY: N-API writes at most `buffer.len()` bytes, its closing NUL included.
        let status = unsafe {
            sys::napi_get_value_string_utf8(
                self.0,
                value.0,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &mut len,
            )
        };
        (status == sys::Status::napi_ok).then_some(len)
    }

    /// A whole string. Refuses lone surrogates, which UTF-8 cannot carry: `what` names the value.
    pub(crate) fn text(&self, value: Value<'_>, what: &str) -> Result<String> {
        let mut len = 0;
        // SAFETY: a null buffer asks for the length in UTF-16 units.
        let status = unsafe {
            sys::napi_get_value_string_utf16(self.0, value.0, ptr::null_mut(), 0, &mut len)
        };
        if status != sys::Status::napi_ok {
            return Err(self.wrong(value, what, "a string"));
        }
        let mut units = vec![0u16; len + 1];
        // SAFETY: the buffer has room for `len` units and the closing NUL.
        let status = unsafe {
            sys::napi_get_value_string_utf16(
                self.0,
                value.0,
                units.as_mut_ptr(),
                units.len(),
                &mut len,
            )
        };
        check(status, "read a string")?;
        String::from_utf16(&units[..len]).map_err(|_| {
            Error::invalid_argument(format!(
                "{what} holds a lone surrogate, which UTF-8 cannot carry: pass a well-formed string (String.prototype.toWellFormed)"
            ))
        })
    }

    /// The bytes of a `Uint8Array` or `Buffer`, copied. `None`: something else.
    pub(crate) fn bytes(&self, value: Value<'_>) -> Option<Vec<u8>> {
        let (data, len) = self.view(value)?;
        if len == 0 {
            return Some(Vec::new());
        }
        // SAFETY: the view is alive for the current call and nothing runs JavaScript meanwhile.
        Some(unsafe { std::slice::from_raw_parts(data, len) }.to_vec())
    }

    fn view(&self, value: Value<'_>) -> Option<(*mut u8, usize)> {
        let (mut is_view, mut kind, mut len, mut data) = (false, -1, 0, ptr::null_mut());
        // SAFETY: `value` belongs to the current call and the out pointers outlive the calls.
        unsafe {
            sys::napi_is_typedarray(self.0, value.0, &mut is_view);
            if !is_view {
                return None;
            }
            sys::napi_get_typedarray_info(
                self.0,
                value.0,
                &mut kind,
                &mut len,
                &mut data,
                ptr::null_mut(),
                ptr::null_mut(),
            );
        }
        (kind == sys::TypedarrayType::uint8_array).then_some((data.cast(), len))
    }

    /// The names and values of an object's own properties.
    pub(crate) fn entries(&self, object: Value<'a>) -> Result<Vec<(String, Value<'a>)>> {
        let mut names = ptr::null_mut();
        // SAFETY: `object` belongs to the current call.
        let status = unsafe { sys::napi_get_property_names(self.0, object.0, &mut names) };
        check(status, "list properties")?;
        let mut entries = Vec::new();
        for name in self.items(Value(names, PhantomData))? {
            let mut value = ptr::null_mut();
            // SAFETY: both values belong to the current call.
            let status = unsafe { sys::napi_get_property(self.0, object.0, name.0, &mut value) };
            check(status, "read a property")?;
            entries.push((
                self.text(name, "an option name")?,
                Value(value, PhantomData),
            ));
        }
        Ok(entries)
    }

    pub(crate) fn is_array(&self, value: Value<'_>) -> bool {
        let mut is_array = false;
        // SAFETY: `value` belongs to the current call.
        unsafe { sys::napi_is_array(self.0, value.0, &mut is_array) };
        is_array
    }

    /// The elements of an array.
    pub(crate) fn items(&self, array: Value<'a>) -> Result<Vec<Value<'a>>> {
        let mut len = 0;
        // SAFETY: N-API refuses what is not an array.
        let status = unsafe { sys::napi_get_array_length(self.0, array.0, &mut len) };
        check(status, "measure an array")?;
        (0..len)
            .map(|index| {
                let mut item = ptr::null_mut();
                // SAFETY: `array` belongs to the current call.
                let status = unsafe { sys::napi_get_element(self.0, array.0, index, &mut item) };
                check(status, "read an element")?;
                Ok(Value(item, PhantomData))
            })
            .collect()
    }
}
