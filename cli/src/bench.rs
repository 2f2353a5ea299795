//! `bench`: routed gets and sets on running nodes, and how long the answers
//! took.
//!
//! With `--rate` a request's time counts from the moment it was due, not from
//! when a free worker came to it, so that a node that stalls is not measured
//! only when it does not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use kamacache_core::client::Client;
use kamacache_core::{Error, ErrorKind, Ttl};
use serde_json::json;
use tokio::time::Instant;

use crate::args::{Bench, Spread};
use crate::exit::{Failure, INTERNAL, Outcome};
use crate::print;
use crate::zipf::{Random, Zipf};

/// What every worker shares.
struct Work {
    args: Bench,
    clients: Vec<Client>,
    zipf: Zipf,
    value: Bytes,
    begun: Instant,
    next: AtomicU64,
    bar: ProgressBar,
}

/// What came of a worker's requests.
struct Tally {
    took: Histogram<u64>,
    bytes: u64,
    not_found: u64,
    /// By the name of their kind: how many, and the first.
    failed: BTreeMap<&'static str, (u64, Error)>,
}

impl Tally {
    fn new() -> Self {
        let mut took = Histogram::new(3).expect("three digits are allowed");
        took.auto(true);
        Self {
            took,
            bytes: 0,
            not_found: 0,
            failed: BTreeMap::new(),
        }
    }

    fn add(&mut self, other: Self) {
        // An automatic histogram takes any other.
        let _ = self.took.add(&other.took);
        self.bytes += other.bytes;
        self.not_found += other.not_found;
        for (name, (count, first)) in other.failed {
            self.failed.entry(name).or_insert((0, first)).0 += count;
        }
    }
}

pub(crate) async fn run(args: Bench, as_json: bool) -> Outcome {
    let work = Arc::new(Work::new(args)?);
    let workers: Vec<_> = (0..work.args.concurrency)
        .map(|number| tokio::spawn(work.clone().worker(number)))
        .collect();
    let mut all = Tally::new();
    for worker in workers {
        let tally = worker.await;
        all.add(tally.map_err(|error| Failure::new(INTERNAL, format!("a worker ended: {error}")))?);
    }
    work.bar.finish_and_clear();
    report(&all, work.begun.elapsed(), as_json)?;
    match all.failed.into_values().max_by_key(|(count, _)| *count) {
        None => Ok(()),
        Some((count, first)) => {
            let failure = Failure::from(first);
            let message = format!("{count} requests failed, the first: {}", failure.message);
            Err(Failure { message, ..failure })
        }
    }
}

impl Work {
    fn new(args: Bench) -> Outcome<Self> {
        let nodes = args.node.iter();
        let clients: Result<Vec<_>, Error> = nodes.map(|node| args.member.client(node)).collect();
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta}");
        let bar = ProgressBar::new(args.requests)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let value = vec![b'v'; usize::try_from(args.value_bytes).unwrap_or(usize::MAX)];
        Ok(Self {
            clients: clients?,
            zipf: Zipf::new(args.keys),
            value: value.into(),
            begun: Instant::now(),
            next: AtomicU64::new(0),
            bar,
            args,
        })
    }

    async fn worker(self: Arc<Self>, number: u32) -> Tally {
        let mut random = Random::new(u64::from(number) + 1);
        let mut tally = Tally::new();
        loop {
            let request = self.next.fetch_add(1, Ordering::Relaxed);
            if request >= self.args.requests {
                return tally;
            }
            let due = self.due(request).await;
            let outcome = self.request(request, &mut random).await;
            let took = u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.bar.inc(1);
            match outcome {
                Ok(bytes) => tally.bytes += bytes as u64,
                Err(error)
                    if error.kind() == ErrorKind::NotFound && self.args.not_found_is_fine =>
                {
                    tally.not_found += 1
                }
                Err(error) => {
                    let name = error.kind().name();
                    tally.failed.entry(name).or_insert((0, error)).0 += 1;
                    continue;
                }
            }
            let _ = tally.took.record(took);
        }
    }

    /// When the request is to be sent: now, or by the rate.
    async fn due(&self, request: u64) -> Instant {
        match self.args.rate {
            None => Instant::now(),
            Some(rate) => {
                let due = self.begun + Duration::from_secs_f64(request as f64 / f64::from(rate));
                tokio::time::sleep_until(due).await;
                due
            }
        }
    }

    /// The bytes of the value that came.
    async fn request(&self, request: u64, random: &mut Random) -> Result<usize, Error> {
        let args = &self.args;
        let rank = match args.spread {
            Spread::Zipf => self.zipf.next(random),
            Spread::Uniform => random.number() % args.keys,
        };
        let key = format!("{}{rank}", args.prefix);
        let client = &self.clients[(request % self.clients.len() as u64) as usize];
        if random.number() % 100 < u64::from(args.sets) {
            let value = self.value.clone();
            client
                .set(&args.group, &key, value, Ttl::Group, args.timeout)
                .await?;
            return Ok(0);
        }
        Ok(client.get(&args.group, &key, args.timeout).await?.len())
    }
}

const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];

fn report(tally: &Tally, took: Duration, as_json: bool) -> Outcome {
    let failed: u64 = tally.failed.values().map(|(count, _)| count).sum();
    let rate = tally.took.len() as f64 / took.as_secs_f64().max(1e-9);
    let at = |quantile| tally.took.value_at_quantile(quantile);
    if as_json {
        let latency: serde_json::Map<_, _> = QUANTILES
            .iter()
            .map(|(name, quantile)| {
                (
                    format!("{}_ns", name.replace('.', "")),
                    json!(at(*quantile)),
                )
            })
            .collect();
        let errors: serde_json::Map<_, _> = tally
            .failed
            .iter()
            .map(|(name, (count, _))| ((*name).to_owned(), json!(count)))
            .collect();
        return print::json(&json!({
            "ok": failed == 0, "answered": tally.took.len(), "failed": failed, "not_found": tally.not_found,
            "seconds": took.as_secs_f64(), "per_second": rate, "bytes": tally.bytes, "latency": latency, "errors": errors,
        }));
    }
    print::line(&format!(
        "{} answered in {:.2} s: {rate:.0} a second, {} of values; {failed} failed, {} not found",
        tally.took.len(),
        took.as_secs_f64(),
        print::size(tally.bytes as f64),
        tally.not_found
    ))?;
    for (name, (count, _)) in &tally.failed {
        print::line(&format!("  {count} x {name}"))?;
    }
    print::bytes(histogram(&tally.took).as_bytes())
}

/// The quantiles, and a bar for each doubling of the time.
fn histogram(took: &Histogram<u64>) -> String {
    if took.is_empty() {
        return String::new();
    }
    let quantiles = QUANTILES.map(|(name, quantile)| {
        format!(
            "{name} {}",
            print::time(took.value_at_quantile(quantile) as f64)
        )
    });
    let mut text = quantiles.join("   ") + "\n";
    let (mut from, mut rows) = (took.min().next_power_of_two() / 2, Vec::new());
    while from <= took.max() {
        let to = (from * 2).max(2);
        rows.push((to, took.count_between(from, to - 1)));
        from = to;
    }
    let most = rows
        .iter()
        .map(|(_, count)| *count)
        .max()
        .unwrap_or(1)
        .max(1);
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(to, count)| {
            let bar = "#".repeat((count * 40).div_ceil(most) as usize);
            vec![
                format!("  below {}", print::time(to as f64)),
                count.to_string(),
                format!("{bar:<40}"),
            ]
        })
        .collect();
    text.push_str(&print::table(&rows));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_shows_each_doubling() {
        let mut took = Histogram::<u64>::new(3).unwrap();
        for ns in [1_000, 1_500, 9_000] {
            took.record(ns).unwrap();
        }
        let text = histogram(&took);
        assert!(text.starts_with("p50 1.5 us"), "{text}");
        let counts: u64 = text
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok())
            .sum();
        assert_eq!(counts, 3, "{text}");
    }
}
