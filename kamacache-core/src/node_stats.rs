//! What a node counts about its peers, beside what each group counts: links it
//! refused, members that differ, nonsense that came in.
//!
//! Invariant: nothing a peer sends makes more than one entry per open link.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// A snapshot of what a node has counted about its peers. Counters only grow;
/// `links` and `views_differ` are gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeStats {
    /// Links that peers hold open to this node.
    pub links: u64,
    /// Links that this node refused, or that were refused by the peer, because
    /// the two do not belong together: another cluster, protocol, ring version
    /// or address. Each attempt counts.
    pub links_refused: u64,
    /// Peers whose last word names other members than this node's view.
    pub views_differ: u64,
    /// Requests of peers for keys that this node does not own in its view.
    pub misrouted: u64,
    /// Messages and operations that made no sense: not decodable, too large, an
    /// unknown operation, a key that is not UTF-8, an answer to what was not
    /// asked.
    pub malformed: u64,
    /// Groups that a peer runs with other options than this node, counted once
    /// per group and peer.
    pub options_differ: u64,
    /// Gets of peers that they did not wait for to the end.
    pub cancelled: u64,
}

/// The counters behind it.
#[derive(Default)]
pub(crate) struct NodeCounters {
    pub(crate) links_refused: AtomicU64,
    pub(crate) misrouted: AtomicU64,
    pub(crate) malformed: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    options_differ: Mutex<HashSet<(String, String)>>,
    /// By open inbound link: who it is, and what it said of its view.
    links: Mutex<BTreeMap<u32, (String, Option<u64>)>>,
}

/// More pairs of group and peer are not told apart.
const MAX_PAIRS: usize = 4096;

pub(crate) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl NodeCounters {
    /// A peer opened a link, or told its view over it again; 0 says nothing.
    pub(crate) fn heard(&self, link: u32, peer: &str, digest: u64) {
        let mut links = self.links.lock();
        let said = links.entry(link).or_insert_with(|| (peer.to_owned(), None));
        if digest != 0 {
            said.1 = Some(digest);
        }
    }

    pub(crate) fn gone(&self, link: u32) {
        self.links.lock().remove(&link);
    }

    /// The peers behind the open links that `chosen` takes, by index; each once.
    #[cfg_attr(not(feature = "admin"), allow(dead_code))]
    pub(crate) fn peers(&self, chosen: impl Fn(u32) -> bool) -> Vec<String> {
        let links = self.links.lock();
        let chosen = links.iter().filter(|(link, _)| chosen(**link));
        let peers: std::collections::BTreeSet<String> =
            chosen.map(|(_, (peer, _))| peer.clone()).collect();
        peers.into_iter().collect()
    }

    /// Whether this is the first word of this group and peer.
    pub(crate) fn options_differ(&self, group: &str, peer: &str) -> bool {
        let mut pairs = self.options_differ.lock();
        pairs.len() < MAX_PAIRS && pairs.insert((group.to_owned(), peer.to_owned()))
    }

    /// `digest`: of this node's view; `dialled`: what peers that this node
    /// dialled said of theirs.
    pub(crate) fn read<'a>(
        &self,
        digest: u64,
        dialled: impl Iterator<Item = (&'a str, u64)>,
    ) -> NodeStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let links = self.links.lock();
        let heard = links
            .values()
            .filter_map(|(peer, said)| Some((peer.clone(), (*said)?)));
        let dialled = dialled.map(|(peer, said)| (peer.to_owned(), said));
        let other: HashSet<String> = heard
            .chain(dialled)
            .filter_map(|(peer, said)| (said != digest).then_some(peer))
            .collect();
        NodeStats {
            links: links.len() as u64,
            links_refused: read(&self.links_refused),
            views_differ: other.len() as u64,
            misrouted: read(&self.misrouted),
            malformed: read(&self.malformed),
            options_differ: self.options_differ.lock().len() as u64,
            cancelled: read(&self.cancelled),
        }
    }
}
