//! Who a client is: a user and a password, whichever front end they come through.

use fastness_control::Password;
use fastness_types::BootNs;

use crate::settings;
use crate::shared::NodeShared;

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
}

/// Checks a pair.
///
/// # Errors
/// It is wrong, or this node cannot say: the password may have been changed on all other nodes.
pub(crate) fn check(node: &NodeShared, now: BootNs, user: &[u8], password: &[u8]) -> Result<(), AuthRefusal> {
    if !node.is_sure_of_settings(now) {
        return Err(AuthRefusal::Unsure);
    }
    // Without a password the default user takes any, as Valkey's `nopass`.
    if user == b"default" && settings::accepts(&node.password(), password) {
        return Ok(());
    }
    Err(AuthRefusal::Wrong)
}

/// Whether a client is let in without a password. A node that has just started does not know yet. One that is cut off
/// later goes by what it knows: a cluster without a password must not need its control plane to be read from.
pub(crate) fn without_password(node: &NodeShared) -> Result<(), AuthRefusal> {
    match node.password() {
        Password::Sha256(_) => Err(AuthRefusal::Required),
        Password::None if node.has_heard_control() => Ok(()),
        Password::None => Err(AuthRefusal::Unsure),
    }
}
