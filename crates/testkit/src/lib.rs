//! What tests share: a cluster of real processes and the faults it is given. Load and its ledger are `fastness-load`.

pub mod bench;
pub mod chaos;
pub mod cluster;
