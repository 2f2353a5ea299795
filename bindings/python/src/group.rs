//! Group: converts in, calls the core, converts out. The first step of every
//! Get stays attached to the interpreter and never blocks; what it cannot
//! answer becomes a [`Ticket`].
//!
//! Before its node starts, a group holds only its options.

use std::sync::{Arc, OnceLock};

use kamacache_core::{Begin, Error, ErrorKind, GroupOptions, Result, blocking};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use tokio::runtime::Handle;

use crate::completions::Completions;
use crate::error::OrRaise;
use crate::fork::OfProcess;
use crate::getter::PyGetter;
use crate::ticket::Ticket;
use crate::wait::{self, Job};
use crate::{options, scope, stats, value};

/// A group of a node that has started.
pub(crate) struct Open {
    pub(crate) group: blocking::Group,
    pub(crate) runtime: Handle,
}

/// The native half of `kamacache.Group`.
#[pyclass(frozen, module = "kamacache._native")]
pub(crate) struct Group(pub(crate) Arc<Definition>);

/// A group as its node keeps it.
pub(crate) struct Definition {
    pub(crate) name: String,
    pub(crate) options: GroupOptions,
    pub(crate) getter: Option<Arc<PyGetter>>,
    open: OnceLock<OfProcess<Open>>,
}

impl Definition {
    pub(crate) fn new(name: String, options: GroupOptions, getter: Option<Arc<PyGetter>>) -> Self {
        Self {
            name,
            options,
            getter,
            open: OnceLock::new(),
        }
    }

    /// Makes the group usable; the node calls it once.
    pub(crate) fn opened(&self, open: Open) {
        // A second group could only come from a second start, which the node refuses.
        let _ = self.open.set(OfProcess::new(open));
    }

    fn open(&self) -> Result<&Open> {
        match self.open.get() {
            Some(open) => open.get(),
            None => Err(not_started(&format!("group {:?}", self.name))),
        }
    }
}

/// What a call on a node that was not started gets.
pub(crate) fn not_started(what: &str) -> Error {
    Error::new(
        ErrorKind::Closed,
        format!("{what} is not open: its node is not started; use `with node:` or node.start()"),
    )
}

impl Group {
    fn open(&self, py: Python<'_>) -> PyResult<&Open> {
        self.0.open().or_raise(py)
    }

    fn set_job(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        more: SetMore<'_, '_>,
    ) -> PyResult<Job<()>> {
        let group = self.open(py)?.group.inner().clone();
        let key = value::key(key)?.to_owned();
        let value = value::value(value)?;
        let ttl = options::ttl(more.ttl)?;
        let timeout = options::duration("timeout", more.timeout)?;
        Ok(Box::pin(async move {
            group.set_with(&key, value, ttl, timeout).await
        }))
    }

    fn delete_job(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Job<()>> {
        let group = self.open(py)?.group.inner().clone();
        let key = value::key(key)?.to_owned();
        let timeout = options::duration("timeout", timeout)?;
        Ok(Box::pin(
            async move { group.delete_with(&key, timeout).await },
        ))
    }

    fn run(&self, py: Python<'_>, job: Job<()>) -> PyResult<()> {
        wait::block_on(py, &self.open(py)?.runtime, job)?.or_raise(py)
    }

    fn start(
        &self,
        py: Python<'_>,
        job: Job<()>,
        completions: &Completions,
    ) -> PyResult<Option<u64>> {
        start(py, &self.open(py)?.runtime, job, completions)
    }
}

struct SetMore<'a, 'py> {
    ttl: Option<&'a Bound<'py, PyAny>>,
    timeout: Option<&'a Bound<'py, PyAny>>,
}

/// Runs a job in an event loop: None when it is done already, else the number
/// under which the loop will hear of it.
pub(crate) fn start(
    py: Python<'_>,
    runtime: &Handle,
    job: Job<()>,
    completions: &Completions,
) -> PyResult<Option<u64>> {
    match completions.run(
        py,
        runtime,
        Box::pin(async move { job.await.map(|()| None) }),
    )? {
        Err(id) => Ok(Some(id)),
        Ok(answer) => answer.or_raise(py).map(|_| None),
    }
}

#[pymethods]
impl Group {
    /// The first step of a Get: bytes on a hit, else a Ticket.
    #[pyo3(signature = (key, timeout=None, /))]
    fn begin<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let open = self.open(py)?;
        let text = value::key(key)?;
        let timeout = options::duration("timeout", timeout)?;
        let scope = scope::current(py)?;
        let (token, pending) = match open
            .group
            .inner()
            .begin_in(scope.as_ref(), text, timeout)
            .or_raise(py)?
        {
            Begin::Hit(value) => return Ok(PyBytes::new(py, &value).into_any()),
            Begin::Lead(token, pending) => (Some(token), pending),
            Begin::Wait(pending) => (None, pending),
        };
        let getter = self.0.getter.as_ref().map_or(0, |getter| getter.id);
        Ok(Bound::new(py, Ticket::new(open.group.clone(), getter, token, pending))?.into_any())
    }

    /// The bytes if they are in this node's memory; never waits, loads or fails
    /// for a key that cannot exist.
    #[pyo3(signature = (key, /))]
    fn peek<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let open = self.open(py)?;
        let text = match value::key(key) {
            Ok(text) => text,
            Err(wrong_type) if !key.is_instance_of::<pyo3::types::PyString>() => {
                return Err(wrong_type);
            }
            Err(_) => return Ok(None),
        };
        Ok(open
            .group
            .inner()
            .peek(text)
            .map(|value| PyBytes::new(py, &value)))
    }

    /// Stores a value at the owner; waits.
    #[pyo3(signature = (key, value, ttl, timeout, /))]
    fn set(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let job = self.set_job(py, key, value, SetMore { ttl, timeout })?;
        self.run(py, job)
    }

    /// The same for an event loop: None when done, else the number to wait for.
    #[pyo3(signature = (key, value, ttl, timeout, completions, /))]
    fn start_set(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
        completions: &Completions,
    ) -> PyResult<Option<u64>> {
        let job = self.set_job(py, key, value, SetMore { ttl, timeout })?;
        self.start(py, job, completions)
    }

    /// Drops a key at the owner; waits.
    #[pyo3(signature = (key, timeout, /))]
    fn delete(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let job = self.delete_job(py, key, timeout)?;
        self.run(py, job)
    }

    /// The same for an event loop.
    #[pyo3(signature = (key, timeout, completions, /))]
    fn start_delete(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
        completions: &Completions,
    ) -> PyResult<Option<u64>> {
        let job = self.delete_job(py, key, timeout)?;
        self.start(py, job, completions)
    }

    /// The counters, in the order of `kamacache.Stats`.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        stats::fields(py, &self.open(py)?.group.inner().stats())
    }
}
