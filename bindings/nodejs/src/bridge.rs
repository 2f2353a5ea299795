//! What one JavaScript environment (the main thread, or one worker) has in native hands: its
//! nodes and groups, the loads its getters run, the gets it may still cancel, and its queue.
//!
//! Invariant: everything but the queue belongs to the JavaScript thread, and none of it is
//! borrowed while JavaScript runs. When the environment goes away its nodes are closed and what
//! was under way is dropped; nothing waits on JavaScript.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use kamacache_core::{Abort, Error, Result, blocking};
use napi::Env;
use napi::bindgen_prelude::Object;

use crate::drain::drain;
use crate::getter::{self, Load};
use crate::group;
use crate::js::{self, Answer, Areas, Call, Export};
use crate::near;
use crate::node;
use crate::queue::{Queue, Wake};
use crate::stats;

/// How long a leaving environment waits for its nodes to let go of their ports.
const FAREWELL: Duration = Duration::from_secs(1);

/// The native side of one environment.
pub(crate) struct Bridge {
    pub(crate) queue: Arc<Queue>,
    pub(crate) nodes: Slots<blocking::Node>,
    pub(crate) groups: Slots<group::Opened>,
    /// Loads that JavaScript's getters run, by id: positive ids are those of the get that led to
    /// the load, negative ones came from the core.
    pub(crate) loads: RefCell<HashMap<i64, Load>>,
    /// How to leave the wait of a get that has not ended yet.
    pub(crate) waits: RefCell<HashMap<i64, Abort>>,
    pub(crate) areas: Areas,
    last_load: Cell<i64>,
}

const EXPORTS: &[(&str, Export)] = &[
    ("drain", drain),
    ("keepAlive", keep_alive),
    ("start", node::start),
    ("close", node::close),
    ("members", node::members),
    ("watchMembers", node::watch_members),
    ("owner", node::owner),
    ("setPeers", node::set_peers),
    ("group", group::open),
    ("hit", group::hit),
    ("freshness", near::freshness),
    ("near", near::near),
    ("addHits", near::add_hits),
    ("get", group::get),
    ("peek", group::peek),
    ("set", group::set),
    ("delete", group::delete),
    ("clear", group::clear),
    ("listen", group::listen),
    ("serveFunctions", group::serve_functions),
    ("stats", stats::stats),
    ("latency", stats::latency),
    ("cancel", group::cancel),
    ("complete", getter::complete),
    ("notFound", getter::not_found),
    ("fail", getter::fail),
    ("watchLoad", getter::watch),
    ("refuse", getter::refuse),
    ("release", getter::release),
    ("abandon", getter::abandon),
    ("timeLeft", getter::time_left),
];

/// Makes the bridge of the calling environment, and the object of its functions.
pub(crate) fn open<'env>(env: &'env Env, wake: Wake, areas: Areas) -> napi::Result<Object<'env>> {
    let bridge = Rc::new(Bridge {
        queue: Queue::new(wake),
        nodes: Slots::default(),
        groups: Slots::default(),
        loads: RefCell::default(),
        waits: RefCell::default(),
        areas,
        last_load: Cell::new(0),
    });
    let object = js::bind(env, &bridge, EXPORTS)?;
    env.add_env_cleanup_hook(bridge, |bridge| bridge.leave())?;
    Ok(object)
}

/// `keepAlive(yes)`: whether what is under way keeps the process alive.
fn keep_alive<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let alive = call.env.boolean(call.arg(0)).unwrap_or(false);
    call.env
        .keep_alive(call.bridge.queue.wake_function(), alive)?;
    call.env.undefined()
}

impl Bridge {
    /// An id for a load that came from the core.
    pub(crate) fn next_load(&self) -> i64 {
        self.last_load.set(self.last_load.get() - 1);
        self.last_load.get()
    }

    /// The get has ended: there is no wait left to leave.
    pub(crate) fn forget_wait(&self, id: i64) {
        self.waits.borrow_mut().remove(&id);
    }

    /// The environment goes away. JavaScript does not run any more.
    fn leave(&self) {
        self.queue.close();
        self.waits.take();
        for (_, load) in self.loads.take() {
            load.fail(Error::closed());
        }
        self.groups.clear();
        let nodes = self.nodes.clear();
        if nodes.is_empty() {
            return;
        }
        let (done, all_closed) = mpsc::channel::<()>();
        let close = move || {
            for node in nodes {
                // Nobody is left to hear about a getter that still runs.
                let _ = node.close(Some(Duration::ZERO));
            }
            drop(done);
        };
        if thread::Builder::new()
            .name("kamacache-close".into())
            .spawn(close)
            .is_ok()
        {
            // Ends when the thread drops its sender, at the latest after the farewell.
            let _ = all_closed.recv_timeout(FAREWELL);
        }
    }
}

/// Things that JavaScript knows by number. A number is never used twice.
pub(crate) struct Slots<T>(RefCell<Vec<Option<T>>>);

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T: Clone> Slots<T> {
    /// The number that the next [`Slots::add`] gives.
    pub(crate) fn next(&self) -> usize {
        self.0.borrow().len()
    }

    pub(crate) fn add(&self, item: T) -> usize {
        let mut slots = self.0.borrow_mut();
        slots.push(Some(item));
        slots.len() - 1
    }

    /// Runs `body` with the item; Closed when it is gone.
    pub(crate) fn with<R>(&self, slot: i64, body: impl FnOnce(&T) -> Result<R>) -> Result<R> {
        let slots = self.0.borrow();
        match usize::try_from(slot).ok().and_then(|slot| slots.get(slot)) {
            Some(Some(item)) => body(item),
            _ => Err(Error::closed()),
        }
    }

    pub(crate) fn get(&self, slot: i64) -> Result<T> {
        self.with(slot, |item| Ok(item.clone()))
    }

    pub(crate) fn remove(&self, slot: i64) -> Option<T> {
        let mut slots = self.0.borrow_mut();
        slots.get_mut(usize::try_from(slot).ok()?)?.take()
    }

    fn clear(&self) -> Vec<T> {
        self.0.take().into_iter().flatten().collect()
    }
}
