//! The C ABI of kamacache: `include/kamacache.h` is generated from this crate.
//!
//! Every export converts its arguments, calls the core, and converts the
//! answer back; policy lives in the core. Names are the C names, so that a name
//! seen in the header is found here as it is.
//!
//! **Invariants.** Every export runs inside [`guard::boundary`], so no panic
//! reaches C. `*out` and `*err` are NULL before anything else happens. C
//! callbacks run only in `getter.rs` and `delivery.rs`, without a lock held.
//!
//! | file | what |
//! |---|---|
//! | `guard.rs` | the panic boundary, out-slots, "am I inside a callback?" |
//! | `args.rs` | C arguments to Rust: keys, bytes, texts, buffers |
//! | `error.rs`, `value.rs`, `options.rs`, `stats.rs` | the plain types |
//! | `getter.rs`, `loads.rs` | calling the getter; the tokens it answers |
//! | `node.rs`, `group.rs`, `group_async.rs` | lifecycle and use |
//! | `delivery.rs`, `queue.rs` | completions: on the callback thread, or on the user's |
//! | `fork.rs`, `signals.rs` | a child is told so; library threads take no signal |
#![expect(
    non_camel_case_types,
    reason = "the C names are the names; one grep finds both sides"
)]

mod args;
mod delivery;
mod error;
mod fork;
mod getter;
mod group;
mod group_async;
mod guard;
mod loads;
mod node;
mod options;
mod queue;
mod signals;
mod stats;
mod value;

pub use error::*;
pub use getter::*;
pub use group::*;
pub use group_async::*;
pub use node::*;
pub use options::*;
pub use queue::*;
pub use stats::*;
pub use value::*;
