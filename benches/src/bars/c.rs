//! P4: `kamacache_group_peek_into` from C beside the Store's own `peek_into`.
//!
//! Invariant: the loop is C, compiled by `cc` and linked with the release libkamacache.so, so that
//! nothing of the library is inlined into it; requests and blocks are those of P2.

use super::hits::{self, BLOCK, How, Load};
use crate::{
    harness::{self, KEY_BYTES, VALUE_BYTES},
    report::{Bar, Row},
};
use std::{
    env,
    ffi::{CStr, CString, c_char, c_void},
    hint::black_box,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    process::Command,
};

type Open = unsafe extern "C" fn(*const c_char, usize, usize, u64) -> *mut c_void;
type Block = unsafe extern "C" fn(*mut c_void, *const c_char, usize, usize) -> usize;

/// The C loop, loaded.
struct Loop {
    open: Open,
    block: Block,
}

/// Measures.
pub fn run() -> Vec<Row> {
    let c = Loop::build();
    let mut rows = Vec::new();
    for count in hits::KEYS {
        let load = Load::new(count);
        let store = hits::ours(kamacache_core::Policy::Default, count);
        load.fill(&[&store]);
        let group = c.open(&load, count);
        for threads in hits::THREADS {
            let (mut our_turn, mut peer_turn) = (0, 0);
            let measured = harness::compare(
                || c.time(group, &load, threads, &mut our_turn),
                || load.block(threads, &mut peer_turn, |key| How::Copy.ask(&store, key)),
            );
            let metric = format!("C peek_into, ns: {}", hits::label(count, threads));
            rows.push(Row::timed("P4", metric, PEER, &measured));
        }
    }
    rows.push(hits::overall("P4", &rows, PEER, Bar::AtMost(1.2)));
    rows
}

const PEER: &str = "the Store's peek_into";

/// A group of the C library; the library allows any thread to use it.
#[derive(Clone, Copy)]
struct Group(*mut c_void);

// SAFETY: the header says that any thread may use a group.
unsafe impl Sync for Group {}

impl Loop {
    /// Builds the release library and the loop, and loads both.
    fn build() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let library = [
            "build",
            "--quiet",
            "--release",
            "--package",
            "kamacache-ffi",
            "--lib",
        ];
        succeed(Command::new(cargo).current_dir(&root).args(library));
        let release = env::current_exe().expect("a path of our own");
        let release = release.parent().expect("a folder").to_path_buf();
        let out = release.join("libp4.so");
        // The program finds the library by its soname.
        let soname = release.join("libkamacache.so.0");
        let _ = std::fs::remove_file(&soname);
        std::os::unix::fs::symlink("libkamacache.so", soname).expect("a link to the library");
        let mut cc = Command::new("cc");
        cc.args(["-std=c11", "-O2", "-shared", "-fPIC"])
            .arg(root.join("benches/src/bars/c.c"))
            .arg("-I")
            .arg(root.join("include"))
            .arg("-L")
            .arg(&release)
            .arg("-lkamacache")
            .arg(format!("-Wl,-rpath,{}", release.display()))
            .arg("-o")
            .arg(&out);
        succeed(&mut cc);
        Self::load(out)
    }

    fn load(library: PathBuf) -> Self {
        let path = CString::new(library.into_os_string().into_vec()).expect("a path");
        // SAFETY: a NUL-terminated path; its constructors are those of the Rust library.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "libp4.so cannot be loaded");
        let symbol = |name: &CStr| {
            // SAFETY: an open handle and a NUL-terminated name.
            let symbol = unsafe { libc::dlsym(handle, name.as_ptr()) };
            assert!(!symbol.is_null(), "libp4.so has no {name:?}");
            symbol
        };
        // SAFETY: c.c defines both with these types.
        unsafe {
            Self {
                open: std::mem::transmute::<*mut c_void, Open>(symbol(c"p4_open")),
                block: std::mem::transmute::<*mut c_void, Block>(symbol(c"p4_block")),
            }
        }
    }

    fn open(&self, load: &Load, count: usize) -> Group {
        let keys: String = load.keys.iter().map(|key| &**key).collect();
        let budget = hits::budget(count);
        // SAFETY: `keys` has `count` keys of KEY_BYTES each.
        let group = unsafe { (self.open)(keys.as_ptr().cast(), count, KEY_BYTES, budget) };
        assert!(!group.is_null(), "the C group could not be filled");
        let group = Group(group);
        let bytes = self.ask(group, &keys, count);
        assert_eq!(bytes, count * VALUE_BYTES, "every request must be a hit");
        group
    }

    /// Nanoseconds one request takes a thread.
    fn time(&self, group: Group, load: &Load, threads: usize, turn: &mut usize) -> f64 {
        let start = hits::turn(turn);
        let group = &group;
        harness::on_threads(threads, BLOCK, |thread| {
            let requests = &load.requests[thread][start * KEY_BYTES..];
            black_box(self.ask(*group, requests, BLOCK));
        })
    }

    fn ask(&self, group: Group, requests: &str, n: usize) -> usize {
        assert!(requests.len() >= n * KEY_BYTES);
        // SAFETY: `requests` has `n` keys of KEY_BYTES each; the group lives as long as the process.
        unsafe { (self.block)(group.0, requests.as_ptr().cast(), n, KEY_BYTES) }
    }
}

fn succeed(command: &mut Command) {
    let status = command
        .status()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?} ends with {status}");
}
