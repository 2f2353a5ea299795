//! Certificates for the connections between peers (S40): TLS 1.3 by rustls, and
//! both sides show a certificate of the cluster's own authority.
//!
//! A dialled peer's certificate must carry the host that was dialled or, when
//! one is set, the name; a peer that dials must carry that name, if it is set.
//! The files are read again when they change: connections made from then on use
//! the new ones. What cannot be read, does not fit, or would be refused by peers
//! leaves the old ones in use.
//!
//! Invariant: there is no session to resume, so no connection is made without
//! looking at both certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::io::AsyncBufReadExt;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    self, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client};
use tokio_util::sync::CancellationToken;

use super::files::{Version, look_often, version};
use super::refusal::explained;
use super::standing::{self, Standing, Warnings};
use crate::options::TlsOptions;
use crate::sockets::TcpStream;
use crate::{Error, Result};

const HTTP2: &[u8] = b"h2";

pub(crate) struct Tls {
    files: Files,
    name: Option<ServerName<'static>>,
    current: ArcSwap<Configs>,
    /// Of the files that are in use, or could not be.
    seen: Mutex<[Version; 3]>,
}

struct Files {
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

/// What connections are made with.
struct Configs {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    standing: Standing,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("ca", &self.files.ca)
            .field("cert", &self.files.cert)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// InvalidArgument, naming the file and what is wrong with it.
    pub(crate) fn load(options: &TlsOptions) -> Result<Self> {
        let files = Files {
            ca: file("ca", &options.ca)?,
            cert: file("cert", &options.cert)?,
            key: file("key", &options.key)?,
        };
        let name = options.name.as_deref().map(server_name).transpose()?;
        let seen = files.versions();
        let configs = files.read(name.as_ref())?;
        Ok(Self {
            files,
            name,
            current: ArcSwap::from_pointee(configs),
            seen: Mutex::new(seen),
        })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.current.load().server.clone().into()
    }

    /// Makes a connection to `host`, without brackets, a secure one. It waits
    /// for the first words of the other side: in TLS 1.3 that looks at this
    /// node's certificate after the handshake.
    pub(crate) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> std::io::Result<client::TlsStream<TcpStream>> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?,
        };
        let connector = TlsConnector::from(self.current.load().client.clone());
        let greeted = async {
            let mut stream = connector.connect(name, stream).await?;
            match stream.fill_buf().await? {
                [] => Err(std::io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(stream),
            }
        };
        greeted.await.map_err(explained)
    }

    /// When the certificate in use expires, in seconds since 1970; `None`: no
    /// peer takes it at any time.
    #[cfg_attr(not(feature = "admin"), allow(dead_code))]
    pub(crate) fn expires(&self) -> Option<u64> {
        self.current.load().standing.until
    }

    /// Looks at the files until `closed`, and warns of a certificate that peers
    /// refuse or that expires soon.
    pub(crate) async fn keep_fresh(self: Arc<Self>, closed: CancellationToken) {
        let mut warnings = Warnings::default();
        look_often(closed, || {
            if self.look() {
                warnings = Warnings::default();
            }
            let current = self.current.load();
            if let Some(warning) = warnings.due(&current.standing, standing::now()) {
                tracing::warn!(cert = %self.files.cert.display(), "{warning}");
            }
        })
        .await;
    }

    /// Reads the files again if they have changed; whether others are in use.
    fn look(&self) -> bool {
        let now = self.files.versions();
        if std::mem::replace(&mut *self.seen.lock(), now) == now {
            return false;
        }
        let read = self.files.read(self.name.as_ref());
        let usable = read.and_then(|configs| match &configs.standing.refused {
            None => Ok(configs),
            Some(why) => Err(Error::invalid_argument(format!(
                "peers would refuse tls cert {:?}: {why}",
                self.files.cert.display().to_string()
            ))),
        });
        let cert = self.files.cert.display();
        match usable {
            Ok(configs) => {
                self.current.store(Arc::new(configs));
                tracing::info!(%cert, "new certificates are in use");
                true
            }
            Err(error) => {
                tracing::warn!(%cert, %error, "the certificates have changed and cannot be used; the old ones stay");
                false
            }
        }
    }
}

fn file(option: &str, path: &str) -> Result<PathBuf> {
    if path.is_empty() {
        return Err(Error::invalid_argument(format!(
            "tls {option} names no file; set tls ca, cert and key to PEM files"
        )));
    }
    Ok(path.into())
}

fn server_name(name: &str) -> Result<ServerName<'static>> {
    ServerName::try_from(name.to_owned()).map_err(|_| {
        Error::invalid_argument(format!(
            "tls name {name:?} is neither a DNS name nor an IP address"
        ))
    })
}

impl Files {
    fn versions(&self) -> [Version; 3] {
        [&self.ca, &self.cert, &self.key].map(|path| version(path))
    }

    fn read(&self, name: Option<&ServerName<'static>>) -> Result<Configs> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(self.roots()?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| bad("ca", &self.ca, &error))?;
        let verifier = Arc::new(Members {
            verifier,
            name: name.cloned(),
        });
        let chain = self.chain()?;
        let now = UnixTime::now();
        let standing = standing::judge(&*verifier, &roots, &provider, &chain, now);
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| bad("cert", &self.cert, &error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, self.private_key()?)
            .map_err(|error| bad("cert", &self.cert, &error))?;
        server.alpn_protocols = vec![HTTP2.to_vec()];
        server.send_tls13_tickets = 0;
        let mut client = self.client(provider, roots)?;
        client.alpn_protocols = vec![HTTP2.to_vec()];
        client.resumption = rustls::client::Resumption::disabled();
        Ok(Configs {
            client: Arc::new(client),
            server: Arc::new(server),
            standing,
        })
    }

    fn client(
        &self,
        provider: Arc<CryptoProvider>,
        roots: Arc<RootCertStore>,
    ) -> Result<ClientConfig> {
        ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| bad("cert", &self.cert, &error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(self.chain()?, self.private_key()?)
            .map_err(|error| bad("cert", &self.cert, &error))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates("ca", &self.ca)? {
            roots
                .add(certificate)
                .map_err(|error| bad("ca", &self.ca, &error))?;
        }
        Ok(roots)
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>> {
        certificates("cert", &self.cert)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_file(&self.key).map_err(|error| bad("key", &self.key, &error))
    }
}

fn certificates(option: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(path).map_err(|error| bad(option, path, &error))?;
    let found: Vec<_> = found
        .collect::<Result<_, _>>()
        .map_err(|error| bad(option, path, &error))?;
    if found.is_empty() {
        return Err(bad(option, path, &"it holds no certificate"));
    }
    Ok(found)
}

fn bad(option: &str, path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::invalid_argument(format!(
        "tls {option} {:?} cannot be used: {why}; it must be a PEM file, and key must be the key of cert",
        path.display().to_string()
    ))
}

/// Lets in whom the authority signed and, if one is set, who carries the name.
#[derive(Debug)]
struct Members {
    verifier: Arc<dyn ClientCertVerifier>,
    name: Option<ServerName<'static>>,
}

impl ClientCertVerifier for Members {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .verifier
            .verify_client_cert(end_entity, intermediates, now)?;
        if let Some(name) = &self.name {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
