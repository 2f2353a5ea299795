//! What nodes do, seen by those who use them, over real sockets. One binary:
//! linking twenty took longer than running them.

#![allow(unreachable_pub, reason = "one crate of several files")]

#[path = "../common/mod.rs"]
mod common;

mod admin;
mod batches;
mod closing;
mod cluster;
mod conformance;
mod copies;
mod dns;
mod duties;
mod etcd;
mod health;
mod history;
mod hostile;
mod k8s;
mod large;
mod link;
mod loading;
mod membership;
mod near;
mod overtaken;
mod permits;
mod ring;
mod security;
mod single;
mod traffic;
mod upkeep;
mod wire;
