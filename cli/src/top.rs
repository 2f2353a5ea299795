//! `top`: a live view of nodes and their groups: rates between two looks, hit
//! ratios, and the keys that are hit most.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crossterm::event::{Event, KeyCode, KeyModifiers, poll, read};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode, size,
};
use crossterm::{cursor, execute, queue};
use serde_json::{Value, json};

use crate::args::Top;
use crate::ask::ask;
use crate::exit::{Failure, Outcome};
use crate::http::Http;
use crate::print;

/// Hot keys that are shown.
const HOT: usize = 10;

/// What the nodes said at one moment.
struct Look {
    at: Instant,
    nodes: Vec<(String, Result<Value, Failure>)>,
}

/// One group of one node, between two looks.
struct Row {
    node: String,
    group: String,
    gets: f64,
    /// Of the gets between the looks; `None`: there were none.
    hit_ratio: Option<f64>,
    peer_gets: f64,
    loads: f64,
    fetches: f64,
    entries: u64,
    bytes: f64,
}

pub(crate) async fn run(args: Top, as_json: bool) -> Outcome {
    let http = Http::new();
    let live = args.looks.is_none() && !as_json && std::io::stdout().is_terminal();
    let mut screen = match live {
        true => Some(Screen::take()?),
        false => None,
    };
    let mut before = look(&http, &args.admin).await;
    if let Some(screen) = &mut screen {
        // Sizes and hot keys at once; rates when there is a second look.
        screen.show(&titled(&before, &before, args.every))?;
    }
    // Where nobody can press q, one look is enough.
    let mut left = args.looks.unwrap_or(if live { u32::MAX } else { 1 });
    while left > 0 {
        match &mut screen {
            Some(screen) => {
                if screen.wait(args.every)? {
                    return Ok(());
                }
            }
            None => tokio::time::sleep(args.every).await,
        }
        let now = look(&http, &args.admin).await;
        match (&mut screen, as_json) {
            (Some(screen), _) => screen.show(&titled(&before, &now, args.every))?,
            (None, true) => print::json(&as_data(&before, &now))?,
            (None, false) => print::bytes(frame(&before, &now).as_bytes())?,
        }
        before = now;
        left = if live { left } else { left - 1 };
    }
    nobody(before)
}

/// When no node answered at all, that is the command's failure.
fn nobody(last: Look) -> Outcome {
    let mut failure = None;
    for (_, answer) in last.nodes {
        match answer {
            Ok(_) => return Ok(()),
            Err(error) => failure = Some(error),
        }
    }
    failure.map_or(Ok(()), Err)
}

async fn look(http: &Http, admins: &[String]) -> Look {
    let hot = HOT.to_string();
    let mut nodes = Vec::with_capacity(admins.len());
    for admin in admins {
        let answer = ask(http, admin, "/debug/groups", &[("hot", &hot)]).await;
        nodes.push((admin.clone(), answer));
    }
    Look {
        at: Instant::now(),
        nodes,
    }
}

fn groups(answer: &Result<Value, Failure>) -> impl Iterator<Item = &Value> {
    answer
        .iter()
        .flat_map(|answer| answer["groups"].as_array().into_iter().flatten())
}

fn rows(before: &Look, now: &Look) -> Vec<Row> {
    let seconds = (now.at - before.at).as_secs_f64().max(1e-3);
    let mut rows = Vec::new();
    for (node, answer) in &now.nodes {
        let old = before.nodes.iter().find(|(known, _)| known == node);
        for group in groups(answer) {
            let name = group["name"].as_str().unwrap_or_default();
            let was = old.and_then(|(_, old)| groups(old).find(|old| old["name"] == name));
            let count = |group: &Value, field: &str| group["stats"][field].as_u64().unwrap_or(0);
            // A node that was started anew has counted less than before.
            let more = |field: &str| {
                count(group, field).saturating_sub(was.map_or(0, |was| count(was, field))) as f64
            };
            let hits: f64 = ["hits", "hot_hits", "stale_hits", "negative_hits"]
                .map(more)
                .iter()
                .sum();
            let gets = more("gets");
            rows.push(Row {
                node: node.clone(),
                group: name.to_owned(),
                gets: gets / seconds,
                hit_ratio: (gets > 0.0).then(|| (hits / gets).min(1.0)),
                peer_gets: more("peer_gets") / seconds,
                loads: more("loads") / seconds,
                fetches: more("fetches") / seconds,
                entries: count(group, "entries"),
                bytes: count(group, "bytes") as f64,
            });
        }
    }
    rows
}

/// The hottest keys of all nodes together: group, key, hits.
fn hot_keys(now: &Look) -> Vec<(String, String, u64)> {
    let mut hits = std::collections::BTreeMap::<(String, String), u64>::new();
    for group in now.nodes.iter().flat_map(|(_, answer)| groups(answer)) {
        for hot in group["hot_keys"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            *hits
                .entry((text(&group["name"]), text(&hot["key"])))
                .or_default() += hot["hits"].as_u64().unwrap_or(0);
        }
    }
    let mut keys: Vec<_> = hits
        .into_iter()
        .map(|((group, key), hits)| (group, key, hits))
        .collect();
    keys.sort_by_key(|(_, _, hits)| std::cmp::Reverse(*hits));
    keys.truncate(HOT);
    keys
}

/// A frame under a line that says of whom it is, and how to leave it.
fn titled(before: &Look, now: &Look, every: Duration) -> String {
    let whom = match &now.nodes[..] {
        [(node, _)] => node.clone(),
        nodes => {
            let there = nodes.iter().filter(|(_, answer)| answer.is_ok());
            format!("{} of {} nodes", there.count(), nodes.len())
        }
    };
    let frame = frame(before, now);
    format!("kamacache top: {whom}, every {every:?}; q ends it\n\n{frame}")
}

fn frame(before: &Look, now: &Look) -> String {
    let head = [
        "node",
        "group",
        "gets/s",
        "hit %",
        "for peers/s",
        "loads/s",
        "fetches/s",
        "entries",
        "bytes",
    ];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    let rate = |rate: f64| match before.at == now.at {
        true => "-".to_owned(),
        false => format!("{rate:.0}"),
    };
    for row in rows(before, now) {
        table.push(vec![
            row.node,
            row.group,
            rate(row.gets),
            row.hit_ratio
                .map_or("-".to_owned(), |ratio| format!("{:.1}", ratio * 100.0)),
            rate(row.peer_gets),
            rate(row.loads),
            rate(row.fetches),
            row.entries.to_string(),
            print::size(row.bytes),
        ]);
    }
    let mut words = 2;
    if now.nodes.len() == 1 {
        // It would say the same in each line, and screens are narrow.
        table.iter_mut().for_each(|row| drop(row.remove(0)));
        words = 1;
    }
    let mut text = print::table_of(words, &table);
    for (_, answer) in &now.nodes {
        if let Err(failure) = answer {
            text.push_str(&format!("{}\n", failure.message));
        }
    }
    let hot = hot_keys(now);
    if !hot.is_empty() {
        let mut table = vec![
            ["hot key", "group", "hits, about"]
                .map(str::to_owned)
                .to_vec(),
        ];
        table.extend(
            hot.into_iter()
                .map(|(group, key, hits)| vec![plain(&key), group, hits.to_string()]),
        );
        text.push('\n');
        text.push_str(&print::table_of(2, &table));
    }
    text
}

/// A key as a terminal may show it.
fn plain(key: &str) -> String {
    key.chars()
        .take(60)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

fn as_data(before: &Look, now: &Look) -> Value {
    let rows: Vec<Value> = rows(before, now)
        .into_iter()
        .map(|row| json!({
            "node": row.node, "group": row.group, "gets_per_second": row.gets, "hit_ratio": row.hit_ratio,
            "peer_gets_per_second": row.peer_gets, "loads_per_second": row.loads, "fetches_per_second": row.fetches,
            "entries": row.entries, "bytes": row.bytes,
        }))
        .collect();
    let hot: Vec<Value> = hot_keys(now)
        .into_iter()
        .map(|(group, key, hits)| json!({ "group": group, "key": key, "hits": hits }))
        .collect();
    let silent: Vec<Value> = now
        .nodes
        .iter()
        .filter_map(|(node, answer)| {
            Some(json!({ "node": node, "message": answer.as_ref().err()?.message }))
        })
        .collect();
    json!({ "groups": rows, "hot_keys": hot, "unreachable": silent })
}

/// The terminal, taken over until this is dropped.
struct Screen;

impl Screen {
    fn take() -> Outcome<Self> {
        enable_raw_mode()?;
        let screen = Self;
        execute!(std::io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }

    /// Waits for so long; whether the user wants to end.
    fn wait(&self, time: Duration) -> Outcome<bool> {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if !poll(left)? {
                return Ok(false);
            }
            if let Event::Key(key) = read()? {
                let interrupt =
                    key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
                if interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                    return Ok(true);
                }
            }
        }
    }

    fn show(&self, frame: &str) -> Outcome {
        let (columns, lines) = match size()? {
            // A terminal that does not say how large it is.
            (0, _) | (_, 0) => (80, 24),
            known => known,
        };
        let mut out = std::io::stdout().lock();
        queue!(out, cursor::MoveTo(0, 0))?;
        for line in frame.lines().take(usize::from(lines).saturating_sub(1)) {
            let line: String = line.chars().take(columns.into()).collect();
            write!(out, "{line}")?;
            queue!(out, Clear(ClearType::UntilNewLine))?;
            write!(out, "\r\n")?;
        }
        queue!(out, Clear(ClearType::FromCursorDown))?;
        Ok(out.flush()?)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The terminal is left as it was, as far as it goes.
        let _ = execute!(std::io::stdout(), LeaveAlternateScreen, cursor::Show);
        let _ = disable_raw_mode();
    }
}
