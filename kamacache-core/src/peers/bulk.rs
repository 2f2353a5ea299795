//! Gets and their values side by side: the form in which most of a link's
//! traffic travels. One operation costs a few numbers in lists and its bytes at
//! the end of a buffer, instead of a message of its own.
//!
//! Invariant: lists that do not fit together are never read past; such a
//! message is broken as a whole. Called by both ends of a link.

use bytes::Bytes;
use tokio::time::Instant;

use crate::wire::{Gets, Hits, Op, Replies, Request, Requests};

/// One Get, as it waits to be sent.
#[derive(Clone, Copy)]
pub(crate) struct Get<'a> {
    pub(crate) group: &'a Bytes,
    pub(crate) key: &'a str,
    /// Milliseconds that the caller waits; 0: no limit.
    pub(crate) left_ms: u64,
    /// The end of that time.
    pub(crate) deadline: Option<Instant>,
    pub(crate) borrow: bool,
    /// The caller is inside a getter.
    pub(crate) inside: bool,
    /// The W3C traceparent of the caller's span; empty without one. A traced Get
    /// travels alone.
    pub(crate) trace: &'a str,
}

impl Get<'_> {
    /// As a request of its own, for a peer that does not take lists.
    pub(crate) fn alone(self, id: u64) -> Request {
        Request {
            id,
            op: Op::Get.into(),
            group: self.group.clone(),
            key: Bytes::copy_from_slice(self.key.as_bytes()),
            left_ms: self.left_ms,
            borrow: self.borrow,
            inside: self.inside,
            trace: self.trace.to_owned(),
            ..Request::default()
        }
    }
}

/// Groups and kinds of Gets that a message is searched for before it gets
/// another list.
const LISTS: usize = 4;

impl Requests {
    pub(crate) fn add_get(&mut self, id: u64, get: Get<'_>) {
        let recent = self.gets.len().saturating_sub(LISTS);
        let kind = (get.borrow, get.inside);
        let fits = |list: &Gets| (list.borrow, list.inside) == kind && list.group == *get.group;
        let at = match self.gets[recent..].iter().position(fits) {
            Some(place) => recent + place,
            None => {
                self.gets.push(Gets {
                    group: get.group.clone(),
                    borrow: get.borrow,
                    inside: get.inside,
                    ..Gets::default()
                });
                self.gets.len() - 1
            }
        };
        let list = &mut self.gets[at];
        list.ids.push(id);
        list.left_ms.push(get.left_ms);
        list.key_lengths.push(get.key.len() as u32);
        list.keys.extend_from_slice(get.key.as_bytes());
    }
}

impl Gets {
    /// Each Get's id, time left and key; `None` if the lists do not fit together.
    pub(crate) fn each(&self) -> Option<impl Iterator<Item = (u64, u64, &[u8])>> {
        let parts = parts(&self.keys, &self.key_lengths)?;
        let fit = self.ids.len() == self.key_lengths.len() && self.ids.len() == self.left_ms.len();
        let heads = self.ids.iter().zip(&self.left_ms);
        fit.then(|| heads.zip(parts).map(|((id, left), key)| (*id, *left, key)))
    }
}

impl Replies {
    pub(crate) fn add_hit(&mut self, id: u64, ttl_ms: u64, value: &[u8]) {
        let hits = self.hits.get_or_insert_default();
        hits.ids.push(id);
        hits.ttl_ms.push(ttl_ms);
        hits.value_lengths.push(value.len() as u32);
        hits.values.extend_from_slice(value);
    }
}

impl Hits {
    /// Each value and its time to live, in the order of the ids; `None` if the
    /// lists do not fit together.
    pub(crate) fn each(&self) -> Option<impl Iterator<Item = (u64, &[u8])>> {
        let parts = parts(&self.values, &self.value_lengths)?;
        let fit = self.ids.len() == self.value_lengths.len() && self.ids.len() == self.ttl_ms.len();
        fit.then(|| self.ttl_ms.iter().copied().zip(parts))
    }
}

/// Bytes cut into parts of these lengths, if that leaves nothing and lacks nothing.
fn parts<'a>(bytes: &'a [u8], lengths: &'a [u32]) -> Option<impl Iterator<Item = &'a [u8]>> {
    let total: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
    let mut rest = bytes;
    (total == bytes.len() as u64).then(|| {
        lengths.iter().map(move |length| {
            let (part, after) = rest.split_at(*length as usize);
            rest = after;
            part
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gets_of_one_kind_share_a_list_and_come_out_as_they_went_in() {
        let (scores, names) = (Bytes::from("scores"), Bytes::from("names"));
        let get = |group, key, borrow| Get {
            group,
            key,
            left_ms: 5,
            deadline: None,
            borrow,
            inside: false,
            trace: "",
        };
        let mut message = Requests::default();
        message.add_get(1, get(&scores, "Tom", false));
        message.add_get(2, get(&names, "", true));
        message.add_get(3, get(&scores, "Jo", false));
        assert_eq!(message.gets.len(), 2);
        let seen: Vec<_> = message.gets[0].each().unwrap().collect();
        assert_eq!(seen, [(1, 5, &b"Tom"[..]), (3, 5, b"Jo")]);
        assert!(message.gets[1].borrow);
    }

    #[test]
    fn hits_come_out_as_they_went_in() {
        let mut message = Replies::default();
        message.add_hit(7, 0, b"one");
        message.add_hit(8, 250, b"");
        let hits = message.hits.unwrap();
        let seen: Vec<_> = hits.each().unwrap().collect();
        assert_eq!(seen, [(0, &b"one"[..]), (250, b"")]);
    }

    #[test]
    fn lists_that_do_not_fit_together_are_broken() {
        let sound = Hits {
            ids: vec![1, 2],
            ttl_ms: vec![0, 0],
            value_lengths: vec![1, 2],
            values: b"abc".to_vec(),
        };
        assert!(sound.each().is_some());
        let broken = [
            Hits {
                ids: vec![1],
                ..sound.clone()
            },
            Hits {
                ttl_ms: vec![0],
                ..sound.clone()
            },
            Hits {
                value_lengths: vec![1, 1],
                ..sound.clone()
            },
            Hits {
                value_lengths: vec![u32::MAX, 4],
                ..sound.clone()
            },
            Hits {
                values: b"abcd".to_vec(),
                ..sound
            },
        ];
        assert!(broken.iter().all(|hits| hits.each().is_none()));
        let gets = Gets {
            ids: vec![1],
            left_ms: vec![],
            key_lengths: vec![1],
            keys: b"k".to_vec(),
            ..Gets::default()
        };
        assert!(gets.each().is_none());
    }
}
