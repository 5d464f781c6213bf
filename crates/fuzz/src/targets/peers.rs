//! Messages between nodes.

use fastness_consensus::fuzzing;
use fastness_wire::peer::v1 as pb;
use prost::Message as _;

use super::input::{joined, linear, none};
use crate::Target;

pub(super) const PEER_MESSAGE: Target = Target {
    name: "peer-message",
    what: "messages between nodes, and stored records of votes, positions, members and peers: written and read back as \
           themselves",
    bytes_max: 400,
    share: 90,
    seeds: fuzzing::messages,
    words: none,
    memory: |length| 4 * linear(length),
    run: fuzzing::message,
};

pub(super) const PEER_FRAMES: Target = Target {
    name: "peer-frames",
    what: "frames between nodes, whose messages may be cut: a message that is complete is sent and joined as itself",
    bytes_max: 400,
    share: 40,
    seeds: frames,
    words: none,
    memory: |length| 8 * linear(length),
    run: fuzzing::frames,
};

fn frames() -> Vec<Vec<u8>> {
    let part = |group, id, more| pb::Message { group, kind: 10, id, payload: b"payload".to_vec().into(), more };
    let frame = |messages: &[pb::Message]| pb::Frame { messages: messages.to_vec() }.encode_to_vec();
    let (whole, first, last) = (part(1, 1, false), part(2, 9, true), part(2, 9, false));
    let streams = [
        vec![frame(std::slice::from_ref(&whole))],
        vec![frame(&[first.clone(), whole.clone()]), frame(&[first.clone(), last.clone()])],
        vec![frame(&[]), frame(&[whole, last, first])],
    ];
    streams.iter().map(|stream| joined(stream.iter().map(|frame| &frame[..]))).collect()
}
