//! Sizes and durations as people write them: `"64MiB"`, `"10m"`.
//! Every language passes its strings here, so that the rules and messages are
//! the same everywhere.

use std::time::Duration;

use crate::pending::NEVER;
use crate::{Error, Result};

const SIZES: &[(&str, u64)] = &[
    ("", 1),
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
];

const DURATIONS: &[(&str, f64)] = &[
    ("ms", 0.001),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3_600.0),
    ("d", 86_400.0),
];

/// A duration that can be added to any time, and doubled, without overflow.
/// Options and drains pass through it once; what is computed with them later
/// needs no care.
pub(crate) fn bounded(duration: Duration) -> Duration {
    duration.min(NEVER)
}

/// Bytes from `"64MiB"`, `"1.5GB"` or `"65536"`; units in any case.
///
/// # Errors
/// InvalidArgument, naming the text and the units.
pub fn parse_bytes(text: &str) -> Result<u64> {
    let bad = || {
        Error::invalid_argument(format!(
            "size {text:?} is not a number of bytes such as 65536, \"64KiB\", \"64MiB\" or \"1GB\""
        ))
    };
    let (number, unit) = split(text).ok_or_else(bad)?;
    let (_, factor) = SIZES
        .iter()
        .find(|(name, _)| unit.eq_ignore_ascii_case(name))
        .ok_or_else(bad)?;
    let bytes = number * *factor as f64;
    if bytes >= u64::MAX as f64 {
        return Err(bad());
    }
    Ok(bytes as u64)
}

/// A duration from `"250ms"`, `"1.5s"`, `"10m"`, `"2h"` or `"1d"`.
///
/// # Errors
/// InvalidArgument, naming the text and the units.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let bad = || {
        Error::invalid_argument(format!(
            "duration {text:?} is not a number with a unit such as \"250ms\", \"1.5s\", \"10m\", \"2h\" or \"1d\""
        ))
    };
    let (number, unit) = split(text).ok_or_else(bad)?;
    let (_, factor) = DURATIONS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(bad)?;
    Duration::try_from_secs_f64(number * factor).map_err(|_| bad())
}

fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    Some((number, text[end..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("65536", 65_536),
            ("64MiB", 64 << 20),
            ("64mib", 64 << 20),
            ("1 GB", 1_000_000_000),
            ("1.5KiB", 1_536),
            ("0", 0),
        ] {
            assert_eq!(parse_bytes(text).unwrap(), bytes, "{text}");
        }
        for text in [
            "",
            "MiB",
            "-1",
            "1e3",
            "64 parsecs",
            "99999999999999GiB",
            "1.2.3",
        ] {
            let error = parse_bytes(text).unwrap_err();
            assert!(error.message().contains(text), "{error}");
        }
    }

    #[test]
    fn durations() {
        for (text, millis) in [
            ("250ms", 250),
            ("1.5s", 1_500),
            ("10m", 600_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(
                parse_duration(text).unwrap(),
                Duration::from_millis(millis),
                "{text}"
            );
        }
        for text in ["", "10", "m", "-1s", "10 fortnights"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
