//! The cluster's own CA and the certificates that it signs. A node is identified by its certificate, so each
//! certificate has its owner's name in a SAN URI, in addition to the host names that clients check:
//!
//! | file | SAN URI | may |
//! |---|---|---|
//! | `nodes/ID/node.crt` | `fastness://CLUSTER/node/ID`, `fastness://CLUSTER/lab` | be that node (localhost too) |
//! | `admin.crt` | `fastness://CLUSTER/admin` | administrate |
//! | `client.crt` | `fastness://CLUSTER/client` | connect where clients must show a certificate |

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

use super::folder::{Folder, write_atomically, write_secret};
use super::settings::Settings;

type Ca = CertifiedIssuer<'static, KeyPair>;

/// Creates the CA, all certificates and the nodes' master keys. Replaces existing ones, so it is called only before the
/// first node is started.
pub fn make(folder: &Folder, settings: &Settings) -> Result<()> {
    let cluster = &settings.cluster_id;
    let ca = make_ca(cluster)?;
    write_atomically(&folder.ca(), ca.as_ref().pem().as_bytes())?;
    write_secret(&folder.private_key("ca"), ca.key().serialize_pem().as_bytes())?;
    for name in ["admin", "client"] {
        let (certificate, key) =
            sign(&ca, &format!("fastness {name}"), &[format!("fastness://{cluster}/{name}")], false)?;
        write_atomically(&folder.certificate(name), certificate.as_bytes())?;
        write_secret(&folder.private_key(name), key.as_bytes())?;
    }
    settings.nodes().try_for_each(|node| make_node(folder, cluster, &ca, node))
}

/// Creates the folder, the certificate and the master key of an added node.
pub fn add_node(folder: &Folder, settings: &Settings, node: u64) -> Result<()> {
    let path = folder.private_key("ca");
    let key = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let key = KeyPair::from_pem(&key).with_context(|| path.display().to_string())?;
    // The CA's certificate is derived from the cluster's id, and its key is the original one.
    let ca = Issuer::new(ca_params(&settings.cluster_id), key);
    make_node(folder, &settings.cluster_id, &ca, node)
}

fn make_node(folder: &Folder, cluster: &str, ca: &Issuer<'_, KeyPair>, node: u64) -> Result<()> {
    let path = folder.node(node);
    std::fs::create_dir_all(path.join("data")).with_context(|| path.display().to_string())?;
    // The second name makes the node a lab, in which faults can be injected: a dev cluster has no important data.
    let names = [format!("fastness://{cluster}/node/{node}"), format!("fastness://{cluster}/lab")];
    let (certificate, key) = sign(ca, &format!("fastness node {node}"), &names, true)?;
    write_atomically(&path.join("node.crt"), certificate.as_bytes())?;
    write_secret(&path.join("node.key"), key.as_bytes())?;
    write_secret(&path.join("master.key"), master_key().as_bytes())
}

/// 32 random bytes in hexadecimal.
fn master_key() -> String {
    let bytes: [u8; 32] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).chain(["\n".to_owned()]).collect()
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(2024, 1, 1), date_time_ymd(2124, 1, 1));
    params
}

fn ca_params(cluster: &str) -> CertificateParams {
    let mut params = params(&format!("fastness dev CA {cluster}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn make_ca(cluster: &str) -> Result<Ca> {
    CertifiedIssuer::self_signed(ca_params(cluster), KeyPair::generate()?).context("cannot create the CA")
}

/// Signs a certificate; returns it with its key, as PEM.
fn sign(ca: &Issuer<'_, KeyPair>, name: &str, uris: &[String], serves: bool) -> Result<(String, String)> {
    let mut params = params(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    for uri in uris {
        params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
    }
    params.use_authority_key_identifier_extension = true;
    if serves {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        params.subject_alt_names.extend([
            SanType::DnsName("localhost".try_into()?),
            SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        ]);
    }
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, ca).with_context(|| format!("cannot sign the certificate of {name}"))?;
    Ok((certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use fastness_types::ClusterId;

    use super::super::settings::Desired;
    use super::*;

    #[test]
    fn every_file_exists_and_keys_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::at(dir.path()).unwrap();
        let settings = Settings::new(&Desired::default(), ClusterId([3; 16])).unwrap();
        make(&folder, &settings).unwrap();
        let mut keys = vec![folder.private_key("ca"), folder.private_key("admin"), folder.private_key("client")];
        for node in 1..=3 {
            keys.extend(["node.key", "master.key"].map(|name| folder.node(node).join(name)));
            assert!(std::fs::read_to_string(folder.node(node).join("node.crt")).unwrap().starts_with("-----BEGIN"));
        }
        for key in keys {
            assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", key.display());
        }
        let master = |node| std::fs::read_to_string(folder.node(node).join("master.key")).unwrap();
        assert_eq!(master(1).trim_end().len(), 64);
        assert_ne!(master(1), master(2));
    }
}
