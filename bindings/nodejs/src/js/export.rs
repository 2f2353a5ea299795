//! What JavaScript holds on to: exported functions, and the arrays that it shares with the addon.
//!
//! Invariant: a panic in an exported function becomes an exception of JavaScript.

use std::cell::RefCell;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;

use kamacache_core::{Error, ErrorKind};
use napi::sys;

use super::{Call, Env, Export, MAX_ARGS, Value, check};
use crate::bridge::Bridge;

/// A typed array that JavaScript made once and native code writes into.
pub(crate) struct Area<T> {
    data: *mut T,
    len: usize,
}

impl Area<u8> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Lets `fill` write into it.
    pub(crate) fn with<R>(&self, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        // SAFETY: as for `write`; the area was given by JavaScript initialized, and `fill` cannot
        // come back here: it has no way to it, and no JavaScript runs meanwhile.
        fill(unsafe { std::slice::from_raw_parts_mut(self.data, self.len) })
    }

    /// Copies `bytes` to `offset`. The caller has checked that they fit.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(
            offset + bytes.len() <= self.len,
            "a value that does not fit its area"
        );
        // SAFETY: in bounds as just checked; a reference keeps the memory alive as long as the
        // environment, and only this thread, which runs no JavaScript now, touches it.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.data.add(offset), bytes.len()) };
    }
}

impl Area<f64> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn write(&self, index: usize, number: f64) {
        assert!(index < self.len, "a number that does not fit its area");
        // SAFETY: as for bytes.
        unsafe { self.data.add(index).write(number) };
    }
}

/// Takes hold of a typed array for the life of the environment.
fn area<T>(
    env: sys::napi_env,
    value: sys::napi_value,
    wanted: sys::napi_typedarray_type,
) -> napi::Result<Area<T>> {
    let (mut kind, mut len, mut data, mut reference) = (-1, 0, ptr::null_mut(), ptr::null_mut());
    // SAFETY: `value` belongs to the current call; the reference is never deleted, so the memory
    // lives until the environment goes.
    let status = unsafe {
        let status = sys::napi_get_typedarray_info(
            env,
            value,
            &mut kind,
            &mut len,
            &mut data,
            ptr::null_mut(),
            ptr::null_mut(),
        );
        if status == sys::Status::napi_ok {
            sys::napi_create_reference(env, value, 1, &mut reference)
        } else {
            status
        }
    };
    if status != sys::Status::napi_ok || kind != wanted {
        return Err(napi::Error::from_reason("open() wants typed arrays"));
    }
    Ok(Area {
        data: data.cast(),
        len,
    })
}

/// An exported function and the bridge it belongs to: the `data` of its N-API function.
struct Bound {
    bridge: Rc<Bridge>,
    function: Export,
}

/// The typed arrays that JavaScript shares with the addon, see [`Bridge`].
pub(crate) struct Areas {
    pub(crate) hits: Area<u8>,
    pub(crate) batch: Area<u8>,
    pub(crate) meta: Area<f64>,
}

impl Areas {
    /// Takes hold of the arrays that JavaScript gave to `open`.
    pub(crate) fn take(
        hits: napi::Unknown<'_>,
        batch: napi::Unknown<'_>,
        meta: napi::Unknown<'_>,
    ) -> napi::Result<Self> {
        use napi::JsValue;
        let env = hits.value().env;
        Ok(Self {
            hits: area(env, hits.raw(), sys::TypedarrayType::uint8_array)?,
            batch: area(env, batch.raw(), sys::TypedarrayType::uint8_array)?,
            meta: area(env, meta.raw(), sys::TypedarrayType::float64_array)?,
        })
    }
}

/// Makes one object with every function of `table` bound to `bridge`. The functions must not be
/// called after the environment's cleanup hooks have run, which is when `Bound`s are freed:
/// JavaScript cannot run then.
pub(crate) fn bind<'a>(
    env: &'a napi::Env,
    bridge: &Rc<Bridge>,
    table: &[(&str, Export)],
) -> napi::Result<napi::bindgen_prelude::Object<'a>> {
    use napi::bindgen_prelude::FromNapiValue;
    let here = Env(env.raw(), PhantomData);
    let mut fields = Vec::with_capacity(table.len());
    let mut bounds = Vec::with_capacity(table.len());
    for (name, function) in table {
        let bound = Box::into_raw(Box::new(Bound {
            bridge: Rc::clone(bridge),
            function: *function,
        }));
        let mut value = ptr::null_mut();
        // SAFETY: `bound` lives until the environment's cleanup.
        let status = unsafe {
            sys::napi_create_function(
                env.raw(),
                name.as_ptr().cast(),
                name.len() as isize,
                Some(call_export),
                bound.cast(),
                &mut value,
            )
        };
        check(status, "make a function").map_err(napi_error)?;
        fields.push((*name, Value(value, PhantomData)));
        bounds.push(bound);
    }
    env.add_env_cleanup_hook(RefCell::new(bounds), |bounds| {
        for bound in bounds.into_inner() {
            // SAFETY: made by Box::into_raw above, and no call can come any more.
            drop(unsafe { Box::from_raw(bound) });
        }
    })?;
    let object = here.make_object(&fields).map_err(napi_error)?;
    // SAFETY: `object` was made in the current call.
    unsafe { FromNapiValue::from_napi_value(env.raw(), object.0) }
}

fn napi_error(error: Error) -> napi::Error {
    napi::Error::from_reason(error.message())
}

/// Where every exported function is entered from JavaScript.
unsafe extern "C" fn call_export(
    env: sys::napi_env,
    info: sys::napi_callback_info,
) -> sys::napi_value {
    let mut args = [ptr::null_mut(); MAX_ARGS];
    let (mut argc, mut data) = (MAX_ARGS, ptr::null_mut::<c_void>());
    // SAFETY: N-API fills at most MAX_ARGS arguments, the missing ones with undefined.
    unsafe {
        sys::napi_get_cb_info(
            env,
            info,
            &mut argc,
            args.as_mut_ptr(),
            ptr::null_mut(),
            &mut data,
        )
    };
    // SAFETY: `data` is the `Bound` given to napi_create_function, alive while JavaScript runs.
    let bound = unsafe { &*data.cast::<Bound>() };
    let call = Call {
        env: Env(env, PhantomData),
        bridge: &bound.bridge,
        args,
    };
    match catch_unwind(AssertUnwindSafe(|| (bound.function)(&call))) {
        Ok(Ok(value)) => return value.0,
        Ok(Err(error)) => call.env.throw(&error),
        Err(panic) => call.env.throw(&panicked(&*panic)),
    }
    ptr::null_mut()
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Error::new(ErrorKind::Panicked, format!("a panic in kamacache: {text}"))
}
