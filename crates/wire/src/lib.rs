//! Code generated from `proto/`: the protocols of clients, between nodes, of administration and of the lab. Field
//! numbers and names are frozen once released.
#![allow(missing_docs, clippy::all, clippy::too_many_lines)]

/// All of `proto/` as an encoded `google.protobuf.FileDescriptorSet`, with the comments.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The peer protocol: consensus between nodes.
pub mod peer {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("fastness.peer.v1");
    }
}

/// Administration, with an admin certificate.
pub mod admin {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("fastness.admin.v1");
    }
}

/// Fault injection in labs.
pub mod lab {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("fastness.lab.v1");
    }
}

/// Data, for clients.
pub mod v1 {
    tonic::include_proto!("fastness.v1");
}
