//! Who a client is: a user and a password, whichever front end they come through.

use std::net::IpAddr;
use std::sync::Arc;

use fastness_types::BootNs;

use crate::accounts::Account;
use crate::config::ClientCertificates;
use crate::shared::NodeShared;
use crate::tls;

/// Why a client is not let in. The texts are those of the protocol's error replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthRefusal {
    /// The pair is wrong.
    #[error("WRONGPASS invalid username-password pair or user is disabled.")]
    Wrong,
    /// A password is required, and none was given.
    #[error("NOAUTH Authentication required.")]
    Required,
    /// The node has just started, or is cut off. A prefix that clients wait and try again for.
    #[error(
        "LOADING This node has not heard the cluster's control plane for too long to know the password: try again, or \
         another node"
    )]
    Unsure,
    /// The node was told of newer rules and does not get them. A prefix that clients wait and try again for.
    #[error(
        "LOADING This node does not have the newest rules of the cluster's users, because it cannot reach the control \
         plane: try again, or another node"
    )]
    Outdated,
    /// It comes from another machine with neither a certificate nor a password, and nobody has allowed that.
    #[error(
        "DENIED This node is in protected mode: the user default has no password, so clients from other machines need a \
         client certificate or a user of their own. Set a password with CONFIG SET requirepass on this machine, or let \
         everybody in with protected-mode no"
    )]
    Protected,
    /// No password of this source is checked for the moment.
    #[error("ERR too many failed attempts to authenticate from this address: try again later")]
    TooMany,
}

/// Checks a pair that a client at `source` has given; returns its user.
///
/// # Errors
/// It is wrong, or this node cannot say: the password may have been changed on all other nodes.
pub(crate) fn check(
    node: &NodeShared,
    now: BootNs,
    source: IpAddr,
    (user, password): (&[u8], &[u8]),
) -> Result<Arc<Account>, AuthRefusal> {
    if node.accounts.is_outdated() {
        return Err(AuthRefusal::Outdated);
    }
    if !node.is_sure_of_settings(now) {
        return Err(AuthRefusal::Unsure);
    }
    if node.attempts.is_exhausted(source, now) {
        return Err(AuthRefusal::TooMany);
    }
    let accounts = node.accounts.load();
    let account = accounts.get(user).filter(|account| account.user.is_on() && account.user.accepts(password));
    account.cloned().ok_or_else(|| {
        node.attempts.note_failure(source, now);
        AuthRefusal::Wrong
    })
}

/// Where a client comes from, and what it has shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The names in its certificate that may be those of its user (`tls-auth-clients-user`); `None`: it has presented
    /// no certificate.
    pub certificate: Option<Vec<String>>,
}

impl Origin {
    /// What a client has shown with this certificate, if it has presented one.
    #[must_use]
    pub fn of(node: &NodeShared, certificate: Option<&[u8]>) -> Origin {
        let by = node.config.load().tls_auth_clients_user;
        Origin { certificate: certificate.map(|certificate| tls::user_names(certificate, by)) }
    }
}

/// Lets a client in without a password: as the user that its certificate names, or as `default`, if that one needs
/// none. A node that has just started does not know yet. One that is cut off later goes by what it knows of `default`:
/// a cluster without a password must not need its control plane to be read from.
pub(crate) fn without_password(
    node: &NodeShared,
    now: BootNs,
    address: IpAddr,
    origin: &Origin,
) -> Result<Arc<Account>, AuthRefusal> {
    if node.accounts.is_outdated() {
        return Err(AuthRefusal::Outdated);
    }
    let names = origin.certificate.as_deref().unwrap_or_default();
    if !names.is_empty() {
        if !node.is_sure_of_settings(now) {
            return Err(AuthRefusal::Unsure);
        }
        let accounts = node.accounts.load();
        let named = names.iter().find_map(|name| accounts.get(name.as_bytes()));
        if let Some(account) = named.filter(|account| account.user.is_on()) {
            return Ok(account.clone());
        }
    }
    let account = node.accounts.default_user();
    if !(account.user.is_on() && account.user.is_nopass()) {
        return Err(AuthRefusal::Required);
    }
    if !node.has_heard_control() {
        return Err(AuthRefusal::Unsure);
    }
    let is_strange = origin.certificate.is_none() && !address.to_canonical().is_loopback();
    if is_strange && node.config.load().protected_mode {
        return Err(AuthRefusal::Protected);
    }
    Ok(account)
}

/// Whether clients from other machines are served with neither a certificate nor a password: the user `default` needs
/// none, nothing else protects the node, and a listener for clients is open beyond loopback.
pub(crate) fn lets_everybody_in(node: &NodeShared) -> bool {
    let config = node.config.load();
    let default = node.accounts.default_user();
    if config.protected_mode || !(default.user.is_on() && default.user.is_nopass()) {
        return false;
    }
    let is_open = |addresses: Vec<IpAddr>| addresses.iter().any(|address| !address.is_loopback());
    let plaintext = config.port != 0 && is_open(config.plaintext_addresses());
    let tls = config.tls_auth_clients != ClientCertificates::Required && is_open(config.addresses());
    plaintext || tls
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use fastness_control::{Password, Users};
    use fastness_types::{ClusterId, NodeId};

    use super::*;
    use crate::config::Config;
    use crate::resp_server::command::table;
    use crate::settings;

    const NOW: BootNs = BootNs(1);

    fn node(options: &str) -> Arc<NodeShared> {
        NodeShared::new(NodeId(1), ClusterId([1; 16]), Config::parse(options).unwrap(), table())
    }

    fn enter(node: &NodeShared, address: &str, certificate: Option<&[&str]>) -> Result<String, AuthRefusal> {
        let certificate = certificate.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let origin = Origin { certificate };
        without_password(node, NOW, address.parse().unwrap(), &origin).map(|account| account.name.clone())
    }

    #[test]
    fn a_node_is_open_to_all_only_if_nothing_protects_it() {
        let open = |options: &str| lets_everybody_in(&node(options));
        let unprotected = "protected-mode no\nbind 10.0.0.1 127.0.0.1\n";
        assert!(open(&format!("{unprotected}tls-auth-clients optional")));
        assert!(open(&format!("{unprotected}port 6380\nplaintext-beyond-loopback yes")));
        assert!(!open(unprotected), "certificates are required");
        assert!(!open(&format!("{unprotected}port 6380")), "the plaintext port is on loopback");
        assert!(!open(&format!("{unprotected}tls-auth-clients no\nrequirepass secret")));
        assert!(!open("bind 10.0.0.1\ntls-auth-clients no"), "protected");
        assert!(!open("bind 127.0.0.1\nprotected-mode no\ntls-auth-clients no"), "on loopback");
    }

    #[test]
    fn strangers_need_a_certificate_or_a_password_unless_everybody_is_let_in() {
        let (near, far) = (["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"], ["192.0.2.1", "2001:db8::1"]);
        let protected = node("");
        for address in near {
            assert_eq!(enter(&protected, address, None), Ok("default".to_owned()));
        }
        for address in far {
            assert_eq!(enter(&protected, address, None), Err(AuthRefusal::Protected));
            assert_eq!(enter(&protected, address, Some(&[])), Ok("default".to_owned()), "it has a certificate");
            assert_eq!(enter(&node("protected-mode no"), address, None), Ok("default".to_owned()));
            let locked = node("requirepass secret");
            assert_eq!(enter(&locked, address, None), Err(AuthRefusal::Required));
            let pair = (&b"default"[..], &b"secret"[..]);
            assert!(check(&locked, NOW, address.parse().unwrap(), pair).is_ok());
        }
    }

    #[test]
    fn a_user_that_is_off_is_not_let_in_by_whatever_it_shows() {
        let node = node("");
        let rules = |state: &str| Users {
            version: 1,
            rules: [("alice".to_owned(), format!("{state} nopass ~* +@all"))].into(),
        };
        node.accounts.follow(&rules("on"), &settings::password(""));
        let local = "127.0.0.1";
        let pair = (&b"alice"[..], &b"anything"[..]);
        assert_eq!(enter(&node, local, Some(&["nobody", "alice"])), Ok("alice".to_owned()));
        assert!(check(&node, NOW, local.parse().unwrap(), pair).is_ok());
        node.accounts.follow(&rules("off"), &Password::None);
        assert_eq!(enter(&node, local, Some(&["alice"])), Ok("default".to_owned()));
        assert_eq!(check(&node, NOW, local.parse().unwrap(), pair).err(), Some(AuthRefusal::Wrong));
    }

    #[test]
    fn whoever_guesses_too_often_is_not_checked() {
        let node = node("requirepass secret");
        let [guesser, other] = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse().unwrap());
        for _ in 0..fastness_types::limits::AUTH_FAILURES_MAX {
            assert_eq!(check(&node, NOW, guesser, (b"default", b"guess")).err(), Some(AuthRefusal::Wrong));
        }
        let right = (&b"default"[..], &b"secret"[..]);
        assert_eq!(check(&node, NOW, guesser, right).err(), Some(AuthRefusal::TooMany));
        assert!(check(&node, NOW, other, right).is_ok());
    }
}
