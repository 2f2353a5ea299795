//! Certificates for connections: what they are made with, why they are refused.
//! `peers/accept.rs` and `peers/secure.rs` use them; the token that requests
//! carry is in `peers/token.rs`.

pub(crate) mod files;
pub(crate) mod refusal;
pub(crate) mod seldom;
mod standing;
pub(crate) mod tls;
