//! kamacache core.
#[allow(dead_code, unreachable_pub)]
mod clock;
#[allow(dead_code, unreachable_pub)]
mod ring;
#[allow(dead_code, unreachable_pub)]
mod store;
mod value;

pub use store::{EvictHook, EvictReason, Policy};
pub use value::Value;
