//! What INFO and the metrics report of the node's certificates.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use fastness_types::ClusterId;
use x509_parser::extensions::GeneralName;

use crate::tls::lab_uri;

/// What identifies a certificate, and when it expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// When it expires, in seconds since the Unix epoch.
    pub expires_at: i64,
    /// The host names and addresses that it names.
    pub hosts: Vec<String>,
    /// The URIs that it names.
    pub uris: Vec<String>,
}

impl CertificateFacts {
    /// Those of a certificate in DER; `None` if it is not one.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Option<CertificateFacts> {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let serial = certificate.raw_serial().iter().map(|byte| format!("{byte:02X}")).collect();
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        let uri = |name: &GeneralName<'_>| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        };
        Some(CertificateFacts {
            serial,
            expires_at: certificate.validity().not_after.timestamp(),
            hosts: names.iter().filter_map(host).collect(),
            uris: names.iter().filter_map(uri).collect(),
        })
    }

    /// Whether it allows faults to be injected into its node.
    #[must_use]
    pub fn allows_lab(&self, cluster: ClusterId) -> bool {
        self.uris.contains(&lab_uri(cluster))
    }

    /// Seconds until it expires; negative once it has.
    #[must_use]
    pub fn expires_in(&self) -> i64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        self.expires_at - i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
    }
}

/// A host name or an address.
fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(host) => Some((*host).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).ok().map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from);
            v4.or(v6).map(|address| address.to_string())
        }
        _ => None,
    }
}

/// The certificates that a node uses for new connections, and how often they were exchanged.
#[derive(Debug, Default)]
pub struct CertificateStatus {
    own: ArcSwapOption<CertificateFacts>,
    ca: ArcSwapOption<CertificateFacts>,
    reloads: AtomicU64,
    failures: AtomicU64,
}

impl CertificateStatus {
    /// Notes what new connections use: the node's own certificate and the first one of the CA file.
    pub(super) fn set(&self, own: Option<CertificateFacts>, ca: Option<CertificateFacts>) {
        self.own.store(own.map(Arc::new));
        self.ca.store(ca.map(Arc::new));
    }

    pub(super) fn count_reload(&self) {
        self.reloads.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// The node's own certificate.
    #[must_use]
    pub fn own(&self) -> Option<Arc<CertificateFacts>> {
        self.own.load_full()
    }

    /// The first certificate of the CA file.
    #[must_use]
    pub fn ca(&self) -> Option<Arc<CertificateFacts>> {
        self.ca.load_full()
    }

    /// How often new files were taken into use.
    #[must_use]
    pub fn reloads(&self) -> u64 {
        self.reloads.load(Ordering::Relaxed)
    }

    /// How often new files were refused.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}
