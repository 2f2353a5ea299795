//! `file:///PATH`: a file with one member a line, as a config map mount or a
//! configuration tool writes it. Blank lines and what follows a `#` are
//! ignored.
//!
//! The file is read again when its time, size or identity has changed, which is
//! looked at twice a second: a config map is swapped by a symbolic link that no
//! watch on the file itself would see.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::MissedTickBehavior;

use super::{Discovery, Lists};
use crate::address::Address;
use crate::options;
use crate::{Error, ErrorKind, Result};

const LOOK: Duration = Duration::from_millis(500);
/// Ten thousand members of the longest names are smaller.
const MAX_BYTES: u64 = 4 << 20;

#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
}

/// What changes when the file is written or replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    modified: Option<SystemTime>,
    len: u64,
    #[cfg(unix)]
    inode: u64,
}

impl File {
    /// `rest` is the URL without its scheme.
    pub(crate) fn open(url: &str, rest: &str) -> Result<Self> {
        match rest.strip_prefix("//").filter(|path| path.starts_with('/')) {
            Some(path) => Ok(Self { path: path.into() }),
            None => Err(Error::invalid_argument(format!(
                "discovery {:?} names no absolute path; write it as file:///etc/kamacache/peers",
                super::shown(url)
            ))),
        }
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error::new(
            ErrorKind::Unavailable,
            format!(
                "the list of members {} cannot be read: {error}",
                self.path.display()
            ),
        )
    }

    /// One hand writes the file: a slip in it is refused whole, since half of
    /// what was meant may be another ring than other nodes have.
    fn checked(&self, me: Option<&Address>, list: Vec<String>) -> Result<Vec<String>> {
        options::found_members(me, &list).map_err(|error| {
            Error::invalid_argument(format!(
                "the list of members {}: {}",
                self.path.display(),
                error.message()
            ))
        })
    }

    async fn version(&self) -> std::io::Result<Version> {
        let about = tokio::fs::metadata(&self.path).await?;
        Ok(Version {
            modified: about.modified().ok(),
            len: about.len(),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(&about),
        })
    }

    /// The members; `None`: the file is not this version any more, and what was
    /// read may be half of one list and half of another.
    async fn read(&self, version: Version) -> Result<Option<Vec<String>>> {
        if version.len > MAX_BYTES {
            return Err(Error::invalid_argument(format!(
                "the list of members {} has {} bytes; the limit is {MAX_BYTES}",
                self.path.display(),
                version.len
            )));
        }
        let text = tokio::fs::read_to_string(&self.path)
            .await
            .map_err(|error| self.failed(&error))?;
        let after = self.version().await.map_err(|error| self.failed(&error))?;
        Ok((after == version).then(|| members(&text)))
    }
}

fn members(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

impl Discovery for File {
    fn watch(self: Arc<Self>, me: String) -> Lists {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Ok: the version last read; Err: it could not be.
        let first: Option<Option<Version>> = None;
        Box::pin(futures_util::stream::unfold(
            (self, tick, first, Address::parse(&me).ok()),
            |(file, mut tick, mut last, me)| async move {
                loop {
                    tick.tick().await;
                    let version = file.version().await;
                    let seen = version.as_ref().ok().copied();
                    if last == Some(seen) {
                        continue;
                    }
                    last = Some(seen);
                    let list = match version {
                        Ok(version) => file.read(version).await.transpose(),
                        Err(error) => Some(Err(file.failed(&error))),
                    };
                    let Some(list) = list else {
                        last = None;
                        continue;
                    };
                    let list = list.and_then(|list| file.checked(me.as_ref(), list));
                    return Some((list, (file, tick, last, me)));
                }
            },
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_changes_while_it_is_read_is_no_list() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers");
        std::fs::write(&path, "10.0.0.1:8001\n").unwrap();
        let file = File { path: path.clone() };
        let before = file.version().await.unwrap();
        assert_eq!(file.read(before).await.unwrap().unwrap(), ["10.0.0.1:8001"]);
        std::fs::write(&path, "10.0.0.1:8001\n10.0.0.2:80").unwrap();
        assert_eq!(file.read(before).await.unwrap(), None);
    }

    #[test]
    fn comments_and_blanks_are_ignored() {
        let text = "# the cluster\n10.0.0.1:8001\r\n\n  10.0.0.2:8001  # new\n#10.0.0.3:1\n";
        assert_eq!(members(text), ["10.0.0.1:8001", "10.0.0.2:8001"]);
    }
}
