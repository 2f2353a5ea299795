//! Spans reach a collector (feature `otel`): a listener that takes what comes on
//! the port, in which the names of the spans and of the service stand plainly.
#![cfg(feature = "otel")]

mod common;

use std::io::Read;
use std::net::TcpListener;
use std::sync::mpsc;

use common::{LONG, Serve};

#[test]
fn the_load_of_a_get_is_a_span_at_the_collector() {
    let collector = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", collector.local_addr().expect("bound"));
    let (sender, came) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in collector.incoming().map_while(Result::ok) {
            let sender = sender.clone();
            std::thread::spawn(move || read(stream, &sender));
        }
    });
    let mut node = Serve::start(&[
        "--group",
        "scores=1MiB",
        "--getter-command",
        "printf 1",
        "--otlp-endpoint",
        &endpoint,
    ]);
    assert!(node.get("scores", "traced-key").status.success());
    node.signal("-TERM");
    assert_eq!(node.exit_code(), 0, "{}", node.logged());
    let mut all = Vec::new();
    let wanted = ["kamacache", "load", "scores", "traced-key"];
    while !wanted
        .iter()
        .all(|word| String::from_utf8_lossy(&all).contains(word))
    {
        let more = came.recv_timeout(LONG);
        all.extend(more.unwrap_or_else(|_| {
            panic!(
                "spans come; what came was {:?}",
                String::from_utf8_lossy(&all)
            )
        }));
    }
}

/// All that comes over a connection.
fn read(mut stream: impl Read, to: &mpsc::Sender<Vec<u8>>) {
    let mut part = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut part) {
        if to.send(part[..read].to_vec()).is_err() {
            return;
        }
    }
}
