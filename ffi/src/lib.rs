//! The C ABI of kamacache: `include/kamacache.h` is generated from this crate.
//!
//! Every export converts its arguments, calls the core, and converts the
//! answer back; policy lives in the core. Names are the C names, so that a name
//! seen in the header is found here as it is.
//!
//! **Invariants.** Every export runs inside `guard::boundary`, so no panic
//! reaches C. `*out` and `*err` are NULL before anything else happens. C
//! callbacks run only inside `guard::callback`, without a lock held.
//!
//! | file | what |
//! |---|---|
//! | `guard.rs` | the panic boundary, out-slots, "am I inside a callback?" |
//! | `args.rs` | C arguments to Rust: keys, bytes, texts, buffers |
//! | `error.rs`, `value.rs`, `options.rs`, `stats.rs` | the plain types |
//! | `getter.rs`, `loads.rs`, `sweeper.rs` | calling the getter; the tokens it answers, or never does |
//! | `node.rs`, `group.rs`, `group_many.rs`, and each with `_async` | the exports: lifecycle and use |
//! | `shared.rs`, `opened.rs` | what the handles of a node, of a group share |
//! | `ops.rs`, `lane.rs`, `queue.rs`, `evict.rs` | callbacks: on the callback thread, or on the user's |
//! | `sized.rs` | structs that may be older or newer than the library |
//! | `log.rs` | messages, for the logger |
//! | `owned.rs` | user data, freed once |
//! | `fork.rs`, `signals.rs`, `ending.rs` | a child of a fork; library threads take no signal; threads that end |
#![expect(
    non_camel_case_types,
    reason = "the C names are the names; one grep finds both sides"
)]

mod args;
mod ending;
mod error;
mod evict;
mod fork;
mod getter;
mod group;
mod group_async;
mod group_async_many;
mod group_many;
mod guard;
mod lane;
mod loads;
mod log;
mod node;
mod node_async;
mod opened;
mod ops;
mod options;
mod owned;
mod queue;
mod shared;
mod signals;
mod sized;
mod stats;
mod sweeper;
mod value;

pub use error::*;
pub use evict::*;
pub use getter::*;
pub use group::*;
pub use group_async::*;
pub use group_async_many::*;
pub use group_many::*;
pub use loads::*;
pub use log::*;
pub use node::*;
pub use node_async::*;
pub use options::*;
pub use owned::*;
pub use queue::*;
pub use stats::*;
pub use value::*;
