//! The config file of each node of a dev cluster. It is written at each start, so that it matches the binary. It ends
//! with the lines of the folder's `options.conf`, if that exists: of an option that occurs twice, the last line
//! applies.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context, Result};

use super::folder::Folder;
use super::ports::NodePorts;
use super::settings::Settings;
use crate::files::write_atomically;

/// Writes the config files of these nodes. Folders of other nodes may not exist any more, if those nodes were lost.
pub fn write(folder: &Folder, settings: &Settings, nodes: &[u64]) -> Result<()> {
    let options = options(folder)?;
    for (node, ports) in settings.ports()?.into_iter().filter(|(node, _)| nodes.contains(node)) {
        let text = text(folder, settings, node, &ports)? + &options;
        write_atomically(&folder.node_config(node), text.as_bytes())?;
    }
    Ok(())
}

/// Content of the user's `options.conf`.
fn options(folder: &Folder) -> Result<String> {
    let path = folder.options();
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(format!("\n# From {}:\n{text}\n", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn text(folder: &Folder, settings: &Settings, node: u64, ports: &NodePorts) -> Result<String> {
    let own = folder.node(node);
    let (az, durability) = (settings.az(node), &settings.durability);
    let source = source_address(node);
    let NodePorts { plaintext, tls, peer, grpc, metrics } = ports;
    let (data, certificate, key) =
        (quoted(&own.join("data"))?, quoted(&own.join("node.crt"))?, quoted(&own.join("node.key"))?);
    let (master, ca) = (quoted(&own.join("master.key"))?, quoted(&folder.ca())?);
    let lab = if settings.lab { "yes" } else { "no" };
    Ok(format!(
        "# Node {node} of a dev cluster; written again at each start by `fastness dev`.\n\
         node-id {node}\n\
         availability-zone {az}\n\
         dir {data}\n\
         durability {durability}\n\
         master-key-file {master}\n\
         \n\
         bind 127.0.0.1\n\
         # Source address of connections to other nodes, so that packets show which node sent them.\n\
         bind-source-addr {source}\n\
         # Only dev clusters have a plaintext port, for trials; it is never open beyond loopback.\n\
         port {plaintext}\n\
         tls-port {tls}\n\
         peer-port {peer}\n\
         grpc-port {grpc}\n\
         metrics-port {metrics}\n\
         metrics-digest yes\n\
         tls-cert-file {certificate}\n\
         tls-key-file {key}\n\
         tls-ca-cert-file {ca}\n\
         # Clients may connect without a certificate here; peers and administrators never may.\n\
         tls-auth-clients optional\n\
         shutdown-timeout 5\n\
         # Faults can be injected with `fastness lab`.\n\
         lab {lab}\n"
    ))
}

/// Source address of a node's connections to other nodes: 127.0.0.101 for node 1, and so on.
pub fn source_address(node: u64) -> IpAddr {
    // A dev cluster has at most 20 nodes, because its ports would not suffice for more.
    Ipv4Addr::new(127, 0, 0, 100 + node as u8).into()
}

/// A path as one word in the syntax of the config file.
fn quoted(path: &Path) -> Result<String> {
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

#[cfg(test)]
mod tests {
    use fastness_server::config::Config;
    use fastness_types::ClusterId;

    use super::super::settings::Desired;
    use super::*;

    #[test]
    fn the_server_reads_what_is_written_here() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::at(&dir.path().join("a \"strange\\\" name")).unwrap();
        let settings = Settings::new(&Desired::default(), ClusterId([3; 16])).unwrap();
        let ports = settings.ports().unwrap();
        let config = Config::parse(&text(&folder, &settings, 2, &ports[1].1).unwrap()).unwrap();
        config.check().unwrap();
        assert_eq!((config.node_id, config.port, config.tls_port), (2, 7403, 7412));
        assert_eq!((config.peer_port, config.grpc_port, config.metrics_port), (7419, 7422, 7425));
        assert_eq!(config.dir, folder.node(2).join("data"));
        assert_eq!(config.availability_zone, "b");
        assert_eq!(config.source_address(), Some(Ipv4Addr::new(127, 0, 0, 102).into()));
    }

    #[test]
    fn the_users_own_lines_take_precedence() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::at(dir.path()).unwrap();
        let settings = Settings::new(&Desired::default(), ClusterId([3; 16])).unwrap();
        let lines = "failover-timeout 2s\nshutdown-timeout 7";
        std::fs::write(folder.options(), lines).unwrap();
        folder.check_fresh().unwrap();
        std::fs::create_dir_all(folder.node(2)).unwrap();
        write(&folder, &settings, &[2]).unwrap();
        let config = Config::parse(&std::fs::read_to_string(folder.node_config(2)).unwrap()).unwrap();
        assert_eq!(config.failover_timeout, std::time::Duration::from_secs(2));
        assert_eq!(config.shutdown_timeout, std::time::Duration::from_secs(7));
    }
}
