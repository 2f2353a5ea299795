//! The Rust driver of `tests/conformance/*.json`: the behaviour rows that every
//! language runs.

#![expect(clippy::print_stdout, reason = "a failing row is found by its name")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kamacache_core::{
    Error, Getter, Group, GroupOptions, LoadContext, Node, NodeOptions, Stats, Ttl, getter_fn,
};
use serde_json::{Map, Value as Json};

#[tokio::test]
async fn conformance() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance");
    let mut rows = 0;
    for file in std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if file
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let table: Vec<Map<String, Json>> =
                serde_json::from_slice(&std::fs::read(&file).unwrap()).expect("an array of rows");
            for row in &table {
                println!("{}: {}", file.display(), row["name"]);
                run(row).await;
            }
            rows += table.len();
        }
    }
    assert!(rows >= 27, "only {rows} rows were found");
}

async fn run(row: &Map<String, Json>) {
    known(
        row,
        &[
            "name",
            "says",
            "node",
            "start_error",
            "group",
            "group_error",
            "getter",
            "data",
            "failing",
            "steps",
        ],
    );
    let node = match (
        Node::start(node_options(row.get("node"))).await,
        row.get("start_error"),
    ) {
        (Ok(node), None) => node,
        (Err(error), Some(expected)) => return check_error(&error, expected),
        (result, _) => panic!("start: {result:?}"),
    };
    let (name, options) = group_options(row.get("group"));
    let loads = Arc::new(AtomicU64::new(0));
    let getter = (row.get("getter") != Some(&Json::Bool(false))).then(|| getter(row, &loads));
    let group = match (
        node.group(&name, options.clone(), getter),
        row.get("group_error"),
    ) {
        (Ok(group), None) => group,
        (Err(error), Some(expected)) => return check_error(&error, expected),
        (result, _) => panic!("group: {result:?}"),
    };
    for step in row
        .get("steps")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
    {
        let step = step.as_object().expect("a step");
        println!("  {step:?}");
        known(
            step,
            &[
                "op",
                "key",
                "key_repeat",
                "put",
                "put_repeat",
                "ttl_ms",
                "value",
                "absent",
                "code",
                "contains",
                "count",
                "field",
            ],
        );
        perform(step, &node, &group, &options, &loads).await;
    }
    node.close(None).await.unwrap();
}

async fn perform(
    step: &Map<String, Json>,
    node: &Node,
    group: &Group,
    options: &GroupOptions,
    loads: &AtomicU64,
) {
    let key = text(step, "key").unwrap_or_default();
    match step["op"].as_str().unwrap() {
        "get" => check_value(
            step,
            group
                .get(&key)
                .await
                .map(|value| crate::common::text(&value).to_owned()),
        ),
        "peek" => {
            let found = group
                .peek(&key)
                .map(|value| crate::common::text(&value).to_owned());
            let expected = step
                .get("value")
                .map(|value| value.as_str().unwrap().to_owned());
            assert!(expected.is_some() || step.get("absent") == Some(&Json::Bool(true)));
            assert_eq!(found, expected);
        }
        "set" => {
            let ttl = Ttl::from_wire_ms(step.get("ttl_ms").map_or(0, |ms| ms.as_u64().unwrap()));
            check_done(
                step,
                group
                    .set_with(&key, text(step, "put").unwrap(), ttl, None)
                    .await,
            );
        }
        "delete" => check_done(step, group.delete(&key).await),
        "loads" => assert_eq!(
            loads.load(Ordering::SeqCst),
            step["count"].as_u64().unwrap()
        ),
        "stats" => {
            let field = step["field"].as_str().unwrap();
            assert_eq!(
                stat(&group.stats(), field),
                step["count"].as_u64().unwrap(),
                "{field}"
            );
        }
        "owner" => check_value(step, node.owner(&key)),
        "open_again" => check_done(
            step,
            node.group(group.name(), options.clone(), None).map(drop),
        ),
        "close" => node.close(None).await.unwrap(),
        op => panic!("unknown op {op}"),
    }
}

fn getter(row: &Map<String, Json>, loads: &Arc<AtomicU64>) -> Arc<dyn Getter> {
    let table = |field: &str| -> HashMap<String, String> {
        row.get(field)
            .map(|table| serde_json::from_value(table.clone()).unwrap())
            .unwrap_or_default()
    };
    let (data, failing, loads) = (table("data"), table("failing"), loads.clone());
    Arc::new(getter_fn(move |ctx: LoadContext| {
        loads.fetch_add(1, Ordering::SeqCst);
        let answer = match failing.get(ctx.key()) {
            Some(message) => Err(Error::getter(message)),
            None => Ok(data.get(ctx.key()).cloned()),
        };
        async move { answer }
    }))
}

fn node_options(fields: Option<&Json>) -> NodeOptions {
    let mut options = NodeOptions::default();
    for (name, value) in fields.and_then(Json::as_object).into_iter().flatten() {
        match name.as_str() {
            "listen" => options.listen = Some(value.as_str().unwrap().into()),
            "advertise" => options.advertise = Some(value.as_str().unwrap().into()),
            "peers" => options.peers = serde_json::from_value(value.clone()).unwrap(),
            name => options.set(name, value.as_str().unwrap()).unwrap(),
        }
    }
    options
}

fn group_options(fields: Option<&Json>) -> (String, GroupOptions) {
    let (mut group, mut options) = ("g".to_owned(), GroupOptions::new(1 << 20));
    for (name, value) in fields.and_then(Json::as_object).into_iter().flatten() {
        match name.as_str() {
            "name" => group = value.as_str().unwrap().into(),
            "max_bytes" => options.max_bytes = value.as_u64().unwrap(),
            "max_value_bytes" => options.max_value_bytes = value.as_u64(),
            "ttl_ms" => options.ttl = value.as_u64().map(Duration::from_millis),
            other => panic!("unknown group option {other}"),
        }
    }
    (group, options)
}

fn text(step: &Map<String, Json>, field: &str) -> Option<String> {
    if let Some(text) = step.get(field) {
        return Some(text.as_str().unwrap().to_owned());
    }
    let repeat = step.get(&format!("{field}_repeat"))?;
    Some(
        repeat[0]
            .as_str()
            .unwrap()
            .repeat(repeat[1].as_u64().unwrap() as usize),
    )
}

fn check_value(step: &Map<String, Json>, result: Result<String, Error>) {
    match result {
        Ok(value) => assert_eq!(
            Some(value.as_str()),
            step.get("value").and_then(Json::as_str)
        ),
        Err(error) => check_error(&error, &Json::Object(step.clone())),
    }
}

fn check_done(step: &Map<String, Json>, result: Result<(), Error>) {
    match result {
        Ok(()) => assert!(!step.contains_key("code"), "succeeded"),
        Err(error) => check_error(&error, &Json::Object(step.clone())),
    }
}

fn check_error(error: &Error, expected: &Json) {
    assert_eq!(
        Some(error.kind().name()),
        expected["code"].as_str(),
        "{error}"
    );
    for part in expected["contains"].as_array().into_iter().flatten() {
        assert!(
            error.message().contains(part.as_str().unwrap()),
            "{error} should contain {part}"
        );
    }
}

fn known(fields: &Map<String, Json>, names: &[&str]) {
    for name in fields.keys() {
        assert!(names.contains(&name.as_str()), "unknown field {name}");
    }
}

fn stat(stats: &Stats, field: &str) -> u64 {
    match field {
        "gets" => stats.gets,
        "hits" => stats.hits,
        "loaded" => stats.loaded,
        "not_found" => stats.not_found,
        "failed" => stats.failed,
        "loads" => stats.loads,
        "load_errors" => stats.load_errors,
        "sets" => stats.sets,
        "deletes" => stats.deletes,
        "entries" => stats.entries,
        other => panic!("unknown stat {other}"),
    }
}
