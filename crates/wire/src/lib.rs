//! Code generated from `proto/`. Field numbers and names are frozen once released; see `proto/README.md`.
#![allow(missing_docs, clippy::all, clippy::too_many_lines)]

/// Consensus between nodes.
pub mod peer {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("fastness.peer.v1");
    }
}

/// Administration with an admin certificate.
pub mod admin {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("fastness.admin.v1");
    }
}

/// Faults on command.
pub mod lab {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("fastness.lab.v1");
    }
}
