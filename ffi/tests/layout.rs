//! C and Rust see the same structs: the size, and each field's offset and size,
//! as Rust has them are asserted by the C and the C++ compiler over the header.

use std::fmt::Write as _;
use std::mem::{offset_of, size_of};
use std::path::Path;
use std::process::Command;

use kamacache::*;

fn size_of_field<S, F>(_: impl Fn(&S) -> &F) -> usize {
    size_of::<F>()
}

/// Asserts of one struct. A field that is not listed does not compile.
macro_rules! asserts {
    ($c:expr, $name:ident { $($field:ident),* $(,)? }) => {{
        #[expect(dead_code, reason = "compiled to prove that every field is listed")]
        fn every_field_is_listed(given: $name) {
            let $name { $($field: _),* } = given;
        }
        let name = stringify!($name);
        writeln!($c, "ASSERT(sizeof({name}) == {}, \"{name}\");", size_of::<$name>()).unwrap();
        $(
            let field = stringify!($field);
            let (offset, size) = (offset_of!($name, $field), size_of_field(|s: &$name| &s.$field));
            writeln!($c, "ASSERT(offsetof({name}, {field}) == {offset}, \"{field}\");").unwrap();
            writeln!($c, "ASSERT(sizeof((({name} *)0)->{field}) == {size}, \"{field}\");").unwrap();
        )*
    }};
}

fn source() -> String {
    let mut c = String::from(
        "#include <kamacache.h>\n\
         #ifdef __cplusplus\n#define ASSERT static_assert\n#else\n#define ASSERT _Static_assert\n#endif\n",
    );
    asserts!(
        c,
        kamacache_node_options {
            struct_size,
            flags,
            listen,
            advertise,
            peers,
            peers_len,
            discovery,
            admin_listen,
            tls_ca,
            tls_cert,
            tls_key,
            cluster_token,
            io_threads,
            getter_threads,
            cluster,
            tls_name,
            default_timeout_ms,
            connect_timeout_ms,
            heartbeat_ms,
            suspect_after_ms,
            probe_interval_ms,
            remove_grace_ms,
            warm_window_ms,
            cluster_token_file,
            admin_hosts,
        }
    );
    asserts!(
        c,
        kamacache_group_options {
            struct_size,
            flags,
            max_bytes,
            ttl_ms,
            negative_ttl_ms,
            hot_ttl_ms,
            stale_while_revalidate_ms,
            load_timeout_ms,
            max_concurrent_loads,
            policy,
            getter,
            user_data,
            free_user_data,
            max_value_bytes,
            fallback_ttl_ms,
            stale_if_error_ms,
            batch_getter,
            on_evict,
            getter_queue,
        }
    );
    asserts!(
        c,
        kamacache_load_info {
            struct_size,
            flags,
            group,
            key,
            key_len,
            timeout_ms
        }
    );
    asserts!(
        c,
        kamacache_latency {
            struct_size,
            reserved,
            count,
            sum_ns,
            p50_ns,
            p90_ns,
            p99_ns,
            p999_ns,
            max_ns
        }
    );
    asserts!(c, kamacache_slice { data, len });
    asserts!(
        c,
        kamacache_result {
            status,
            reserved,
            value,
            error
        }
    );
    asserts!(
        c,
        kamacache_stats {
            struct_size,
            reserved,
            gets,
            hits,
            hot_hits,
            stale_hits,
            negative_hits,
            loaded,
            load_joined,
            fetched,
            fetch_joined,
            fallbacks,
            not_found,
            failed,
            in_progress,
            peer_gets,
            peer_hits,
            peer_stale_hits,
            peer_negative_hits,
            peer_loaded,
            peer_load_joined,
            peer_not_found,
            peer_failed,
            loads,
            load_errors,
            stuck_loads,
            fetches,
            fetch_errors,
            refreshes,
            sets,
            deletes,
            clears,
            invalidations,
            evictions,
            expirations,
            entries,
            hot_entries,
            bytes,
            hot_bytes,
            max_bytes,
        }
    );
    writeln!(
        c,
        "ASSERT(sizeof(kamacache_status) == {}, \"status\");",
        size_of::<kamacache_status>()
    )
    .unwrap();
    writeln!(
        c,
        "ASSERT(KAMACACHE_INTERNAL == {}, \"codes\");",
        KAMACACHE_INTERNAL as i32
    )
    .unwrap();
    writeln!(
        c,
        "ASSERT(KAMACACHE_FOREVER == {KAMACACHE_FOREVER}u, \"forever\");"
    )
    .unwrap();
    writeln!(
        c,
        "ASSERT(KAMACACHE_TTL_NO_STORE == {KAMACACHE_TTL_NO_STORE}u, \"no store\");"
    )
    .unwrap();
    c
}

fn compiles(name: &str, source: &str, language: &str) -> Result<(), String> {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.{language}"));
    std::fs::write(&file, source).map_err(|e| e.to_string())?;
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../include");
    let output = Command::new("cc")
        .args(["-fsyntax-only", "-x", language, "-I"])
        .args([&include, &file])
        .output()
        .map_err(|e| format!("cc: {e}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn c_and_rust_lay_structs_out_alike() {
    for language in ["c", "c++"] {
        compiles("layout", &source(), language).unwrap_or_else(|why| panic!("{language}:\n{why}"));
    }
}

#[test]
fn a_moved_field_would_be_noticed() {
    let moved = source().replace(
        "offsetof(kamacache_stats, hits) == 16",
        "offsetof(kamacache_stats, hits) == 24",
    );
    let why = compiles("moved", &moved, "c").expect_err("the assert must fail");
    assert!(why.contains("hits"), "{why}");
}
