//! How long things took: one histogram for hits, loads and fetches each.

use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;

/// Which operation a [`Latency`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatencyKind {
    /// A Get answered from this node's memory; one in 1,024 is measured.
    Hit,
    /// A getter call on this node.
    Load,
    /// A Get sent to another owner.
    Fetch,
}

/// A summary of how long an operation took since the group was opened, in
/// nanoseconds; all 0 before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Operations measured.
    pub count: u64,
    /// The sum of their times.
    pub sum_ns: u64,
    /// Half took at most this long.
    pub p50_ns: u64,
    /// Nine in ten took at most this long.
    pub p90_ns: u64,
    /// 99 in 100 took at most this long.
    pub p99_ns: u64,
    /// 999 in 1,000 took at most this long.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// How many operations took at most so long.
#[cfg_attr(not(feature = "admin"), allow(dead_code))]
pub(crate) struct Spread {
    /// By the bounds that were asked for.
    pub(crate) up_to: Vec<u64>,
    pub(crate) count: u64,
    pub(crate) sum_ns: u64,
}

/// A group's three histograms, two significant digits each.
pub(crate) struct Histograms([Mutex<(Histogram<u64>, u64)>; 3]);

impl Histograms {
    pub(crate) fn new() -> Self {
        let new = || {
            let mut histogram = Histogram::new(2).expect("two digits are allowed");
            histogram.auto(true);
            histogram
        };
        Self(std::array::from_fn(|_| Mutex::new((new(), 0))))
    }

    pub(crate) fn record(&self, kind: LatencyKind, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let mut histogram = self.0[kind as usize].lock();
        // An automatic histogram grows instead of refusing.
        let _ = histogram.0.record(ns);
        histogram.1 = histogram.1.saturating_add(ns);
    }

    /// Counts up to each of `bounds`, which rise; exact to two digits.
    #[cfg_attr(not(feature = "admin"), allow(dead_code))]
    pub(crate) fn spread(&self, kind: LatencyKind, bounds: &[u64]) -> Spread {
        let histogram = self.0[kind as usize].lock();
        let (values, sum_ns) = &*histogram;
        let mut up_to = vec![0; bounds.len()];
        for step in values.iter_recorded() {
            let place = bounds.partition_point(|bound| *bound < step.value_iterated_to());
            if let Some(count) = up_to.get_mut(place) {
                *count += step.count_at_value();
            }
        }
        let mut below = 0;
        for count in &mut up_to {
            below += *count;
            *count = below;
        }
        Spread {
            up_to,
            count: values.len(),
            sum_ns: *sum_ns,
        }
    }

    pub(crate) fn read(&self, kind: LatencyKind) -> Latency {
        let histogram = self.0[kind as usize].lock();
        let (values, sum_ns) = &*histogram;
        if values.is_empty() {
            return Latency::default();
        }
        let at = |quantile| values.value_at_quantile(quantile);
        Latency {
            count: values.len(),
            sum_ns: *sum_ns,
            p50_ns: at(0.5),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
            max_ns: values.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_in_order() {
        let histograms = Histograms::new();
        assert_eq!(histograms.read(LatencyKind::Load), Latency::default());
        for ns in 1..=1000 {
            histograms.record(LatencyKind::Load, Duration::from_nanos(ns));
        }
        let spread = histograms.spread(LatencyKind::Load, &[100, 500, 900, 5_000]);
        assert!(
            spread.up_to[0].abs_diff(100) <= 2 && spread.up_to[1].abs_diff(500) <= 10,
            "{:?}",
            spread.up_to
        );
        assert_eq!((spread.up_to[3], spread.count), (1000, 1000));
        let read = histograms.read(LatencyKind::Load);
        assert_eq!((read.count, read.sum_ns), (1000, 500_500));
        assert!(
            read.p50_ns.abs_diff(500) <= 10 && read.p99_ns.abs_diff(990) <= 10,
            "{read:?}"
        );
        assert!(
            read.p50_ns <= read.p90_ns && read.p999_ns <= read.max_ns,
            "{read:?}"
        );
    }
}
