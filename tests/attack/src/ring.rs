//! Three nodes as processes: started, commanded, measured from outside, killed.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, sleep};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Longer than a ring needs to agree; only a fault gets so far.
const LONG: Duration = Duration::from_secs(30);

pub(crate) struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    pub(crate) address: String,
    log: PathBuf,
}

impl Process {
    pub(crate) async fn start(listen: &str, token: Option<&str>, log: PathBuf) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["node", listen]).args(token);
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log)?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let mut process = Self {
            child,
            stdin,
            stdout: BufReader::new(stdout).lines(),
            address: String::new(),
            log,
        };
        let said = process.answer().await?;
        process.address = said["address"].as_str().ok_or("no address")?.to_owned();
        Ok(process)
    }

    async fn answer(&mut self) -> Outcome<Value> {
        match self.stdout.next_line().await? {
            Some(line) => Ok(serde_json::from_str(&line)?),
            None => Err(format!("the node ended; see {}", self.log.display()).into()),
        }
    }

    pub(crate) async fn ask(&mut self, line: &str) -> Outcome<Value> {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await?;
        self.answer().await
    }

    pub(crate) async fn members(&mut self) -> Outcome<usize> {
        Ok(self.ask("members").await?.as_array().map_or(0, Vec::len))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Bytes of memory that it holds now.
    pub(crate) fn rss(&self) -> u64 {
        rss(self.pid())
    }

    /// Seconds of processor that it has used.
    pub(crate) fn busy(&self) -> f64 {
        let pid = self.pid();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks = after_name.split_whitespace().skip(11).take(2);
        ticks
            .filter_map(|count| count.parse::<f64>().ok())
            .sum::<f64>()
            / 100.0
    }

    pub(crate) fn log(&self) -> Outcome<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.log)?).into_owned())
    }

    pub(crate) async fn kill(&mut self) -> Outcome<()> {
        Ok(self.child.kill().await?)
    }
}

/// Strangers come to the first of them; the others are healthy peers.
pub(crate) struct Ring {
    pub(crate) nodes: Vec<Process>,
    token: Option<String>,
    folder: PathBuf,
}

impl Ring {
    pub(crate) async fn start(folder: &Path, token: Option<&str>) -> Outcome<Self> {
        std::fs::create_dir_all(folder)?;
        let mut ring = Self {
            nodes: Vec::new(),
            token: token.map(str::to_owned),
            folder: folder.to_owned(),
        };
        for number in 0..3 {
            let log = ring.folder.join(format!("{number}.log"));
            let node = Process::start("127.0.0.1:0", token, log).await?;
            ring.nodes.push(node);
        }
        let list = ring.list();
        for node in &mut ring.nodes {
            node.ask(&format!("peers {list}")).await?;
        }
        Ok(ring)
    }

    fn list(&self) -> String {
        let addresses: Vec<_> = self
            .nodes
            .iter()
            .map(|node| node.address.as_str())
            .collect();
        addresses.join(",")
    }

    pub(crate) fn victim(&self) -> &Process {
        &self.nodes[0]
    }

    pub(crate) fn address(&self) -> &str {
        &self.victim().address
    }

    /// All peers load keys of the victim for so long; what each says.
    pub(crate) async fn load(&mut self, seconds: f64) -> Outcome<Vec<Value>> {
        let line = format!("load {} {seconds}", self.address());
        let (first, rest) = self.nodes[1..].split_first_mut().ok_or("peers")?;
        let second = rest.first_mut().ok_or("two peers")?;
        let (one, two) = tokio::join!(first.ask(&line), second.ask(&line));
        Ok(vec![one?, two?])
    }

    /// Kills the last node and starts it again at its address; how long it took
    /// until it served and was served.
    pub(crate) async fn restart_last(&mut self) -> Outcome<Duration> {
        let list = self.list();
        let last = self.nodes.last_mut().ok_or("a node")?;
        last.kill().await?;
        let (address, log) = (last.address.clone(), last.log.clone());
        let begun = Instant::now();
        *last = loop {
            // The port may be held for a moment.
            match Process::start(&address, self.token.as_deref(), log.clone()).await {
                Ok(process) => break process,
                Err(error) if begun.elapsed() > LONG => return Err(error),
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        };
        last.ask(&format!("peers {list}")).await?;
        let victim = self.nodes[0].address.clone();
        let last = self.nodes.last_mut().ok_or("a node")?;
        // Fetches from the victim, not loads in its place.
        let served = last.ask(&format!("load {victim} 2")).await?;
        let is_served = served["failed"] == 0 && served["fallbacks"] == 0;
        if !is_served || served["fetched"] == 0 {
            return Err(format!("the member that came back was not served: {served}").into());
        }
        Ok(begun.elapsed())
    }
}

/// Bytes of memory that a process holds now.
pub(crate) fn rss(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let count = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    count.unwrap_or(0) << 10
}
