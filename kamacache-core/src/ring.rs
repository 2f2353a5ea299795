//! `Ring`: member ids -> the owner of a key. Pure, immutable, deterministic.
//!
//! Invariant (S5): equal member sets give equal ownership, in any join order, language, platform
//! and release. Point `i` of member `m` is `xxh3_64(m ‖ 0x00 ‖ i as u32 LE)`, `i < 512`; a key
//! belongs to the first point at or after `xxh3_64(key)`, wrapping; equal points go to the smaller
//! member string. Held in the membership snapshot, read by every Get that misses.

use std::sync::Arc;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Points a member has on the ring. Part of the wire contract: changing it moves every key.
const POINTS_PER_MEMBER: u32 = 512;

/// An immutable consistent-hash ring.
#[derive(Clone, Debug)]
pub struct Ring {
    /// Sorted, no duplicates.
    members: Vec<Arc<str>>,
    /// Sorted by (hash, member).
    points: Vec<Point>,
    /// `buckets[h >> shift]` is the first point whose hash is at or above the bucket's start.
    buckets: Vec<u32>,
    shift: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    hash: u64,
    /// Index into `members`; members are sorted, so comparing indexes compares names.
    member: u32,
}

impl Ring {
    /// Builds the ring of these members; order and duplicates do not matter.
    pub fn new(members: impl IntoIterator<Item: Into<Arc<str>>>) -> Ring {
        let mut members: Vec<Arc<str>> = members.into_iter().map(Into::into).collect();
        members.sort_unstable();
        members.dedup();
        let mut points: Vec<Point> = (members.iter().zip(0..))
            .flat_map(|(name, member)| points_of(name, member))
            .collect();
        points.sort_unstable();
        Ring::from_parts(members, points, None)
    }

    /// The member that owns `key`; `None` on an empty ring.
    pub fn owner(&self, key: &str) -> Option<&Arc<str>> {
        self.owner_index(key).map(|index| &self.members[index])
    }

    /// The owner's index in `members()`.
    pub fn owner_index(&self, key: &str) -> Option<usize> {
        let hash = xxh3_64(key.as_bytes());
        let first = *self.buckets.get((hash >> self.shift) as usize)? as usize;
        let after = self.points[first..].iter().find(|point| point.hash >= hash);
        let point = after.or(self.points.first())?;
        Some(point.member as usize)
    }

    /// The members, sorted.
    pub fn members(&self) -> &[Arc<str>] {
        &self.members
    }

    /// A number that equal member sets share: xxh3_64 over the sorted members, each followed by a
    /// zero byte.
    pub fn digest(&self) -> u64 {
        let mut hasher = Xxh3::new();
        for member in &self.members {
            hasher.update(member.as_bytes());
            hasher.update(&[0]);
        }
        hasher.digest()
    }

    /// The ring with one more member. The points between two new ones move as a whole, and so do
    /// the buckets.
    pub fn with_member(&self, member: &str) -> Ring {
        let Err(at) = self.position(member) else {
            return self.clone();
        };
        let mut members = self.members.clone();
        members.insert(at, member.into());
        let at = at as u32;
        let mut added: Vec<Point> = points_of(member, at).collect();
        added.sort_unstable();
        let shifted = |point: &Point| Point {
            member: point.member + u32::from(point.member >= at),
            ..*point
        };
        let mut points = Vec::with_capacity(self.points.len() + added.len());
        let mut rest = &self.points[..];
        for new in &added {
            let (before, after) =
                rest.split_at(rest.partition_point(|point| shifted(point) < *new));
            points.extend(before.iter().map(shifted));
            points.push(*new);
            rest = after;
        }
        points.extend(rest.iter().map(shifted));
        let buckets = self.shifted_buckets(&added, points.len(), |bucket, count| bucket + count);
        Ring::from_parts(members, points, buckets)
    }

    /// The ring without this member.
    pub fn without_member(&self, member: &str) -> Ring {
        let Ok(at) = self.position(member) else {
            return self.clone();
        };
        let mut members = self.members.clone();
        members.remove(at);
        let at = at as u32;
        let mut points = Vec::with_capacity(self.points.len());
        let mut removed = Vec::with_capacity(POINTS_PER_MEMBER as usize);
        for run in self
            .points
            .chunk_by(|a, b| (a.member == at) == (b.member == at))
        {
            if run[0].member == at {
                removed.extend_from_slice(run);
            } else {
                points.extend(run.iter().map(|point| Point {
                    member: point.member - u32::from(point.member > at),
                    ..*point
                }));
            }
        }
        let buckets = self.shifted_buckets(&removed, points.len(), |bucket, count| bucket - count);
        Ring::from_parts(members, points, buckets)
    }

    /// The buckets after these points, in order, came or went; None when there must be more or
    /// fewer buckets.
    fn shifted_buckets(
        &self,
        points: &[Point],
        len: usize,
        shift: impl Fn(u32, u32) -> u32,
    ) -> Option<Vec<u32>> {
        if self.buckets.is_empty() || shift_for(len) != self.shift {
            return None;
        }
        let mut buckets = Vec::with_capacity(self.buckets.len());
        for (count, point) in (0..).zip(points) {
            // Up to the point's own bucket, only the points before it count.
            let end = (point.hash >> self.shift) as usize + 1;
            buckets.extend(
                self.buckets[buckets.len()..end]
                    .iter()
                    .map(|bucket| shift(*bucket, count)),
            );
        }
        let count = points.len() as u32;
        buckets.extend(
            self.buckets[buckets.len()..]
                .iter()
                .map(|bucket| shift(*bucket, count)),
        );
        Some(buckets)
    }

    fn position(&self, member: &str) -> Result<usize, usize> {
        self.members
            .binary_search_by(|have| have.as_ref().cmp(member))
    }

    fn from_parts(members: Vec<Arc<str>>, points: Vec<Point>, buckets: Option<Vec<u32>>) -> Ring {
        let shift = shift_for(points.len());
        let buckets = buckets.unwrap_or_else(|| index(&points, shift));
        Ring {
            members,
            points,
            buckets,
            shift,
        }
    }
}

/// There are about as many buckets as points, so a lookup reads one bucket and one or two points.
fn shift_for(points: usize) -> u32 {
    u64::BITS - points.next_power_of_two().trailing_zeros().max(1)
}

fn index(points: &[Point], shift: u32) -> Vec<u32> {
    let mut buckets = Vec::new();
    if !points.is_empty() {
        buckets.reserve_exact(1 << (u64::BITS - shift));
        for (index, point) in points.iter().enumerate() {
            let last = (point.hash >> shift) as usize;
            buckets.resize(buckets.len().max(last + 1), index as u32);
        }
        buckets.resize(1 << (u64::BITS - shift), points.len() as u32);
    }
    buckets
}

fn points_of(name: &str, member: u32) -> impl Iterator<Item = Point> + '_ {
    let mut bytes = [name.as_bytes(), &[0; 5]].concat();
    (0..POINTS_PER_MEMBER).map(move |i| {
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&i.to_le_bytes());
        Point {
            hash: xxh3_64(&bytes),
            member,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("10.0.0.{i}:7400")).collect()
    }

    /// S5 as one reads it: every point in a map, the first at or after the key's hash.
    fn naive_owner<'a>(members: &'a [String], key: &str) -> Option<&'a str> {
        let mut points: Vec<(u64, &str)> = Vec::new();
        for member in members {
            for i in 0..512u32 {
                let mut bytes = member.as_bytes().to_vec();
                bytes.push(0);
                bytes.extend(i.to_le_bytes());
                points.push((xxh3_64(&bytes), member));
            }
        }
        points.sort();
        let hash = xxh3_64(key.as_bytes());
        let after = points.iter().find(|point| point.0 >= hash);
        after.or(points.first()).map(|point| point.1)
    }

    #[test]
    fn owner_is_the_first_point_at_or_after_the_key() {
        for n in [0, 1, 2, 5] {
            let members = names(n);
            let ring = Ring::new(members.iter().map(String::as_str));
            for i in 0..40 {
                let key = format!("key:{i}");
                assert_eq!(
                    ring.owner(&key).map(AsRef::as_ref),
                    naive_owner(&members, &key)
                );
            }
        }
    }

    #[test]
    fn one_member_more_or_less_equals_building_anew() {
        let full = Ring::new(names(9));
        for member in names(9) {
            let without = full.without_member(&member);
            let anew = Ring::new(names(9).into_iter().filter(|name| *name != member));
            assert_eq!(without.points, anew.points);
            assert_eq!(without.buckets, anew.buckets);
            assert_eq!(without.members, anew.members);
            let back = without.with_member(&member);
            assert_eq!(back.points, full.points);
            assert_eq!(back.digest(), full.digest());
        }
    }
}
