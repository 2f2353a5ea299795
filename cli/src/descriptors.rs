//! What the process was started with and must not hand on: open files of
//! whoever started it, with the locks on them.
//!
//! Called once, by `serve`, before a thread or another process is started.

/// Marks every inherited descriptor beyond standard error as one that ends
/// with this process. What the process itself opens is marked by the standard
/// library.
pub(crate) fn keep_from_children() {
    #[cfg(unix)]
    {
        use rustix::fd::BorrowedFd;
        use rustix::io::{FdFlags, fcntl_setfd};
        let Ok(open) = std::fs::read_dir("/dev/fd") else {
            return;
        };
        let numbers: Vec<i32> = open
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|number| *number > 2)
            .collect();
        for number in numbers {
            // SAFETY: nothing is read, written or closed through it. Closed by now,
            // as the folder's own descriptor, it is an error that changes nothing.
            let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
            let _ = fcntl_setfd(descriptor, FdFlags::CLOEXEC);
        }
    }
}
