//! Questions to a node's admin HTTP.

use std::time::Duration;

use hyper::{StatusCode, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::exit::{Failure, INTERNAL, Outcome, REFUSED, TIMEOUT, UNAVAILABLE, USAGE};
use crate::http::{Http, Trouble};

const WITHIN: Duration = Duration::from_secs(5);
/// A thousand groups with their hot keys are smaller.
const MAX_BYTES: usize = 64 << 20;

/// GETs a path of the admin HTTP, with these parameters; its JSON.
pub(crate) async fn ask(
    http: &Http,
    admin: &str,
    path: &str,
    parameters: &[(&str, &str)],
) -> Outcome<Value> {
    let uri = uri(admin, path, parameters)?;
    let unreachable = |why: String| {
        Failure::new(
            UNAVAILABLE,
            format!(
                "the admin HTTP at {admin} cannot be asked: {why}; was the node started with --admin?"
            ),
        )
    };
    let answer = http
        .get(uri, WITHIN, MAX_BYTES)
        .await
        .map_err(|trouble| match trouble {
            Trouble::Broken(why) => unreachable(why),
            Trouble::Slow => Failure::new(
                TIMEOUT,
                format!("the admin HTTP at {admin} did not answer within {WITHIN:?}"),
            ),
            Trouble::TooLong => Failure::new(
                INTERNAL,
                format!("the admin HTTP at {admin} answered more than {MAX_BYTES} bytes"),
            ),
        })?;
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    match (answer.status, body) {
        (StatusCode::OK, Some(body)) => Ok(body),
        (status, Some(body)) => {
            let message = body["error"].as_str().unwrap_or("it did not say why");
            let code = match status {
                StatusCode::BAD_REQUEST => USAGE,
                _ => REFUSED,
            };
            Err(Failure::new(code, format!("{admin}: {message}")))
        }
        (status, None) => Err(unreachable(format!(
            "it answered {status} and no JSON, so it is no kamacache node"
        ))),
    }
}

fn uri(admin: &str, path: &str, parameters: &[(&str, &str)]) -> Outcome<Uri> {
    let host = if admin.starts_with(':') {
        "127.0.0.1"
    } else {
        ""
    };
    let query: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
        .collect();
    let text = format!("http://{host}{admin}{path}?{}", query.join("&"));
    let bad = |why: String| {
        Failure::new(
            USAGE,
            format!("admin address {admin:?} is not host:port as 127.0.0.1:9001{why}"),
        )
    };
    let uri: Uri = text.parse().map_err(|error| bad(format!(": {error}")))?;
    match uri.authority().and_then(|authority| authority.port_u16()) {
        Some(_) => Ok(uri),
        None => Err(bad(String::new())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_encoded_and_wrong_addresses_named() {
        let asked = uri(":9001", "/debug/owner", &[("key", "a b&c")]).unwrap();
        assert_eq!(
            asked.to_string(),
            "http://127.0.0.1:9001/debug/owner?key=a%20b%26c"
        );
        for wrong in ["nowhere", "a b:1", "h:port", "http://h:1"] {
            let error = uri(wrong, "/", &[]).unwrap_err();
            assert!(
                error.code == USAGE && error.message.contains(wrong),
                "{}",
                error.message
            );
        }
    }
}
