//! Which path answers what. Only GET (and HEAD) is answered; whatever else is
//! asked gets a 4xx that names the value and the way out.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State as Shared};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio::sync::Semaphore;

use super::{debug, group_metrics, metrics, query, text};
use crate::options::check_key;
use crate::state::State;
use crate::{Error, ErrorKind};

const PATHS: &str = "/metrics /healthz /readyz /debug/members /debug/groups /debug/owner?key= /debug/explain?group=&key=";
/// The most hot keys of a group that one answer lists.
const MAX_HOT: usize = 32;

/// What every request needs.
#[derive(Clone)]
struct Desk {
    state: Arc<State>,
    turns: Arc<Semaphore>,
}

type Node = Shared<Desk>;

impl Desk {
    /// Makes a long answer, one at a time and on a thread that may block: a
    /// thousand groups take milliseconds, and the node's own threads serve the
    /// cache.
    async fn make<T: Send + 'static>(
        &self,
        answer: impl FnOnce(&Arc<State>) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let turn = self.turns.clone().acquire_owned().await;
        let state = self.state.clone();
        let made = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            answer(&state)
        });
        made.await.map_err(|error| {
            Refusal(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("the answer could not be made: {error}"),
            )
        })
    }
}

pub(super) fn router(state: Arc<State>) -> Router {
    let desk = Desk {
        state,
        turns: Arc::new(Semaphore::new(1)),
    };
    Router::new()
        .route("/metrics", get(metrics_text))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/debug/members", get(members))
        .route("/debug/groups", get(groups))
        .route("/debug/owner", get(owner))
        .route("/debug/explain", get(explain))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(desk)
}

/// What a request did wrong.
pub(super) struct Refusal(pub(super) StatusCode, pub(super) String);

impl From<String> for Refusal {
    fn from(message: String) -> Self {
        Self(StatusCode::BAD_REQUEST, message)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::UnknownGroup => StatusCode::NOT_FOUND,
            ErrorKind::Closed => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self(status, error.message().to_owned())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.1 });
        (self.0, [JSON], body.to_string()).into_response()
    }
}

const JSON: (header::HeaderName, &str) = (header::CONTENT_TYPE, "application/json");

fn reply(json: String) -> Response {
    ([JSON], json).into_response()
}

async fn metrics_text(Shared(desk): Node) -> Result<Response, Refusal> {
    let text = desk.make(|state| {
        let mut text = text::Text::default();
        metrics::write(state, &mut text);
        group_metrics::write(&state.all_groups(), &mut text);
        text.finish()
    });
    let kind = (header::CONTENT_TYPE, text::CONTENT_TYPE);
    Ok(([kind], text.await?).into_response())
}

/// The process lives and its runtime runs.
async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether requests should come here.
async fn readyz(Shared(desk): Node) -> Response {
    match desk.state.readiness() {
        Ok(()) => "ready\n".into_response(),
        Err(why) => {
            let reason = desk.state.membership.outage_reason();
            let reason = reason.map_or(String::new(), |reason| format!("; discovery: {reason}"));
            let body = format!("{why}{reason}\n");
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

async fn members(Shared(desk): Node, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let [] = query::read(query.as_deref(), [])?;
    let answer = desk.make(|state| debug::members(state).to_string());
    Ok(reply(answer.await?))
}

async fn groups(Shared(desk): Node, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let [group, hot] = query::read(query.as_deref(), ["group", "hot"])?;
    let hot = match hot {
        None => 0,
        Some(text) => text
            .parse()
            .ok()
            .filter(|hot| *hot <= MAX_HOT)
            .ok_or_else(|| format!("hot {text:?} is not a number from 0 to {MAX_HOT}"))?,
    };
    let groups = match group {
        Some(name) => vec![desk.state.find(&name)?],
        None => desk.state.all_groups(),
    };
    let answer = desk.make(move |_| debug::groups(&groups, hot).to_string());
    Ok(reply(answer.await?))
}

async fn owner(Shared(desk): Node, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let [key] = query::read(query.as_deref(), ["key"])?;
    let key = query::required("key", key)?;
    check_key(&key)?;
    Ok(reply(debug::owner(&desk.state, &key).to_string()))
}

async fn explain(Shared(desk): Node, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let [group, key] = query::read(query.as_deref(), ["group", "key"])?;
    let group = query::required("group", group)?;
    let key = query::required("key", key)?;
    check_key(&key)?;
    let group = desk.state.find(&group)?;
    Ok(reply(debug::explain(&desk.state, &group, &key).to_string()))
}

async fn unknown(uri: Uri) -> Refusal {
    let path: String = uri.path().chars().take(64).collect();
    Refusal(
        StatusCode::NOT_FOUND,
        format!("path {path:?} is not known; there are {PATHS}"),
    )
}

async fn wrong_method(method: Method) -> Refusal {
    let method: String = method.as_str().chars().take(32).collect();
    Refusal(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} is not allowed: the admin HTTP only reads; ask with GET"),
    )
}
