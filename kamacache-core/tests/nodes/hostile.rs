//! Hostile neighbours at the port, over real sockets (S42): connections that
//! say nothing, say it slowly, talk nonsense, ask too much or never listen.
//! Through all of it the node answers its peers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::history::Random;
use crate::common::stranger::{Hello, Op, Requests, Stranger, get, hello, open};
use crate::common::{LONG, logs, options, until};
use kamacache_core::Group;
use kamacache_core::testing::{Cluster, CountingGetter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const NO_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// Two nodes; strangers trouble the second.
async fn pair() -> (Cluster, Vec<Group>) {
    let cluster = Cluster::start(2).await.unwrap();
    let groups = cluster
        .groups("g", &options(), &CountingGetter::new())
        .unwrap();
    (cluster, groups)
}

/// Keys of the troubled node are answered to its peer, over its link and over
/// new connections alike.
async fn answers(cluster: &Cluster, groups: &[Group], salt: usize) {
    let asked = async {
        for n in 0..20 {
            let key = cluster.key_owned_by(1, salt * 100 + n);
            groups[0].get(&key).await.expect("answered");
        }
        let address = cluster.node(1).address();
        let first = Requests {
            hello: Some(hello(address)),
            ..Requests::default()
        };
        let mut friend = open(address, first).await.expect("let in");
        let reply = friend.ask(get(1, b"g", b"k")).await;
        assert_eq!(reply.value, b"value-of-k");
    };
    tokio::time::timeout(LONG, asked)
        .await
        .expect("nobody is held up");
}

async fn connect(cluster: &Cluster) -> TcpStream {
    TcpStream::connect(cluster.node(1).address()).await.unwrap()
}

/// As many connections as this process may have open, both ends in it.
fn many() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = files.and_then(|line| line.split_whitespace().nth(3)?.parse::<usize>().ok());
    (soft.unwrap_or(1024).saturating_sub(200) / 2).min(10_000)
}

/// Tests that need all descriptors run one after the other.
static DESCRIPTORS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn s42_thousands_of_half_open_connections_hold_nobody_up() {
    let _one_at_a_time = DESCRIPTORS.lock().await;
    let (cluster, groups) = pair().await;
    let mut silent = Vec::new();
    for n in 0..many() {
        let mut stream = connect(&cluster).await;
        // Some say nothing, some stop within the first words.
        let said = &PREFACE[..n % PREFACE.len()];
        stream.write_all(said).await.unwrap();
        silent.push(stream);
    }
    answers(&cluster, &groups, 1).await;
    assert_eq!(cluster.node(1).stats().links, 1 + 1, "they are no links");
    drop(silent);
    answers(&cluster, &groups, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s42_who_speaks_slowly_delays_only_itself() {
    let (cluster, groups) = pair().await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        slow.push(connect(&cluster).await);
    }
    let mut words = PREFACE.to_vec();
    words.extend(NO_SETTINGS);
    // Headers of 16 KiB are announced, and never end.
    words.extend([0, 0x40, 0, 1, 4, 0, 0, 0, 1]);
    for (n, byte) in words.iter().enumerate() {
        for stream in &mut slow {
            stream.write_all(&[*byte]).await.unwrap();
        }
        if n % 16 == 0 {
            answers(&cluster, &groups, n).await;
        }
    }
    answers(&cluster, &groups, 99).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s42_random_bytes_and_oversized_frames_end_their_connection() {
    let (cluster, groups) = pair().await;
    let mut random = Random(42);
    for n in 0..100 {
        let mut stream = connect(&cluster).await;
        let mut words = Vec::new();
        if n % 2 == 0 {
            words.extend(PREFACE);
            words.extend(NO_SETTINGS);
        }
        if n % 4 == 0 {
            // Data of 16 MiB is announced, which no setting allows.
            words.extend([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]);
        }
        words.extend((0..4096).map(|_| random.below(256) as u8));
        // The node may hang up before it has heard all of it.
        let _ = stream.write_all(&words).await;
        if n % 4 == 0 {
            let mut answer = Vec::new();
            let ended = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await;
            assert!(ended.is_ok(), "the node hangs up");
        }
    }
    answers(&cluster, &groups, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s42_a_batch_beyond_the_limits_is_answered_or_ends_its_link() {
    let (cluster, groups) = pair().await;
    let address = cluster.node(1).address();
    let first = Requests {
        hello: Some(hello(address)),
        requests: (1..=1000).map(|id| get(id, b"g", b"k")).collect(),
        ..Requests::default()
    };
    let mut stranger = open(address, first).await.unwrap();
    let mut answered = 0;
    while answered < 1000 {
        answered += stranger.next().await.replies.len();
    }
    let huge = Requests {
        requests: (1..=100_000).map(|id| get(id, b"g", b"key")).collect(),
        ..Requests::default()
    };
    stranger.to.send(huge).await.unwrap();
    let ended = async { while let Ok(Some(_)) = stranger.from.message().await {} };
    tokio::time::timeout(LONG, ended)
        .await
        .expect("more than a message may have ends the link");
    assert_eq!(cluster.node(1).stats().malformed, 1, "and is counted");
    answers(&cluster, &groups, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s42_who_never_reads_its_replies_is_read_no_further() {
    const ASKED: usize = 5000;
    let (cluster, groups) = pair().await;
    // 60 KB for every request of 4 KB: 300 MB, if it were all answered.
    let key = (0..)
        .map(|n| format!("{n:04000}"))
        .find(|key| groups[0].peek(key).is_none() && owned(&cluster, key))
        .unwrap();
    groups[1].set(&key, vec![7; 60_000]).await.unwrap();
    let address = cluster.node(1).address();
    let first = Requests {
        hello: Some(hello(address)),
        ..Requests::default()
    };
    let deaf = open(address, first).await.unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let (to, count, key) = (deaf.to.clone(), sent.clone(), key.into_bytes());
    let asking = tokio::spawn(async move {
        for id in 1..=ASKED as u64 {
            let requests = vec![get(id, b"g", &key)];
            let message = Requests {
                requests,
                ..Requests::default()
            };
            if to.send(message).await.is_err() {
                return;
            }
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    for round in 1..10 {
        answers(&cluster, &groups, round).await;
    }
    let taken = sent.load(Ordering::SeqCst);
    assert!(
        taken < ASKED / 2 && !asking.is_finished(),
        "{taken} requests were taken in"
    );
    asking.abort();
    drop(deaf);
    answers(&cluster, &groups, 10).await;
}

/// A link to `address` that greets like this.
async fn greet(address: &str, hello: Hello) -> Stranger {
    let first = Requests {
        hello: Some(hello),
        ..Requests::default()
    };
    open(address, first).await.expect("let in")
}

/// In a message each, without waiting for answers.
async fn tell(stranger: &Stranger, requests: Vec<Op>) {
    let message = Requests {
        requests,
        ..Requests::default()
    };
    stranger.to.send(message).await.expect("the link is open");
}

/// Until the node has closed it; how many replies came.
async fn ended(stranger: &mut Stranger) -> usize {
    let mut replies = 0;
    let reading = async {
        while let Ok(Some(message)) = stranger.from.message().await {
            replies += message.replies.len();
        }
    };
    let ended = tokio::time::timeout(LONG, reading).await;
    ended.expect("the link is closed");
    replies
}

const GOODBYE: i32 = 19;
const WRITTEN: i32 = 18;

#[tokio::test(flavor = "multi_thread")]
async fn s42_a_goodbye_that_the_member_does_not_say_itself_changes_nothing() {
    logs::catch();
    let (cluster, groups) = pair().await;
    let [member, address] = [0, 1].map(|number| cluster.node(number).address().to_owned());
    // What a member is called this time it tells whoever asks.
    let mut asker = greet(&member, hello(&member)).await;
    let incarnation = asker.next().await.hello.expect("a hello").incarnation;
    let forged = Hello {
        address: member.clone(),
        incarnation,
        ..hello(&address)
    };
    let mut stranger = greet(&address, forged).await;
    let goodbye = |id| Op {
        id,
        op: GOODBYE,
        ..Op::default()
    };
    for id in 1..=20 {
        assert_eq!(stranger.ask(goodbye(id)).await.id, id);
    }
    for _ in 0..20 {
        tell(&stranger, vec![goodbye(0); 1000]).await;
    }
    assert_eq!(stranger.ask(goodbye(99)).await.id, 99);
    assert_eq!(cluster.node(1).members().len(), 2);
    answers(&cluster, &groups, 1).await;
    let lines = logs::warnings(&["goodbye", &member]);
    assert_eq!(lines.len(), 1, "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s42_a_hello_brings_nobody_back_that_does_not_answer_itself() {
    let (cluster, _groups) = pair().await;
    let [member, address] = [0, 1].map(|number| cluster.node(number).address().to_owned());
    cluster.node(0).close(None).await.expect("it leaves");
    let node = cluster.node(1);
    until("the member is out", || node.members().len() == 1).await;
    let forged = Hello {
        address: member,
        incarnation: 7,
        ..hello(&address)
    };
    let mut stranger = greet(&address, forged).await;
    let reply = stranger.ask(get(1, b"g", b"k")).await;
    assert_eq!(reply.id, 1);
    let mut changes = node.watch_members();
    changes.mark_unchanged();
    // Longer than the node takes to adopt a change.
    let change = tokio::time::timeout(std::time::Duration::from_millis(300), changes.changed());
    assert!(change.await.is_err(), "{:?}", node.members());
}

#[tokio::test(flavor = "multi_thread")]
async fn s42_more_than_1024_operations_or_1_mib_end_a_link() {
    let (cluster, groups) = pair().await;
    let address = cluster.node(1).address();
    let written = Op {
        id: 1,
        op: WRITTEN,
        ..Op::default()
    };
    let mut most = greet(address, hello(address)).await;
    most.next().await;
    tell(&most, vec![written.clone(); 1024]).await;
    let mut replies = 0;
    while replies < 1024 {
        replies += most.next().await.replies.len();
    }
    tell(&most, vec![written.clone(); 1025]).await;
    assert_eq!(ended(&mut most).await, 0);
    let mut large = greet(address, hello(address)).await;
    large.next().await;
    let value = vec![0; 1 << 20];
    tell(&large, vec![Op { value, ..written }]).await;
    assert_eq!(ended(&mut large).await, 0);
    answers(&cluster, &groups, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s42_refused_hellos_are_one_line_of_each_kind_and_no_line_of_their_own() {
    logs::catch();
    let (cluster, groups) = pair().await;
    let address = cluster.node(1).address();
    let me = "127.0.0.1:4242";
    let good = Hello {
        address: me.into(),
        ..hello(address)
    };
    let text = format!("\nFORGED \u{1b}[31m{}", "x".repeat(900_000));
    for _ in 0..5 {
        let (cluster, dialled) = (text.clone(), text.clone());
        let wrong = [
            Hello {
                major: 9,
                ..good.clone()
            },
            Hello {
                cluster,
                ..good.clone()
            },
            Hello {
                dialled,
                ..good.clone()
            },
            Hello {
                address: format!("{me}{text}"),
                ..good.clone()
            },
        ];
        for hello in wrong {
            let first = Requests {
                hello: Some(hello),
                ..Requests::default()
            };
            assert!(open(address, first).await.is_err());
        }
    }
    let lines = logs::warnings(&[me]);
    assert_eq!(lines.len(), 4, "one of each kind: {lines:#?}");
    for line in lines {
        assert!(line.len() < 4096, "{} bytes", line.len());
        assert!(!line.contains(char::is_control), "{line}");
    }
    answers(&cluster, &groups, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s42_strangers_that_fill_the_port_keep_no_member_out() {
    let _one_at_a_time = DESCRIPTORS.lock().await;
    let (cluster, groups) = pair().await;
    let mut crowd = Vec::new();
    // More than a node takes.
    for _ in 0..many().min(3000) {
        let mut stream = connect(&cluster).await;
        stream.write_all(PREFACE).await.unwrap();
        stream.write_all(NO_SETTINGS).await.unwrap();
        crowd.push(stream);
    }
    // Each is in once the node's own settings have come, or was turned out again.
    let mut taken = 0;
    for stream in &mut crowd {
        let mut settings = [0; 9];
        let read = tokio::time::timeout(LONG, stream.read_exact(&mut settings)).await;
        taken += usize::from(read.expect("an answer").is_ok());
    }
    assert!(taken > 0);
    answers(&cluster, &groups, 1).await;
    assert_eq!(
        groups[0].stats().fallbacks,
        0,
        "the member's own link stayed"
    );
}

fn owned(cluster: &Cluster, key: &str) -> bool {
    cluster.node(1).owner(key).unwrap() == cluster.node(1).address()
}
