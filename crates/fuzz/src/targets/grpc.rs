//! Messages of the data API over gRPC.

use fastness_server::api::fuzzing;
use fastness_wire::v1::pipeline_request::Operation;
use fastness_wire::v1::{self, compare, expire_request, set_request};
use prost::Message as _;

use super::input::{inputs, linear, words};
use crate::Target;

pub(super) const GRPC_REQUEST: Target = Target {
    name: "grpc-request",
    what: "requests over gRPC: written and read back as themselves, and the commands that are sent to a replica are \
           parsed there as the same commands",
    bytes_max: 300,
    share: 40,
    seeds: requests,
    words: || words(&["GET", "SET", "CONFIG", "MULTI", "a"]),
    memory: |length| 16 * linear(length),
    run: fuzzing::request,
};

pub(super) const GRPC_REPLIES: Target = Target {
    name: "grpc-replies",
    what: "replies of a replica to what a gRPC call has sent: a client can read the response, whatever they are",
    bytes_max: 300,
    share: 40,
    seeds: || {
        inputs(&[
            b"\0$1\r\nx\r\n",
            b"\x01*2\r\n$1\r\nx\r\n:100\r\n",
            b"\x02$-1\r\n",
            b"\x03:2\r\n",
            b"\x05:1\r\n",
            b"\x06*1\r\n$1\r\nx\r\n",
            b"\x07%1\r\n$1\r\nf\r\n$1\r\nx\r\n",
            b"\x08-WRONGTYPE no\r\n",
            b"\x09-MOVED 1 127.0.0.1:7000\r\n",
            b"\0|1\r\n+a\r\n:1\r\n~1\r\n,1.5\r\n",
            b"\0*2\r\n(123\r\n=7\r\ntxt:abc\r\n",
        ])
    },
    words: || words(&["*1\r\n", "%1\r\n", "$1\r\nx\r\n", "-ERR \r\n", ":1\r\n", "_\r\n", "*-1\r\n", "|1\r\n"]),
    memory: |length| 64 * linear(length),
    run: fuzzing::replies,
};

fn operations() -> Vec<Operation> {
    let (key, options) = (bytes::Bytes::from_static(b"key"), Some(v1::CallOptions { durability: 1, consistency: 1 }));
    let fields = vec![key.clone(), key.clone()];
    let field = v1::HashField { name: key.clone(), value: key.clone() };
    let condition = Some(set_request::Condition::IfEqual(key.clone()));
    let expiry = Some(set_request::Expiry::TtlMs(100));
    let set =
        v1::SetRequest { key: key.clone(), value: key.clone(), expiry, condition, return_previous: true, options };
    let at = Some(expire_request::Expiry::ExpireAtMs(1));
    let args = ["CONFIG", "GET", "*"].map(|arg| bytes::Bytes::from_static(arg.as_bytes())).to_vec();
    vec![
        Operation::Get(v1::GetRequest { key: key.clone(), with_ttl: true, options: None }),
        Operation::Set(set),
        Operation::Delete(v1::DeleteRequest { keys: fields.clone(), options }),
        Operation::Increment(v1::IncrementRequest { key: key.clone(), by: -1, options }),
        Operation::Expire(v1::ExpireRequest { key: key.clone(), expiry: at, options }),
        Operation::HashGet(v1::HashGetRequest { key: key.clone(), fields: fields.clone(), options }),
        Operation::HashSet(v1::HashSetRequest { key: key.clone(), fields: vec![field], options }),
        Operation::HashDelete(v1::HashDeleteRequest { key, fields, options }),
        Operation::Execute(v1::ExecuteRequest { args, shard: 1, options }),
    ]
}

fn requests() -> Vec<Vec<u8>> {
    let requests: Vec<v1::PipelineRequest> =
        operations().into_iter().map(|operation| v1::PipelineRequest { operation: Some(operation) }).collect();
    let encoded = |kind: u8, bytes: Vec<u8>| [&[kind][..], &bytes].concat();
    let mut seeds: Vec<Vec<u8>> = requests.iter().map(|request| encoded(0, request.encode_to_vec())).collect();
    let (key, field) = (bytes::Bytes::from_static(b"key"), Some(bytes::Bytes::from_static(b"f")));
    let compares = vec![
        v1::Compare { key: key.clone(), field, condition: Some(compare::Condition::Exists(true)) },
        v1::Compare { key: key.clone(), field: None, condition: Some(compare::Condition::Equals(key)) },
    ];
    let otherwise = requests[..1].to_vec();
    let txn = v1::TxnRequest { compares, operations: requests[1..4].to_vec(), otherwise, ..v1::TxnRequest::default() };
    seeds.push(encoded(1, txn.encode_to_vec()));
    seeds
}
