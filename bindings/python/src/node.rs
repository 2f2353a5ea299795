//! Node: converts in, calls the core, converts out. A node opens nothing until
//! it starts; groups defined before that are opened with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kamacache_core::{Error, ErrorKind, GroupOptions, NodeOptions, Result, blocking};
use parking_lot::Mutex;
use pyo3::prelude::*;

use crate::completions::Completions;
use crate::error::OrRaise;
use crate::evict::{EvictionQueue, Evictions};
use crate::fork::OfProcess;
use crate::getter::{HomeLoop, LoadQueue, PyGetter, Queue};
use crate::group::{self, Definition, Group};
use crate::{options, signals, value, wait};

/// Threads for plain getters that peers or event loops ask for.
const GETTER_THREADS: usize = 16;

/// Numbers getters, across all nodes: event loops serve several.
static NEXT_GETTER: AtomicU64 = AtomicU64::new(1);

/// The native half of `kamacache.Node`.
#[pyclass(frozen, module = "kamacache._native")]
pub(crate) struct Node {
    options: NodeOptions,
    queue: Arc<Queue>,
    evictions: Arc<Evictions>,
    home: HomeLoop,
    /// Taken by start, group and close, always detached from the interpreter.
    plan: Mutex<Plan>,
    started: OnceLock<OfProcess<blocking::Node>>,
}

/// What is to be opened by start.
#[derive(Default)]
struct Plan {
    groups: Vec<Arc<Definition>>,
    closed: bool,
}

impl Node {
    fn node(&self) -> Result<&blocking::Node> {
        match self.started.get() {
            Some(node) => node.get(),
            None => Err(group::not_started("the node")),
        }
    }

    fn start_now(&self) -> Result<()> {
        let plan = self.plan.lock();
        if let Some(node) = self.started.get() {
            let closed = node.get()?.inner().is_closed();
            return if closed { Err(Error::closed()) } else { Ok(()) };
        }
        if plan.closed {
            return Err(Error::closed());
        }
        let node = signals::blocked(|| blocking::Threads::start(self.options.clone()))?.open()?;
        for definition in &plan.groups {
            if let Err(error) = definition.open_on(&node) {
                // The node is useless without its groups; what went wrong first is the news.
                let _ = node.close(Some(Duration::ZERO));
                return Err(error);
            }
        }
        let _ = self.started.set(OfProcess::new(node));
        Ok(())
    }

    fn define(&self, definition: Definition) -> Result<Arc<Definition>> {
        let mut plan = self.plan.lock();
        if plan.closed {
            return Err(Error::closed());
        }
        definition.options.check(&definition.name)?;
        if plan
            .groups
            .iter()
            .any(|group| group.name == definition.name)
        {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                format!(
                    "group {:?} exists on this node already; use that one, or another name",
                    definition.name
                ),
            ));
        }
        let definition = Arc::new(definition);
        if let Some(node) = self.started.get() {
            definition.open_on(node.get()?)?;
        }
        plan.groups.push(definition.clone());
        Ok(definition)
    }

    fn closed(&self) {
        self.plan.lock().closed = true;
        self.queue.close();
        self.evictions.close();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.queue.close();
        self.evictions.close();
    }
}

#[pymethods]
impl Node {
    #[new]
    #[pyo3(signature = (listen, *, peers, advertise, discovery, admin, admin_hosts, tls, cluster, cluster_token, cluster_token_file, io_threads, getter_threads, default_timeout, drain))]
    #[expect(
        clippy::too_many_arguments,
        reason = "the public signature of kamacache.Node"
    )]
    fn new(
        listen: Option<String>,
        peers: &Bound<'_, PyAny>,
        advertise: Option<String>,
        discovery: Option<String>,
        admin: Option<String>,
        admin_hosts: &Bound<'_, PyAny>,
        tls: Option<&Bound<'_, PyAny>>,
        cluster: Option<String>,
        cluster_token: Option<String>,
        cluster_token_file: Option<String>,
        io_threads: Option<usize>,
        getter_threads: Option<usize>,
        default_timeout: Option<&Bound<'_, PyAny>>,
        drain: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let mut options = NodeOptions::default();
        options.listen = listen;
        options.peers = options::addresses("peers", peers)?;
        options.advertise = advertise;
        options.discovery = discovery;
        options.admin_listen = admin;
        options.admin_hosts = options::addresses("admin_hosts", admin_hosts)?;
        options.tls = tls.map(options::tls).transpose()?;
        options.cluster = cluster;
        options.cluster_token = cluster_token;
        options.cluster_token_file = cluster_token_file;
        options.io_threads = io_threads;
        options.getter_threads = getter_threads;
        options.default_timeout = options::duration("default_timeout", default_timeout)?;
        options.drain = options::duration("drain", drain)?;
        Ok(Self {
            options,
            queue: Queue::new(getter_threads.unwrap_or(GETTER_THREADS)),
            evictions: Arc::default(),
            home: HomeLoop::default(),
            plan: Mutex::default(),
            started: OnceLock::new(),
        })
    }

    /// Defines a group; on a started node it opens at once. `is_async` is None
    /// for a group without a getter. Returns the group and its getter's number.
    #[pyo3(signature = (name, is_async, batches, on_evict, *, max_bytes, ttl, negative_ttl, hot_ttl, fallback_ttl, stale_while_revalidate,
                        stale_if_error, load_timeout, max_concurrent_loads, max_value_bytes, policy, strict))]
    #[expect(
        clippy::too_many_arguments,
        reason = "the public signature of kamacache.Node.group"
    )]
    fn group(
        &self,
        py: Python<'_>,
        name: &Bound<'_, PyAny>,
        is_async: Option<bool>,
        batches: bool,
        on_evict: bool,
        max_bytes: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
        negative_ttl: Option<&Bound<'_, PyAny>>,
        hot_ttl: Option<&Bound<'_, PyAny>>,
        fallback_ttl: Option<&Bound<'_, PyAny>>,
        stale_while_revalidate: Option<&Bound<'_, PyAny>>,
        stale_if_error: Option<&Bound<'_, PyAny>>,
        load_timeout: Option<&Bound<'_, PyAny>>,
        max_concurrent_loads: Option<usize>,
        max_value_bytes: Option<&Bound<'_, PyAny>>,
        policy: &str,
        strict: bool,
    ) -> PyResult<(Group, u64)> {
        let name = value::text("a group's name", name)?.to_owned();
        let mut options = GroupOptions::new(options::size("max_bytes", max_bytes)?);
        options.ttl = options::duration("ttl", ttl)?.filter(|ttl| *ttl != Duration::MAX);
        options.negative_ttl = options::duration("negative_ttl", negative_ttl)?;
        options.hot_ttl = options::duration("hot_ttl", hot_ttl)?;
        options.fallback_ttl = options::duration("fallback_ttl", fallback_ttl)?;
        options.stale_while_revalidate =
            options::duration("stale_while_revalidate", stale_while_revalidate)?;
        options.stale_if_error = options::duration("stale_if_error", stale_if_error)?;
        options.load_timeout = options::duration("load_timeout", load_timeout)?;
        options.max_concurrent_loads = max_concurrent_loads;
        options.max_value_bytes = max_value_bytes
            .map(|size| options::size("max_value_bytes", size))
            .transpose()?;
        options.policy = policy.parse::<kamacache_core::Policy>().or_raise(py)?;
        options.strict = strict;
        let id = NEXT_GETTER.fetch_add(1, Ordering::Relaxed);
        options.on_evict = on_evict.then(|| self.evictions.hook(id));
        let getter = PyGetter {
            id,
            is_async: is_async.unwrap_or_default(),
            batches,
            queue: self.queue.clone(),
            home: self.home.clone(),
        };
        let definition = Definition::new(name, options, getter, is_async.is_some());
        let definition = wait::away(py, || self.define(definition)).or_raise(py)?;
        Ok((Group(definition), id))
    }

    /// Opens the node and its groups; no effect on an open node.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        wait::away(py, || self.start_now()).or_raise(py)
    }

    /// Loads for async getters go to this loop while it lives.
    fn set_home(&self, py: Python<'_>, completions: &Completions) -> PyResult<()> {
        *self.home.lock() = Arc::downgrade(completions.shared(py)?);
        Ok(())
    }

    /// What the threads of this node's pool wait on.
    fn loads(&self) -> LoadQueue {
        LoadQueue(self.queue.clone())
    }

    /// What the thread that reports evictions waits on.
    fn evictions(&self) -> EvictionQueue {
        EvictionQueue(self.evictions.clone())
    }

    /// Closes the node; False: a getter still ran after `drain`.
    #[pyo3(signature = (drain, /))]
    fn close(&self, py: Python<'_>, drain: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let drain = options::duration("drain", drain)?;
        let Some(node) = self.started.get() else {
            self.closed();
            return Ok(true);
        };
        let node = node.get().or_raise(py)?;
        let core = node.inner().clone();
        let answer = wait::block_on(
            py,
            node.handle(),
            Box::pin(async move { core.close(drain).await }),
        )?;
        self.closed();
        match answer {
            Err(error) if error.kind() == ErrorKind::DeadlineExceeded => Ok(false),
            answer => answer.or_raise(py).map(|()| true),
        }
    }

    /// The same for an event loop, which calls `close(0)` when it has heard.
    #[pyo3(signature = (drain, completions, /))]
    fn start_close(
        &self,
        py: Python<'_>,
        drain: Option<&Bound<'_, PyAny>>,
        completions: &Completions,
    ) -> PyResult<Option<u64>> {
        let drain = options::duration("drain", drain)?;
        let Some(node) = self.started.get() else {
            self.closed();
            return Ok(None);
        };
        let node = node.get().or_raise(py)?;
        let core = node.inner().clone();
        group::start(
            py,
            node.handle(),
            Box::pin(async move { core.close(drain).await }),
            completions,
        )
    }

    /// The advertised address; empty without network.
    #[getter]
    fn address(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.node().or_raise(py)?.inner().address().to_owned())
    }

    /// Where the admin HTTP listens; None without one.
    #[getter]
    fn admin_address(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let address = self.node().or_raise(py)?.admin_address();
        Ok(address.map(str::to_owned))
    }

    /// All members, sorted.
    fn members(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        Ok(self.node().or_raise(py)?.inner().members())
    }

    /// The member that owns a key.
    fn owner(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<String> {
        let key = value::key(key)?;
        self.node().or_raise(py)?.inner().owner(key).or_raise(py)
    }

    /// Replaces the member list.
    fn set_peers(&self, py: Python<'_>, peers: &Bound<'_, PyAny>) -> PyResult<()> {
        let peers = options::addresses("peers", peers)?;
        self.node()
            .or_raise(py)?
            .inner()
            .set_peers(&peers)
            .or_raise(py)
    }
}
