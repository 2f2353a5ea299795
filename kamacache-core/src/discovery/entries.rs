//! Which entries of a register, or of an answer of DNS, are members. Many hands
//! write such a list: an entry that no node can dial is skipped and named in
//! the log, and the others stay members. A list that one hand writes (a file,
//! one of the application) is refused whole instead, by
//! `options::found_members`.
//!
//! Invariant: whatever entries hold, they cost at most one warning in ten
//! seconds, on one line of bounded length. Called by every kind of discovery
//! but `file.rs`.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::Result;
use crate::address::Address;
use crate::options::check_member;
use crate::quote::quoted;
use crate::security::seldom::Seldom;

pub(super) struct Entries {
    /// Of what the entries are, for the log: "the register".
    source: &'static str,
    /// `None`: this node has no address, which no source is asked for.
    me: Option<Address>,
    /// A digest of the entries that the last warning was about.
    warned: Option<u64>,
    warnings: Seldom,
}

impl Entries {
    pub(super) fn new(source: &'static str, me: &str) -> Self {
        Self {
            source,
            me: Address::parse(me).ok(),
            warned: None,
            warnings: Seldom::default(),
        }
    }

    /// The members among entries, each given as its place and its address.
    pub(super) fn members<'a>(
        &mut self,
        entries: impl IntoIterator<Item = (&'a [u8], &'a str)>,
    ) -> Vec<String> {
        let mut members = Vec::new();
        let mut refused = DefaultHasher::new();
        let mut first = None;
        let mut count = 0_usize;
        for (place, text) in entries {
            match self.member(text) {
                Ok(member) => members.push(member),
                Err(error) => {
                    (place, text).hash(&mut refused);
                    count += 1;
                    first.get_or_insert((place, error));
                }
            }
        }
        match first {
            None => self.warned = None,
            Some((place, error)) => {
                let digest = refused.finish();
                if self.warned != Some(digest) && self.warnings.is_due() {
                    self.warned = Some(digest);
                    tracing::warn!(
                        entry = quoted(&String::from_utf8_lossy(place)),
                        error = error.message(),
                        skipped = count,
                        "an entry of {} is no member; it is skipped, and the others stay",
                        self.source
                    );
                }
            }
        }
        members
    }

    fn member(&self, text: &str) -> Result<String> {
        let address = Address::parse(text)?;
        if let Some(me) = &self.me {
            check_member(me, &address)?;
        }
        Ok(address.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(me: &str, list: &[&str]) -> Vec<String> {
        let entries = list.iter().map(|text| (text.as_bytes(), *text));
        Entries::new("a test", me).members(entries)
    }

    #[test]
    fn s30_what_this_node_cannot_dial_is_skipped() {
        let list = [
            "127.0.0.1:1",
            "0.0.0.0:1",
            "[::]:1",
            "10.0.0.1:1",
            "10.0.0.2:0",
            "nonsense",
        ];
        assert_eq!(of("127.0.0.1:8001", &list), ["127.0.0.1:1"]);
        assert_eq!(of("10.0.0.3:8001", &list), ["10.0.0.1:1"]);
    }
}
