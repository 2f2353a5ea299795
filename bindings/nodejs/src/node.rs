//! Starting, steering and closing nodes for JavaScript.
//!
//! Invariant: what may block (start, close) runs on a thread of its own and answers through the
//! queue; the rest is the core's quick calls.

use std::sync::Arc;
use std::thread;

use kamacache_core::{Error, ErrorKind, blocking};

use crate::js::{Answer, Call};
use crate::options;
use crate::queue::{Completion, Ticket};

/// `start(id, options)`: answers with `[node, address, adminAddress]`.
pub(crate) fn start<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let options = options::node(call.env, call.arg(1))?;
    let ticket = Ticket::new(call.id(0)?, &call.bridge.queue);
    aside("kamacache-start", move || {
        ticket.finish(blocking::Node::start(options), |id, node| {
            Completion::Started { id, node }
        });
    })?;
    call.env.undefined()
}

/// Takes in a node that has started: `[slot, address, adminAddress]`, the last one undefined
/// without an admin HTTP.
pub(crate) fn adopt<'a>(call: &'a Call<'a>, node: blocking::Node) -> Answer<'a> {
    let env = call.env;
    let address = env.make_text(node.address())?;
    let admin = match node.admin_address() {
        Some(admin) => env.make_text(admin)?,
        None => env.undefined()?,
    };
    env.make_array(&[
        env.make_number(call.bridge.nodes.add(node) as f64)?,
        address,
        admin,
    ])
}

/// `close(node, id, drain, groups)`: answers with whether every getter had ended. The node and
/// its groups are gone for later calls as soon as this one is.
pub(crate) fn close<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let drain = options::given(call.env, call.arg(2), "drain", options::duration)?;
    let ticket = Ticket::new(call.id(1)?, &call.bridge.queue);
    let node = call
        .bridge
        .nodes
        .remove(call.id(0)?)
        .ok_or_else(Error::closed)?;
    let mut groups = Vec::new();
    for group in call.env.items(call.arg(3))? {
        groups.extend(
            call.env
                .number(group)
                .and_then(|slot| call.bridge.groups.remove(slot as i64)),
        );
    }
    aside("kamacache-close", move || {
        let ended = match node.close(drain) {
            Err(error) if error.kind() == ErrorKind::DeadlineExceeded => Ok(false),
            other => other.map(|()| true),
        };
        drop((groups, node));
        ticket.finish(ended, |id, flag| Completion::Done { id, flag });
    })?;
    call.env.undefined()
}

/// `members(node)` -> the sorted member list.
pub(crate) fn members<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let members = call
        .bridge
        .nodes
        .with(call.id(0)?, |node| Ok(node.members()))?;
    call.env.make_texts(&members)
}

/// `watchMembers(node)`: from now on every change of the members comes through the queue.
pub(crate) fn watch_members<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let slot = call.id(0)?;
    let node = call.bridge.nodes.get(slot)?;
    let mut members = node.inner().watch_members();
    let queue = Arc::clone(&call.bridge.queue);
    node.handle().spawn(async move {
        // Ends with the node, whose runtime this runs on.
        while members.changed().await.is_ok() {
            let members = members.borrow_and_update().clone();
            queue.push(Completion::Members {
                node: slot,
                members,
            });
        }
    });
    call.env.undefined()
}

/// `owner(node, key)` -> the address of the member that owns the key.
pub(crate) fn owner<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let node = call.bridge.nodes.get(call.id(0)?)?;
    let owner = call.with_key(1, |key| node.owner(key))?;
    call.env.make_text(&owner)
}

/// `setPeers(node, peers)`
pub(crate) fn set_peers<'a>(call: &'a Call<'a>) -> Answer<'a> {
    let peers = options::list(call.env, call.arg(1), "peers")?;
    call.bridge
        .nodes
        .with(call.id(0)?, |node| node.set_peers(&peers))?;
    call.env.undefined()
}

fn aside(name: &str, work: impl FnOnce() + Send + 'static) -> kamacache_core::Result<()> {
    match thread::Builder::new().name(name.into()).spawn(work) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::internal(format!(
            "could not start the thread {name}: {error}"
        ))),
    }
}
