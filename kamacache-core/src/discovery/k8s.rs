//! `k8s://NAMESPACE/SERVICE:PORT`: the ready endpoints of a service, as the API
//! server of Kubernetes lists and watches its EndpointSlices, each with this
//! port. Wants the right to list and watch them; a headless service with
//! `dns://` wants none.
//!
//! The crate's watcher lists, watches from there, follows bookmarks and begins
//! anew when its place in the history is gone (410).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Config};
use tokio_stream::Stream;

use super::entries::Entries;
use super::url::Url;
use super::{Discovery, Lists};
use crate::{Error, ErrorKind, Result};

const PARAMETERS: &[&str] = &["api"];
/// Before the client is made again.
const PAUSE: Duration = Duration::from_secs(2);
const GONE: u16 = 410;

#[derive(Debug)]
pub(crate) struct K8s {
    namespace: String,
    service: String,
    port: u16,
    /// `None`: where the pod, or the kubeconfig, says.
    api: Option<String>,
}

impl K8s {
    pub(crate) fn open(url: &str, rest: &str) -> Result<Self> {
        let url = Url::parse(url, rest, PARAMETERS)?;
        let wrong = || url.wrong("write it as k8s://NAMESPACE/SERVICE:PORT");
        let (service, port) = url.path.split_once(':').ok_or_else(wrong)?;
        let legal = |name: &str| {
            let letters = |letter: char| letter.is_ascii_alphanumeric() || "-.".contains(letter);
            !name.is_empty() && name.chars().all(letters)
        };
        let port = port.parse().ok().filter(|port| *port != 0);
        if !legal(&url.authority) || !legal(service) {
            return Err(wrong());
        }
        Ok(Self {
            namespace: url.authority.clone(),
            service: service.to_owned(),
            port: port.ok_or_else(wrong)?,
            api: url.parameter("api").map(str::to_owned),
        })
    }

    async fn slices(&self) -> Result<Slices, String> {
        let client = match &self.api {
            None => Client::try_default().await,
            Some(api) => {
                let api = api
                    .parse()
                    .map_err(|error| format!("api {api:?} is no URL: {error}"))?;
                Client::try_from(Config::new(api))
            }
        };
        let client = client.map_err(|error| error.to_string())?;
        let slices: Api<EndpointSlice> = Api::namespaced(client, &self.namespace);
        let of_service = format!("kubernetes.io/service-name={}", self.service);
        let watched = watcher(slices, watcher::Config::default().labels(&of_service));
        Ok(Box::pin(watched.default_backoff()))
    }

    fn failed(&self, why: &str) -> Error {
        Error::new(
            ErrorKind::Unavailable,
            format!(
                "the endpoints of {}/{} cannot be had from Kubernetes: {why}; the last list stays",
                self.namespace, self.service
            ),
        )
    }

    /// The members in one slice.
    fn members(&self, slice: &EndpointSlice, v6: bool) -> Vec<String> {
        let ready = slice.endpoints.iter().filter(|endpoint| {
            let conditions = endpoint.conditions.as_ref();
            conditions.and_then(|all| all.ready) != Some(false)
        });
        let addresses = ready.flat_map(|endpoint| &endpoint.addresses);
        let ips = addresses.filter_map(|text| text.parse::<IpAddr>().ok());
        ips.filter(|ip| ip.is_ipv6() == v6)
            .map(|ip| SocketAddr::new(ip, self.port).to_string())
            .collect()
    }
}

type Slices = Pin<Box<dyn Stream<Item = Result<Event<EndpointSlice>, watcher::Error>> + Send>>;

impl Discovery for K8s {
    fn watch(self: Arc<Self>, me: String) -> Lists {
        let watching = Watching {
            v6: me.starts_with('['),
            entries: Entries::new("the endpoint slices", &me),
            k8s: self,
            slices: None,
            members: BTreeMap::new(),
            listing: BTreeMap::new(),
            pause: Duration::ZERO,
        };
        Box::pin(futures_util::stream::unfold(
            watching,
            |mut watching| async move { Some((watching.next().await, watching)) },
        ))
    }
}

struct Watching {
    k8s: Arc<K8s>,
    /// A service of both kinds has a slice of each; this node's kind counts.
    v6: bool,
    entries: Entries,
    slices: Option<Slices>,
    /// By slice.
    members: BTreeMap<String, Vec<String>>,
    /// What a new list has brought so far.
    listing: BTreeMap<String, Vec<String>>,
    pause: Duration,
}

impl Watching {
    async fn next(&mut self) -> Result<Vec<String>> {
        loop {
            let slices = match &mut self.slices {
                Some(slices) => slices,
                none => {
                    tokio::time::sleep(self.pause).await;
                    self.pause = PAUSE;
                    let slices = self.k8s.slices().await;
                    none.insert(slices.map_err(|why| self.k8s.failed(&why))?)
                }
            };
            match slices.next().await {
                Some(Ok(event)) => {
                    if self.take(event) {
                        let slices = self.members.iter();
                        let entries = slices.flat_map(|(slice, members)| {
                            members.iter().map(|member| (slice.as_bytes(), &**member))
                        });
                        return Ok(self.entries.members(entries));
                    }
                }
                // It lists again by itself.
                Some(Err(watcher::Error::WatchError(status))) if status.code == GONE => {}
                Some(Err(error)) => return Err(self.k8s.failed(&error.to_string())),
                None => {
                    self.slices = None;
                    return Err(self.k8s.failed("it ended the watch"));
                }
            }
        }
    }

    /// Whether there is a new list.
    fn take(&mut self, event: Event<EndpointSlice>) -> bool {
        let name = |slice: &EndpointSlice| slice.metadata.name.clone().unwrap_or_default();
        match event {
            Event::Init => {
                self.listing.clear();
                return false;
            }
            Event::InitApply(slice) => {
                let members = self.k8s.members(&slice, self.v6);
                self.listing.insert(name(&slice), members);
                return false;
            }
            Event::InitDone => self.members = std::mem::take(&mut self.listing),
            Event::Apply(slice) => {
                let members = self.k8s.members(&slice, self.v6);
                self.members.insert(name(&slice), members);
            }
            Event::Delete(slice) => {
                self.members.remove(&name(&slice));
            }
        }
        true
    }
}
