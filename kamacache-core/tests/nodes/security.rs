//! Who may talk to a node: certificates, their renewal, the token, and what the
//! operator reads when somebody is refused (S40, S41). Through all of it the
//! others go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::certificates::{Authority, replace};
use crate::common::http;
use crate::common::logs;
use crate::common::stranger::{Requests, hello, open};
use crate::common::{LONG, kind, options, until};
use kamacache_core::client::{Client, ClientOptions};
use kamacache_core::testing::{Cluster, CountingGetter};
use kamacache_core::{ErrorKind, Group, Node, NodeOptions, TlsOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const HOST: &str = "127.0.0.1";
const SECRET: &str = "the-secret-of-this-very-cluster";

fn secure(tls: TlsOptions) -> NodeOptions {
    let mut options = NodeOptions::default();
    options.tls = Some(tls);
    options.suspect_after = Some(LONG);
    options.connect_timeout = Some(LONG);
    options
}

fn shared(token: &str) -> NodeOptions {
    let mut options = NodeOptions::default();
    options.cluster_token = Some(token.into());
    options.suspect_after = Some(LONG);
    options
}

/// Two nodes that belong together, and the groups on them.
struct Pair {
    cluster: Cluster,
    groups: Vec<Group>,
    getter: Arc<CountingGetter>,
    /// Keys used so far.
    salts: AtomicUsize,
}

impl Pair {
    async fn start(options: &NodeOptions) -> Self {
        logs::catch();
        let cluster = Cluster::start_with(2, options).await.unwrap();
        let getter = CountingGetter::new();
        let groups = cluster
            .groups("g", &crate::common::options(), &getter)
            .unwrap();
        Self {
            cluster,
            groups,
            getter,
            salts: AtomicUsize::new(0),
        }
    }

    fn address(&self) -> &str {
        self.cluster.node(1).address()
    }

    /// The two serve each other, small values and large ones.
    async fn goes_on(&self) {
        let salt = self.salts.fetch_add(1, Ordering::Relaxed);
        let key = self.cluster.key_owned_by(1, salt);
        let fetched = self.groups[0].get(&key).await.unwrap();
        assert_eq!(&*fetched, format!("value-of-{key}").as_bytes());
        assert_eq!(self.getter.calls(&key), 1, "fetched, not loaded here");
        self.groups[0].set(&key, vec![7; 100_000]).await.unwrap();
        assert_eq!(self.groups[0].get(&key).await.unwrap().len(), 100_000);
    }

    /// A third node that lists the second and gets nothing from it; what it is
    /// told when it writes there.
    async fn refuses(&self, stranger: NodeOptions) -> String {
        let mut stranger = stranger.listen("127.0.0.1:0");
        stranger.connect_timeout = Some(LONG);
        let node = Node::start(stranger).await.unwrap();
        node.set_peers(&[node.address(), self.address()]).unwrap();
        let own = CountingGetter::new();
        let group = node.group("g", options(), Some(own.clone())).unwrap();
        let key = (0..10_000)
            .map(|n| format!("strange-{n}"))
            .find(|key| node.owner(key).unwrap() == self.address())
            .unwrap();
        let fallback = group.get(&key).await.unwrap();
        assert_eq!(&*fallback, format!("value-of-{key}").as_bytes());
        assert_eq!(own.calls(&key), 1, "loaded by itself");
        assert_eq!(
            self.getter.calls(&key),
            0,
            "nobody asked the owner's getter"
        );
        let refused = group.set(&key, "mine").await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        assert_eq!(self.getter.calls(&key), 0);
        assert!(self.groups[1].peek(&key).is_none());
        self.goes_on().await;
        refused.message().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s40_members_with_certificates_serve_each_other() {
    let authority = Authority::new();
    let pair = Pair::start(&secure(authority.member("a", &[HOST]))).await;
    for _ in 0..5 {
        pair.goes_on().await;
    }
    assert_eq!(pair.cluster.node(1).stats().links_refused, 0);
    pair.cluster.node(0).close(None).await.unwrap();
}

/// A stranger with this is refused: what the node that it dials logs, and it itself.
async fn refused(pair: &Pair, stranger: NodeOptions, there: &str, here: &str) {
    let told = pair.refuses(stranger).await;
    assert!(told.contains(here), "the writer was told: {told}");
    logs::said(&["WARN", pair.address(), "was refused", there]).await;
    let peer = format!("peer={:?}", pair.address());
    logs::said(&["WARN", "no secure connection", &peer, here]).await;
    assert!(pair.cluster.node(1).stats().links_refused > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn s40_a_certificate_of_another_authority_is_refused() {
    let other = Authority::new();
    let authority = Authority::new();
    let pair = Pair::start(&secure(authority.member("a", &[HOST]))).await;
    refused(
        &pair,
        secure(other.member("stranger", &[HOST])),
        "does not know the authority of this node's certificate",
        "of another authority",
    )
    .await;
    let pair = Pair::start(&secure(authority.member("a", &[HOST]))).await;
    let mut forged = other.member("forged", &[HOST]);
    forged.ca = crate::common::certificates::text(&authority.ca());
    refused(
        &pair,
        secure(forged),
        "of another authority",
        "does not know the authority of this node's certificate",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s40_an_expired_certificate_is_refused() {
    let authority = Authority::new();
    let pair = Pair::start(&secure(authority.member("a", &[HOST]))).await;
    let expired = authority.expired("old", &[HOST]);
    refused(
        &pair,
        secure(expired),
        "its certificate has expired: renew it",
        "this node's certificate has expired",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s40_a_peer_must_carry_the_host_that_is_dialled() {
    let authority = Authority::new();
    let pair = Pair::start(&secure(authority.member("a", &[HOST]))).await;
    let impostor = secure(authority.member("other", &["other.example"]));
    let impostor = Node::start(impostor.listen("127.0.0.1:0")).await.unwrap();
    let members = [
        pair.cluster.node(0).address(),
        pair.address(),
        impostor.address(),
    ];
    pair.cluster.node(0).set_peers(&members).unwrap();
    let node = pair.cluster.node(0);
    let key = (0..10_000)
        .map(|n| n.to_string())
        .find(|key| node.owner(key).unwrap() == impostor.address())
        .unwrap();
    pair.groups[0].get(&key).await.unwrap();
    assert_eq!(pair.groups[0].stats().fallbacks, 1);
    let peer = format!("peer={:?}", impostor.address());
    logs::said(&["WARN", &peer, "for another name", "tls name"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s40_with_a_name_every_certificate_carries_it() {
    let authority = Authority::new();
    let named = |file, name| {
        let mut tls = authority.member(file, &[name]);
        tls.name = Some("kama.internal".into());
        secure(tls)
    };
    let pair = Pair::start(&named("a", "kama.internal")).await;
    pair.goes_on().await;
    refused(
        &pair,
        named("b", "other.internal"),
        "for another name",
        "lacks the name that it wants",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s40_plaintext_and_tls_do_not_mix() {
    let authority = Authority::new();
    let pair = Pair::start(&secure(authority.member("a", &[HOST]))).await;
    pair.refuses(NodeOptions::default()).await;
    logs::said(&["WARN", pair.address(), "was refused", "does not speak TLS"]).await;
    let pair = Pair::start(&NodeOptions::default()).await;
    let told = pair.refuses(secure(authority.member("a", &[HOST]))).await;
    assert!(told.contains("does not speak TLS"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s40_a_client_without_a_certificate_gets_nowhere() {
    let authority = Authority::new();
    let pair = Pair::start(&secure(authority.member("a", &[HOST]))).await;
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(authority.ca()).unwrap();
    roots.add(ca).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(pair.address()).await.unwrap();
    let host = ServerName::try_from(HOST).unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(host, stream).await.unwrap();
    // In TLS 1.3 the server looks at the client after the client at it.
    let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
    logs::said(&["WARN", pair.address(), "shows no certificate"]).await;
    pair.goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s40_certificates_are_renewed_without_a_restart() {
    let (old, new) = (Authority::new(), Authority::new());
    let tls = old.member("a", &[HOST]);
    let former = old.member("former", &[HOST]);
    // A copy of its own: what it trusts does not change.
    let trusted = old.ca().with_file_name("former-ca.pem");
    std::fs::copy(old.ca(), &trusted).unwrap();
    let pair = Pair::start(&secure(tls.clone())).await;
    pair.goes_on().await;

    std::fs::write(&tls.cert, "nonsense").unwrap();
    logs::said(&["WARN", "the old ones stay", &tls.cert]).await;
    pair.goes_on().await;

    replace(&tls, &new.member("b", &[HOST]));
    logs::said(&["INFO", "new certificates are in use", &tls.cert]).await;
    pair.goes_on().await;
    let renewed = Node::start(secure(new.member("c", &[HOST])).listen("127.0.0.1:0"));
    let renewed = renewed.await.unwrap();
    let members = [renewed.address(), pair.address()];
    renewed.set_peers(&members).unwrap();
    let group = renewed.group("g", options(), None).unwrap();
    let key = (0..10_000)
        .map(|n| format!("renewed-{n}"))
        .find(|key| renewed.owner(key).unwrap() == pair.address())
        .unwrap();
    // Both nodes of the pair look at the same files, each in its own time.
    let wait = async {
        while kind_of(&group, &key).await.is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, wait).await.expect("let in");
    assert_eq!(pair.getter.calls(&key), 1);

    let mut former = former;
    former.ca = crate::common::certificates::text(&trusted);
    pair.refuses(secure(former)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s40_a_renewal_that_peers_would_refuse_leaves_the_old_certificate_in_use() {
    let (authority, other) = (Authority::new(), Authority::new());
    let tls = authority.member("a", &[HOST]);
    let pair = Pair::start(&secure(tls.clone())).await;
    pair.goes_on().await;
    let put = |from: &str, to: &str| {
        let beside = format!("{to}.new");
        std::fs::copy(from, &beside).unwrap();
        std::fs::rename(&beside, to).unwrap();
    };
    for (renewed, why) in [
        (authority.expired("old", &[HOST]), "it has expired"),
        (other.member("foreign", &[HOST]), "tls ca has not signed it"),
        (
            authority.server_only("server", &[HOST]),
            "not for both servers and clients",
        ),
    ] {
        put(&renewed.cert, &tls.cert);
        put(&renewed.key, &tls.key);
        logs::said(&["WARN", "the old ones stay", &tls.cert, why]).await;
        pair.goes_on().await;
    }
    // Half of a renewal, and then all of it.
    let renewed = authority.member("new", &[HOST]);
    put(&renewed.cert, &tls.cert);
    logs::said(&["WARN", "the old ones stay", &tls.cert, "key of cert"]).await;
    pair.goes_on().await;
    let in_use = ["INFO", "new certificates are in use", &tls.cert];
    assert!(logs::lines(&in_use).is_empty(), "{}", logs::all());
    put(&renewed.key, &tls.key);
    logs::said(&in_use).await;
    pair.goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s40_the_expiry_of_a_certificate_is_a_metric_and_a_warning() {
    logs::catch();
    let authority = Authority::new();
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let day = 24 * 3600;
    let start = async |tls: TlsOptions| {
        let mut options = secure(tls).listen("127.0.0.1:0");
        options.admin_listen = Some(":0".into());
        Node::start(options).await.unwrap()
    };
    let metric = async |node: &Node| {
        let answer = http::get(node.admin_address().unwrap(), "/metrics").await;
        let name = "kamacache_tls_certificate_expiry_timestamp_seconds ";
        let line = answer.body.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.parse::<u64>().unwrap())
    };
    let soon = authority.until("soon", &[HOST], now + 3 * day + 100);
    let node = start(soon.clone()).await;
    assert_eq!(metric(&node).await, Some(now + 3 * day + 100));
    logs::said(&["WARN", &soon.cert, "expires in 3 days"]).await;
    let later = authority.until("later", &[HOST], now + 30 * day);
    replace(&soon, &later);
    let renewed = async {
        while metric(&node).await != Some(now + 30 * day) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, renewed).await.expect("in use");
    // A node whose certificate is of no use starts all the same: it is a cache.
    let expired = authority.expired("expired", &[HOST]);
    let node = start(expired.clone()).await;
    assert_eq!(metric(&node).await, Some(1_580_515_200));
    logs::said(&["WARN", &expired.cert, "it has expired: renew it"]).await;
    let node = start(authority.member("long", &[HOST])).await;
    assert!(metric(&node).await > Some(now + 365 * day));
    assert!(logs::lines(&["WARN", "long.crt"]).is_empty());
    let mut plain = NodeOptions::default();
    plain.admin_listen = Some(":0".into());
    assert_eq!(metric(&Node::start(plain).await.unwrap()).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn s40_the_token_changes_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let write = |tokens: &[&str]| {
        let new = folder.path().join("new");
        std::fs::write(&new, tokens.join("\n")).unwrap();
        std::fs::rename(&new, &file).unwrap();
    };
    write(&[SECRET]);
    let mut options = NodeOptions::default();
    options.cluster_token_file = Some(file.to_str().unwrap().to_owned());
    options.suspect_after = Some(LONG);
    let pair = Pair::start(&options).await;
    pair.goes_on().await;
    let next = "the-token-that-comes-after-it";
    let is_admitted = async |token: &str| {
        let mut options = ClientOptions::default();
        options.cluster_token = Some(token.to_owned());
        let client = Client::with(pair.address(), &options).unwrap();
        client.get("g", "k", LONG).await.is_ok()
    };
    assert!(is_admitted(SECRET).await && !is_admitted(next).await);
    let path = file.to_str().unwrap();
    for (step, tokens) in [&[SECRET, next][..], &[next, SECRET], &[next]]
        .iter()
        .enumerate()
    {
        write(tokens);
        // Each node looks in its own time.
        until("both nodes have them", || {
            logs::lines(&["new cluster tokens are in use", path]).len() == 2 * (step + 1)
        })
        .await;
        for token in [SECRET, next] {
            assert_eq!(is_admitted(token).await, tokens.contains(&token));
        }
        pair.goes_on().await;
    }
    write(&["short"]);
    logs::said(&["WARN", path, "the old tokens stay"]).await;
    pair.goes_on().await;
    assert!(!logs::leaked(SECRET) && !logs::leaked(next));
}

async fn kind_of(group: &Group, key: &str) -> Option<ErrorKind> {
    group.get(key).await.err().map(|error| error.kind())
}

#[tokio::test]
async fn s40_files_that_cannot_be_used_are_named_at_the_start() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = authority.member("a", &[HOST]);
    let strange = other.member("b", &[HOST]);
    let missing = "/nonexistent/ca.pem";
    type Change<'a> = &'a dyn Fn(&mut TlsOptions);
    let cases: [(Change<'_>, &[&str]); 5] = [
        (&|tls| tls.ca = missing.into(), &["tls ca", missing]),
        (&|tls| tls.cert.clear(), &["tls cert names no file"]),
        (
            &|tls| tls.key = strange.key.clone(),
            &["tls cert", "key of cert"],
        ),
        (
            &|tls| tls.cert = tls.key.clone(),
            &["tls cert", "no certificate"],
        ),
        (
            &|tls| tls.name = Some("not a name".into()),
            &["tls name", "not a name"],
        ),
    ];
    for (change, named) in cases {
        let mut tls = good.clone();
        change(&mut tls);
        let started = Node::start(secure(tls).listen("127.0.0.1:0")).await;
        let error = started.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        for text in named {
            assert!(error.message().contains(text), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s40_without_the_token_there_is_no_data() {
    let pair = Pair::start(&shared(SECRET)).await;
    pair.goes_on().await;
    for stranger in [
        NodeOptions::default(),
        shared("a-secret-of-another-cluster"),
    ] {
        let told = pair.refuses(stranger).await;
        assert!(told.contains("same cluster_token"), "{told}");
        let peer = format!("peer={:?}", pair.address());
        logs::said(&["WARN", &peer, "refused the link", "cluster_token"]).await;
    }
    logs::said(&[
        "WARN",
        pair.address(),
        "a request was refused",
        "cluster token",
    ])
    .await;
    let first = Requests {
        hello: Some(hello(pair.address())),
        ..Requests::default()
    };
    let refused = open(pair.address(), first).await.err().unwrap();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    assert!(!logs::leaked(SECRET) && !refused.message().contains(SECRET));
    assert!(!format!("{:?}", shared(SECRET)).contains(SECRET));
}

/// Nor does a node with a token send anything to a listed member without one.
#[tokio::test(flavor = "multi_thread")]
async fn s40_a_member_without_the_token_is_sent_no_data() {
    logs::catch();
    let open = Node::start(NodeOptions::default().listen("127.0.0.1:0"));
    let open = open.await.unwrap();
    let getter = CountingGetter::new();
    let theirs = open.group("g", options(), Some(getter.clone())).unwrap();
    let node = Node::start(shared(SECRET).listen("127.0.0.1:0"));
    let node = node.await.unwrap();
    let own = CountingGetter::new();
    let group = node.group("g", options(), Some(own.clone())).unwrap();
    node.set_peers(&[node.address(), open.address()]).unwrap();
    let keys: Vec<String> = (0..10_000)
        .map(|n| format!("key-{n}"))
        .filter(|key| node.owner(key).unwrap() == open.address())
        .take(100)
        .collect();
    // The first may be on its way before the member has said that it has none.
    let _ = group.get(&keys[0]).await.unwrap();
    let loaded = getter.calls(&keys[0]);
    for key in &keys[1..] {
        let refused = group.set(key, "ours").await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        assert!(
            refused.message().contains("same cluster_token"),
            "{refused}"
        );
        assert!(theirs.peek(key).is_none());
        assert_eq!(
            &*group.get(key).await.unwrap(),
            format!("value-of-{key}").as_bytes()
        );
        assert_eq!((own.calls(key), getter.calls(key)), (1, 0));
    }
    assert!(loaded <= 1);
    let peer = format!("peer={:?}", open.address());
    logs::said(&["WARN", &peer, "refused the link", "has no cluster token"]).await;
    assert!(node.stats().links_refused > 0);
    // It names the one that is refused, not the secret.
    assert!(!logs::leaked(SECRET));
}

#[tokio::test]
async fn s40_a_token_that_is_none_is_refused_at_the_start() {
    let started = Node::start(shared("short").listen("127.0.0.1:0")).await;
    assert_eq!(kind(started), ErrorKind::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn s41_plaintext_beyond_loopback_warns_once() {
    logs::catch();
    let started = async |listen: &str, tls: Option<TlsOptions>| {
        let mut options = NodeOptions::default().listen(listen);
        options.advertise = Some("192.0.2.1:7000".into());
        options.tls = tls;
        Node::start(options).await.unwrap()
    };
    let loopback = started("127.0.0.1:0", None).await;
    let authority = Authority::new();
    let safe = started("0.0.0.0:0", Some(authority.member("a", &[HOST]))).await;
    assert!(logs::warnings(&["in plaintext"]).is_empty());
    let exposed = started("0.0.0.0:0", None).await;
    let warned = logs::warnings(&["in plaintext"]);
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].contains("0.0.0.0:") && warned[0].contains("set tls"));
    for node in [loopback, safe, exposed] {
        node.close(Some(Duration::ZERO)).await.unwrap();
    }
}
