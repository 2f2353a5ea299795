//! `kamacache serve`: a node of its own process, until SIGTERM or SIGINT.
//!
//! Standard output carries one line, when the node serves; the log goes to
//! standard error.

use kamacache_core::{Error, ErrorKind, Node};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::args::Serve;
use crate::config::Settings;
use crate::exit::{CONFIG, Failure, INTERNAL, LISTEN, Outcome};
use crate::{descriptors, getter, log, print};

pub(crate) fn run(args: &Serve, as_json: bool) -> Outcome {
    descriptors::keep_from_children();
    let mut settings = Settings::read(args, std::env::vars_os())?;
    let runtime = runtime(&settings)?;
    let outcome = {
        let _inside = runtime.enter();
        let getters = getters(&mut settings, !args.check)?;
        if args.check {
            return show(&settings, as_json);
        }
        let traces = log::begin(&settings)?;
        let outcome = runtime.block_on(serve(settings, getters, as_json));
        traces.end();
        outcome
    };
    // A getter that still runs may not hold the process.
    runtime.shutdown_background();
    outcome
}

type Getters = Vec<Option<std::sync::Arc<dyn kamacache_core::Getter>>>;

/// The getter of each group, in their order. `runs`: they will be used.
fn getters(settings: &mut Settings, runs: bool) -> Outcome<Getters> {
    let sources: Vec<_> = settings
        .groups
        .values()
        .map(|group| settings.getter_of(group))
        .collect();
    let shared = getter::Shared::new(&sources, runs)?;
    let groups = settings.groups.values_mut().zip(&sources);
    groups
        .map(|(group, source)| getter::open(source, &mut group.options, &shared))
        .collect()
}

async fn serve(settings: Settings, getters: Getters, as_json: bool) -> Outcome {
    // Before anything is bound, so that no signal finds nobody.
    let mut signals = Signals::new()?;
    let node = Node::start(settings.node).await.map_err(start_failure)?;
    for ((name, group), getter) in settings.groups.into_iter().zip(getters) {
        node.group(&name, group.options, getter)
            .map_err(start_failure)?;
    }
    ready(&node, as_json)?;
    signals.next().await;
    tracing::info!("leaving; a second signal ends it at once");
    tokio::select! {
        closed = node.close(None) => match closed {
            Ok(()) => tracing::info!("left"),
            // Its time is over; what it loads nobody waits for.
            Err(error) => tracing::warn!(%error, "left"),
        },
        () = signals.next() => return Err(Failure::new(INTERNAL, "ended by a second signal before it had left")),
    }
    Ok(())
}

/// The one line: where to find the node.
fn ready(node: &Node, as_json: bool) -> Outcome {
    let admin = node.admin_address();
    let text = match as_json {
        true => json!({ "ready": true, "address": node.address(), "admin": admin }).to_string(),
        false => match admin {
            Some(admin) => format!("ready: {}, admin http://{admin}", node.address()),
            None => format!("ready: {}", node.address()),
        },
    };
    // Whoever started it may have closed the pipe; the node serves all the same.
    let _ = print::line(&text);
    Ok(())
}

fn start_failure(error: Error) -> Failure {
    let code = match error.kind() {
        ErrorKind::Unavailable => LISTEN,
        ErrorKind::InvalidArgument | ErrorKind::AlreadyExists => CONFIG,
        _ => INTERNAL,
    };
    Failure::new(code, error.message())
}

fn runtime(settings: &Settings) -> Outcome<Runtime> {
    let mut builder = Builder::new_multi_thread();
    match settings.node.io_threads {
        None => {}
        Some(threads @ 1..=1024) => {
            builder.worker_threads(threads);
        }
        Some(threads) => {
            return Err(Failure::config(format!(
                "io_threads is {threads}; it must be from 1 to 1024"
            )));
        }
    }
    let failed = |error| Failure::new(INTERNAL, format!("cannot start threads: {error}"));
    builder
        .thread_name("kamacache")
        .enable_all()
        .build()
        .map_err(failed)
}

/// What the configuration comes to.
fn show(settings: &Settings, as_json: bool) -> Outcome {
    if as_json {
        let all = settings.shown().map(|(name, text, origin)| {
            (
                name.to_owned(),
                json!({ "value": text, "from": origin.to_string() }),
            )
        });
        return print::json(
            &json!({ "ok": true, "options": all.collect::<serde_json::Map<_, _>>() }),
        );
    }
    for (name, text, origin) in settings.shown() {
        print::line(&format!("{name} = {text:?}  # {origin}"))?;
    }
    Ok(())
}

/// SIGTERM and SIGINT; Ctrl-C elsewhere than on Unix.
struct Signals {
    #[cfg(unix)]
    both: [tokio::signal::unix::Signal; 2],
}

impl Signals {
    #[cfg(unix)]
    fn new() -> Outcome<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let failed = |error| Failure::new(INTERNAL, format!("cannot wait for signals: {error}"));
        Ok(Self {
            both: [
                signal(SignalKind::terminate()).map_err(failed)?,
                signal(SignalKind::interrupt()).map_err(failed)?,
            ],
        })
    }

    #[cfg(not(unix))]
    fn new() -> Outcome<Self> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        {
            let [terminate, interrupt] = &mut self.both;
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
