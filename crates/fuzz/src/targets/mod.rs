//! The targets. Shares are in proportion to how many executions a second has.

mod access;
mod batches;
mod commands;
mod config;
mod control;
mod effects;
mod globs;
mod grpc;
mod images;
mod input;
mod log;
mod numbers;
mod payloads;
mod peers;
mod requests;
mod scripts;
mod snapshots;

use crate::Target;

/// All of them.
pub static ALL: &[Target] = &[
    requests::REQUEST,
    requests::REPLY,
    globs::GLOB,
    numbers::NUMBER,
    effects::EFFECTS,
    commands::COMMANDS,
    payloads::RESTORE,
    batches::BATCH,
    batches::FRAGMENTS,
    images::IMAGE,
    snapshots::SNAPSHOT,
    snapshots::SNAPSHOT_FILE,
    log::LOG_RECORD,
    log::WRITE_AHEAD,
    peers::PEER_MESSAGE,
    peers::PEER_FRAMES,
    control::CONTROL,
    control::CONTROL_SNAPSHOT,
    access::ACL_RULES,
    access::ACL_STORED,
    access::ACL_FILE,
    access::CERTIFICATE,
    config::CONFIG_FILE,
    config::CONFIG_VALUE,
    grpc::GRPC_REQUEST,
    grpc::GRPC_REPLIES,
    scripts::JSON,
    scripts::MESSAGE_PACK,
    scripts::STRUCTURE,
    scripts::PATTERN,
];
