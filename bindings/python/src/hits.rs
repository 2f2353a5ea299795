//! Hits: the base of `kamacache.Group`, whose `get` answers a hit in one native
//! call. Whatever is no plain hit goes to the Python method `_get`, which knows
//! every argument, error and getter.
//!
//! Invariant: the frames under `_get` are plain old ones. A getter may run in
//! it, and when the interpreter ends while a daemon thread is in there, CPython
//! ends that thread by unwinding its stack: nothing here may have a destructor
//! at that point, and the calls are declared as ones that may unwind. That is
//! why this file speaks the C API itself.

use std::cell::RefCell;
use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::group::{Definition, Group};

/// The base class of `kamacache.Group`.
#[pyclass(frozen, subclass, module = "kamacache._native")]
pub(crate) struct Hits {
    definition: Arc<Definition>,
    /// Values are bytes as they are: no codec.
    plain: bool,
}

#[pymethods]
impl Hits {
    #[new]
    #[pyo3(signature = (group, plain, /))]
    fn new(group: &Group, plain: bool) -> Self {
        Self {
            definition: group.0.clone(),
            plain,
        }
    }
}

unsafe extern "C-unwind" {
    /// `PyObject_Call`, declared as what it is: a call that may end the thread.
    #[link_name = "PyObject_Call"]
    fn call(
        callable: *mut ffi::PyObject,
        args: *mut ffi::PyObject,
        kwargs: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
}

thread_local! {
    /// Values up to this length are copied under the store's lock, through this
    /// room; that costs less than a reference to the entry.
    static ROOM: RefCell<[u8; 4096]> = const { RefCell::new([0; 4096]) };
}

type Get = unsafe extern "C-unwind" fn(
    *mut ffi::PyObject,
    *const *mut ffi::PyObject,
    ffi::Py_ssize_t,
    *mut ffi::PyObject,
) -> *mut ffi::PyObject;

const DOC: &CStr = c"get($self, key, default=..., *, timeout=None)
--

The value of a key: from this node's memory, from its owner, or from the getter.
Blocks for at most `timeout` (the node's default_timeout); a getter that this
very call runs is not cut short.

default: returned instead of raising NotFound; it covers nothing else. Raises
NotFound, DeadlineExceeded, what the getter of this process raised, GetterError
from another node, InvalidArgument, ReentrantLoad, Closed; WouldDeadlock in a
running event loop if the getter is async.";

/// Gives the class its `get`.
pub(crate) fn add_get(class: &Bound<'_, PyType>) -> PyResult<()> {
    // SAFETY: the two differ in what may unwind, not in how they are called, and
    // the caller is C.
    let get = unsafe { std::mem::transmute::<Get, ffi::PyCFunctionFastWithKeywords>(get) };
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: c"get".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: get,
        },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: DOC.as_ptr(),
    }));
    // SAFETY: the class is a type object, and the definition lives for ever.
    let method = unsafe {
        let method = ffi::PyDescr_NewMethod(class.as_type_ptr(), definition);
        Bound::from_owned_ptr_or_err(class.py(), method)?
    };
    class.setattr("get", method)
}

/// `Hits.get(key, default=..., *, timeout=None)`.
unsafe extern "C-unwind" fn get(
    this: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    if names.is_null() && (count == 1 || count == 2) {
        // SAFETY: the interpreter gives `count` arguments, and `this` of our class.
        let found = unsafe { hit(this, *args) };
        if !found.is_null() {
            return found;
        }
    }
    // SAFETY: as above.
    unsafe { call_python(this, args, count, names) }
}

/// The bytes on a hit; null, and no exception, for everything else. Never
/// inlined: what catches panics here would stop the unwinding of `get`.
#[inline(never)]
unsafe fn hit(this: *mut ffi::PyObject, key: *mut ffi::PyObject) -> *mut ffi::PyObject {
    let found = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the method belongs to the class, so `this` is an instance of
        // it; the thread is attached, since the interpreter calls.
        let hits = unsafe {
            let py = Python::assume_attached();
            ptr::from_ref(Borrowed::from_ptr(py, this).cast_unchecked::<Hits>().get())
        };
        // SAFETY: the caller holds a reference to `this`.
        let hits = unsafe { &*hits };
        let group = hits.definition.open().ok().filter(|_| hits.plain)?;
        // SAFETY: the text lives as long as the key, which the caller holds.
        let key = unsafe { text(key)? };
        ROOM.with_borrow_mut(|room| {
            let len = group.group.inner().hit_into(key, room)?;
            let len = ffi::Py_ssize_t::try_from(len).ok()?;
            // SAFETY: `len` bytes are there to be copied.
            Some(unsafe { ffi::PyBytes_FromStringAndSize(room.as_ptr().cast(), len) })
        })
    }));
    match found {
        Ok(Some(bytes)) if !bytes.is_null() => bytes,
        _ => {
            // SAFETY: the thread is attached. What went wrong will be met again.
            unsafe { ffi::PyErr_Clear() };
            ptr::null_mut()
        }
    }
}

/// The UTF-8 of a str.
unsafe fn text<'a>(key: *mut ffi::PyObject) -> Option<&'a str> {
    let mut len = 0;
    // SAFETY: any object may be asked; what is no str gives null.
    let bytes = unsafe { ffi::PyUnicode_AsUTF8AndSize(key, &raw mut len) };
    if bytes.is_null() {
        return None;
    }
    let len = usize::try_from(len).ok()?;
    // SAFETY: CPython keeps valid UTF-8 of that length with the str.
    Some(unsafe { std::str::from_utf8_unchecked(std::slice::from_raw_parts(bytes.cast(), len)) })
}

/// `this._get(*args, **kwargs)`. A plain old frame: pointers only.
#[inline(never)]
unsafe extern "C-unwind" fn call_python(
    this: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the arguments are `count` positional ones, then one for each name;
    // every object made here is given back, unless the thread is ended.
    unsafe {
        let method = ffi::PyObject_GetAttrString(this, c"_get".as_ptr());
        let positional = arguments(args, count);
        let named = keywords(args, count, names);
        let failed =
            method.is_null() || positional.is_null() || (named.is_null() && !names.is_null());
        let answer = if failed {
            ptr::null_mut()
        } else {
            call(method, positional, named)
        };
        ffi::Py_XDECREF(method);
        ffi::Py_XDECREF(positional);
        ffi::Py_XDECREF(named);
        answer
    }
}

unsafe fn arguments(args: *const *mut ffi::PyObject, count: ffi::Py_ssize_t) -> *mut ffi::PyObject {
    // SAFETY: `args` has `count` objects; a tuple's items are given to it.
    unsafe {
        let tuple = ffi::PyTuple_New(count);
        if !tuple.is_null() {
            for index in 0..count {
                let item = *args.offset(index);
                ffi::Py_INCREF(item);
                ffi::PyTuple_SetItem(tuple, index, item);
            }
        }
        tuple
    }
}

unsafe fn keywords(
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    if names.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: `names` is a tuple, and its values follow the positional arguments.
    unsafe {
        let dict = ffi::PyDict_New();
        if !dict.is_null() {
            for index in 0..ffi::PyTuple_Size(names) {
                ffi::PyDict_SetItem(
                    dict,
                    ffi::PyTuple_GetItem(names, index),
                    *args.offset(count + index),
                );
            }
        }
        dict
    }
}
