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
mod log;
mod numbers;
mod payloads;
mod peers;
mod requests;
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
    access::ACL_RULES,
    access::ACL_STORED,
    access::ACL_FILE,
    access::CERTIFICATE,
    config::CONFIG_FILE,
    config::CONFIG_VALUE,
    grpc::GRPC_REQUEST,
    grpc::GRPC_REPLIES,
];

/// Most bytes of a target that allocates in proportion to its input.
const fn linear(length: usize) -> usize {
    (64 << 10) + 512 * length
}

/// No words.
fn none() -> Vec<Vec<u8>> {
    Vec::new()
}

/// These words.
fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// These inputs.
fn inputs(inputs: &[&[u8]]) -> Vec<Vec<u8>> {
    inputs.iter().map(|input| input.to_vec()).collect()
}

/// A small number that differs between inputs.
fn hash(input: &[u8]) -> u64 {
    input.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The pieces of an input, each of which follows its length in two bytes. The last one may be shorter than it says.
fn pieces(mut rest: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (piece, after) = after.split_at(usize::from(u16::from_le_bytes(*length)).min(after.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Pieces as [`pieces`] reads them.
fn joined<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&u16::try_from(piece.len()).expect("pieces of seeds are short").to_le_bytes());
        out.extend_from_slice(piece);
    }
    out
}
