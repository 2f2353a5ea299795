//! A miss is a shell command: `GROUP` and `KEY` are in its environment, its
//! standard output is the value, exit code 44 says "not found".
//!
//! Invariant: a command whose load is over before it has ended, by time, size or
//! the node's end, is killed with its process group.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use kamacache_core::{BoxFuture, Error, Getter, LoadContext, Loaded, Result, Value};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::{excerpt, time_left};
use crate::exit::NOT_FOUND;

/// What is read of a failing command's standard error.
const MAX_COMPLAINT: usize = 4096;

#[derive(Debug)]
pub(super) struct CommandGetter {
    command: Arc<str>,
    /// An empty output is a value.
    empty: bool,
    limit: usize,
}

impl CommandGetter {
    pub(super) fn new(command: &str, empty: bool, limit: usize) -> Self {
        Self {
            command: command.into(),
            empty,
            limit,
        }
    }
}

impl Getter for CommandGetter {
    fn load(&self, ctx: LoadContext) -> BoxFuture<Result<Option<Loaded>>> {
        let run = Run {
            command: self.command.clone(),
            empty: self.empty,
            limit: self.limit,
        };
        Box::pin(async move {
            let loaded = run.load(&ctx).await;
            if let Err(error) = &loaded {
                tracing::warn!(group = ctx.group(), %error, "a load failed");
            }
            loaded
        })
    }
}

/// One load.
struct Run {
    command: Arc<str>,
    empty: bool,
    limit: usize,
}

impl Run {
    async fn load(&self, ctx: &LoadContext) -> Result<Option<Loaded>> {
        let failed = |what: String| {
            let shown: String = self.command.chars().take(100).collect();
            Error::getter(format!(
                "getter_command {shown:?} for key {:?} {what}",
                ctx.key()
            ))
        };
        let within = time_left(ctx);
        let mut running = Running::start(&self.command, ctx)
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
                let said = excerpt(&complaint);
                Err(failed(format!("ended with exit code {code}{said}")).with_app_code(code.into()))
            }
            None => Err(failed(format!("died: {status}{}", excerpt(&complaint)))),
        }
    }
}

/// A command that runs; its end kills what is left of it.
struct Running {
    child: Child,
    /// Its process group; 0 once the command has ended, when the number may be
    /// another's.
    group: i32,
}

impl Running {
    fn start(command: &str, ctx: &LoadContext) -> std::io::Result<Self> {
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", command])
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
        Ok(Self { child, group })
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
        self.group = 0;
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
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
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
