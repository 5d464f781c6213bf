//! The result of an attack.

/// The result of an attack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttackOutcome {
    /// Evidence that the attack took effect; empty: none.
    pub proof: String,
    /// A missing reply, or a reply that must not be given.
    pub wrong: Option<String>,
}

impl AttackOutcome {
    pub(super) fn effect(proof: impl Into<String>) -> AttackOutcome {
        AttackOutcome { proof: proof.into(), wrong: None }
    }

    pub(super) fn broken(what: impl Into<String>) -> AttackOutcome {
        AttackOutcome { proof: "it was answered wrongly".to_owned(), wrong: Some(what.into()) }
    }
}
