//! Which versions of TLS and which cipher suites the listeners accept: `tls-protocols`, `tls-ciphers` and
//! `tls-ciphersuites`, as far as rustls has them.
//!
//! Connections that this node opens to others offer everything that rustls offers; the listener chooses.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

/// The protocols that exist here, under OpenSSL's names.
const PROTOCOLS: [(&str, &SupportedProtocolVersion); 2] = [("TLSv1.2", &version::TLS12), ("TLSv1.3", &version::TLS13)];

/// An option that names something that does not exist here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{option}: '{name}' is not one of {}", known.join(", "))]
pub struct UnknownName {
    /// The option.
    pub option: &'static str,
    /// What it names.
    pub name: String,
    /// What it may name.
    pub known: Vec<String>,
}

/// What the listeners accept.
#[derive(Debug, Clone)]
pub struct TlsPolicy {
    /// Cryptography, with the cipher suites that are accepted, in the order of preference.
    pub provider: Arc<CryptoProvider>,
    /// Versions of the protocol.
    pub versions: Vec<&'static SupportedProtocolVersion>,
}

impl TlsPolicy {
    /// From the values of the three options; an empty one stands for everything.
    ///
    /// # Errors
    /// A name is unknown.
    pub fn of(protocols: &str, ciphers: &str, ciphersuites: &str) -> Result<TlsPolicy, UnknownName> {
        let mut provider = rustls::crypto::ring::default_provider();
        let (tls13, tls12): (Vec<_>, Vec<_>) =
            provider.cipher_suites.iter().copied().partition(|suite| suite.tls13().is_some());
        let mut suites = choose("tls-ciphersuites", ciphersuites, &tls13)?;
        suites.extend(choose("tls-ciphers", ciphers, &tls12)?);
        provider.cipher_suites = suites;
        Ok(TlsPolicy { provider: Arc::new(provider), versions: versions(protocols)? })
    }
}

fn versions(protocols: &str) -> Result<Vec<&'static SupportedProtocolVersion>, UnknownName> {
    let known = || PROTOCOLS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let find = |wanted: &str| {
        let found = PROTOCOLS.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let unknown = || UnknownName { option: "tls-protocols", name: wanted.to_owned(), known: known() };
        found.map(|(_, version)| *version).ok_or_else(unknown)
    };
    let named: Vec<_> = protocols.split_whitespace().map(find).collect::<Result<_, _>>()?;
    Ok(if named.is_empty() { PROTOCOLS.iter().map(|(_, version)| *version).collect() } else { named })
}

fn choose(
    option: &'static str,
    names: &str,
    all: &[SupportedCipherSuite],
) -> Result<Vec<SupportedCipherSuite>, UnknownName> {
    let find = |wanted: &str| {
        let found = all.iter().find(|suite| openssl_name(**suite).eq_ignore_ascii_case(wanted));
        let known = || all.iter().map(|suite| openssl_name(*suite)).collect();
        found.copied().ok_or_else(|| UnknownName { option, name: wanted.to_owned(), known: known() })
    };
    let named: Vec<_> = names.split(':').filter(|name| !name.is_empty()).map(find).collect::<Result<_, _>>()?;
    Ok(if named.is_empty() { all.to_vec() } else { named })
}

/// The name of a suite in OpenSSL's lists: those of TLS 1.3 have the standard's names
/// (`TLS_AES_256_GCM_SHA384`), those of TLS 1.2 shorter ones (`ECDHE-RSA-AES256-GCM-SHA384`).
fn openssl_name(suite: SupportedCipherSuite) -> String {
    let name = format!("{:?}", suite.suite());
    match name.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => {
            let name = name.replace("TLS_", "").replace("_WITH_", "_").replace("AES_", "AES").replace('_', "-");
            // OpenSSL leaves out what follows from the rest.
            name.replace("POLY1305-SHA256", "POLY1305")
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn names(policy: &TlsPolicy) -> Vec<String> {
        policy.provider.cipher_suites.iter().map(|suite| openssl_name(*suite)).collect()
    }

    #[test]
    fn names_are_those_of_openssl() {
        let all = names(&TlsPolicy::of("", "", "").unwrap());
        for name in [
            "TLS_AES_256_GCM_SHA384",
            "TLS_AES_128_GCM_SHA256",
            "TLS_CHACHA20_POLY1305_SHA256",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-RSA-AES128-GCM-SHA256",
            "ECDHE-RSA-CHACHA20-POLY1305",
        ] {
            assert!(all.contains(&name.to_owned()), "{name}: {all:?}");
        }
        assert_eq!(all.len(), 9);
    }

    #[test]
    fn only_what_is_named_is_accepted() {
        let policy =
            TlsPolicy::of("TLSv1.3", "ECDHE-RSA-AES128-GCM-SHA256", "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384")
                .unwrap();
        assert_eq!(policy.versions, [&version::TLS13]);
        let expected = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "ECDHE-RSA-AES128-GCM-SHA256"];
        assert_eq!(names(&policy), expected);
        assert_eq!(TlsPolicy::of("TLSv1.2 TLSv1.3", "", "").unwrap().versions.len(), 2);
    }

    #[test]
    fn unknown_names_are_refused() {
        let refused = TlsPolicy::of("TLSv1.1", "", "").unwrap_err().to_string();
        assert_eq!(refused, "tls-protocols: 'TLSv1.1' is not one of TLSv1.2, TLSv1.3");
        let refused = TlsPolicy::of("", "DEFAULT:!MEDIUM", "").unwrap_err().to_string();
        assert!(refused.starts_with("tls-ciphers: 'DEFAULT' is not one of ECDHE-"), "{refused}");
        // A suite of TLS 1.3 belongs into the other option.
        assert!(TlsPolicy::of("", "TLS_AES_128_GCM_SHA256", "").is_err());
    }
}
