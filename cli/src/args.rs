//! The command line, as clap reads it. What an option means is the
//! configuration's; here are names and help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use kamacache_core::client::{Client, ClientOptions};
use kamacache_core::{Error, TlsOptions};

use crate::exit;

/// A distributed read-through cache: a stand-alone node, and a client for
/// running nodes of any language.
#[derive(Debug, Parser)]
#[command(name = "kamacache", version, after_help = exit::HELP, max_term_width = 100)]
pub(crate) struct Cli {
    /// Answer in JSON, errors too
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node until SIGTERM or SIGINT, which drain it
    Serve(Box<Serve>),
    /// Print the value of a key, byte for byte
    Get(Get),
    /// Store a value at the key's owner
    Set(Set),
    /// Drop a key at its owner; deleting an absent key is fine
    Delete(Delete),
    /// Counters, sizes and latencies of a node's groups
    Stats(Stats),
    /// The members as a node sees them, and how it stands with each
    Members(Admin),
    /// The address of a key's owner
    Owner(Owner),
    /// All that a node knows about one key
    Explain(Explain),
    /// A live view of nodes: rates, hit ratios, hot keys; q ends it
    Top(Top),
    /// Put load on nodes and measure their answers
    Bench(Bench),
    /// Print the completions of a shell
    Completions {
        /// Whose
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder
    Man {
        /// The folder; it is made
        folder: PathBuf,
    },
}

/// Every option can also stand in the file and, as KAMACACHE_NAME, in the
/// environment; a flag is stronger than a variable, a variable than the file.
#[derive(Debug, Args)]
#[command(after_help = "\
Sizes are written as 64MiB or 1GB, times as 250ms, 1.5s, 10m, 2h or 1d.
Without any getter a miss is NOT_FOUND: the node keeps what is set.")]
pub(crate) struct Serve {
    /// A TOML file of options
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A group and its budget, repeated; more options after commas:
    /// scores=64MiB,ttl=10m
    #[arg(long = "group", value_name = "NAME=MAX_BYTES")]
    pub(crate) groups: Vec<String>,
    /// Where a miss is loaded: a URL with {group} and {key}; 404 is "not found"
    #[arg(long, value_name = "URL")]
    pub(crate) getter_url: Option<String>,
    /// The same by a shell command: GROUP and KEY are in its environment, its
    /// standard output is the value, exit code 44 is "not found"
    #[arg(long, value_name = "COMMAND")]
    pub(crate) getter_command: Option<String>,
    /// An empty output of the getter command is a value, not an error
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub(crate) getter_empty: Option<String>,
    /// Variables of this process that the getter command gets, beside PATH,
    /// HOME, USER, LOGNAME, SHELL, LANG, LANGUAGE, LC_*, TZ and TMPDIR
    #[arg(long, value_name = "NAME,...")]
    pub(crate) getter_env: Option<String>,
    /// Lines on standard error: error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log: Option<String>,
    /// text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// Where spans are sent: the gRPC address of an OpenTelemetry collector, as
    /// http://127.0.0.1:4317 (only in a build with the feature otel)
    #[arg(long, value_name = "URL")]
    pub(crate) otlp_endpoint: Option<String>,
    /// Read the configuration, say what it comes to, and start nothing
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) node: NodeFlags,
}

macro_rules! flags {
    ($($(#[$doc:meta])* $field:ident: $value:literal,)*) => {
        /// One flag for each option of a node.
        #[derive(Debug, Args)]
        pub(crate) struct NodeFlags {
            $($(#[$doc])* #[arg(long, value_name = $value)] $field: Option<String>,)*
        }

        impl NodeFlags {
            /// What was given, by the options' names.
            pub(crate) fn given(&self) -> Vec<(&'static str, &str)> {
                let all = [$((stringify!($field), self.$field.as_deref())),*];
                all.into_iter().filter_map(|(name, text)| Some((name, text?))).collect()
            }
        }
    };
}

flags! {
    /// Where peers and clients are served [default: 127.0.0.1:8001]; port 0: any
    listen: "ADDR",
    /// What peers dial [default: the bound address]
    advertise: "ADDR",
    /// All members, this node among them, separated by commas
    peers: "ADDR,...",
    /// Where the members are found, as file:///etc/kamacache/peers
    discovery: "URL",
    /// Where the admin HTTP listens, as 127.0.0.1:9001 or :9001 [default: nowhere]
    admin: "ADDR",
    /// Names by which the admin HTTP may be asked, beside localhost, the name
    /// that the node advertises and IP addresses
    admin_hosts: "NAME,...",
    /// The cluster's name [default: default]
    cluster: "NAME",
    /// A secret shared by all members; the process list shows a flag: better
    /// KAMACACHE_CLUSTER_TOKEN
    cluster_token: "SECRET",
    /// A file of such secrets, one on each line, the first is sent; read again
    /// when it changes
    cluster_token_file: "FILE",
    /// The authority that signs every member's certificate, as PEM
    tls_ca: "FILE",
    /// This node's certificate, as PEM
    tls_cert: "FILE",
    /// Its key, as PEM
    tls_key: "FILE",
    /// The name that every peer's certificate must carry
    tls_name: "NAME",
    /// Threads of the node [default: one for each processor]
    io_threads: "COUNT",
    /// How long a call waits at most [default: 5s]
    default_timeout: "TIME",
    /// How long dialling a peer may take [default: 1s]
    connect_timeout: "TIME",
    /// Between two heartbeats of a link [default: 500ms]
    heartbeat: "TIME",
    /// Silence after which a peer is suspected [default: 1s]
    suspect_after: "TIME",
    /// Between two probes of a suspected peer [default: 1s]
    probe_interval: "TIME",
    /// How long a member may be missing from discovery [default: 10s]
    remove_grace: "TIME",
    /// How long a new owner asks the previous one [default: 30s]
    warm_window: "TIME",
    /// How long leaving may take at most [default: 5s]
    drain: "TIME",
}

/// What a cluster that lets in members only asks for.
#[derive(Debug, Args)]
pub(crate) struct Member {
    /// The secret shared by all members; the process list shows a flag: better
    /// the variable
    #[arg(
        long,
        value_name = "SECRET",
        env = "KAMACACHE_CLUSTER_TOKEN",
        hide_env_values = true
    )]
    cluster_token: Option<String>,
    /// The authority that signs every member's certificate, as PEM
    #[arg(long, value_name = "FILE", env = "KAMACACHE_TLS_CA", requires_all = ["tls_cert", "tls_key"])]
    tls_ca: Option<String>,
    /// A certificate that it signed, as PEM
    #[arg(
        long,
        value_name = "FILE",
        env = "KAMACACHE_TLS_CERT",
        requires = "tls_ca"
    )]
    tls_cert: Option<String>,
    /// Its key, as PEM
    #[arg(
        long,
        value_name = "FILE",
        env = "KAMACACHE_TLS_KEY",
        requires = "tls_ca"
    )]
    tls_key: Option<String>,
    /// The name that the node's certificate must carry, in place of its host
    #[arg(
        long,
        value_name = "NAME",
        env = "KAMACACHE_TLS_NAME",
        requires = "tls_ca"
    )]
    tls_name: Option<String>,
}

impl Member {
    /// A client of this node.
    pub(crate) fn client(&self, node: &str) -> Result<Client, Error> {
        let mut options = ClientOptions::default();
        options.cluster_token.clone_from(&self.cluster_token);
        if let (Some(ca), Some(cert), Some(key)) = (&self.tls_ca, &self.tls_cert, &self.tls_key) {
            let mut tls = TlsOptions::default();
            (tls.ca, tls.cert, tls.key) = (ca.clone(), cert.clone(), key.clone());
            tls.name.clone_from(&self.tls_name);
            options.tls = Some(tls);
        }
        Client::with(node, &options)
    }
}

/// Which node is asked, and how long.
#[derive(Debug, Args)]
pub(crate) struct Node {
    /// Any node of the cluster: it routes
    #[arg(
        long,
        value_name = "ADDR",
        env = "KAMACACHE_NODE",
        default_value = "127.0.0.1:8001"
    )]
    pub(crate) node: String,
    /// How long to wait for the answer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) timeout: std::time::Duration,
    #[command(flatten)]
    member: Member,
}

impl Node {
    pub(crate) fn client(&self) -> Result<Client, Error> {
        self.member.client(&self.node)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    #[command(flatten)]
    pub(crate) node: Node,
    pub(crate) group: String,
    pub(crate) key: String,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    #[command(flatten)]
    pub(crate) node: Node,
    /// How long it is kept [default: as the group says]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) ttl: Option<std::time::Duration>,
    pub(crate) group: String,
    pub(crate) key: String,
    /// The value; without it, standard input to its end
    pub(crate) value: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) node: Node,
    pub(crate) group: String,
    pub(crate) key: String,
}

/// Whose admin HTTP is asked.
#[derive(Debug, Args)]
pub(crate) struct Admin {
    /// The admin address of the node
    #[arg(
        long,
        value_name = "ADDR",
        env = "KAMACACHE_ADMIN",
        default_value = "127.0.0.1:9001"
    )]
    pub(crate) admin: String,
}

#[derive(Debug, Args)]
pub(crate) struct Stats {
    #[command(flatten)]
    pub(crate) admin: Admin,
    /// Only this group
    pub(crate) group: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Owner {
    #[command(flatten)]
    pub(crate) admin: Admin,
    pub(crate) key: String,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    pub(crate) admin: Admin,
    pub(crate) group: String,
    pub(crate) key: String,
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// The admin addresses of the nodes, separated by commas or repeated
    #[arg(
        long,
        value_name = "ADDR,...",
        env = "KAMACACHE_ADMIN",
        value_delimiter = ',',
        default_value = "127.0.0.1:9001"
    )]
    pub(crate) admin: Vec<String>,
    /// Between two looks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(crate) every: std::time::Duration,
    /// Print so many looks and end, without taking over the terminal
    #[arg(long, value_name = "COUNT")]
    pub(crate) looks: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// The nodes, separated by commas or repeated; requests go round
    #[arg(
        long,
        value_name = "ADDR,...",
        env = "KAMACACHE_NODE",
        value_delimiter = ',',
        default_value = "127.0.0.1:8001"
    )]
    pub(crate) node: Vec<String>,
    /// How many requests
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 10_000)]
    pub(crate) requests: u64,
    /// How many at the same time
    #[arg(long, short = 'c', value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) concurrency: u32,
    /// Requests a second, started by the clock whatever the answers take
    /// [default: as fast as answers come]
    #[arg(long, value_name = "RATE", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
    /// How many different keys
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) keys: u64,
    /// What the keys begin with
    #[arg(long, value_name = "TEXT", default_value = "bench-")]
    pub(crate) prefix: String,
    /// Which keys are asked for
    #[arg(long, value_enum, default_value_t = Spread::Zipf)]
    pub(crate) spread: Spread,
    /// Sets among a hundred requests; the others are gets
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) sets: u8,
    /// The size of the values that are set
    #[arg(long, value_name = "SIZE", default_value = "100", value_parser = bytes)]
    pub(crate) value_bytes: u64,
    /// How long to wait for an answer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) timeout: std::time::Duration,
    /// "Not found" is as good an answer as a value
    #[arg(long)]
    pub(crate) not_found_is_fine: bool,
    #[command(flatten)]
    pub(crate) member: Member,
    pub(crate) group: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Spread {
    /// Some far more often than others, as real ones (exponent 0.99)
    Zipf,
    /// All alike
    Uniform,
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    kamacache_core::units::parse_duration(text).map_err(|error| error.message().to_owned())
}

fn bytes(text: &str) -> Result<u64, String> {
    kamacache_core::units::parse_bytes(text).map_err(|error| error.message().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use kamacache_core::NodeOptions;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_of_a_node_has_a_flag() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").expect("it is there");
        let flags: Vec<String> = serve
            .get_arguments()
            .map(|flag| flag.get_id().to_string())
            .collect();
        // One that Python and C need, and one that has a shorter name.
        for name in
            NodeOptions::names().filter(|name| !["getter_threads", "admin_listen"].contains(name))
        {
            assert!(flags.iter().any(|flag| flag == name), "{name} has no flag");
        }
    }
}
