//! Describes the content of a PEM file.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use fastness_server::tls::{Identity, lab_uri};
use rcgen::KeyPair;
use rustls_pki_types::pem::{PemObject, SectionKind};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::time::ASN1Time;

use super::issue::{cluster_in, now};

const DAY_SECONDS: i64 = 86_400;

/// Describes every certificate and key in a file.
pub fn describe(path: &Path) -> Result<String> {
    let pem = std::fs::read(path).with_context(|| path.display().to_string())?;
    text_of(&pem).with_context(|| path.display().to_string())
}

fn text_of(pem: &[u8]) -> Result<String> {
    let mut texts = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (kind, der) = section.map_err(|error| anyhow!("its PEM is damaged: {error}"))?;
        texts.push(match kind {
            SectionKind::Certificate => certificate(&der)?,
            SectionKind::PrivateKey => private_key(&der)?,
            SectionKind::EcPrivateKey => "private key, EC (SEC1)\n".to_owned(),
            SectionKind::RsaPrivateKey => "private key, RSA (PKCS #1)\n".to_owned(),
            SectionKind::Csr => "certificate signing request\n".to_owned(),
            SectionKind::Crl => "revocation list of a CA (Fastness does not read it)\n".to_owned(),
            other => format!("{other:?}\n"),
        });
    }
    ensure!(!texts.is_empty(), "it holds neither a certificate nor an unencrypted private key in PEM");
    Ok(texts.join("\n"))
}

fn private_key(der: &[u8]) -> Result<String> {
    let key = KeyPair::try_from(der).context("its private key is damaged, or of an unknown kind")?;
    // The library's name: PKCS_ECDSA_P256_SHA256.
    let algorithm = format!("{:?}", key.algorithm());
    let algorithm = algorithm.trim_start_matches("PKCS_").replace('_', " ");
    Ok(format!("private key, {algorithm} (PKCS #8)\n"))
}

fn certificate(der: &[u8]) -> Result<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).context("its certificate is damaged")?;
    let mut text = "certificate\n".to_owned();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<9}{value}");
    };
    line("subject", &certificate.subject().to_string());
    line("issuer", &certificate.issuer().to_string());
    line("serial", &certificate.raw_serial_as_string());
    for name in names(&certificate) {
        line("name", &name);
    }
    line("owner", &owner(der, &certificate));
    line("valid", &validity(&certificate));
    line("usages", &usages(&certificate));
    Ok(text)
}

/// Whom Fastness takes the owner for.
fn owner(der: &[u8], certificate: &X509Certificate<'_>) -> String {
    if certificate.is_ca() {
        let name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        return match name.and_then(cluster_in) {
            Some(cluster) => format!("CA of cluster {cluster}"),
            None => "CA".to_owned(),
        };
    }
    match Identity::of(der) {
        Some(Identity::Node(cluster, node)) => {
            let lab = names(certificate).contains(&format!("URI {}", lab_uri(cluster)));
            format!("node {node} of cluster {cluster}{}", if lab { ", may be a lab" } else { "" })
        }
        Some(Identity::Admin(cluster)) => format!("administrator of cluster {cluster}"),
        None => "client".to_owned(),
    }
}

/// The subject alternative names.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    names.value.general_names.iter().map(name).collect()
}

fn name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::URI(uri) => format!("URI {uri}"),
        GeneralName::DNSName(host) => format!("DNS {host}"),
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
            (Ok(address), _) => format!("IP {}", IpAddr::V4(Ipv4Addr::from(address))),
            (_, Ok(address)) => format!("IP {}", IpAddr::V6(Ipv6Addr::from(address))),
            _ => "IP (damaged)".to_owned(),
        },
        other => other.to_string(),
    }
}

fn validity(certificate: &X509Certificate<'_>) -> String {
    let (from, until) = (certificate.validity().not_before, certificate.validity().not_after);
    let now = i64::try_from(now().as_secs()).unwrap_or(i64::MAX);
    let state = if now > until.timestamp() {
        format!("EXPIRED {} days ago", (now - until.timestamp()) / DAY_SECONDS)
    } else if now < from.timestamp() {
        "NOT YET VALID".to_owned()
    } else {
        format!("{} days left", (until.timestamp() - now) / DAY_SECONDS)
    };
    format!("{} to {} ({state})", time_text(from), time_text(until))
}

/// A time since the Unix epoch.
pub fn date(time: Duration) -> String {
    let time = i64::try_from(time.as_secs()).ok().and_then(|seconds| ASN1Time::from_timestamp(seconds).ok());
    time.map_or_else(String::new, time_text)
}

fn time_text(time: ASN1Time) -> String {
    let time = time.to_datetime();
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", time.hour(), time.minute())
}

fn usages(certificate: &X509Certificate<'_>) -> String {
    let mut usages = Vec::new();
    if let Ok(Some(usage)) = certificate.key_usage() {
        usages.push(usage.value.to_string().to_lowercase());
    }
    if let Ok(Some(usage)) = certificate.extended_key_usage() {
        let usage = usage.value;
        let known = [(usage.server_auth, "TLS server"), (usage.client_auth, "TLS client"), (usage.any, "any")];
        usages.extend(known.into_iter().filter(|(set, _)| *set).map(|(_, name)| name.to_owned()));
    }
    if usages.is_empty() { "not restricted".to_owned() } else { usages.join(", ") }
}
