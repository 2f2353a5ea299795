//! The attacks. Each is one function: what a stranger does to the first node of
//! a ring, for as long as its future runs; what it opened is closed afterwards.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::node::{BIG, GROUP, HUNG};
use crate::raw::{GET, HEALTH, Keyed, Op, Requests, SET, Stranger, framed, half, hello};
use crate::ring::Outcome;

/// HTTP/2's default.
const WINDOW: u32 = 65_535;
const GOODBYE: i32 = 19;
const WRITTEN: i32 = 18;

/// Whom it is done to, and how much of it.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: String,
    /// Of a healthy peer of the target.
    pub(crate) member: String,
    pub(crate) token: Option<String>,
    /// Of the attack's full size; 1 is all of it.
    pub(crate) part: f64,
}

impl Target {
    fn times(&self, count: usize) -> usize {
        ((count as f64 * self.part) as usize).max(1)
    }

    async fn connect(&self) -> Outcome<Stranger> {
        Stranger::connect(&self.address, self.token.as_deref(), WINDOW).await
    }
}

/// What is done beside the load of the peers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Nothing,
    /// A member is killed and must come back.
    Restart,
}

pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) token: bool,
    pub(crate) then: Then,
}

const fn row(name: &'static str, title: &'static str) -> Row {
    Row {
        name,
        title,
        token: false,
        then: Then::Nothing,
    }
}

pub(crate) const ROWS: &[Row] = &[
    Row {
        token: true,
        ..row(
            "health",
            "250 half-sent messages of 4 MiB to Health, no token",
        )
    },
    Row {
        token: true,
        ..row("sets", "250 half-sent Sets of 16 MiB, with the token")
    },
    row("many", "the same from 64 connections"),
    row(
        "parts",
        "16,000 half-sent messages of 1 MiB over 64 connections",
    ),
    row("untaken", "3 x 250 Gets of 7 MiB, window 0"),
    row("goodbyes", "2.2 M goodbyes over one link"),
    row("hung", "64,000 gets of a hung key over 8 links"),
    row("written", "8 MB of empty WRITTEN over 8 links"),
    Row {
        then: Then::Restart,
        ..row(
            "crowd",
            "4,096 connections that answer pings; a member restarts",
        )
    },
    row("forged", "a goodbye with a member's own incarnation"),
    row("hello", "hellos with addresses of 900 KB, newlines, ESC"),
];

/// Goes on until it is dropped.
pub(crate) async fn attack(name: &str, target: Target) -> Outcome<()> {
    match name {
        "health" => {
            halves(
                &Target {
                    token: None,
                    ..target.clone()
                },
                HEALTH,
                4 << 20,
                1,
                250,
            )
            .await
        }
        "sets" => halves(&target, SET, 16 << 20, 1, 250).await,
        "many" => halves(&target, SET, 16 << 20, 64, 4).await,
        "parts" => halves(&target, SET, 1 << 20, 64, 250).await,
        "untaken" => untaken(&target).await,
        "goodbyes" => goodbyes(&target).await,
        "hung" => hung(&target).await,
        "written" => written(&target).await,
        "crowd" => crowd(&target).await,
        "forged" => forged(&target).await,
        "hello" => hellos(&target).await,
        _ => Err(format!("no row {name}").into()),
    }
}

async fn rest() -> Outcome<()> {
    std::future::pending().await
}

/// Messages of which the last byte never comes.
async fn halves(
    target: &Target,
    path: &str,
    length: usize,
    connections: usize,
    streams: usize,
) -> Outcome<()> {
    let mut open = Vec::new();
    let message = half(length, length - 1);
    for _ in 0..target.times(connections) {
        let mut stranger = target.connect().await?;
        for _ in 0..target.times(streams) {
            let Ok((response, mut send)) = stranger.call(path).await else {
                break;
            };
            if send.send_data(message.clone(), false).is_ok() {
                open.push((response, send));
            }
        }
        // Held until the end of the attack.
        tokio::spawn(keep(stranger));
    }
    rest().await
}

async fn keep<T>(kept: T) {
    std::future::pending::<()>().await;
    drop(kept);
}

/// Answers that are asked for and never taken.
async fn untaken(target: &Target) -> Outcome<()> {
    let asked = framed(&Keyed {
        group: GROUP.into(),
        key: BIG.into(),
    });
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stranger = Stranger::connect(&target.address, target.token.as_deref(), 0).await?;
        for _ in 0..target.times(250) {
            let Ok((response, mut send)) = stranger.call(GET).await else {
                break;
            };
            if send.send_data(asked.clone(), true).is_ok() {
                open.push((response, send));
            }
        }
        tokio::spawn(keep(stranger));
    }
    rest().await
}

fn many(op: &Op, count: usize) -> Bytes {
    framed(&Requests {
        requests: vec![op.clone(); count],
        ..Requests::default()
    })
}

/// The hello of a member, with all that this member itself tells anybody.
async fn as_member(target: &Target) -> Outcome<crate::raw::Hello> {
    let mut asker = Stranger::connect(&target.member, target.token.as_deref(), WINDOW).await?;
    let incarnation = asker.incarnation(&target.member).await?;
    Ok(crate::raw::Hello {
        incarnation,
        ..hello(&target.address, &target.member)
    })
}

async fn goodbyes(target: &Target) -> Outcome<()> {
    let mut stranger = target.connect().await?;
    let mut link = stranger.link(as_member(target).await?).await?;
    let goodbye = Op {
        id: 1,
        op: GOODBYE,
        ..Op::default()
    };
    let message = many(&goodbye, 1000);
    for _ in 0..target.times(2200) {
        if !link.send(&message).await {
            break;
        }
    }
    rest().await
}

async fn hung(target: &Target) -> Outcome<()> {
    let mut links = Vec::new();
    let mut stranger = target.connect().await?;
    for number in 0..8 {
        let mut link = stranger
            .link(hello(&target.address, &format!("127.0.0.1:{}", number + 1)))
            .await?;
        let mut id = 0;
        for _ in 0..target.times(64) {
            let requests = (0..1000).map(|_| {
                id += 1;
                Op {
                    id,
                    op: 1,
                    group: GROUP.into(),
                    key: HUNG.into(),
                    ..Op::default()
                }
            });
            let message = Requests {
                requests: requests.collect(),
                ..Requests::default()
            };
            if !link.send(&framed(&message)).await {
                break;
            }
        }
        links.push(link);
    }
    rest().await
}

async fn written(target: &Target) -> Outcome<()> {
    let mut links = Vec::new();
    let mut stranger = target.connect().await?;
    let op = Op {
        id: 1,
        op: WRITTEN,
        ..Op::default()
    };
    let message = many(&op, 1000);
    for number in 0..8 {
        let mut link = stranger
            .link(hello(&target.address, &format!("127.0.0.1:{}", number + 1)))
            .await?;
        for _ in 0..target.times((1 << 20) / message.len() + 1) {
            if !link.send(&message).await {
                break;
            }
        }
        links.push(link);
    }
    rest().await
}

/// As many connections as a node takes; each sends the first words of HTTP/2,
/// acknowledges settings, and answers pings.
async fn crowd(target: &Target) -> Outcome<()> {
    let mut crowd = tokio::task::JoinSet::new();
    loop {
        while crowd.len() < target.times(4096) {
            let address = target.address.clone();
            crowd.spawn(async move {
                let _ = linger(&address).await;
            });
            if crowd.len() % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
        // Whoever is turned out comes again.
        crowd.join_next().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn linger(address: &str) -> Outcome<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let (kind, flags) = (head[3], head[4]);
        if flags & 1 == 0 && (kind == 4 || kind == 6) {
            let body = if kind == 6 { body } else { Vec::new() };
            let mut answer = vec![0, 0, u8::try_from(body.len())?, kind, 1, 0, 0, 0, 0];
            answer.extend(body);
            stream.write_all(&answer).await?;
        }
    }
}

/// One, in the name of a member.
async fn forged(target: &Target) -> Outcome<()> {
    let mut stranger = target.connect().await?;
    let mut link = stranger.link(as_member(target).await?).await?;
    let goodbye = Op {
        id: 1,
        op: GOODBYE,
        ..Op::default()
    };
    link.send(&many(&goodbye, 1)).await;
    rest().await
}

/// Each is refused for another reason, and says what would make a log line of
/// its own.
async fn hellos(target: &Target) -> Outcome<()> {
    let long = "x".repeat(900_000);
    let forged = format!("\n{FORGED} \u{1b}[31m");
    for number in 0..target.times(400) {
        let mut stranger = target.connect().await?;
        let good = hello(&target.address, "127.0.0.1:1");
        let text = if number % 2 == 0 { &long } else { &forged };
        let hello = match number % 6 {
            0 | 1 => crate::raw::Hello {
                address: text.clone(),
                major: 9,
                ..good
            },
            2 | 3 => crate::raw::Hello {
                cluster: text.clone(),
                ..good
            },
            4 => crate::raw::Hello {
                dialled: text.clone(),
                ..good
            },
            _ => crate::raw::Hello {
                address: text.clone(),
                ..good
            },
        };
        let mut link = stranger.link(hello).await?;
        link.send(&Bytes::from_static(b"\0\0\0\0\0")).await;
    }
    rest().await
}

/// Begins a line of the log if strangers can write one.
pub(crate) const FORGED: &str = "FORGED a line of its own";
