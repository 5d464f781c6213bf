//! The arguments by which commands reach a cluster.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::Args;

use crate::admin::{Admin, Credentials};
use crate::container_lab::ContainerLab;
use crate::dev;

/// Addresses and credentials of a cluster.
#[derive(Debug, Args)]
pub struct Connection {
    /// gRPC address of a node (its `grpc-port`); repeat it to give several, which are tried in turn
    #[arg(long, value_name = "HOST:PORT")]
    address: Vec<String>,
    /// Certificate of the CA that signed the nodes' certificates
    #[arg(long, value_name = "FILE", requires = "admin_cert")]
    ca: Option<PathBuf>,
    /// Admin certificate, which names `fastness://CLUSTER/admin`
    #[arg(long, value_name = "FILE", requires = "admin_key")]
    admin_cert: Option<PathBuf>,
    /// Private key of the admin certificate
    #[arg(long, value_name = "FILE", requires = "ca")]
    admin_key: Option<PathBuf>,
    /// Folder of a dev cluster, or of the lab in containers, instead of all of the above
    #[arg(long, conflicts_with_all = ["address", "ca"])]
    pub dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl Connection {
    /// Whether addresses of nodes are given, instead of a folder.
    pub fn has_addresses(&self) -> bool {
        !self.address.is_empty()
    }

    /// The arguments that reach the same cluster again.
    pub fn arguments(&self) -> Vec<String> {
        let text = |path: &PathBuf| path.display().to_string();
        let addresses = self.address.iter().map(|address| ("--address", address.clone()));
        let files = [("--ca", &self.ca), ("--admin-cert", &self.admin_cert), ("--admin-key", &self.admin_key)];
        let files = files.into_iter().filter_map(|(name, path)| Some((name, path.as_ref().map(text)?)));
        let dir = self.dir.as_ref().map(|dir| ("--dir", text(dir)));
        addresses.chain(files).chain(dir).flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    /// The client, and the addresses to try.
    pub fn open(&self) -> Result<(Admin, Vec<String>)> {
        if let Some(dir) = &self.dir {
            return match ContainerLab::at(dir)? {
                Some(lab) => Ok((lab.admin()?, lab.addresses())),
                None => dev::admin_of(dir),
            };
        }
        let (Some(ca), Some(certificate), Some(key)) = (&self.ca, &self.admin_cert, &self.admin_key) else {
            bail!("give the cluster's --address, --ca, --admin-cert and --admin-key, or the --dir of a dev cluster");
        };
        ensure!(!self.address.is_empty(), "--address is missing: give the gRPC address of one of the nodes");
        let credentials = Credentials { ca: ca.clone(), certificate: certificate.clone(), key: key.clone() };
        Ok((Admin::new(&credentials)?, self.address.clone()))
    }
}

/// Evaluates a call for each address until one succeeds; returns the last error if none does.
macro_rules! first_that_answers {
    ($addresses:expr, |$address:ident| $call:expr) => {{
        let mut last = None;
        let mut answer = None;
        for $address in $addresses {
            match $call.await {
                Ok(found) => {
                    answer = Some(found);
                    break;
                }
                Err(error) => last = Some(error),
            }
        }
        match (answer, last) {
            (Some(answer), _) => Ok(answer),
            (None, Some(error)) => Err(error),
            (None, None) => Err(anyhow::anyhow!("no node address is known")),
        }
    }};
}
pub(crate) use first_that_answers;
