//! Adders that call the generated stubs.

use async_trait::async_trait;
use fastness_load::Outcome;
use fastness_resp::Value;
use fastness_wire::v1;

use super::adder::{Adder, Adding, Attempted, ReadyAdder, Repeating, Sequence, client_name};
use super::options::CountingOptions;
use crate::clients::{ClientKind, GrpcClient, GrpcFailure};

/// Those whose writes have idempotency keys.
pub(super) fn keyed(options: &CountingOptions) -> Vec<ReadyAdder> {
    let calls = |forwards| GrpcCalls::new(options, forwards);
    vec![
        ReadyAdder::new("gRPC", ClientKind::Grpc, Keyed::new(calls(false))),
        ReadyAdder::new("gRPC, forwarded", ClientKind::Grpc, Keyed::new(calls(true))),
        ReadyAdder::new("gRPC transactions", ClientKind::Grpc, KeyedTransactions(Keyed::new(calls(false)))),
    ]
}

/// Those that make one attempt.
pub(super) fn single(options: &CountingOptions) -> Vec<ReadyAdder> {
    let calls = |forwards| GrpcCalls::new(options, forwards);
    vec![
        ReadyAdder::new("gRPC without keys", ClientKind::Grpc, calls(false)),
        ReadyAdder::new("gRPC without keys, forwarded", ClientKind::Grpc, calls(true)),
    ]
}

struct GrpcCalls(GrpcClient);

impl GrpcCalls {
    fn new(options: &CountingOptions, forwards: bool) -> GrpcCalls {
        GrpcCalls(GrpcClient::new(options.grpc.nodes.clone(), forwards, options.access.timeout))
    }
}

/// The command of all forms of an increment: a key is bound to it, so that each form may repeat another one.
fn increment(key: &str) -> [&[u8]; 3] {
    [b"INCRBY", key.as_bytes(), b"1"]
}

#[async_trait]
impl Adder for GrpcCalls {
    async fn add(&mut self, key: &str, _: &Adding) -> Outcome {
        match self.0.run(&increment(key), None).await {
            Ok(Value::Integer(_)) => Outcome::Acknowledged,
            Ok(_) => Outcome::Unknown,
            Err(failure) => failure.outcome,
        }
    }
}

struct Keyed {
    calls: GrpcCalls,
    client: String,
    sequence: Sequence,
}

impl Keyed {
    fn new(calls: GrpcCalls) -> Keyed {
        Keyed { calls, client: client_name("grpc"), sequence: Sequence::default() }
    }

    fn idempotency_key(&self) -> Option<v1::IdempotencyKey> {
        Some(v1::IdempotencyKey { client: self.client.clone().into(), sequence: self.sequence.last() })
    }
}

fn attempted(answer: Result<bool, GrpcFailure>) -> Attempted {
    match answer {
        Ok(true) => Attempted::Done,
        // A success without a sum is none of an increment.
        Ok(false) => Attempted::Perhaps,
        Err(failure) if failure.reason == "IDEMPOTENCYPAST" => Attempted::Forgotten,
        Err(failure) if failure.reason == "IDEMPOTENCYREUSED" => Attempted::Reused,
        Err(failure) if failure.outcome == Outcome::Refused => Attempted::Not,
        Err(_) => Attempted::Perhaps,
    }
}

#[async_trait]
impl Repeating for Keyed {
    fn next_write(&mut self) {
        self.sequence.next();
    }

    async fn attempt(&mut self, key: &str) -> Attempted {
        let idempotency_key = self.idempotency_key();
        let answer = self.calls.0.run(&increment(key), idempotency_key).await;
        attempted(answer.map(|reply| matches!(reply, Value::Integer(_))))
    }
}

struct KeyedTransactions(Keyed);

#[async_trait]
impl Repeating for KeyedTransactions {
    fn next_write(&mut self) {
        self.0.next_write();
    }

    async fn attempt(&mut self, key: &str) -> Attempted {
        let idempotency_key = self.0.idempotency_key();
        let answer = self.0.calls.0.transact(Vec::new(), &[&increment(key)], idempotency_key).await;
        attempted(answer.map(|replies| matches!(replies.as_deref(), Some([Value::Integer(_)]))))
    }
}
