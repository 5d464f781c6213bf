//! Adders that use the SDK.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fastness_client::{
    CallSettings, Client, ClientError, Idempotency, IdempotencyKey, Operation, OperationResult, Txn, key_slot,
};
use fastness_load::Outcome;

use super::adder::{Adder, Adding, Attempted, ReadyAdder, Repeating};
use super::check::SharedCounter;
use crate::clients::{ClientKind, outcome_of_sdk};

/// Increments of a pipeline in flight.
const IN_FLIGHT: usize = 8;
/// Deadline of an attempt where the caller repeats, and of one that is not repeated.
const ATTEMPT: Duration = Duration::from_millis(1500);

/// Those whose writes have idempotency keys. The SDK repeats them within the deadline of `client`.
pub(super) fn keyed(client: &Client) -> Vec<ReadyAdder> {
    let kept = KeptKeys { client: client.clone(), key: client.new_idempotency_key() };
    let pipeline = client.clone();
    vec![
        ReadyAdder::new("SDK", ClientKind::Sdk, SdkCalls(client.clone())),
        ReadyAdder::new("SDK, keys kept", ClientKind::Sdk, kept),
        ReadyAdder::new("SDK transactions", ClientKind::Sdk, Transactions(client.clone())),
        ReadyAdder::with("SDK pipeline", ClientKind::Sdk, move |adding| through_a_pipeline(pipeline, adding)),
    ]
}

/// Those that make one attempt.
pub(super) fn single(client: &Client) -> Vec<ReadyAdder> {
    let settings = CallSettings { deadline: Some(ATTEMPT), idempotency: Idempotency::Off, ..CallSettings::default() };
    let client = client.with_options(settings);
    let pipeline = client.clone();
    vec![
        ReadyAdder::new("SDK without keys", ClientKind::Sdk, SdkCalls(client.clone())),
        ReadyAdder::new("SDK transactions without keys", ClientKind::Sdk, Transactions(client)),
        ReadyAdder::with("SDK pipeline without keys", ClientKind::Sdk, move |adding| {
            through_a_pipeline(pipeline, adding)
        }),
    ]
}

fn outcome<T>(result: Result<T, ClientError>) -> Outcome {
    result.map_or_else(|error| outcome_of_sdk(&error), |_| Outcome::Acknowledged)
}

struct SdkCalls(Client);

#[async_trait]
impl Adder for SdkCalls {
    async fn add(&mut self, key: &str, _: &Adding) -> Outcome {
        outcome(self.0.increment(key, 1).await)
    }
}

/// Keeps the key of its write, and sends it until it is answered, as a process does that was started again.
struct KeptKeys {
    client: Client,
    key: IdempotencyKey,
}

#[async_trait]
impl Repeating for KeptKeys {
    fn next_write(&mut self) {
        self.key = self.client.new_idempotency_key();
    }

    async fn attempt(&mut self, key: &str) -> Attempted {
        let idempotency = Idempotency::Key(self.key);
        let settings = CallSettings { deadline: Some(ATTEMPT), idempotency, ..CallSettings::default() };
        match self.client.with_options(settings).increment(key, 1).await {
            Ok(_) => Attempted::Done,
            Err(error) if error.reason() == "IDEMPOTENCYPAST" => Attempted::Forgotten,
            Err(error) if error.reason() == "IDEMPOTENCYREUSED" => Attempted::Reused,
            Err(error) if outcome_of_sdk(&error) == Outcome::Refused => Attempted::Not,
            Err(_) => Attempted::Perhaps,
        }
    }
}

/// Transactions that read what others change: each adds one, whichever branch it takes.
struct Transactions(Client);

#[async_trait]
impl Adder for Transactions {
    async fn add(&mut self, key: &str, _: &Adding) -> Outcome {
        let tag = key.split_inclusive('}').next().unwrap_or(key);
        let flag = format!("{tag}flag");
        debug_assert_eq!(key_slot(flag.as_bytes()), key_slot(key.as_bytes()));
        let txn = Txn::new()
            .if_equal(&flag, "1")
            .then(Operation::increment(key, 1))
            .then(Operation::set(&flag, "0"))
            .otherwise(Operation::increment(key, 1))
            .otherwise(Operation::set(&flag, "1"));
        outcome(self.0.txn(txn).await.and_then(fastness_client::TxnOutcome::into_results))
    }
}

async fn through_a_pipeline(client: Client, adding: Adding) {
    let mut pipeline = client.pipeline();
    let mut sent: VecDeque<Arc<SharedCounter>> = VecDeque::new();
    let mut number = 0;
    while !adding.is_over() || !sent.is_empty() {
        while !adding.is_over() && sent.len() < IN_FLIGHT {
            let counter = adding.counter(number).clone();
            if pipeline.try_send(Operation::increment(&counter.key, 1)).is_err() {
                break;
            }
            sent.push_back(counter);
            number += 1;
        }
        let (Some(result), Some(counter)) = (pipeline.next().await, sent.pop_front()) else { return };
        let outcome = match result {
            Ok(OperationResult::Sum(_)) => Outcome::Acknowledged,
            // A result of another kind is none of an increment.
            Ok(_) => Outcome::Unknown,
            Err(error) => outcome_of_sdk(&error),
        };
        adding.note(&counter, outcome);
        adding.pause_after(outcome).await;
    }
}
