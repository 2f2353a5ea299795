//! Where `kamacache serve` loads a miss: a URL, a shell command, or nowhere.
//!
//! Invariant: a load ends within its group's load_timeout, and what it started
//! ends with it; a failure names the URL or command, the key and what happened.

mod command;
mod url;

use std::sync::Arc;
use std::time::Duration;

use kamacache_core::{Getter, GroupOptions, LoadContext};

use crate::config::GetterSettings;
use crate::exit::{Failure, Outcome};
use crate::http::Http;

/// Commands of one group at the same time, if the group does not say.
const COMMANDS: usize = 16;
/// What is read of a value when the group does not say.
const MAX_VALUE_BYTES: u64 = 16 << 20;

/// The getter of a group, if it has one; completes the group's options.
pub(crate) fn open(
    settings: &GetterSettings,
    options: &mut GroupOptions,
    http: &Http,
) -> Outcome<Option<Arc<dyn Getter>>> {
    let limit = options.max_value_bytes.unwrap_or(MAX_VALUE_BYTES);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    match (&settings.url, &settings.command) {
        (Some(template), _) => {
            let template = url::Template::parse(template)
                .map_err(|rule| Failure::config(format!("getter_url {template:?}: {rule}")))?;
            Ok(Some(Arc::new(url::UrlGetter::new(
                template,
                http.clone(),
                limit,
            ))))
        }
        (None, Some(command)) => {
            options.max_concurrent_loads.get_or_insert(COMMANDS);
            let empty = settings.empty.unwrap_or(false);
            Ok(Some(Arc::new(command::CommandGetter::new(
                command, empty, limit,
            ))))
        }
        (None, None) => Ok(None),
    }
}

/// How long the load may still take: a little less than the node waits, so
/// that the getter's own message is the one that arrives.
fn time_left(ctx: &LoadContext) -> Duration {
    let left = ctx.time_left().unwrap_or(Duration::from_secs(24 * 3600));
    left - (left / 20).min(Duration::from_millis(200))
}

/// The beginning of what a failing source said, on one line.
fn excerpt(said: &[u8]) -> String {
    const SHOWN: usize = 300;
    let text = String::from_utf8_lossy(said);
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words.join(" ").chars().take(SHOWN).collect();
    match line.is_empty() {
        true => String::new(),
        false => format!(": {line}"),
    }
}
