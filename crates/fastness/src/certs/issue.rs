//! Makes certificates: a CA, and what it signs. Both `fastness certs` and `fastness dev` make theirs here.
//!
//! The common name of a CA ends with the id of its cluster, so that the CA alone says for which cluster it signs.

use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use fastness_types::ClusterId;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, date_time_ymd,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, DnsName};

/// Certificates are valid from this long before they are made, for machines whose clocks are slow.
const BACKDATED: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// Longest common name, in characters (RFC 5280, upper bounds).
pub const COMMON_NAME_MAX: usize = 64;

/// When a certificate is valid: between two times since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Its begin.
    pub from: Duration,
    /// Its end.
    pub until: Duration,
}

impl Validity {
    /// This many days from now.
    pub fn days(days: u32) -> Validity {
        let now = now();
        Validity { from: now.saturating_sub(BACKDATED), until: now + DAY * days }
    }
}

/// The time since the Unix epoch, in whole seconds.
pub fn now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_secs(now.as_secs())
}

/// What a client connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A host name; its first label may be `*`.
    Name(String),
    /// An IP address.
    Address(IpAddr),
}

/// The text is neither a host name nor an IP address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a host name or an IP address, without a port")]
pub struct NotAHost;

impl FromStr for Host {
    type Err = NotAHost;

    fn from_str(text: &str) -> Result<Host, NotAHost> {
        if let Ok(address) = text.parse() {
            return Ok(Host::Address(address));
        }
        match DnsName::try_from(text.strip_prefix("*.").unwrap_or(text)) {
            Ok(_) => Ok(Host::Name(text.to_owned())),
            Err(_) => Err(NotAHost),
        }
    }
}

/// What a certificate says of its owner.
#[derive(Debug, Default)]
pub struct Owner {
    /// Its common name.
    pub common_name: String,
    /// URIs among the subject alternative names: the identity.
    pub uris: Vec<String>,
    /// Hosts among them, if the owner is a server, too. Every owner may be a client.
    pub hosts: Vec<Host>,
}

/// A certificate with its key, both in PEM.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
    /// When the certificate expires, since the Unix epoch.
    pub until: Duration,
}

fn params(common_name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(1970, 1, 1) + validity.from;
    params.not_after = date_time_ymd(1970, 1, 1) + validity.until;
    params
}

/// Makes a CA.
pub fn make_ca(common_name: &str, validity: Validity) -> Result<Issued> {
    let mut params = params(common_name, validity);
    // It signs no other CA.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?).context("cannot create the CA")?;
    Ok(Issued { certificate: ca.pem(), key: ca.key().serialize_pem(), until: validity.until })
}

/// A CA with its private key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    common_name: String,
    /// When its own certificate expires, since the Unix epoch.
    until: Duration,
}

impl Authority {
    /// Reads a CA's certificate and key.
    pub fn read(certificate: &Path, key: &Path) -> Result<Authority> {
        let read = |path: &Path| std::fs::read_to_string(path).with_context(|| path.display().to_string());
        let (certificate_pem, key_pem) = (read(certificate)?, read(key)?);
        let key = KeyPair::from_pem(&key_pem).with_context(|| format!("{} holds no private key", key.display()))?;
        Authority::of(&certificate_pem, key).with_context(|| certificate.display().to_string())
    }

    /// The CA of this certificate, in PEM, and key.
    pub fn of(certificate: &str, key: KeyPair) -> Result<Authority> {
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).context("it holds no certificate in PEM")?;
        let (_, ca) = x509_parser::parse_x509_certificate(&der).context("it is no certificate")?;
        ensure!(ca.is_ca(), "it is not the certificate of a CA");
        ensure!(ca.public_key().raw == key.subject_public_key_info(), "it does not belong to the CA's private key");
        let common_name = ca.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let until = ca.validity().not_after.timestamp();
        Ok(Authority {
            common_name: common_name.unwrap_or_default().to_owned(),
            until: Duration::from_secs(u64::try_from(until).unwrap_or_default()),
            issuer: Issuer::from_ca_cert_der(&der, key)?,
        })
    }

    /// The cluster that the CA's common name ends with.
    pub fn cluster(&self) -> Option<ClusterId> {
        cluster_in(&self.common_name)
    }

    /// Signs a certificate. It expires no later than the CA's own one.
    pub fn sign(&self, owner: &Owner, validity: Validity) -> Result<Issued> {
        let validity = Validity { until: validity.until.min(self.until), ..validity };
        ensure!(validity.until > now(), "the CA's certificate has expired");
        let mut params = params(&owner.common_name, validity);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        for uri in &owner.uris {
            params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
        }
        for host in &owner.hosts {
            params.subject_alt_names.push(match host {
                Host::Name(name) => SanType::DnsName(name.as_str().try_into()?),
                Host::Address(address) => SanType::IpAddress(*address),
            });
        }
        if !owner.hosts.is_empty() {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        let key = KeyPair::generate()?;
        let signed = params.signed_by(&key, &self.issuer);
        let signed = signed.with_context(|| format!("cannot sign the certificate of {}", owner.common_name))?;
        Ok(Issued { certificate: signed.pem(), key: key.serialize_pem(), until: validity.until })
    }
}

/// The cluster that the common name of a CA ends with.
pub fn cluster_in(common_name: &str) -> Option<ClusterId> {
    common_name.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use rustls::client::verify_server_cert_signed_by_trust_anchor;
    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
    use rustls::{CertificateError, Error, RootCertStore};

    use super::*;

    const CLUSTER: ClusterId = ClusterId([0xab; 16]);

    fn ca() -> (CertificateDer<'static>, Authority) {
        let made = make_ca(&format!("fastness CA {CLUSTER}"), Validity::days(30)).unwrap();
        let authority = Authority::of(&made.certificate, KeyPair::from_pem(&made.key).unwrap()).unwrap();
        (CertificateDer::from_pem_slice(made.certificate.as_bytes()).unwrap(), authority)
    }

    fn node() -> Owner {
        Owner {
            common_name: "fastness node 7".to_owned(),
            uris: vec![format!("fastness://{CLUSTER}/node/7")],
            hosts: vec!["db-7.example.com".parse().unwrap(), "10.0.0.7".parse().unwrap(), "::1".parse().unwrap()],
        }
    }

    fn roots(ca: &CertificateDer<'static>) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone()).unwrap();
        roots
    }

    /// Verifies a certificate, first as that of a server, then as that of a client.
    fn verify(ca: &CertificateDer<'static>, certificate: &CertificateDer<'_>, now: UnixTime) -> [Result<(), Error>; 2] {
        let provider = rustls::crypto::ring::default_provider();
        let algorithms = provider.signature_verification_algorithms.all;
        let parsed = ParsedCertificate::try_from(certificate).unwrap();
        let server = verify_server_cert_signed_by_trust_anchor(&parsed, &roots(ca), &[], now, algorithms);
        let client = WebPkiClientVerifier::builder_with_provider(roots(ca).into(), provider.into()).build().unwrap();
        [server, client.verify_client_cert(certificate, &[], now).map(drop)]
    }

    #[test]
    fn a_node_is_a_server_and_a_client_under_its_names() {
        let (root, authority) = ca();
        assert_eq!(authority.cluster(), Some(CLUSTER));
        let issued = authority.sign(&node(), Validity::days(10)).unwrap();
        let der = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
        assert_eq!(verify(&root, &der, UnixTime::now()), [Ok(()), Ok(())]);
        let parsed = ParsedCertificate::try_from(&der).unwrap();
        let has_name = |name: &str| {
            rustls::client::verify_server_name(&parsed, &ServerName::try_from(name.to_owned()).unwrap()).is_ok()
        };
        assert!(has_name("db-7.example.com") && has_name("10.0.0.7") && has_name("::1"));
        assert!(!has_name("localhost") && !has_name("10.0.0.8"));
        let found = fastness_server::tls::Identity::of(&der);
        let expected = fastness_server::tls::Identity::Node(CLUSTER, fastness_types::NodeId(7));
        assert_eq!(found, Some(expected));
        // The key belongs to it.
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
        let key = KeyPair::from_pem(&issued.key).unwrap();
        assert_eq!(certificate.public_key().raw, key.subject_public_key_info());
        assert_eq!(certificate.validity().not_after.timestamp() as u64, issued.until.as_secs());
    }

    #[test]
    fn without_hosts_nobody_is_a_server() {
        let (root, authority) = ca();
        let owner = Owner { hosts: Vec::new(), ..node() };
        let issued = authority.sign(&owner, Validity::days(10)).unwrap();
        let der = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
        let [server, client] = verify(&root, &der, UnixTime::now());
        assert!(server.is_err() && client.is_ok(), "{server:?} {client:?}");
    }

    #[test]
    fn nothing_outlives_its_ca_and_each_serial_is_new() {
        let (root, authority) = ca();
        let issued = authority.sign(&node(), Validity::days(1_000)).unwrap();
        assert_eq!(issued.until, authority.until);
        let der = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
        let later = UnixTime::since_unix_epoch(issued.until + Duration::from_secs(1));
        let expired = |result: &Result<(), Error>| {
            matches!(result, Err(Error::InvalidCertificate(CertificateError::ExpiredContext { .. })))
        };
        assert!(verify(&root, &der, later).iter().all(expired));
        let other = authority.sign(&node(), Validity::days(1)).unwrap();
        let other = CertificateDer::from_pem_slice(other.certificate.as_bytes()).unwrap();
        let serial = |der: &[u8]| x509_parser::parse_x509_certificate(der).unwrap().1.raw_serial().to_vec();
        assert_ne!(serial(&der), serial(&other));
        let expired = Validity { from: Duration::ZERO, until: Duration::from_secs(86_400) };
        let ca = make_ca("fastness CA", expired).unwrap();
        let ca = Authority::of(&ca.certificate, KeyPair::from_pem(&ca.key).unwrap()).unwrap();
        assert_eq!(ca.cluster(), None);
        let refused = ca.sign(&node(), Validity::days(1)).err().unwrap().to_string();
        assert_eq!(refused, "the CA's certificate has expired");
    }

    #[test]
    fn a_ca_has_its_own_key_and_may_sign() {
        let (_, authority) = ca();
        let made = make_ca("fastness CA", Validity::days(30)).unwrap();
        let refused = Authority::of(&made.certificate, KeyPair::generate().unwrap()).err().unwrap().to_string();
        assert_eq!(refused, "it does not belong to the CA's private key");
        let leaf = authority.sign(&node(), Validity::days(10)).unwrap();
        let refused = Authority::of(&leaf.certificate, KeyPair::from_pem(&leaf.key).unwrap()).err().unwrap();
        assert_eq!(refused.to_string(), "it is not the certificate of a CA");
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for host in ["localhost", "*.example.com", "a-1.b", "192.0.2.1", "2001:db8::1"] {
            assert!(host.parse::<Host>().is_ok(), "{host}");
        }
        for wrong in ["", "a b", "a:1", "[::1]", "10.0.0.1:6379", "-a.b", "a.*.b", "ä.example"] {
            assert!(wrong.parse::<Host>().is_err(), "{wrong}");
        }
    }
}
