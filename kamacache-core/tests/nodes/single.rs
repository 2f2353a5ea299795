//! One node without any network: loading, refusing, writing, closing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{Gate, LONG, gated, gets, kind, options, single, text};
use kamacache_core::testing::CountingGetter;
use kamacache_core::{
    Begin, Error, ErrorKind, GroupOptions, LoadContext, Loaded, NodeOptions, Ttl, getter_fn,
};

#[tokio::test]
async fn a_miss_loads_once_and_then_hits() {
    let node = single().await;
    let getter = CountingGetter::new();
    let group = node.group("g", options(), Some(getter.clone())).unwrap();
    assert_eq!(group.peek("Tom"), None);
    for _ in 0..3 {
        assert_eq!(text(&group.get("Tom").await.unwrap()), "value-of-Tom");
    }
    assert_eq!(getter.calls("Tom"), 1);
    assert_eq!(group.peek("Tom").as_deref(), Some(&b"value-of-Tom"[..]));
    let mut room = [0; 64];
    assert_eq!(group.peek_into("Tom", &mut room), Some(Ok(12)));
    assert_eq!(&room[..12], b"value-of-Tom");
    assert_eq!(group.peek_into("Tom", &mut room[..3]), Some(Err(12)));
    assert_eq!(group.peek_into("nobody", &mut room), None);
}

#[tokio::test]
async fn a_group_opened_without_a_getter_can_be_given_one() {
    let node = single().await;
    let group = node.group("g", options(), None).unwrap();
    assert_eq!(kind(group.get("Tom").await), ErrorKind::NotFound);
    group.set_getter(CountingGetter::new()).unwrap();
    assert_eq!(text(&group.get("Tom").await.unwrap()), "value-of-Tom");
    node.close(None).await.unwrap();
    let late = group.set_getter(CountingGetter::new());
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn s01_keys_are_1_to_4096_bytes() {
    let node = single().await;
    let group = node
        .group("g", options(), Some(CountingGetter::new()))
        .unwrap();
    let longest = "k".repeat(4096);
    group.get(&longest).await.unwrap();
    for bad in [String::new(), "k".repeat(4097)] {
        let errors = [
            group.get(&bad).await.unwrap_err(),
            group.set(&bad, "v").await.unwrap_err(),
            group.delete(&bad).await.unwrap_err(),
            node.owner(&bad).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().contains("4096"), "{error}");
        }
        assert_eq!(group.peek(&bad), None);
    }
    assert_eq!(group.stats().entries, 1, "a refused key stores nothing");
}

#[tokio::test]
async fn s01_group_names_and_budgets() {
    let node = single().await;
    for bad in ["", "a b", "ü", "a/b", &"g".repeat(256)] {
        let error = node.group(bad, options(), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad:?}");
        assert!(error.message().contains("255"), "{error}");
    }
    node.group(&"g".repeat(255), options(), None).unwrap();
    node.group("A-z_0.9:x", options(), None).unwrap();
    for bytes in [0, 65_535] {
        let error = node
            .group("small", GroupOptions::new(bytes), None)
            .unwrap_err();
        assert!(
            error.message().contains(&bytes.to_string()) && error.message().contains("65536"),
            "{error}"
        );
    }
    assert_eq!(
        kind(node.group("A-z_0.9:x", options(), None)),
        ErrorKind::AlreadyExists
    );
    assert_eq!(kind(node.find_group("nobody")), ErrorKind::UnknownGroup);
    node.find_group("A-z_0.9:x").unwrap();
}

#[tokio::test]
async fn s01_at_most_1024_groups() {
    let node = single().await;
    for n in 0..1024 {
        node.group(&format!("g{n}"), GroupOptions::new(65_536), None)
            .unwrap();
    }
    let error = node.group("one-more", options(), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("1024"), "{error}");
}

#[tokio::test]
async fn s01_a_set_above_the_limit_is_refused_and_the_old_entry_is_gone() {
    let node = single().await;
    let group = node.group("g", options(), None).unwrap();
    let limit = (1 << 20) / 8;
    group.set("k", vec![1; limit]).await.unwrap();
    assert_eq!(group.peek("k").unwrap().len(), limit);
    let error = group.set("k", vec![1; limit + 1]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(
        error.message().contains(&(limit + 1).to_string())
            && error.message().contains(&limit.to_string()),
        "{error}"
    );
    assert_eq!(group.peek("k"), None);
}

#[tokio::test]
async fn s01_a_loaded_value_above_the_limit_is_returned_and_not_kept() {
    let node = single().await;
    let getter = getter_fn(async |_ctx: LoadContext| Ok::<_, Error>(Some(vec![0u8; 200_000])));
    let group = node.group_with("g", options(), getter).unwrap();
    assert_eq!(group.get("k").await.unwrap().len(), 200_000);
    assert_eq!(group.peek("k"), None);
}

#[tokio::test]
async fn s02_not_found_is_its_own_result_and_not_cached() {
    let node = single().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let group = node
        .group("g", options(), crate::common::empty(&calls))
        .unwrap();
    for _ in 0..2 {
        let error = group.get("nobody").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.message().contains("nobody"), "{error}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    let without = node.group("without-getter", options(), None).unwrap();
    assert_eq!(kind(without.get("k").await), ErrorKind::NotFound);
    without.set("k", "v").await.unwrap();
    assert_eq!(text(&without.get("k").await.unwrap()), "v");
}

#[tokio::test(flavor = "multi_thread")]
async fn s09_a_thousand_gets_make_one_getter_call() {
    let node = single().await;
    let gate = Gate::new();
    let group = node.group("g", options(), gated(&gate)).unwrap();
    let tasks = gets(&group, "k", 1000).await;
    gate.entered().await;
    assert_eq!(group.stats().in_progress, 1000);
    gate.release(1);
    for task in tasks {
        assert_eq!(text(&task.await.unwrap().unwrap()), "value-1");
    }
    assert_eq!(gate.calls(), 1);
    let stats = group.stats();
    assert_eq!(
        (
            stats.gets,
            stats.loaded,
            stats.load_joined,
            stats.in_progress
        ),
        (1000, 1, 999, 0)
    );
}

#[tokio::test]
async fn s10_the_first_caller_leaves_and_the_load_goes_on() {
    let node = single().await;
    let gate = Gate::new();
    let group = node.group("g", options(), gated(&gate)).unwrap();
    let mut first = gets(&group, "k", 1).await;
    gate.entered().await;
    let second = gets(&group, "k", 1).await;
    first.pop().unwrap().abort();
    gate.release(1);
    for task in second {
        assert_eq!(text(&task.await.unwrap().unwrap()), "value-1");
    }
    assert_eq!(gate.calls(), 1);
    assert!(group.peek("k").is_some());
}

#[tokio::test]
async fn s10_an_inline_leader_that_gives_up_promotes_a_waiter() {
    let node = single().await;
    let getter = CountingGetter::new();
    let group = node.group("g", options(), Some(getter.clone())).unwrap();
    let Begin::Lead(token, pending) = group.begin("k", None).unwrap() else {
        panic!("nobody leads yet")
    };
    let waiting = gets(&group, "k", 3).await;
    drop(pending);
    drop(token);
    for task in waiting {
        assert_eq!(text(&task.await.unwrap().unwrap()), "value-of-k");
    }
    assert_eq!(getter.calls("k"), 1);
    assert_eq!(group.stats().failed, 1, "the one who left");
}

#[tokio::test(start_paused = true)]
async fn s11_each_waiter_ends_by_its_own_deadline() {
    let node = single().await;
    let gate = Gate::new();
    let group = node.group("g", options(), gated(&gate)).unwrap();
    let patient = gets(&group, "k", 1).await;
    gate.entered().await;
    let before = tokio::time::Instant::now();
    let error = group
        .get_timeout("k", Duration::from_millis(300))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert_eq!(before.elapsed().as_millis() / 10, 30);
    gate.release(1);
    for task in patient {
        assert_eq!(text(&task.await.unwrap().unwrap()), "value-1");
    }
}

#[tokio::test]
async fn s12_a_panicking_getter_fails_its_waiters_and_nothing_else() {
    let node = single().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let getter = getter_fn(move |_ctx| {
        let call = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            assert!(call > 0, "first call breaks");
            Ok::<_, Error>(Some("fine"))
        }
    });
    let group = node.group_with("g", options(), getter).unwrap();
    let error = group.get("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panicked);
    assert!(error.message().contains("first call breaks"), "{error}");
    assert_eq!(text(&group.get("k").await.unwrap()), "fine");
}

#[tokio::test]
async fn s12_getter_errors_are_never_cached() {
    let node = single().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let group = node
        .group(
            "g",
            options(),
            crate::common::failing("disk on fire", &calls),
        )
        .unwrap();
    for _ in 0..2 {
        let error = group.get("k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::GetterFailed);
        assert_eq!(error.message(), "disk on fire");
        assert_eq!(error.app_code(), Some(7));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    let stats = group.stats();
    assert_eq!((stats.failed, stats.loads, stats.load_errors), (2, 2, 2));
}

#[tokio::test]
async fn s16_a_getter_that_asks_for_its_own_key_is_refused() {
    let node = single().await;
    let other = node
        .group("other", options(), Some(CountingGetter::new()))
        .unwrap();
    let me = node.clone();
    let getter = getter_fn(move |ctx: LoadContext| {
        let (node, other) = (me.clone(), other.clone());
        async move {
            let same_key_elsewhere = other.get(ctx.key()).await?;
            let own = node.find_group("g")?.get(ctx.key()).await.unwrap_err();
            assert_eq!(own.kind(), ErrorKind::ReentrantLoad);
            assert!(own.message().contains(ctx.key()), "{own}");
            Ok::<_, Error>(Some(same_key_elsewhere))
        }
    });
    let group = node.group_with("g", options(), getter).unwrap();
    assert_eq!(text(&group.get("k").await.unwrap()), "value-of-k");
    node.close(None).await.unwrap();
}

#[tokio::test]
async fn s16_an_inline_getter_is_refused_too() {
    let node = single().await;
    let group = node
        .group("g", options(), Some(CountingGetter::new()))
        .unwrap();
    let Begin::Lead(token, mut pending) = group.begin("k", None).unwrap() else {
        panic!("nobody leads yet")
    };
    {
        let _inside = token.enter();
        assert_eq!(kind(group.begin("k", None)), ErrorKind::ReentrantLoad);
        assert!(matches!(group.begin("other", None), Ok(Begin::Lead(..))));
    }
    assert!(matches!(group.begin("k", None), Ok(Begin::Wait(_))));
    token.complete("v");
    assert_eq!(text(&pending.try_now().unwrap().unwrap()), "v");
}

#[tokio::test]
async fn s20_a_delete_dooms_the_fill_of_a_load_in_flight() {
    let node = single().await;
    let gate = Gate::new();
    let group = node.group("g", options(), gated(&gate)).unwrap();
    let old = gets(&group, "k", 2).await;
    gate.entered().await;
    group.delete("k").await.unwrap();
    let fresh = gets(&group, "k", 1).await;
    gate.entered().await;
    gate.release(2);
    for task in old {
        assert_eq!(
            text(&task.await.unwrap().unwrap()),
            "value-1",
            "its own waiters are answered"
        );
    }
    for task in fresh {
        assert_eq!(
            text(&task.await.unwrap().unwrap()),
            "value-2",
            "a get after the OK starts anew"
        );
    }
    assert_eq!(group.peek("k").as_deref(), Some(&b"value-2"[..]));
}

#[tokio::test]
async fn s20_a_set_wins_over_a_load_in_flight() {
    let node = single().await;
    let gate = Gate::new();
    let group = node.group("g", options(), gated(&gate)).unwrap();
    let old = gets(&group, "k", 1).await;
    gate.entered().await;
    group.set("k", "set").await.unwrap();
    assert_eq!(text(&group.get("k").await.unwrap()), "set");
    gate.release(1);
    for task in old {
        assert_eq!(text(&task.await.unwrap().unwrap()), "value-1");
    }
    assert_eq!(text(&group.get("k").await.unwrap()), "set");
}

#[tokio::test]
async fn s20_deleting_an_absent_key_is_fine() {
    let node = single().await;
    let group = node.group("g", options(), None).unwrap();
    group.delete("nobody").await.unwrap();
}

#[tokio::test]
async fn s23_ttls_per_set_and_per_load() {
    let node = single().await;
    let getter = getter_fn(async |ctx: LoadContext| {
        let ttl = if ctx.key() == "unkept" {
            Ttl::NoStore
        } else {
            Ttl::After(Duration::from_millis(1))
        };
        Ok::<_, Error>(Some(Loaded::new("v").with_ttl(ttl)))
    });
    let group = node
        .group_with("g", options().ttl(Duration::from_secs(600)), getter)
        .unwrap();
    group.get("unkept").await.unwrap();
    assert_eq!(group.peek("unkept"), None);
    group.get("short").await.unwrap();
    let gone = async {
        while group.peek("short").is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, gone).await.expect("expires");
    group.set("long", "v").await.unwrap();
    group
        .set_with("unkept", "v", Ttl::NoStore, None)
        .await
        .unwrap();
    assert_eq!(group.peek("unkept"), None);
    assert!(group.peek("long").is_some());
}

#[tokio::test]
async fn s37_close_ends_every_wait_and_refuses_every_call() {
    let node = single().await;
    let gate = Gate::new();
    let getter = Arc::new(crate::common::Gated(gate.clone()));
    let watch = Arc::downgrade(&getter);
    let group = node.group("g", options(), Some(getter)).unwrap();
    group.set("here", "v").await.unwrap();
    let waiting = gets(&group, "k", 50).await;
    gate.entered().await;
    let error = node
        .close(Some(Duration::from_millis(10)))
        .await
        .unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::DeadlineExceeded,
        "a getter still ran"
    );
    assert_eq!(
        error.message(),
        "closed after 10ms with 1 getter still running"
    );
    for task in waiting {
        assert_eq!(kind(task.await.unwrap()), ErrorKind::Closed);
    }
    assert_eq!(kind(group.get("k").await), ErrorKind::Closed);
    assert_eq!(kind(group.set("k", "v").await), ErrorKind::Closed);
    assert_eq!(kind(group.delete("k").await), ErrorKind::Closed);
    assert_eq!(kind(node.group("h", options(), None)), ErrorKind::Closed);
    assert_eq!(group.peek("here"), None);
    assert!(node.is_closed());
    let freed = async {
        while watch.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, freed)
        .await
        .expect("the getter is freed");
    node.close(None).await.unwrap();
    assert_eq!(group.stats().in_progress, 0);
}

#[tokio::test]
async fn s37_a_getter_that_ends_within_the_drain_is_waited_for() {
    let node = single().await;
    let gate = Gate::new();
    let group = node.group("g", options(), gated(&gate)).unwrap();
    let waiting = gets(&group, "k", 1).await;
    gate.entered().await;
    let closing = tokio::spawn(async move { node.close(Some(LONG)).await });
    for task in waiting {
        assert_eq!(
            kind(task.await.unwrap()),
            ErrorKind::Closed,
            "told at once, not after the drain"
        );
    }
    gate.release(1);
    closing.await.unwrap().unwrap();
}

#[tokio::test]
async fn s38_gets_are_the_sum_of_their_outcomes() {
    let node = single().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counting = node
        .group("a", options(), Some(CountingGetter::new()))
        .unwrap();
    let failing = node
        .group("b", options(), crate::common::failing("no", &calls))
        .unwrap();
    let empty = node
        .group("c", options(), crate::common::empty(&calls))
        .unwrap();
    for group in [&counting, &failing, &empty] {
        for key in ["x", "y", "x"] {
            let _ = group.get(key).await;
        }
        let s = group.stats();
        let outcomes = s.hits + s.loaded + s.load_joined + s.not_found + s.failed;
        assert_eq!((s.gets, outcomes, s.in_progress), (3, 3, 0), "{s:?}");
    }
    assert_eq!(counting.stats().hits, 1);
    assert!((counting.stats().hit_ratio() - 1.0 / 3.0).abs() < 1e-9);
}

#[tokio::test]
async fn options_that_break_a_rule_name_it() {
    let cases = [
        (NodeOptions::default().listen("nonsense"), "nonsense"),
        (NodeOptions::default().listen("127.0.0.1:99999"), "99999"),
        (NodeOptions::default().peers(["127.0.0.1:8001"]), "listen"),
    ];
    for (options, named) in cases {
        let error = kamacache_core::Node::start(options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(named), "{error}");
    }
    let mut options = NodeOptions::default();
    options.default_timeout = Some(Duration::ZERO);
    let error = kamacache_core::Node::start(options).await.unwrap_err();
    assert!(error.message().contains("default_timeout"), "{error}");
}

#[tokio::test]
async fn a_single_instance_has_no_address_and_no_members() {
    let node = single().await;
    assert_eq!(node.address(), "");
    assert!(node.members().is_empty());
    assert_eq!(node.owner("k").unwrap(), "");
    assert_eq!(
        kind(node.set_peers(&["127.0.0.1:8001"])),
        ErrorKind::InvalidArgument
    );
}
