//! View: a cached value as a read-only buffer, without a copy. The value lives
//! as long as somebody looks at it, whatever becomes of its entry.

use std::ffi::c_int;

use kamacache_core::Value;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

/// The owner behind a memoryview.
#[pyclass(frozen, module = "kamacache._native")]
pub(crate) struct View(Value);

/// A memoryview of a value.
pub(crate) fn of(py: Python<'_>, value: Value) -> PyResult<Bound<'_, PyMemoryView>> {
    PyMemoryView::from(Bound::new(py, View(value))?.as_any())
}

#[pymethods]
impl View {
    /// # Safety
    /// Called by the interpreter, with a buffer to fill.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no buffer to fill"));
        }
        let value: &[u8] = &slf.get().0;
        let len = ffi::Py_ssize_t::try_from(value.len())
            .map_err(|_| PyBufferError::new_err("too long"))?;
        // SAFETY: the bytes are immutable and live in `slf`, to which the call
        // adds a reference for as long as the buffer is held; the 1 makes a
        // request for a writable buffer fail.
        let filled = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                value.as_ptr().cast_mut().cast(),
                len,
                1,
                flags,
            )
        };
        if filled == 0 {
            Ok(())
        } else {
            Err(PyErr::fetch(slf.py()))
        }
    }
}
