//! The committed header is the one that the source gives.
//!
//! `KAMACACHE_BLESS=1 cargo test -p kamacache-ffi --test header` writes it.

use std::fs;
use std::path::{Path, PathBuf};

use cbindgen::{Builder, Config};

/// In the order of the header's sections.
const SOURCES: [&str; 14] = [
    "error.rs",
    "value.rs",
    "loads.rs",
    "getter.rs",
    "evict.rs",
    "owned.rs",
    "options.rs",
    "node.rs",
    "group.rs",
    "queue.rs",
    "group_async.rs",
    "group_many.rs",
    "stats.rs",
    "log.rs",
];

fn crate_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn committed_path() -> PathBuf {
    crate_dir().join("../include/kamacache.h")
}

/// What cbindgen cannot read off the source.
fn macros() -> String {
    format!(
        "\n\
         /** The version of this header; the library's own is kamacache_version(). */\n\
         #define KAMACACHE_VERSION_MAJOR {}\n\
         /** Its second number. */\n\
         #define KAMACACHE_VERSION_MINOR {}\n\
         /** Its third number. */\n\
         #define KAMACACHE_VERSION_PATCH {}\n\
         \n\
         /** Sets up a kamacache_node_options: all defaults. */\n\
         #define kamacache_node_options_init(o) kamacache_node_options_init_sized((o), sizeof *(o))\n\
         /** Sets up a kamacache_group_options: all defaults; then set max_bytes, which has none. */\n\
         #define kamacache_group_options_init(o) kamacache_group_options_init_sized((o), sizeof *(o))\n",
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR"),
        env!("CARGO_PKG_VERSION_PATCH"),
    )
}

fn printed() -> String {
    let mut config = Config::from_file(crate_dir().join("cbindgen.toml")).expect("cbindgen.toml");
    config.after_includes = Some(macros());
    let builder = SOURCES
        .iter()
        .fold(Builder::new().with_config(config), |builder, source| {
            builder.with_src(crate_dir().join("src").join(source))
        });
    let mut bytes = Vec::new();
    builder
        .generate()
        .expect("the source is readable for cbindgen")
        .write(&mut bytes);
    for_c(&String::from_utf8(bytes).expect("UTF-8"))
}

/// Cuts what is for Rust alone and folds comments of one line.
fn for_c(header: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut for_rust = false;
    for line in header.lines() {
        for_rust = (for_rust || line.trim() == "* # Safety") && line.trim() != "*/";
        if for_rust {
            continue;
        }
        lines.push(untagged(line));
        fold(&mut lines);
    }
    lines.join("\n") + "\n"
}

/// The enums, as they are called in Rust.
const TAGS: [&str; 3] = [
    "kamacache_status_code",
    "kamacache_evict_reason",
    "kamacache_log_level",
];

/// Codes are plain int constants: an enum's tag would be one more name to keep.
fn untagged(line: &str) -> String {
    if line.starts_with("typedef enum ") {
        "enum {".into()
    } else if TAGS.iter().any(|tag| line == format!("}} {tag};")) {
        "};".into()
    } else {
        line.into()
    }
}

/// `/**`, ` * text`, ` */` become `/** text */`.
fn fold(lines: &mut Vec<String>) {
    if lines.last().is_none_or(|last| last.trim() != "*/") {
        return;
    }
    let end = lines.pop().unwrap_or_default();
    if lines.last().is_some_and(|last| last.trim() == "*") {
        lines.pop();
    }
    match &lines[..] {
        [.., open, text] if open.trim() == "/**" && text.len() < 105 => {
            let folded = format!(
                "{}/** {} */",
                " ".repeat(open.len() - 3),
                text.trim().trim_start_matches("* ")
            );
            lines.truncate(lines.len() - 2);
            lines.push(folded);
        }
        _ => lines.push(end),
    }
}

#[test]
fn the_committed_header_is_what_the_source_gives() {
    let printed = printed();
    if std::env::var_os("KAMACACHE_BLESS").is_some() {
        fs::write(committed_path(), &printed).expect("write the header");
    }
    let committed = fs::read_to_string(committed_path()).unwrap_or_default();
    let differs = committed
        .lines()
        .zip(printed.lines())
        .find(|(committed, printed)| committed != printed);
    assert!(
        committed == printed,
        "include/kamacache.h is not what ffi/src gives; run\n  \
         KAMACACHE_BLESS=1 cargo test -p kamacache-ffi --test header\nfirst difference: {differs:?}"
    );
}
