//! The cluster's own CA and the certificates that it signs. A node is identified by its certificate, so each
//! certificate has its owner's name in a SAN URI, in addition to the host names that clients check:
//!
//! | file | SAN URI | may |
//! |---|---|---|
//! | `nodes/ID/node.crt` | `fastness://CLUSTER/node/ID`, `fastness://CLUSTER/lab` | be that node (localhost too) |
//! | `admin.crt` | `fastness://CLUSTER/admin` | administrate |
//! | `client.crt` | `fastness://CLUSTER/client` | connect where clients must show a certificate |

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, Result};

use super::folder::Folder;
use super::settings::Settings;
use crate::certs::issue::{self, Authority, Host, Owner, Validity};
use crate::files::{write_atomically, write_secret};

/// From 2024 to 2124: tests set the clocks of nodes.
const VALIDITY: Validity =
    Validity { from: Duration::from_secs(1_704_067_200), until: Duration::from_secs(4_859_740_800) };

/// Creates the CA, all certificates and the nodes' master keys. Replaces existing ones, so it is called only before the
/// first node is started.
pub fn make(folder: &Folder, settings: &Settings) -> Result<()> {
    let cluster = &settings.cluster_id;
    let ca = issue::make_ca(&format!("fastness dev CA {cluster}"), VALIDITY)?;
    write_atomically(&folder.ca(), ca.certificate.as_bytes())?;
    write_secret(&folder.private_key("ca"), ca.key.as_bytes())?;
    let ca = Authority::read(&folder.ca(), &folder.private_key("ca"))?;
    for name in ["admin", "client"] {
        let uris = vec![format!("fastness://{cluster}/{name}")];
        let owner = Owner { common_name: format!("fastness {name}"), uris, hosts: Vec::new() };
        let issued = ca.sign(&owner, VALIDITY)?;
        write_atomically(&folder.certificate(name), issued.certificate.as_bytes())?;
        write_secret(&folder.private_key(name), issued.key.as_bytes())?;
    }
    settings.nodes().try_for_each(|node| make_node(folder, cluster, &ca, node))
}

/// Creates the folder, the certificate and the master key of an added node.
pub fn add_node(folder: &Folder, settings: &Settings, node: u64) -> Result<()> {
    let ca = Authority::read(&folder.ca(), &folder.private_key("ca"))?;
    make_node(folder, &settings.cluster_id, &ca, node)
}

fn make_node(folder: &Folder, cluster: &str, ca: &Authority, node: u64) -> Result<()> {
    let path = folder.node(node);
    std::fs::create_dir_all(path.join("data")).with_context(|| path.display().to_string())?;
    let hosts = vec![
        Host::Name("localhost".to_owned()),
        Host::Address(Ipv4Addr::LOCALHOST.into()),
        Host::Address(Ipv6Addr::LOCALHOST.into()),
    ];
    // The second name makes the node a lab, in which faults can be injected: a dev cluster has no important data.
    let uris = vec![format!("fastness://{cluster}/node/{node}"), format!("fastness://{cluster}/lab")];
    let issued = ca.sign(&Owner { common_name: format!("fastness node {node}"), uris, hosts }, VALIDITY)?;
    write_atomically(&path.join("node.crt"), issued.certificate.as_bytes())?;
    write_secret(&path.join("node.key"), issued.key.as_bytes())?;
    write_secret(&path.join("master.key"), master_key().as_bytes())
}

/// 32 random bytes in hexadecimal.
fn master_key() -> String {
    let bytes: [u8; 32] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).chain(["\n".to_owned()]).collect()
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
