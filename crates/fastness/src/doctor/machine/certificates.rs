//! The certificate of the node, its chain, its names, and when it expires.

use fastness_server::certificates::CertificateFacts;
use fastness_server::config::Config;
use fastness_server::tls::Material;
use fastness_types::{ClusterId, NodeId};

use super::super::expiry::{self, NodeCertificate};
use super::super::finding::{CheckResult, Finding, NextStep};
use super::host::Machine;

const CHECK: &str = "certificate";

pub fn check(host: &Machine) -> Vec<Finding> {
    let Some(config) = host.given() else { return Vec::new() };
    let subject = config.tls_cert_file.as_deref().map_or_else(String::new, |path| path.display().to_string());
    match Material::load(config) {
        Ok(material) => judge(&subject, &CertificateObserved::of(&material), config, expiry::now_s()),
        Err(error) => vec![unusable(&subject, &error.to_string(), config)],
    }
}

/// The TLS files cannot be used at all.
fn unusable(subject: &str, error: &str, config: &Config) -> Finding {
    if error.contains("Permission denied") {
        return Finding::not_checked(CHECK, subject, error);
    }
    let why = "the node does not start";
    Finding::ok(CHECK, subject, error).but(CheckResult::Problem, why).then(successor(config, &[]).renewal())
}

/// What is found in the files.
struct CertificateObserved {
    identity: Option<(ClusterId, NodeId)>,
    /// Why nobody would accept it.
    refusal: Option<String>,
    is_lab: bool,
    own: Option<CertificateFacts>,
    ca: Option<CertificateFacts>,
}

impl CertificateObserved {
    fn of(material: &Material) -> CertificateObserved {
        let first =
            |chain: &[rustls_pki_types::CertificateDer<'_>]| chain.first().and_then(|der| CertificateFacts::of(der));
        CertificateObserved {
            identity: material.identity().ok(),
            refusal: material.check_own().err().map(|error| error.to_string()),
            is_lab: material.is_lab(),
            own: first(&material.chain),
            ca: first(&material.ca),
        }
    }
}

/// The certificate that the node should have, with the names of the one it has.
fn successor(config: &Config, hosts: &[String]) -> NodeCertificate {
    let hosts = if hosts.is_empty() { vec![config.announced_host()] } else { hosts.to_vec() };
    NodeCertificate { node: config.node_id, hosts, lab: config.lab, ca_folder: None }
}

fn judge(subject: &str, observed: &CertificateObserved, config: &Config, now: i64) -> Vec<Finding> {
    let hosts = observed.own.as_ref().map(|own| own.hosts.clone()).unwrap_or_default();
    let next = successor(config, &hosts).renewal();
    let mut findings = vec![identity(subject, observed, config, next.clone()), names(subject, &hosts, config)];
    if let Some(own) = &observed.own {
        findings.push(expiry::judge(CHECK, subject, (own.expires_at, now), next));
    }
    if let Some(ca) = &observed.ca {
        let cluster = observed.identity.map(|(cluster, _)| ["--cluster".to_owned(), cluster.to_string()]);
        let words = ["certs", "ca", "--out", "new-ca"].map(str::to_owned);
        let next = NextStep::fastness(words.into_iter().chain(cluster.into_iter().flatten()));
        findings.push(expiry::judge(CHECK, "the CA of the cluster", (ca.expires_at, now), next));
    }
    findings
}

/// Whose it is, and whether others accept it.
fn identity(subject: &str, observed: &CertificateObserved, config: &Config, next: NextStep) -> Finding {
    let problem =
        |observed: String| Finding::ok(CHECK, subject, observed).but(CheckResult::Problem, "other nodes refuse it");
    let (cluster, node) = match observed.identity {
        Some((cluster, node)) if node == NodeId(config.node_id) => (cluster, node),
        Some((_, node)) => {
            return problem(format!("it is the one of node {node}, and node-id is {}", config.node_id)).then(next);
        }
        None => return problem("it names no node of a cluster".to_owned()).then(next),
    };
    if let Some(refusal) = &observed.refusal {
        return problem(refusal.clone()).then(next);
    }
    if config.lab && !observed.is_lab {
        let found = Finding::ok(CHECK, subject, "lab is yes, but the certificate does not allow it");
        return found.but(CheckResult::Problem, "the node does not start").then(next);
    }
    Finding::ok(CHECK, subject, format!("of node {node} of cluster {cluster}, signed by the CA"))
}

/// Whether it names the host that clients are told.
fn names(subject: &str, hosts: &[String], config: &Config) -> Finding {
    let announced = [config.announced_host(), config.cluster_announce_hostname.clone()];
    let missing: Vec<String> = announced.into_iter().filter(|host| !host.is_empty() && !hosts.contains(host)).collect();
    if missing.is_empty() {
        return Finding::ok(CHECK, subject, format!("it names {}", hosts.join(", ")));
    }
    let all: Vec<String> = hosts.iter().chain(&missing).cloned().collect();
    Finding::ok(CHECK, subject, format!("it does not name {}, which clients are told", missing.join(", ")))
        .but(CheckResult::Warning, "clients that check the names of servers refuse it")
        .then(successor(config, &all).renewal())
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::results;
    use super::*;
    use crate::certs::issue::{self, Authority, Owner, Validity};

    const NOW: i64 = 1_800_000_000;
    const FAR: i64 = NOW + 300 * 86_400;

    /// The facts of a certificate with these hosts, which expires at this time.
    fn facts(hosts: &[&str], expires_at: i64) -> CertificateFacts {
        let ca = issue::make_ca("test", Validity::days(1)).unwrap();
        let authority = Authority::of(&ca.certificate, rcgen::KeyPair::from_pem(&ca.key).unwrap()).unwrap();
        let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
        let owner = Owner { common_name: "n".into(), uris: Vec::new(), hosts };
        let issued = authority.sign(&owner, Validity::days(1)).unwrap();
        let der: rustls_pki_types::CertificateDer<'_> =
            rustls_pki_types::pem::PemObject::from_pem_slice(issued.certificate.as_bytes()).unwrap();
        CertificateFacts { expires_at, ..CertificateFacts::of(&der).unwrap() }
    }

    fn observed(node: u64, hosts: &[&str], expires_at: i64) -> CertificateObserved {
        let identity = Some((ClusterId([1; 16]), NodeId(node)));
        let (own, ca) = (Some(facts(hosts, expires_at)), Some(facts(&[], FAR)));
        CertificateObserved { identity, refusal: None, is_lab: false, own, ca }
    }

    fn of(observed: &CertificateObserved, options: &str) -> Vec<CheckResult> {
        let config = Config::parse(&format!("node-id 2\nbind 10.0.0.2\n{options}")).unwrap();
        results(&judge("node.crt", observed, &config, NOW))
    }

    #[test]
    fn a_certificate_is_the_nodes_and_valid_and_names_its_host() {
        const OK: CheckResult = CheckResult::Ok;
        let good = observed(2, &["10.0.0.2", "db-2"], FAR);
        assert_eq!(of(&good, ""), [OK; 4]);
        assert_eq!(of(&good, "cluster-announce-hostname db-3"), [OK, CheckResult::Warning, OK, OK]);
        assert_eq!(of(&good, "lab yes"), [CheckResult::Problem, OK, OK, OK]);
        assert_eq!(of(&observed(3, &["10.0.0.2"], FAR), ""), [CheckResult::Problem, OK, OK, OK]);
        assert_eq!(of(&observed(2, &["10.0.0.2"], NOW + 86_400), ""), [OK, OK, CheckResult::Problem, OK]);
        let nobody = CertificateObserved { identity: None, ..observed(2, &["10.0.0.2"], FAR) };
        assert_eq!(of(&nobody, "")[0], CheckResult::Problem);
        let refused = CertificateObserved { refusal: Some("UnknownIssuer".into()), ..observed(2, &["10.0.0.2"], FAR) };
        assert_eq!(of(&refused, "")[0], CheckResult::Problem);
    }

    #[test]
    fn the_next_certificate_has_the_missing_name_too() {
        let config = Config::parse("node-id 2\nbind 10.0.0.2\ncluster-announce-hostname db-3").unwrap();
        let found = names("node.crt", &["10.0.0.2".to_owned()], &config);
        let next = found.next.unwrap().to_string();
        assert!(next.contains("--host 10.0.0.2 --host db-3"), "{next}");
    }

    #[test]
    fn files_that_cannot_be_used_are_a_problem() {
        let config = Config::parse("node-id 2").unwrap();
        assert_eq!(results(&[unusable("n", "tls-key-file: no key", &config)]), [CheckResult::Problem]);
        assert_eq!(results(&[unusable("n", "x: Permission denied", &config)]), [CheckResult::NotChecked]);
    }
}
