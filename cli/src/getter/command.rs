//! A miss is a shell command: `GROUP` and `KEY` are in its environment, its
//! standard output is the value, exit code 44 says "not found".
//!
//! Invariants: a command whose load is over before it has ended, by time, size or
//! the node's end, is killed with its process group; it has no variable of the
//! node's but those of [`INHERITED`] and `getter_env`.

use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use kamacache_core::{BoxFuture, Error, Getter, LoadContext, Loaded, Result, Value};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::failure::{Failure, Log, Secrets};
use super::guard::Guard;
use super::time_left;
use crate::exit::NOT_FOUND;

/// What is read of a failing command's standard error.
const MAX_COMPLAINT: usize = 4096;
/// Variables that every command has, where the node has them; and `LC_*`.
const INHERITED: [&str; 9] = [
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR",
];

#[derive(Debug)]
pub(super) struct CommandGetter {
    run: Arc<Run>,
    log: Arc<Log>,
}

impl CommandGetter {
    /// `more`: variables that it has beside the usual ones.
    pub(super) fn new(
        command: &str,
        more: &[String],
        empty: bool,
        limit: usize,
        guard: Option<Guard>,
    ) -> Self {
        let is_handed_on = |name: &str| {
            INHERITED.contains(&name)
                || name.starts_with("LC_")
                || more.iter().any(|given| given == name)
        };
        let variables = std::env::vars_os()
            .filter(|(name, _)| name.to_str().is_some_and(is_handed_on))
            .collect();
        let run = Run {
            secrets: Secrets::of(command.lines()),
            command: command.to_owned(),
            variables,
            empty,
            limit,
            guard,
        };
        Self {
            run: Arc::new(run),
            log: Arc::default(),
        }
    }
}

impl Getter for CommandGetter {
    fn load(&self, ctx: LoadContext) -> BoxFuture<Result<Option<Loaded>>> {
        let (run, log) = (self.run.clone(), self.log.clone());
        Box::pin(async move {
            run.load(&ctx).await.map_err(|failure| {
                log.failed(&ctx, &failure);
                failure.error
            })
        })
    }
}

/// How a group's values are loaded.
#[derive(Debug)]
struct Run {
    command: String,
    variables: Vec<(OsString, OsString)>,
    /// An empty output is a value.
    empty: bool,
    limit: usize,
    secrets: Secrets,
    guard: Option<Guard>,
}

impl Run {
    async fn load(&self, ctx: &LoadContext) -> std::result::Result<Option<Loaded>, Failure> {
        let failed = |what: String| Failure {
            error: Error::getter(format!("getter_command for key {:?} {what}", ctx.key())),
            detail: self.command.clone(),
        };
        let within = time_left(ctx);
        let mut running = Running::start(self, ctx)
            .map_err(|error| failed(format!("cannot be started: {error}")))?;
        let ended = tokio::time::timeout(within, running.finish(self.limit)).await;
        drop(running);
        let (status, output, complaint) = match ended {
            Err(_) => {
                return Err(failed(format!(
                    "did not end within {within:.1?} (load_timeout); it was killed"
                )));
            }
            Ok(Err(error)) => return Err(failed(format!("could not be read: {error}"))),
            Ok(Ok(ended)) => ended,
        };
        let with = |what: String| {
            let mut failure = failed(format!("{what}{}", self.secrets.excerpt(&complaint)));
            // The log has what it said as it said it.
            let said = String::from_utf8_lossy(&complaint);
            failure.detail = format!("{}; it said: {}", self.command, said.trim_end());
            failure
        };
        match status.code() {
            Some(0) if output.len() > self.limit => Err(failed(format!(
                "wrote more than {} bytes (max_value_bytes); it was killed",
                self.limit
            ))),
            Some(0) if output.is_empty() && !self.empty => Err(failed(format!(
                "wrote nothing; a key that does not exist is exit code {NOT_FOUND}, and with getter_empty an empty value is one"
            ))),
            Some(0) => Ok(Some(Loaded::new(Value::from(output)))),
            Some(code) if code == i32::from(NOT_FOUND) => Ok(None),
            Some(code) => {
                let mut failure = with(format!("ended with exit code {code}"));
                failure.error = failure.error.with_app_code(code.into());
                Err(failure)
            }
            None => Err(with(format!("died: {status}"))),
        }
    }
}

/// A command that runs; its end kills what is left of it.
struct Running {
    child: Child,
    /// Its process group; 0 once the command has ended, when the number may be
    /// another's.
    group: i32,
    guard: Option<Guard>,
}

impl Running {
    fn start(run: &Run, ctx: &LoadContext) -> std::io::Result<Self> {
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", &run.command])
            .env_clear()
            .envs(run.variables.iter().map(|(name, value)| (name, value)))
            .env("GROUP", ctx.group())
            .env("KEY", ctx.key())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        #[cfg(unix)]
        shell.process_group(0);
        let child = shell.spawn()?;
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .unwrap_or(0);
        let guard = run.guard.clone();
        if let Some(guard) = &guard {
            guard.began(group);
        }
        Ok(Self {
            child,
            group,
            guard,
        })
    }

    /// Waits for its end and its output, of which a little more than `limit` is
    /// read; more than that ends it.
    async fn finish(&mut self, limit: usize) -> std::io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
        let output = self.child.stdout.take();
        let complaint = self.child.stderr.take();
        let output = async {
            let output = read(output, limit.saturating_add(1)).await;
            (output.len() > limit).then(|| self.kill());
            output
        };
        let (output, complaint) = tokio::join!(output, drained(complaint));
        let too_long = output.len() > limit;
        let status = self.child.wait().await?;
        self.forget();
        // The one that was killed for writing too much is told so.
        let status = if too_long {
            ExitStatus::default()
        } else {
            status
        };
        Ok((status, output, complaint))
    }

    fn kill(&self) {
        #[cfg(unix)]
        if let Some(group) = rustix::process::Pid::from_raw(self.group) {
            // It may be gone already.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }

    /// The number of the group is not its own any more.
    fn forget(&mut self) {
        let group = std::mem::take(&mut self.group);
        if let Some(guard) = &self.guard {
            guard.ended(group);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        self.forget();
    }
}

async fn read(from: Option<impl AsyncRead + Unpin>, limit: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // What broke off is what there is.
        let _ = from.take(limit as u64).read_to_end(&mut bytes).await;
    }
    bytes
}

/// The beginning of a stream that is read to its end, so that its writer never
/// waits.
async fn drained(from: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let Some(mut from) = from else {
        return Vec::new();
    };
    let mut bytes = Vec::new();
    let _ = (&mut from)
        .take(MAX_COMPLAINT as u64)
        .read_to_end(&mut bytes)
        .await;
    let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    bytes
}
