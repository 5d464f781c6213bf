//! Code generated from `proto/`: the protocols of clients, between nodes, of administration and of the lab. Field
//! numbers and names are frozen once released.
#![allow(missing_docs, clippy::all, clippy::too_many_lines)]

pub mod codec;

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

    mod options {
        use super::CallOptions;
        use super::pipeline_request::Operation;

        /// Every operation has options.
        impl Operation {
            /// What the operation asks for beyond the mode of the cluster.
            #[must_use]
            pub fn options(&self) -> &Option<CallOptions> {
                match self {
                    Operation::Get(request) => &request.options,
                    Operation::Set(request) => &request.options,
                    Operation::Delete(request) => &request.options,
                    Operation::Increment(request) => &request.options,
                    Operation::Expire(request) => &request.options,
                    Operation::HashGet(request) => &request.options,
                    Operation::HashSet(request) => &request.options,
                    Operation::HashDelete(request) => &request.options,
                    Operation::Execute(request) => &request.options,
                }
            }

            /// The same, to be set.
            pub fn options_mut(&mut self) -> &mut Option<CallOptions> {
                match self {
                    Operation::Get(request) => &mut request.options,
                    Operation::Set(request) => &mut request.options,
                    Operation::Delete(request) => &mut request.options,
                    Operation::Increment(request) => &mut request.options,
                    Operation::Expire(request) => &mut request.options,
                    Operation::HashGet(request) => &mut request.options,
                    Operation::HashSet(request) => &mut request.options,
                    Operation::HashDelete(request) => &mut request.options,
                    Operation::Execute(request) => &mut request.options,
                }
            }
        }
    }
}
