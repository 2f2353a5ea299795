//! `nacos://HOST:8848/SERVICE`: a register in Nacos, through its own client,
//! which keeps the registration alive and renews it when the server is back.
//!
//! The instances are asked for every `interval`. This has not run against a
//! live server: what is tested is what it makes of URLs and of instances.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nacos_sdk::api::naming::{NamingService, NamingServiceBuilder, ServiceInstance};
use nacos_sdk::api::props::ClientProps;
use parking_lot::Mutex;

use super::entries::Entries;
use super::url::Url;
use super::{Discovery, Lists};
use crate::address::Address;
use crate::getter::BoxFuture;
use crate::{Error, ErrorKind, Result};

const PARAMETERS: &[&str] = &[
    "namespace",
    "group",
    "user",
    "password",
    "password_file",
    "interval",
];
const INTERVAL: Duration = Duration::from_secs(5);
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(3600);
/// For each step.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Nacos {
    host: String,
    service: String,
    namespace: String,
    group: String,
    user: Option<String>,
    password: Option<String>,
    password_file: Option<String>,
    interval: Duration,
    registered: Mutex<Option<(NamingService, ServiceInstance)>>,
}

impl std::fmt::Debug for Nacos {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nacos")
            .field("host", &self.host)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

impl Nacos {
    pub(crate) fn open(url: &str, rest: &str) -> Result<Self> {
        let url = Url::parse(url, rest, PARAMETERS)?;
        let form = "write it as nacos://HOST:8848/SERVICE";
        Address::parse(&url.authority)
            .map_err(|_| url.wrong(&format!("{:?} is no HOST:PORT; {form}", url.authority)))?;
        if url.path.is_empty() || url.path.contains('/') {
            return Err(url.wrong(&format!("the service is missing; {form}")));
        }
        let text = |name| url.parameter(name).map(str::to_owned);
        let (password, password_file) = (text("password"), text("password_file"));
        let passwords = password.iter().chain(&password_file).count();
        if passwords != usize::from(text("user").is_some()) {
            return Err(url.wrong("user goes with password_file or password, one of them"));
        }
        Ok(Self {
            host: url.authority.clone(),
            service: url.path.clone(),
            namespace: text("namespace").unwrap_or_default(),
            group: text("group").unwrap_or_else(|| "DEFAULT_GROUP".to_owned()),
            user: text("user"),
            password,
            password_file,
            interval: url.duration("interval", INTERVAL, SHORTEST, LONGEST)?,
            registered: Mutex::new(None),
        })
    }

    async fn connect(&self) -> Result<NamingService, String> {
        let mut about = ClientProps::new()
            .server_addr(&self.host)
            .namespace(&self.namespace)
            .app_name("kamacache")
            // The URL alone says where and who.
            .env_first(false);
        if let Some(user) = &self.user {
            let password = match &self.password_file {
                Some(file) => tokio::fs::read_to_string(file)
                    .await
                    .map_err(|error| format!("{file} cannot be read: {error}"))?
                    .trim_end()
                    .to_owned(),
                None => self.password.clone().unwrap_or_default(),
            };
            about = about.auth_username(user).auth_password(password);
        }
        let mut builder = NamingServiceBuilder::new(about);
        if self.user.is_some() {
            builder = builder.enable_auth_plugin_http();
        }
        builder.build().await.map_err(|error| error.to_string())
    }

    /// Connects, and registers this node.
    async fn join(&self, me: &str) -> Result<NamingService, String> {
        let instance = instance(me)?;
        let naming = self.connect().await?;
        let (service, group) = (self.service.clone(), Some(self.group.clone()));
        let registered = naming.register_instance(service, group, instance.clone());
        registered.await.map_err(|error| error.to_string())?;
        *self.registered.lock() = Some((naming.clone(), instance));
        Ok(naming)
    }

    async fn list(&self, naming: &NamingService) -> Result<Vec<String>, String> {
        let (service, group) = (self.service.clone(), Some(self.group.clone()));
        let found = naming.get_all_instances(service, group, Vec::new(), false);
        let found = found.await.map_err(|error| error.to_string())?;
        Ok(members(&found))
    }
}

/// What Nacos keeps of this node, which are an IP address and a port.
fn instance(me: &str) -> Result<ServiceInstance, String> {
    let address: SocketAddr = me.parse().map_err(|_| {
        format!("this node advertises {me}, and Nacos keeps IP addresses; set advertise to one")
    })?;
    Ok(ServiceInstance {
        ip: address.ip().to_string(),
        port: address.port().into(),
        ..ServiceInstance::default()
    })
}

/// Those that are to be used.
fn members(instances: &[ServiceInstance]) -> Vec<String> {
    let used = instances.iter().filter(|one| one.healthy && one.enabled);
    let addresses = used.filter_map(|one| {
        let port = u16::try_from(one.port).ok()?;
        Some(SocketAddr::new(one.ip.parse().ok()?, port).to_string())
    });
    addresses.collect()
}

impl Discovery for Nacos {
    fn watch(self: Arc<Self>, me: String) -> Lists {
        let asking = Asking {
            nacos: self,
            entries: Entries::new("the Nacos service", &me),
            me,
            naming: None,
            pause: Duration::ZERO,
        };
        Box::pin(futures_util::stream::unfold(
            asking,
            |mut asking| async move { Some((asking.next().await, asking)) },
        ))
    }

    fn leave(&self) -> BoxFuture<()> {
        let registered = self.registered.lock().take();
        let (service, group) = (self.service.clone(), Some(self.group.clone()));
        Box::pin(async move {
            if let Some((naming, instance)) = registered {
                // Else the server drops it when the connection has gone.
                let _ = naming.deregister_instance(service, group, instance).await;
            }
        })
    }
}

struct Asking {
    nacos: Arc<Nacos>,
    me: String,
    entries: Entries,
    naming: Option<NamingService>,
    pause: Duration,
}

impl Asking {
    async fn next(&mut self) -> Result<Vec<String>> {
        tokio::time::sleep(self.pause).await;
        self.pause = self.nacos.interval;
        let patience = 2 * PATIENCE;
        let asked = tokio::time::timeout(patience, self.ask()).await;
        asked
            .unwrap_or_else(|_| Err(format!("no answer within {patience:?}")))
            .map_err(|why| {
                Error::new(
                    ErrorKind::Unavailable,
                    format!("Nacos at {}: {why}; the last list stays", self.nacos.host),
                )
            })
    }

    async fn ask(&mut self) -> Result<Vec<String>, String> {
        let naming = match &mut self.naming {
            Some(naming) => naming,
            none => none.insert(self.nacos.join(&self.me).await?),
        };
        let members = self.nacos.list(naming).await?;
        let service = self.nacos.service.as_bytes();
        let entries = members.iter().map(|member| (service, &**member));
        Ok(self.entries.members(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(url: &str) -> Result<Nacos> {
        Nacos::open(url, url.strip_prefix("nacos:").unwrap())
    }

    #[test]
    fn a_url_names_the_server_and_the_service() {
        let nacos = open("nacos://10.0.0.2:8848/scores?namespace=test&user=me&password=x").unwrap();
        assert_eq!((&*nacos.host, &*nacos.service), ("10.0.0.2:8848", "scores"));
        assert_eq!(
            (&*nacos.namespace, &*nacos.group),
            ("test", "DEFAULT_GROUP")
        );
        assert!(!format!("{nacos:?}").contains('x'));
        for (wrong, named) in [
            ("nacos://", "HOST:PORT"),
            ("nacos://host:8848", "service is missing"),
            ("nacos://host:8848/a/b", "service is missing"),
            ("nacos://host:8848/scores?user=me", "password_file"),
            ("nacos://host:8848/scores?ttl=1s", "namespace, group"),
        ] {
            let error = open(wrong).unwrap_err();
            assert!(error.message().contains(named), "{error}");
        }
    }

    #[test]
    fn healthy_instances_with_an_ip_address_are_members() {
        let one = |ip: &str, port: i32, healthy: bool| ServiceInstance {
            ip: ip.into(),
            port,
            healthy,
            ..ServiceInstance::default()
        };
        let found = [
            one("10.0.0.1", 8001, true),
            one("10.0.0.2", 8001, false),
            one("node-3", 8001, true),
            one("10.0.0.4", 80_001, true),
            one("fd00::1", 8001, true),
        ];
        assert_eq!(members(&found), ["10.0.0.1:8001", "[fd00::1]:8001"]);
        let me = instance("10.0.0.1:8001").unwrap();
        assert_eq!(members(&[me]), ["10.0.0.1:8001"]);
        assert!(instance("node-1:8001").unwrap_err().contains("advertise"));
    }
}
