//! `stats`, `members`, `owner`, `explain`: what an admin HTTP says, for people;
//! with `--json` as it came.

use serde_json::Value;

use crate::args::{Admin, Explain, Owner, Stats};
use crate::ask::ask;
use crate::exit::Outcome;
use crate::http::Http;
use crate::print;

pub(crate) async fn stats(args: Stats, as_json: bool) -> Outcome {
    let parameters: Vec<_> = args.group.iter().map(|group| ("group", &**group)).collect();
    let answer = ask(
        &Http::new(),
        &args.admin.admin,
        "/debug/groups",
        &parameters,
    )
    .await?;
    if as_json {
        return print::json(&answer);
    }
    let groups = answer["groups"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if groups.is_empty() {
        return print::line("no group is open");
    }
    for group in groups {
        print::bytes(about_group(group).as_bytes())?;
    }
    Ok(())
}

fn about_group(group: &Value) -> String {
    let mut text = format!(
        "{}  hit ratio {:.1} %\n",
        word(&group["name"]),
        group["hit_ratio"].as_f64().unwrap_or(0.0) * 100.0
    );
    if let Some(stats) = group["stats"].as_object() {
        let plain = stats.iter().filter(|(_, count)| count.as_u64() != Some(0));
        let rows: Vec<_> = plain
            .map(|(name, count)| vec![format!("  {name}"), count_of(name, count)])
            .collect();
        text.push_str(&print::table(&rows));
    }
    for operation in ["hit", "load", "fetch"] {
        let latency = &group["latency"][operation];
        if latency["count"].as_u64().unwrap_or(0) > 0 {
            let at = |name: &str| print::time(latency[name].as_f64().unwrap_or(0.0));
            text.push_str(&format!(
                "  {operation}: p50 {}, p99 {}, p99.9 {}, max {}\n",
                at("p50_ns"),
                at("p99_ns"),
                at("p999_ns"),
                at("max_ns")
            ));
        }
    }
    text
}

fn count_of(name: &str, count: &Value) -> String {
    match name.ends_with("bytes") {
        true => print::size(count.as_f64().unwrap_or(0.0)),
        false => count.to_string(),
    }
}

pub(crate) async fn members(args: Admin, as_json: bool) -> Outcome {
    let answer = ask(&Http::new(), &args.admin, "/debug/members", &[]).await?;
    if as_json {
        return print::json(&answer);
    }
    let view = &answer["view"];
    print::line(&format!(
        "cluster {}, view {} ({}), {}",
        word(&answer["cluster"]),
        view["number"],
        word(&view["digest"]),
        answer["not_ready_because"].as_str().unwrap_or("ready")
    ))?;
    if let Some(stale) = answer["discovery"]["stale_seconds"].as_f64() {
        print::line(&format!("discovery has been out for {stale:.0} s"))?;
    }
    let members = answer["members"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let rows: Vec<_> = members.iter().map(about_member).collect();
    print::bytes(print::table(&rows).as_bytes())
}

fn about_member(member: &Value) -> Vec<String> {
    let state = match member["self"].as_bool() {
        Some(true) => "this node".to_owned(),
        _ => word(&member["state"]),
    };
    let mut row = vec![word(&member["address"]), state];
    if let Some(reason) = member["reason"].as_str() {
        row.push(reason.to_owned());
    }
    if member["view_differs"].as_bool() == Some(true) {
        row.push("its members differ".to_owned());
    }
    row
}

pub(crate) async fn owner(args: Owner, as_json: bool) -> Outcome {
    let answer = ask(
        &Http::new(),
        &args.admin.admin,
        "/debug/owner",
        &[("key", &args.key)],
    )
    .await?;
    match as_json {
        true => print::json(&answer),
        // A node without a network owns every key, and has no address.
        false => print::line(
            answer["owner"]
                .as_str()
                .unwrap_or("this node, which has no network"),
        ),
    }
}

pub(crate) async fn explain(args: Explain, as_json: bool) -> Outcome {
    let parameters = [("group", &*args.group), ("key", &*args.key)];
    let answer = ask(
        &Http::new(),
        &args.admin.admin,
        "/debug/explain",
        &parameters,
    )
    .await?;
    match as_json {
        true => print::json(&answer),
        false => print::bytes(explained(&answer).as_bytes()),
    }
}

fn explained(about: &Value) -> String {
    let mut lines = vec![format!(
        "key {} of group {}, as {} sees it",
        about["key"],
        about["group"],
        word(&about["node"])
    )];
    let whose = if about["owned_here"] == true {
        " (this node)"
    } else {
        ""
    };
    lines.push(format!("owner:      {}{whose}", word(&about["owner"])));
    if let Some(previous) = about["previous_owner"].as_str() {
        lines.push(format!(
            "before:     {previous} owned it, and may still hold it"
        ));
    }
    lines.push(format!("here:       {}", held(&about["here"])));
    let busy = match (about["loading"] == true, about["fetching"] == true) {
        (true, _) => "its getter runs",
        (_, true) => "it is being fetched from its owner",
        _ => "nothing",
    };
    lines.push(format!("under way:  {busy}"));
    let lent: Vec<String> = about["lent_to"]
        .as_array()
        .into_iter()
        .flatten()
        .map(word)
        .collect();
    if !lent.is_empty() {
        lines.push(format!(
            "copies:     perhaps at {} (by slot)",
            lent.join(", ")
        ));
    }
    let link = &about["owner_link"];
    if !link.is_null() {
        let why = link["reason"]
            .as_str()
            .map(|why| format!(": {why}"))
            .unwrap_or_default();
        lines.push(format!(
            "link:       {}{why}, lease {} ms",
            word(&link["state"]),
            link["lease_ms"]
        ));
    }
    let view = &about["view"];
    lines.push(format!(
        "numbers:    slot {}, generation {}, view {} ({})",
        about["slot"],
        about["generation"],
        view["number"],
        word(&view["digest"])
    ));
    lines.join("\n") + "\n"
}

fn held(here: &Value) -> String {
    if here.is_null() {
        return "nothing".to_owned();
    }
    let time = match (
        here["expires_in_ms"].as_f64(),
        here["expired_for_ms"].as_f64(),
    ) {
        (Some(left), _) => format!(", {} left", print::time(left * 1e6)),
        (_, Some(over)) => format!(", expired {} ago", print::time(over * 1e6)),
        _ => ", never expires".to_owned(),
    };
    let served = if here["served"] == true {
        ""
    } else {
        ", not served"
    };
    format!(
        "{}, {}{time}{served}, stored in view {}",
        word(&here["kind"]),
        print::size(here["bytes"].as_f64().unwrap_or(0.0)),
        here["stored_in_view"]
    )
}

/// Text without its quotes; an absent one is a dash.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() => text.clone(),
        Value::String(_) | Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}
