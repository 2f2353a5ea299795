//! The cluster in simulation: many seeds, each a different order of messages,
//! delays and losses, and each the same every time it is run. `SEEDS=1000` runs
//! so many of each test, `SEED=7` that one.

#![allow(unreachable_pub, reason = "one crate of several files")]

mod common;
#[path = "sim/histories.rs"]
mod histories;
#[path = "sim/leases.rs"]
mod leases;
#[path = "sim/phases.rs"]
mod phases;
#[path = "sim/players.rs"]
mod players;
#[path = "sim/routing.rs"]
mod routing;
#[path = "sim/seeds.rs"]
mod seeds;
#[path = "sim/views.rs"]
mod views;
#[path = "sim/world.rs"]
mod world;
