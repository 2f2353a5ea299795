//! Tests of the store: against a naive oracle, step by step; and rules that an oracle does not see.

mod model;
mod oracle;
mod rules;
