//! `fastness certs …`: makes the certificates of a cluster, and shows what one says.
//!
//! ```text
//! DIR/ca.crt, ca.key          the CA; its common name ends with the cluster's id
//! DIR/node.crt, node.key      one node's (also admin.crt, admin.key and client.crt, client.key)
//! ```

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use fastness_types::ClusterId;

use crate::files::{create_atomically, create_secret};
use issue::{Authority, COMMON_NAME_MAX, Host, Issued, Owner, Validity};

pub mod issue;
pub mod show;

/// How long a CA is valid, unless the command says otherwise, in days.
const CA_DAYS: u32 = 3_650;
/// The same of what it signs.
const LEAF_DAYS: u32 = 365;

/// The subcommands of `fastness certs`.
#[derive(Debug, Subcommand)]
pub enum CertsCommand {
    /// Make the CA of a new cluster, and the cluster's id
    ///
    /// Writes ca.crt and ca.key. Every node, administrator and client needs a copy of ca.crt. Whoever has ca.key can
    /// become any node: keep it off the nodes. The common name of the CA ends with the cluster's id, where the other
    /// commands find it.
    Ca {
        /// The folder for the files, which must not exist yet
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Days for which the CA is valid
        #[arg(long, default_value_t = CA_DAYS, value_parser = days())]
        days: u32,
        /// The cluster's id, 32 hexadecimal digits [default: a new, random one]
        #[arg(long, value_name = "ID")]
        cluster: Option<ClusterId>,
    },
    /// Make the certificate of one node
    ///
    /// Writes node.crt and node.key, for tls-cert-file and tls-key-file. A running node reads new files by itself
    /// (tls-auto-reload-interval), or on SIGHUP.
    Node {
        /// The node's id, as node-id in its config
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64))]
        node_id: u64,
        /// A host name or IP address by which clients, administrators and other nodes connect to it; repeatable
        #[arg(long, value_name = "NAME_OR_IP", required = true)]
        host: Vec<Host>,
        /// Allow `fastness lab` on this node, if its config says so, too
        #[arg(long)]
        lab: bool,
        #[command(flatten)]
        signing: SigningArguments,
    },
    /// Make the certificate of an administrator, for `fastness cluster`
    ///
    /// Writes admin.crt and admin.key.
    Admin {
        #[command(flatten)]
        signing: SigningArguments,
    },
    /// Make the certificate of a client, for nodes whose tls-auth-clients requires one
    ///
    /// Writes client.crt and client.key. It gives access to data only, never to administration.
    Client {
        /// Common name of the client
        #[arg(long, value_name = "CN")]
        name: String,
        /// A URI that names the client; repeatable
        #[arg(long)]
        uri: Vec<String>,
        #[command(flatten)]
        signing: SigningArguments,
    },
    /// Show what the certificates or the private key in a PEM file are
    ///
    /// Names subject, alternative names, whom Fastness takes the owner for, validity and usages. Private keys are
    /// described, not printed. The exit status is 0 if the file is readable, also if a certificate in it has expired.
    Show {
        /// The file
        file: PathBuf,
    },
}

/// What each signed certificate needs.
#[derive(Debug, Args)]
pub struct SigningArguments {
    /// The folder with ca.crt and ca.key
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// The folder for the files, which must not exist yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Days for which the certificate is valid, at most until the CA expires
    #[arg(long, default_value_t = LEAF_DAYS, value_parser = days())]
    days: u32,
    /// The cluster's id, if the CA was made elsewhere and its common name does not end with it
    #[arg(long, value_name = "ID")]
    cluster: Option<ClusterId>,
}

/// More days than anybody needs would end after the last year that a certificate can name.
fn days() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=36_500)
}

/// Runs a subcommand.
pub fn run(command: CertsCommand) -> Result<()> {
    match command {
        CertsCommand::Ca { out, days, cluster } => make_ca(&out, days, cluster),
        CertsCommand::Node { node_id, host, lab, signing } => signing.issue("node", |cluster| {
            let mut uris = vec![format!("fastness://{cluster}/node/{node_id}")];
            if lab {
                uris.push(fastness_server::tls::lab_uri(cluster));
            }
            Owner { common_name: format!("fastness node {node_id}"), uris, hosts: host }
        }),
        CertsCommand::Admin { signing } => signing.issue("admin", |cluster| Owner {
            common_name: "fastness admin".to_owned(),
            uris: vec![format!("fastness://{cluster}/admin")],
            hosts: Vec::new(),
        }),
        CertsCommand::Client { name, uri, signing } => {
            check_client(&name, &uri)?;
            signing.issue("client", |_| Owner { common_name: name, uris: uri, hosts: Vec::new() })
        }
        CertsCommand::Show { file } => {
            print!("{}", show::describe(&file)?);
            Ok(())
        }
    }
}

fn make_ca(out: &Path, days: u32, cluster: Option<ClusterId>) -> Result<()> {
    let cluster = cluster.unwrap_or_else(|| ClusterId(rand::random()));
    let ca = issue::make_ca(&format!("fastness CA {cluster}"), Validity::days(days))?;
    let target = Target::prepare(out, "ca")?;
    target.write(&ca)?;
    println!("cluster id   {cluster}");
    target.report(&ca);
    Ok(())
}

impl SigningArguments {
    /// Signs the certificate of the owner that `owner` names in the CA's cluster, and writes it as `NAME.crt`.
    fn issue(self, name: &str, owner: impl FnOnce(ClusterId) -> Owner) -> Result<()> {
        let ca = Authority::read(&self.ca.join("ca.crt"), &self.ca.join("ca.key"))
            .with_context(|| format!("{} has no usable CA (`fastness certs ca` makes one)", self.ca.display()))?;
        let cluster = match (ca.cluster(), self.cluster) {
            (Some(signed), Some(wanted)) if signed != wanted => {
                bail!("this CA is the one of cluster {signed}, not of {wanted}")
            }
            (Some(cluster), _) | (None, Some(cluster)) => cluster,
            (None, None) => bail!("the common name of this CA does not end with a cluster's id: add --cluster ID"),
        };
        let wanted = Validity::days(self.days);
        let issued = ca.sign(&owner(cluster), wanted)?;
        let target = Target::prepare(&self.out, name)?;
        target.write(&issued)?;
        target.report(&issued);
        if issued.until < wanted.until {
            println!("It is valid for less than {} days, because the CA expires then.", self.days);
        }
        Ok(())
    }
}

/// Refuses names that cannot be in a certificate, or that would make the client something else.
fn check_client(name: &str, uris: &[String]) -> Result<()> {
    ensure!(
        !name.is_empty() && name.chars().count() <= COMMON_NAME_MAX,
        "--name must have 1 to {COMMON_NAME_MAX} characters"
    );
    for uri in uris {
        let (scheme, rest) = uri.split_once(':').unwrap_or_default();
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        ensure!(
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(is_scheme)
                && !rest.is_empty()
                && rest.chars().all(|c| c.is_ascii_graphic()),
            "'{uri}' is not a URI"
        );
        ensure!(
            !scheme.eq_ignore_ascii_case("fastness"),
            "'{uri}': names that begin with fastness: are those of nodes and administrators"
        );
    }
    Ok(())
}

/// Where a certificate and its key are to be written.
struct Target {
    certificate: PathBuf,
    key: PathBuf,
}

impl Target {
    /// Creates the folder; refuses one that has one of the files.
    fn prepare(folder: &Path, name: &str) -> Result<Target> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create the folder {}", folder.display()))?;
        let target =
            Target { certificate: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) };
        for path in [&target.certificate, &target.key] {
            ensure!(path.symlink_metadata().is_err(), "{} exists already, and is not overwritten", path.display());
        }
        Ok(target)
    }

    fn write(&self, issued: &Issued) -> Result<()> {
        create_secret(&self.key, issued.key.as_bytes())?;
        create_atomically(&self.certificate, issued.certificate.as_bytes()).inspect_err(|_| {
            // A key without its certificate would be in the way of the next attempt.
            let _ = std::fs::remove_file(&self.key);
        })
    }

    fn report(&self, issued: &Issued) {
        println!("certificate  {}, valid until {}", self.certificate.display(), show::date(issued.until));
        println!("private key  {}", self.key.display());
    }
}
