//! `get`, `set`, `delete`: one routed call to any node.

use std::io::Read;

use kamacache_core::Ttl;
use serde_json::json;

use crate::args::{Delete, Get, Set};
use crate::exit::{Failure, INTERNAL, Outcome};
use crate::print;

/// The value on standard output; with `--json` as text, or, when it is not
/// UTF-8, as a list of bytes.
pub(crate) async fn get(args: Get, as_json: bool) -> Outcome {
    let client = args.node.client()?;
    let value = client
        .get(&args.group, &args.key, args.node.timeout)
        .await?;
    if !as_json {
        return print::bytes(&value);
    }
    match std::str::from_utf8(&value) {
        Ok(text) => print::json(&json!({ "ok": true, "value": text })),
        Err(_) => print::json(&json!({ "ok": true, "bytes": value.to_vec() })),
    }
}

pub(crate) async fn set(args: Set, as_json: bool) -> Outcome {
    let value = match args.value {
        Some(value) => value.into_bytes(),
        None => read_input()?,
    };
    let ttl = args.ttl.map_or(Ttl::Group, Ttl::After);
    let client = args.node.client()?;
    client
        .set(&args.group, &args.key, value, ttl, args.node.timeout)
        .await?;
    done(as_json)
}

pub(crate) async fn delete(args: Delete, as_json: bool) -> Outcome {
    let client = args.node.client()?;
    client
        .delete(&args.group, &args.key, args.node.timeout)
        .await?;
    done(as_json)
}

fn done(as_json: bool) -> Outcome {
    match as_json {
        true => print::json(&json!({ "ok": true })),
        false => Ok(()),
    }
}

fn read_input() -> Outcome<Vec<u8>> {
    let mut value = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut value)
        .map_err(|error| Failure::new(INTERNAL, format!("standard input: {error}")))?;
    Ok(value)
}
