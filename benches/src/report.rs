//! What a run leaves behind: `results.json`, a table, and a plot a bar.
//!
//! Invariant: a row is a ratio against a named peer with its interval; a run of some bars keeps the
//! other bars' rows of earlier runs. Called by the suite.

use crate::harness::Comparison;
use serde::{Deserialize, Serialize};
use std::{fmt::Write as _, fs, io, path::Path};

/// One comparison.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The bar: P1, P2, ...
    pub id: String,
    /// What was measured.
    pub metric: String,
    /// Ours, in the metric's unit.
    pub ours: f64,
    /// The peer's.
    pub peer: f64,
    /// Who the peer is.
    pub peer_name: String,
    /// Ours over the peer's.
    pub ratio: f64,
    /// 95 % interval of the ratio.
    pub ci_low: f64,
    /// 95 % interval of the ratio.
    pub ci_high: f64,
    /// Pairs of blocks; 1 for what is counted, not timed.
    pub n: usize,
    /// What the bar asks of this row; None for a row that is there for comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bar: Option<Bar>,
}

/// What a bar asks of a ratio.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Bar {
    /// At most.
    AtMost(f64),
    /// At least.
    AtLeast(f64),
    /// The upper end of the interval at most.
    UpperEndAtMost(f64),
}

impl Row {
    /// A timed row.
    pub fn timed(
        id: &str,
        metric: impl Into<String>,
        peer_name: &str,
        measured: &Comparison,
    ) -> Row {
        Row {
            id: id.into(),
            metric: metric.into(),
            ours: measured.ours,
            peer: measured.peer,
            peer_name: peer_name.into(),
            ratio: measured.ratio,
            ci_low: measured.ci.0,
            ci_high: measured.ci.1,
            n: measured.n,
            bar: None,
        }
    }

    /// A row of something that is counted.
    pub fn counted(
        id: &str,
        metric: impl Into<String>,
        peer_name: &str,
        ours: f64,
        peer: f64,
    ) -> Row {
        let ratio = ours / peer;
        let measured = Comparison {
            ours,
            peer,
            ratio,
            ci: (ratio, ratio),
            n: 1,
        };
        Row::timed(id, metric, peer_name, &measured)
    }

    /// The row with what is asked of it.
    pub fn with_bar(self, bar: Bar) -> Row {
        Row {
            bar: Some(bar),
            ..self
        }
    }

    fn verdict(&self) -> &'static str {
        match self.bar {
            None => "",
            Some(Bar::AtMost(limit)) if self.ratio <= limit => "met",
            Some(Bar::AtLeast(limit)) if self.ratio >= limit => "met",
            Some(Bar::UpperEndAtMost(limit)) if self.ci_high <= limit => "met",
            Some(_) => "MISSED",
        }
    }

    fn asked(&self) -> String {
        match self.bar {
            None => String::new(),
            Some(Bar::AtMost(limit)) => format!("<= {limit}"),
            Some(Bar::AtLeast(limit)) => format!(">= {limit}"),
            Some(Bar::UpperEndAtMost(limit)) => format!("CI <= {limit}"),
        }
    }
}

/// The rows as text.
pub fn table(rows: &[Row]) -> String {
    let wide = |len: fn(&Row) -> usize| rows.iter().map(len).max().unwrap_or(0);
    let (metric, peer) = (
        wide(|row| row.metric.len()),
        wide(|row| row.peer_name.len()),
    );
    let mut text = String::new();
    for row in rows {
        let _ = writeln!(
            text,
            "{:<4} {:<metric$}  {:<peer$}  {:>10.2} {:>10.2}  {:>6.3} [{:.3}, {:.3}]  n={:<3} {:>10} {}",
            row.id,
            row.metric,
            row.peer_name,
            row.ours,
            row.peer,
            row.ratio,
            row.ci_low,
            row.ci_high,
            row.n,
            row.asked(),
            row.verdict(),
        );
    }
    text
}

/// Writes everything into `folder`; rows of bars that were not run stay.
pub fn write(folder: &Path, rows: &[Row]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let file = folder.join("results.json");
    let earlier: Vec<Row> = fs::read(&file)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let mut all: Vec<Row> = earlier
        .into_iter()
        .filter(|old| rows.iter().all(|row| row.id != old.id))
        .collect();
    all.extend_from_slice(rows);
    all.sort_by_key(|row| {
        row.id
            .trim_start_matches('P')
            .parse::<u32>()
            .unwrap_or(u32::MAX)
    });
    fs::write(file, serde_json::to_vec_pretty(&all)?)?;
    fs::write(folder.join("results.txt"), table(&all))?;
    for chunk in all.chunk_by(|a, b| a.id == b.id) {
        fs::write(folder.join(format!("{}.svg", chunk[0].id)), plot(chunk))?;
    }
    Ok(())
}

/// One bar's rows: a dot at the ratio, a line for its interval, a dashed line at 1, a red mark where
/// the bar is.
fn plot(rows: &[Row]) -> String {
    const LEFT: f64 = 430.0;
    const WIDTH: f64 = 480.0;
    const LINE: f64 = 22.0;
    let most = rows
        .iter()
        .map(|row| row.ci_high.max(1.0))
        .fold(1.0, f64::max)
        * 1.08;
    let x = |ratio: f64| LEFT + WIDTH * ratio / most;
    let height = LINE * (rows.len() as f64 + 2.5);
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{:.0}' height='{height:.0}' font-family='sans-serif' font-size='12'>\n\
         <rect width='100%' height='100%' fill='white'/>\n\
         <text x='8' y='18' font-weight='bold'>{}: ours / peer (left of 1 is less than the peer)</text>\n\
         <line x1='{one:.1}' x2='{one:.1}' y1='26' y2='{:.1}' stroke='gray' stroke-dasharray='4 3'/>\n",
        LEFT + WIDTH + 70.0,
        rows[0].id,
        height - LINE,
        one = x(1.0),
    );
    for (row, index) in rows.iter().zip(1..) {
        let y = LINE * (f64::from(index) + 0.8);
        let label = format!("{} vs {}", row.metric, row.peer_name);
        let label = label.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(svg, "<text x='8' y='{:.1}'>{label}</text>", y + 4.0);
        let (low, high) = (x(row.ci_low), x(row.ci_high));
        let _ = writeln!(
            svg,
            "<line x1='{low:.1}' x2='{high:.1}' y1='{y:.1}' y2='{y:.1}' stroke='steelblue' stroke-width='3'/>"
        );
        let _ = writeln!(
            svg,
            "<circle cx='{:.1}' cy='{y:.1}' r='4' fill='steelblue'/>",
            x(row.ratio)
        );
        let _ = writeln!(
            svg,
            "<text x='{:.1}' y='{:.1}'>{:.2}</text>",
            LEFT + WIDTH + 20.0,
            y + 4.0,
            row.ratio
        );
        if let Some(Bar::AtMost(limit) | Bar::AtLeast(limit) | Bar::UpperEndAtMost(limit)) = row.bar
        {
            let at = x(limit.min(most));
            let (top, bottom) = (y - 8.0, y + 8.0);
            let _ = writeln!(
                svg,
                "<line x1='{at:.1}' x2='{at:.1}' y1='{top:.1}' y2='{bottom:.1}' stroke='crimson' stroke-width='2'/>"
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}
