//! Authorities and certificates made for one test, as PEM files.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kamacache_core::TlsOptions;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use tempfile::TempDir;

/// An authority with a folder for what it signs.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let mut about = CertificateParams::new(Vec::new()).unwrap();
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("authority {}", COUNT.fetch_add(1, Ordering::Relaxed));
        about.distinguished_name.push(DnType::CommonName, name);
        about.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(about, key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A member whose certificate is for these names.
    pub fn member(&self, file: &str, names: &[&str]) -> TlsOptions {
        self.sign(file, names, |_| {})
    }

    /// One whose certificate expires then, in seconds since 1970.
    pub fn until(&self, file: &str, names: &[&str], expires: u64) -> TlsOptions {
        self.sign(file, names, |about| {
            about.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(expires);
        })
    }

    /// One whose certificate has expired.
    pub fn expired(&self, file: &str, names: &[&str]) -> TlsOptions {
        self.until(file, names, 1_580_515_200)
    }

    /// One that a client may not show.
    pub fn server_only(&self, file: &str, names: &[&str]) -> TlsOptions {
        self.sign(file, names, |about| {
            about.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        })
    }

    fn sign(
        &self,
        file: &str,
        names: &[&str],
        alter: impl FnOnce(&mut CertificateParams),
    ) -> TlsOptions {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut about = CertificateParams::new(names).unwrap();
        about.not_before = date_time_ymd(2020, 1, 1);
        alter(&mut about);
        let key = KeyPair::generate().unwrap();
        let certificate = about.signed_by(&key, &self.issuer).unwrap();
        let path = |ending: &str| self.folder.path().join(format!("{file}.{ending}"));
        std::fs::write(path("crt"), certificate.pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        let mut options = TlsOptions::default();
        options.ca = text(&self.ca());
        options.cert = text(&path("crt"));
        options.key = text(&path("key"));
        options
    }
}

pub fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Puts the files of one member in place of another's, each at once.
pub fn replace(old: &TlsOptions, new: &TlsOptions) {
    for (old, new) in [
        (&old.ca, &new.ca),
        (&old.cert, &new.cert),
        (&old.key, &new.key),
    ] {
        let beside = format!("{old}.new");
        std::fs::copy(new, &beside).unwrap();
        std::fs::rename(&beside, old).unwrap();
    }
}
