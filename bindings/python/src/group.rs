//! Group: converts in, calls the core, converts out. The first step of every
//! Get stays attached to the interpreter and never blocks; what it cannot
//! answer becomes a [`Ticket`].
//!
//! Before its node starts, a group holds only its options.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kamacache_core::{
    Begin, Error, ErrorKind, Getter, GroupOptions, LoadScope, Result, Value, blocking,
};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use tokio::runtime::Handle;

use crate::completions::Completions;
use crate::error::OrRaise;
use crate::fork::OfProcess;
use crate::getter::PyGetter;
use crate::ticket::Ticket;
use crate::wait::{self, Job};
use crate::{options, scope, stats, value, view};

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
    getter: Arc<PyGetter>,
    has_getter: AtomicBool,
    open: OnceLock<OfProcess<Open>>,
}

impl Definition {
    pub(crate) fn new(
        name: String,
        options: GroupOptions,
        getter: PyGetter,
        has_getter: bool,
    ) -> Self {
        Self {
            name,
            options,
            getter: Arc::new(getter),
            has_getter: AtomicBool::new(has_getter),
            open: OnceLock::new(),
        }
    }

    /// Opens the group; its node does it once.
    pub(crate) fn open_on(&self, node: &blocking::Node) -> Result<()> {
        let had_getter = self.has_getter.load(Ordering::SeqCst);
        let getter = had_getter.then(|| self.getter.clone() as Arc<dyn Getter>);
        let group = node.group(&self.name, self.options.clone(), getter)?;
        // A second group could only come from a second start, which the node refuses.
        let _ = self.open.set(OfProcess::new(Open {
            group,
            runtime: node.handle().clone(),
        }));
        if !had_getter && self.has_getter.load(Ordering::SeqCst) {
            self.set_getter()?;
        }
        Ok(())
    }

    /// The group has functions to load with, though it was made without.
    fn set_getter(&self) -> Result<()> {
        self.has_getter.store(true, Ordering::SeqCst);
        match self.open.get() {
            Some(open) => open.get()?.group.inner().set_getter(self.getter.clone()),
            None => Ok(()),
        }
    }

    pub(crate) fn open(&self) -> Result<&Open> {
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

    /// The first step of a Get: what `hit` makes of the value, else a Ticket.
    fn begin_one<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        timeout: Option<Duration>,
        scope: Option<&LoadScope>,
        hit: impl FnOnce(Value) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let group = &self.open(py)?.group;
        let begun = group.inner().begin_in(scope, value::key(key)?, timeout);
        let (token, pending) = match begun.or_raise(py)? {
            Begin::Hit(value) => return hit(value),
            Begin::Lead(token, pending) => (Some(token), pending),
            Begin::Wait(pending) => (None, pending),
        };
        let ticket = Ticket::new(group.clone(), self.0.getter.id, token, pending);
        Ok(Bound::new(py, ticket)?.into_any())
    }

    /// Runs a job to its end, or in an event loop: None when it is done, else
    /// the number under which the loop will hear of it.
    fn run(
        &self,
        py: Python<'_>,
        job: Job<()>,
        completions: Option<&Completions>,
    ) -> PyResult<Option<u64>> {
        let runtime = &self.open(py)?.runtime;
        match completions {
            Some(completions) => start(py, runtime, job, completions),
            None => wait::block_on(py, runtime, job)?
                .or_raise(py)
                .map(|()| None),
        }
    }
}

/// Runs a job in an event loop, as [`Group::run`].
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
        let timeout = options::duration("timeout", timeout)?;
        let scope = scope::current(py)?;
        self.begin_one(py, key, timeout, scope.as_ref(), |value| {
            Ok(PyBytes::new(py, &value).into_any())
        })
    }

    /// The same without a copy: a read-only memoryview on a hit.
    #[pyo3(signature = (key, timeout=None, /))]
    fn begin_view<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let timeout = options::duration("timeout", timeout)?;
        let scope = scope::current(py)?;
        self.begin_one(py, key, timeout, scope.as_ref(), |value| {
            Ok(view::of(py, value)?.into_any())
        })
    }

    /// The same for each key; the exception of a key stands in its place.
    #[pyo3(signature = (keys, timeout, /))]
    fn begin_many<'py>(
        &self,
        py: Python<'py>,
        keys: Vec<Bound<'py, PyAny>>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        self.open(py)?;
        let timeout = options::duration("timeout", timeout)?;
        let scope = scope::current(py)?;
        for key in &keys {
            value::check_type(key)?;
        }
        let begun = keys.iter().map(|key| {
            let hit = |value: Value| Ok(PyBytes::new(py, &value).into_any());
            let begun = self.begin_one(py, key, timeout, scope.as_ref(), hit);
            begun.unwrap_or_else(|error| error.into_value(py).into_bound(py).into_any())
        });
        PyList::new(py, begun.collect::<Vec<_>>())
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
        value::check_type(key)?;
        let found = value::key(key)
            .ok()
            .and_then(|key| open.group.inner().peek(key));
        Ok(found.map(|value| PyBytes::new(py, &value)))
    }

    /// Functions of the Python side load for this group from now on, though it
    /// was made without a getter.
    fn serve_functions(&self, py: Python<'_>) -> PyResult<()> {
        self.0.set_getter().or_raise(py)
    }

    // What follows waits when `completions` is None; else it runs in that event
    // loop and gives None when it is done already, or the number to wait for.

    /// Stores a value at the owner.
    #[pyo3(signature = (key, value, ttl, timeout, completions, /))]
    fn set(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
        completions: Option<&Completions>,
    ) -> PyResult<Option<u64>> {
        let group = self.open(py)?.group.inner().clone();
        let key = value::key(key)?.to_owned();
        let value = value::value(value)?;
        let ttl = options::ttl(ttl)?;
        let timeout = options::duration("timeout", timeout)?;
        let job = async move { group.set_with(&key, value, ttl, timeout).await };
        self.run(py, Box::pin(job), completions)
    }

    /// Stores many values; the first failure is raised when all have ended.
    #[pyo3(signature = (entries, ttl, timeout, completions, /))]
    fn set_many(
        &self,
        py: Python<'_>,
        entries: Vec<(Bound<'_, PyAny>, Bound<'_, PyAny>)>,
        ttl: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
        completions: Option<&Completions>,
    ) -> PyResult<Option<u64>> {
        let group = self.open(py)?.group.inner().clone();
        let ttl = options::ttl(ttl)?;
        let timeout = options::duration("timeout", timeout)?;
        let checked = entries
            .iter()
            .map(|(key, value)| Ok((value::key(key)?.to_owned(), value::value(value)?)))
            .collect::<PyResult<Vec<_>>>()?;
        let job = async move {
            let results = group.set_many(checked, ttl, timeout).await;
            results.into_iter().collect::<Result<()>>()
        };
        self.run(py, Box::pin(job), completions)
    }

    /// Drops a key at the owner.
    #[pyo3(signature = (key, timeout, completions, /))]
    fn delete(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
        completions: Option<&Completions>,
    ) -> PyResult<Option<u64>> {
        let group = self.open(py)?.group.inner().clone();
        let key = value::key(key)?.to_owned();
        let timeout = options::duration("timeout", timeout)?;
        let job = async move { group.delete_with(&key, timeout).await };
        self.run(py, Box::pin(job), completions)
    }

    /// Drops every key on every member.
    #[pyo3(signature = (timeout, completions, /))]
    fn clear(
        &self,
        py: Python<'_>,
        timeout: Option<&Bound<'_, PyAny>>,
        completions: Option<&Completions>,
    ) -> PyResult<Option<u64>> {
        let group = self.open(py)?.group.inner().clone();
        let timeout = options::duration("timeout", timeout)?;
        self.run(
            py,
            Box::pin(async move { group.clear(timeout).await }),
            completions,
        )
    }

    /// Summaries of the times of hits, loads and fetches.
    fn latency<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        stats::latencies(py, self.open(py)?.group.inner())
    }

    /// The counters, in the order of `kamacache.Stats`.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        stats::fields(py, &self.open(py)?.group.inner().stats())
    }
}
