//! Finding the members: a source of whole lists, chosen by a URL. One file for
//! each kind; `roster.rs` decides what of a list becomes the view.

#[cfg(feature = "dns")]
mod dns;
#[cfg(any(feature = "dns", feature = "etcd", feature = "k8s", feature = "nacos"))]
mod entries;
#[cfg(feature = "etcd")]
mod etcd;
pub(crate) mod file;
#[cfg(feature = "k8s")]
mod k8s;
#[cfg(feature = "nacos")]
mod nacos;
pub(crate) mod outage;
pub(crate) mod roster;
#[cfg_attr(
    not(any(feature = "dns", feature = "etcd", feature = "k8s", feature = "nacos")),
    allow(dead_code)
)]
mod url;

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use tokio_stream::Stream;

pub(crate) use url::shown;

use crate::getter::BoxFuture;
use crate::{Error, Result};

/// Whole lists of members as they become known.
pub type Lists = Pin<Box<dyn Stream<Item = Result<Vec<String>>> + Send>>;

/// Finds the members of a cluster: what users plug in where none of the kinds
/// that a URL can name fits.
pub trait Discovery: Debug + Send + Sync + 'static {
    /// Begins to find members, and registers this node, which advertises `me`,
    /// where the source keeps a register. Each item is a whole list of
    /// `host:port`; the first comes as soon as one is known. An error tells of
    /// an outage: the last list stays in force, and the stream goes on. Until
    /// the source has answered, with a list or with an error of the kind
    /// NotFound ("there are no members"), the node is not ready. Called once,
    /// inside the node's runtime; dropped when the node closes.
    fn watch(self: Arc<Self>, me: String) -> Lists;

    /// Takes this node off the register: it leaves. Called when the node is
    /// closed, also when it is the last member. Cut off after a second.
    fn leave(&self) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }
}

/// How each kind is written.
const FORMS: &[&str] = &[
    "static:HOST:PORT,HOST:PORT",
    "file:///PATH",
    #[cfg(feature = "dns")]
    "dns://NAME:PORT",
    #[cfg(feature = "etcd")]
    "etcd://HOST:2379/SERVICE",
    #[cfg(feature = "k8s")]
    "k8s://NAMESPACE/SERVICE:PORT",
    #[cfg(feature = "nacos")]
    "nacos://HOST:8848/SERVICE",
];

/// Kinds that other builds have.
const LEFT_OUT: &[&str] = &[
    #[cfg(not(feature = "dns"))]
    "dns",
    #[cfg(not(feature = "etcd"))]
    "etcd",
    #[cfg(not(feature = "k8s"))]
    "k8s",
    #[cfg(not(feature = "nacos"))]
    "nacos",
];

/// What a discovery URL names.
#[derive(Debug)]
pub(crate) enum Source {
    /// A list that stands.
    Static(Vec<String>),
    Watched(Arc<dyn Discovery>),
}

/// Reads a discovery URL.
pub(crate) fn open(url: &str) -> Result<Source> {
    let (scheme, rest) = url.split_once(':').ok_or_else(|| unknown(url))?;
    match scheme {
        "static" => Ok(Source::Static(
            rest.split(',')
                .map(str::trim)
                .filter(|entry| !entry.is_empty())
                .map(str::to_owned)
                .collect(),
        )),
        "file" => watched(file::File::open(url, rest)),
        #[cfg(feature = "dns")]
        "dns" => watched(dns::Dns::open(url, rest)),
        #[cfg(feature = "etcd")]
        "etcd" => watched(etcd::Etcd::open(url, rest)),
        #[cfg(feature = "k8s")]
        "k8s" => watched(k8s::K8s::open(url, rest)),
        #[cfg(feature = "nacos")]
        "nacos" => watched(nacos::Nacos::open(url, rest)),
        _ if LEFT_OUT.contains(&scheme) => Err(Error::invalid_argument(format!(
            "discovery {:?}: this build is without {scheme}; build it with the cargo feature {scheme:?}",
            shown(url)
        ))),
        _ => Err(unknown(url)),
    }
}

fn watched(source: Result<impl Discovery>) -> Result<Source> {
    Ok(Source::Watched(Arc::new(source?)))
}

fn unknown(url: &str) -> Error {
    let forms = FORMS.join(", ");
    let url = shown(url);
    Error::invalid_argument(format!(
        "discovery {url:?} is of no known kind; there are {forms}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_chooses_the_kind_and_a_wrong_one_lists_them() {
        let Source::Static(list) = open("static:a:1, b:2,").unwrap() else {
            panic!("a static list");
        };
        assert_eq!(list, ["a:1", "b:2"]);
        assert!(matches!(
            open("file:///etc/kamacache/peers").unwrap(),
            Source::Watched(_)
        ));
        for wrong in [
            "",
            "nowhere",
            "gopher://x",
            "file:relative",
            "file://host/x",
        ] {
            let error = open(wrong).unwrap_err();
            assert!(error.message().contains("file:///"), "{error}");
            assert!(error.message().contains(wrong), "{error}");
        }
        for scheme in LEFT_OUT {
            let error = open(&format!("{scheme}://host/x")).unwrap_err();
            let feature = format!("cargo feature {scheme:?}");
            assert!(error.message().contains(&feature), "{error}");
        }
    }
}
