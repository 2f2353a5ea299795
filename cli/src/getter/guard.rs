//! Ends what the commands have started when the node is killed: a process of
//! its own, told of each process group that begins and ends. Its standard input
//! is closed by the system when the node is gone, however it went; it then kills
//! the groups that are left.
//!
//! Invariant: a group is made known before its output is waited for, and
//! forgotten after it was killed by `command.rs`.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, Command};
use tokio::sync::mpsc;

/// Reads `+ GROUP` and `- GROUP` until its input ends.
const SCRIPT: &str = r#"trap '' HUP INT TERM
groups=' '
while read -r what group; do
  case $what in
    +) groups="$groups$group " ;;
    -) case $groups in *" $group "*) groups="${groups%% $group *} ${groups#* $group }" ;; esac ;;
  esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
"#;

/// Cheap to clone; the process ends with the runtime it was started in.
#[derive(Clone, Debug)]
pub(super) struct Guard(mpsc::UnboundedSender<Line>);

#[derive(Debug)]
enum Line {
    Began(i32),
    Ended(i32),
}

impl Guard {
    /// Starts the process. Inside a runtime.
    pub(super) fn start() -> std::io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SCRIPT])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn()?;
        let (sender, lines) = mpsc::unbounded_channel();
        if let Some(input) = child.stdin.take() {
            tokio::spawn(async move {
                tell(input, lines).await;
                drop(child);
            });
        }
        Ok(Self(sender))
    }

    /// A process group runs; 0 is none.
    pub(super) fn began(&self, group: i32) {
        if group != 0 {
            // The task ends with the process that it belongs to.
            let _ = self.0.send(Line::Began(group));
        }
    }

    pub(super) fn ended(&self, group: i32) {
        if group != 0 {
            let _ = self.0.send(Line::Ended(group));
        }
    }
}

async fn tell(mut input: ChildStdin, mut lines: mpsc::UnboundedReceiver<Line>) {
    while let Some(line) = lines.recv().await {
        let line = match line {
            Line::Began(group) => format!("+ {group}\n"),
            Line::Ended(group) => format!("- {group}\n"),
        };
        if let Err(error) = input.write_all(line.as_bytes()).await {
            tracing::warn!(%error, "the process that ends getter commands with this node is gone; commands outlive a node that is killed");
            return;
        }
    }
}
