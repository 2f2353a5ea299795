//! The admin HTTP: what a node is doing, for people, scripts and Prometheus.
//!
//! ```text
//! listen    takes connections, each request in bounded time
//!  places  how many there may be, and which one makes room
//!  hosts   by which names it may be asked
//!  routes   path -> answer; what is asked wrongly is told what is right
//!   query   the query string, decoded strictly
//!   metrics the Prometheus text of the node and its peers; group_metrics of its groups
//!   debug   members, groups and explain, as JSON
//! ```
//!
//! Invariants (S43): nothing here changes the node, waits for another node or
//! runs a getter; no secret and no value is shown. Started by `node.rs`.

mod debug;
mod group_metrics;
mod hosts;
mod listen;
mod metrics;
mod places;
mod process;
mod query;
mod routes;
mod text;

pub(crate) use listen::serve;
