//! Tests of the store: against a naive oracle, step by step; rules that an oracle does not see; and
//! threads in every order that shuttle can think of.

#[cfg(all(test, shuttle))]
mod concurrency;
mod model;
mod oracle;
#[cfg(test)]
mod rules;

#[cfg(fuzzing)]
pub use model::run_bytes;
