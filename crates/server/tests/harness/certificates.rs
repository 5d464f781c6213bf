//! A CA and what it signs, as files.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use tempfile::TempDir;

/// A folder with `ca.crt`, and `NAME.crt` and `NAME.key` of everything signed.
pub struct Ca {
    pub folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Ca {
    pub fn new() -> Ca {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.crt"), issuer.as_ref().pem()).unwrap();
        Ca { folder, issuer }
    }

    /// Signs a certificate with the common name `name` that names `uri`.
    pub fn sign(&self, name: &str, uri: &str) {
        self.sign_all(name, &[uri]);
    }

    /// The same with several names.
    pub fn sign_all(&self, name: &str, uris: &[&str]) {
        self.sign_until(name, uris, 4096);
    }

    /// The same, valid until this year begins.
    pub fn sign_until(&self, name: &str, uris: &[&str], year: i32) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        params.subject_alt_names.push(SanType::DnsName("localhost".try_into().unwrap()));
        params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.crt")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The options that name what was signed for `name`.
    pub fn options(&self, name: &str) -> String {
        let show = |path: &Path| path.display().to_string();
        format!(
            "tls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\n",
            show(&self.path(&format!("{name}.crt"))),
            show(&self.path(&format!("{name}.key"))),
            show(&self.path("ca.crt"))
        )
    }
}
