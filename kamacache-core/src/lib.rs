//! kamacache: a distributed, read-through, in-memory cache inside your own
//! process.
//!
//! Open a [`Node`], create a [`Group`] with a byte budget and a [`Getter`] that
//! loads a missing key from the real data source, then call `get`, `set`,
//! `delete`. Nodes with the same list of members form a ring: each key has one
//! owner, a miss goes to the owner over gRPC, and only the owner runs the
//! getter. A node without peers is a plain local cache without any network.
//!
//! ```text
//! group.get(key)
//!   1 store -------------------------> hit: return
//!   2 ring: who owns the key?
//!   3 this node: one flight of loads -> getter -> store -> every waiter
//!     a peer:    one flight of fetches -> owner's store or getter -> every waiter
//!                owner unreachable: load here, borrowed for a moment
//! ```
//!
//! ```
//! use kamacache_core::{GroupOptions, Node, NodeOptions, getter_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> kamacache_core::Result<()> {
//! let node = Node::start(NodeOptions::default()).await?;
//! let scores = node.group_with(
//!     "scores",
//!     GroupOptions::new(64 << 20),
//!     getter_fn(async |ctx: kamacache_core::LoadContext| {
//!         // Ask your database here.
//!         Ok::<_, std::io::Error>((ctx.key() == "Tom").then_some("630"))
//!     }),
//! )?;
//! assert_eq!(&*scores.get("Tom").await?, b"630");
//! node.close(None).await?;
//! # Ok(())
//! # }
//! ```

#![deny(unsafe_code)]

mod address;
#[cfg(feature = "admin")]
mod admin;
#[cfg_attr(not(feature = "bench-internals"), allow(dead_code, unreachable_pub))]
mod clock;
mod discovery;
mod error;
mod flight;
mod generations;
mod getter;
mod group;
mod hashing;
mod heat;
mod hot_keys;
mod latency;
mod limit;
mod load;
mod membership;
mod named;
mod near;
mod node;
mod node_stats;
mod options;
mod peers;
mod pending;
mod pendings;
pub mod pool;
mod quote;
#[cfg_attr(not(feature = "bench-internals"), allow(dead_code, unreachable_pub))]
mod ring;
mod security;
mod server;
mod state;
mod stats;
#[cfg_attr(not(feature = "bench-internals"), allow(dead_code, unreachable_pub))]
mod store;
mod value;
mod wire;

mod upkeep;

pub mod blocking;
pub mod client;
pub mod sockets;
pub mod sync;
#[cfg(feature = "test-util")]
pub mod testing;
pub mod trace;
pub mod units;

pub use discovery::{Discovery, Lists};
pub use error::{BoxError, Error, ErrorKind, Result};
pub use getter::{BoxFuture, Getter, LoadContext, Loaded, Ttl, blocking_getter, getter_fn};
pub use group::Group;
pub use latency::{Latency, LatencyKind};
pub use load::{LoadGuard, LoadScope, LoadToken, RunningGuard};
pub use named::unknown_option;
pub use near::{Freshness, Near};
pub use node::{Node, WeakNode};
pub use node_stats::NodeStats;
pub use options::{GroupOptions, MAX_GROUP_NAME, MAX_KEY_BYTES, NodeOptions, TlsOptions};
pub use pending::{Abort, Begin, Pending};
pub use pendings::{Driven, Pendings};
pub use stats::Stats;
pub use store::{EvictHook, EvictReason, Policy};
pub use value::Value;

/// This release.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The Store, the Ring and the Clock, for the project's own benchmarks, replays and fuzz targets.
/// Not part of the API: it may change in any release.
#[cfg(feature = "bench-internals")]
#[doc(hidden)]
pub mod internals {
    pub use crate::peers::hostile;
    pub use crate::{clock::*, ring::*, store::*};
}
