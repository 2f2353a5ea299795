//! The rules of a group's options, its name, its keys and its values.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::{GroupOptions, MAX_KEY_BYTES};
use crate::store::{EvictHook, Policy};
use crate::units::bounded;
use crate::{Error, ErrorKind, Result};

const MAX_GROUPS: usize = 1024;
/// How many bytes a group's name may have.
pub const MAX_GROUP_NAME: usize = 255;
const MIN_MAX_BYTES: u64 = 64 << 10;
const DEFAULT_MAX_VALUE_BYTES: u64 = 16 << 20;
const MAX_MAX_VALUE_BYTES: u64 = 1 << 30;
/// An entry may take this part of its group's budget at most.
const STORABLE_PART: u64 = 8;

/// A group's options, checked and complete.
#[derive(Clone)]
pub(crate) struct GroupConfig {
    pub(crate) max_bytes: u64,
    pub(crate) ttl: Option<Duration>,
    pub(crate) negative_ttl: Option<Duration>,
    pub(crate) hot: bool,
    pub(crate) hot_ttl: Duration,
    pub(crate) fallback_ttl: Duration,
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
    pub(crate) max_concurrent_loads: Option<usize>,
    pub(crate) load_timeout: Duration,
    pub(crate) max_value_bytes: u64,
    /// The largest value that is kept.
    pub(crate) storable: u64,
    pub(crate) policy: Policy,
    pub(crate) strict: bool,
    pub(crate) jitter: bool,
    pub(crate) on_evict: Option<EvictHook>,
}

impl GroupConfig {
    pub(crate) fn check(name: &str, options: GroupOptions) -> Result<Self> {
        check_group_name(name)?;
        if options.max_bytes < MIN_MAX_BYTES {
            return Err(Error::invalid_argument(format!(
                "max_bytes {} of group {name:?} is below the minimum of {MIN_MAX_BYTES} (64 KiB)",
                options.max_bytes
            )));
        }
        let max_value_bytes = options.max_value_bytes.unwrap_or(DEFAULT_MAX_VALUE_BYTES);
        if !(1..=MAX_MAX_VALUE_BYTES).contains(&max_value_bytes) {
            return Err(Error::invalid_argument(format!(
                "max_value_bytes {max_value_bytes} of group {name:?} is not from 1 to {MAX_MAX_VALUE_BYTES} (1 GiB)"
            )));
        }
        if options.max_concurrent_loads == Some(0) {
            return Err(Error::invalid_argument(format!(
                "max_concurrent_loads of group {name:?} is 0; leave it unset for no limit"
            )));
        }
        let given = |duration: Option<Duration>| {
            let positive = duration.filter(|duration| !duration.is_zero());
            positive.map(bounded)
        };
        Ok(Self {
            max_bytes: options.max_bytes,
            ttl: given(options.ttl),
            negative_ttl: given(options.negative_ttl),
            hot: options.hot.unwrap_or(true),
            hot_ttl: given(options.hot_ttl).unwrap_or(Duration::from_secs(10)),
            stale_while_revalidate: given(options.stale_while_revalidate),
            stale_if_error: given(options.stale_if_error),
            max_concurrent_loads: options.max_concurrent_loads,
            fallback_ttl: given(options.fallback_ttl).unwrap_or(Duration::from_secs(2)),
            load_timeout: given(options.load_timeout).unwrap_or(Duration::from_secs(30)),
            max_value_bytes,
            storable: max_value_bytes.min(options.max_bytes / STORABLE_PART),
            policy: options.policy,
            strict: options.strict,
            jitter: options.jitter.unwrap_or(true),
            on_evict: options.on_evict,
        })
    }

    /// Equal for equal rules of what an owner keeps, how long and how (S8b).
    /// Other releases compare it with theirs: a rule that they do not have
    /// belongs to the text only where it is not at its default.
    pub(crate) fn digest(&self) -> u64 {
        let rules = format!(
            "{:?} {:?} {:?} {:?} {:?} {} {} {:?} {} {}",
            self.ttl,
            self.negative_ttl,
            self.stale_while_revalidate,
            self.stale_if_error,
            self.load_timeout,
            self.max_value_bytes,
            self.storable,
            self.policy,
            self.strict,
            self.jitter,
        );
        xxh3_64(rules.as_bytes())
    }
}

/// Whether a node may have so many groups, this one among them.
pub(crate) fn check_count(name: &str, count: usize) -> Result<()> {
    if count <= MAX_GROUPS {
        return Ok(());
    }
    Err(Error::invalid_argument(format!(
        "group {name:?} would be one more than the {MAX_GROUPS} that a node may have"
    )))
}

fn check_group_name(name: &str) -> Result<()> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
    if name.is_empty() || name.len() > MAX_GROUP_NAME || !name.bytes().all(legal) {
        return Err(Error::invalid_argument(format!(
            "group name {:?} is not 1 to {MAX_GROUP_NAME} characters of A-Z a-z 0-9 . _ : -",
            crate::error::Short(name)
        )));
    }
    Ok(())
}

/// Refuses a key that no node would take.
pub(crate) fn check_key(key: &str) -> Result<()> {
    if key.is_empty() {
        return Err(Error::invalid_argument(format!(
            "the key is empty; a key has 1 to {MAX_KEY_BYTES} bytes"
        )));
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(Error::invalid_argument(format!(
            "key {:?} is too long; a key has 1 to {MAX_KEY_BYTES} bytes",
            crate::error::Short(key)
        )));
    }
    Ok(())
}

/// A value above its group's limit.
pub(crate) fn too_large(group: &str, key: &str, len: usize, limit: u64) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!(
            "value of {len} bytes for key {:?} is above the limit of {limit} bytes of group {group:?} \
             (the smaller of max_value_bytes and an eighth of max_bytes)",
            crate::error::Short(key)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As releases from 0.1.0 on have it.
    #[test]
    fn s08b_options_digests_are_the_golden_ones() {
        let digest = |options| GroupConfig::check("g", options).unwrap().digest();
        let options = GroupOptions::new(16 << 20);
        let long = Some(Duration::from_millis(90_500));
        let cases = [
            (options.clone(), 0x15aa_10c4_4e5d_e4c7),
            (
                GroupOptions {
                    ttl: long,
                    negative_ttl: Some(Duration::from_secs(1)),
                    stale_while_revalidate: Some(Duration::from_millis(1)),
                    stale_if_error: long,
                    load_timeout: Some(Duration::from_secs(3)),
                    max_value_bytes: Some(1000),
                    jitter: Some(false),
                    ..options.clone()
                },
                0x3ebf_bd1c_acdd_1737,
            ),
            (
                GroupOptions {
                    policy: Policy::Lru,
                    strict: true,
                    ..options.clone()
                },
                0xa071_6375_a17d_3107,
            ),
            (
                GroupOptions {
                    policy: Policy::S3Fifo,
                    ..options
                },
                0x2de1_6d44_4521_addd,
            ),
        ];
        for (options, golden) in cases {
            assert_eq!(digest(options.clone()), golden, "{options:?}");
        }
    }
}
