//! The committed header is the one that the source gives.
//!
//! `KAMACACHE_BLESS=1 cargo test -p kamacache-ffi --test header` writes it.

use std::fs;
use std::path::{Path, PathBuf};

use cbindgen::{Builder, Config};

/// In the order of the header's sections.
const SOURCES: [&str; 16] = [
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
    "group_async_many.rs",
    "node_async.rs",
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
         /** The three as one number that grows: major * 1,000,000 + minor * 1,000 + patch. */\n\
         #define KAMACACHE_VERSION_NUMBER (KAMACACHE_VERSION_MAJOR * 1000000 + KAMACACHE_VERSION_MINOR * 1000 + KAMACACHE_VERSION_PATCH)\n\
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

/// A function of the header: its comment, without stars, and its declaration.
struct Function {
    about: String,
    code: String,
}

fn functions(header: &str) -> Vec<Function> {
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    for part in header.split("\n/**").skip(1) {
        let Some((about, rest)) = part.split_once("*/\n") else {
            continue;
        };
        let code = one_line(rest.split(';').next().unwrap_or_default());
        if code.contains("kamacache_") && code.ends_with(')') && !code.starts_with("#") {
            let about = about
                .lines()
                .map(|line| line.trim().trim_start_matches('*'));
            let about = one_line(&about.collect::<Vec<_>>().join("\n"));
            found.push(Function { about, code });
        }
    }
    found
}

impl Function {
    fn name(&self) -> &str {
        let word =
            |word: &&str| word.starts_with("kamacache_") && !word.starts_with("kamacache_status");
        let words = self
            .code
            .split(|c: char| !(c.is_alphanumeric() || c == '_'));
        words
            .clone()
            .find(word)
            .or_else(|| words.clone().next())
            .unwrap_or_default()
    }

    /// What the comment says after `tag`, up to the next tag.
    fn said(&self, tag: &str) -> Option<&str> {
        let (_, rest) = self.about.split_once(&format!("{tag} "))?;
        Some(rest.split(" @").next().unwrap_or(rest))
    }

    fn parameters(&self) -> Vec<(&str, &str)> {
        let inner = if self.code.starts_with("typedef") {
            self.code.rsplit_once(")(")
        } else {
            self.code.split_once('(')
        };
        let inner = inner.map_or("", |(_, inner)| inner.trim_end_matches(')'));
        inner
            .split(", ")
            .filter(|parameter| *parameter != "void")
            .filter_map(|parameter| {
                let name = parameter
                    .rsplit(|c: char| !(c.is_alphanumeric() || c == '_'))
                    .next()?;
                Some((parameter, name))
            })
            .collect()
    }
}

/// Whose a pointer is, and for how long.
const OWNERSHIP: [&str; 15] = [
    "caller's",
    "callee's",
    "given up",
    "gives up",
    "copied",
    "borrowed",
    "read during the call",
    "handed to",
    "handed over",
    "where the",
    "the library",
    "as the call was given it",
    "the token",
    "the group's",
    "may be NULL",
];

/// What is missing in the comment of a function.
fn missing(function: &Function) -> Vec<String> {
    let mut missing = Vec::new();
    let mut want = |is_there: bool, what: String| {
        if !is_there {
            missing.push(format!("{}: {what}", function.name()));
        }
    };
    let threads = function.said("@par Threads");
    want(threads.is_some(), "no threads".into());
    for (code, name) in function.parameters() {
        let Some(said) = function.said(&format!("@param {name}")) else {
            want(false, format!("no @param {name}"));
            continue;
        };
        let is_ours = code.contains('*') && !name.ends_with("_fn");
        want(
            !is_ours || OWNERSHIP.iter().any(|word| said.contains(word)),
            format!("@param {name} says not whose it is: {said}"),
        );
        if name.ends_with("_ms") {
            want(
                said.contains("milliseconds"),
                format!("@param {name} has no unit"),
            );
            want(
                said.contains('0'),
                format!("@param {name} says not what 0 means"),
            );
            want(
                said.contains("FOREVER"),
                format!("@param {name} says not what has no limit"),
            );
        }
    }
    if function.code.starts_with("kamacache_status ") && function.name() != "kamacache_error_code" {
        for status in ["KAMACACHE_OK", "KAMACACHE_PANICKED"] {
            want(
                function.said(&format!("@retval {status}")).is_some(),
                format!("no @retval {status}"),
            );
        }
        let blocks =
            threads.is_some_and(|said| said.contains("blocks") && !said.contains("never blocks"));
        want(
            !blocks || function.said("@retval KAMACACHE_WOULD_DEADLOCK").is_some(),
            "it blocks, and has no @retval KAMACACHE_WOULD_DEADLOCK".into(),
        );
        let has_node = ["kamacache_node_", "kamacache_group_", "kamacache_load_"];
        want(
            !has_node
                .iter()
                .any(|prefix| function.name().starts_with(prefix))
                || function.name() == "kamacache_node_open"
                || function.said("@retval KAMACACHE_FORKED").is_some(),
            "no @retval KAMACACHE_FORKED".into(),
        );
    } else if !function.code.starts_with("void ") && !function.code.starts_with("typedef") {
        want(
            function.said("@return").is_some() || function.said("@retval").is_some(),
            "no @return".into(),
        );
    }
    missing
}

#[test]
fn every_function_says_whose_what_is_which_threads_units_and_statuses() {
    let header = fs::read_to_string(committed_path()).unwrap_or_default();
    let functions = functions(&header);
    let listed = fs::read_to_string(crate_dir().join("symbols.txt")).unwrap_or_default();
    for name in listed.lines() {
        let has = functions
            .iter()
            .any(|function| function.code.contains(&format!("{name}(")));
        assert!(has, "{name} has no comment");
    }
    let missing: Vec<_> = functions.iter().flat_map(missing).collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn a_comment_without_a_part_is_found() {
    let header = fs::read_to_string(committed_path()).unwrap_or_default();
    for part in [
        "@par Threads",
        "@retval KAMACACHE_PANICKED",
        "@retval KAMACACHE_WOULD_DEADLOCK",
        "@retval KAMACACHE_FORKED",
        "@param timeout_ms",
        "in milliseconds",
        "it stays the caller's",
    ] {
        let worse = header.replace(part, "");
        let found = functions(&worse).iter().flat_map(missing).count();
        assert!(found > 0, "nothing was missed without {part:?}");
    }
}

/// Every field of an options struct says what it is, its unit and its default.
#[test]
fn every_option_says_its_unit_and_its_default() {
    let header = fs::read_to_string(committed_path()).unwrap_or_default();
    for name in ["kamacache_node_options", "kamacache_group_options"] {
        let start = header
            .find(&format!("typedef struct {name} {{"))
            .expect("the struct");
        let body = &header[start
            ..start
                + header[start..]
                    .find(&format!("}} {name};"))
                    .expect("its end")];
        let fields: Vec<_> = body.split("/**").skip(1).collect();
        assert!(fields.len() > 15, "{name} has {} fields", fields.len());
        for field in fields {
            let (about, code) = field.split_once("*/").expect("a comment's end");
            let says = |text: &str| about.contains(text);
            let has_default =
                says("Default") || says("There is no default") || says("Size of this struct");
            assert!(has_default, "{name}: no default:{about}");
            assert!(
                !code.contains("_ms;") || says("milliseconds"),
                "{name}: no unit:{about}"
            );
            assert!(
                !code.contains("_bytes;") || says("in bytes"),
                "{name}: no unit:{about}"
            );
        }
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
