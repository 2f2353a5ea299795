//! A file descriptor that an event loop can watch: a pair of sockets, where a
//! byte means "come and look".

#[cfg(unix)]
use std::os::unix::net::UnixStream;

/// Rung from any thread; readable until silenced.
#[cfg(unix)]
pub(crate) struct Doorbell {
    reader: UnixStream,
    writer: UnixStream,
}

#[cfg(unix)]
impl Doorbell {
    /// None when there are no descriptors left.
    pub(crate) fn new() -> Option<Self> {
        let (reader, writer) = UnixStream::pair().ok()?;
        reader.set_nonblocking(true).ok()?;
        writer.set_nonblocking(true).ok()?;
        Some(Self { reader, writer })
    }

    pub(crate) fn fileno(&self) -> Option<i32> {
        use std::os::fd::AsRawFd;
        Some(self.reader.as_raw_fd())
    }

    pub(crate) fn ring(&self) {
        // A full pipe is a bell that rings already.
        let _ = std::io::Write::write(&mut &self.writer, &[1]);
    }

    pub(crate) fn silence(&self) {
        let mut bytes = [0; 64];
        let _ = std::io::Read::read(&mut &self.reader, &mut bytes);
    }
}

/// Elsewhere a thread relays.
#[cfg(not(unix))]
pub(crate) struct Doorbell;

#[cfg(not(unix))]
impl Doorbell {
    pub(crate) fn new() -> Option<Self> {
        None
    }

    pub(crate) fn fileno(&self) -> Option<i32> {
        None
    }

    pub(crate) fn ring(&self) {}

    pub(crate) fn silence(&self) {}
}
