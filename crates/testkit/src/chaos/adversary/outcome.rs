//! What an attack reports.

/// What came of an attack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttackOutcome {
    /// What shows that it took effect; empty: nothing does.
    pub proof: String,
    /// A reply that was owed and did not come, or one that must not be given.
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
