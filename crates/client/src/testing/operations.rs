//! Runs operations, as all calls have them, and transactions.

use bytes::Bytes;
use fastness_wire::v1::pipeline_request::Operation;
use fastness_wire::v1::pipeline_response::Outcome;
use fastness_wire::v1::{self, PipelineRequest, PipelineResponse};

use super::commands;
use super::fault::{MockFault, MockRefusal};
use super::keyspace::Keyspace;

/// The keys of an operation; of a command its second word.
pub(super) fn keys_of(operation: &Operation) -> Vec<Bytes> {
    match operation {
        Operation::Get(request) => vec![request.key.clone()],
        Operation::Set(request) => vec![request.key.clone()],
        Operation::Delete(request) => request.keys.clone(),
        Operation::Increment(request) => vec![request.key.clone()],
        Operation::Expire(request) => vec![request.key.clone()],
        Operation::HashGet(request) => vec![request.key.clone()],
        Operation::HashSet(request) => vec![request.key.clone()],
        Operation::HashDelete(request) => vec![request.key.clone()],
        Operation::Execute(request) => request.args.get(1).cloned().into_iter().collect(),
    }
}

/// The keys of operations in messages.
pub(super) fn keys_of_all(operations: &[PipelineRequest]) -> Vec<Bytes> {
    operations.iter().filter_map(|request| request.operation.as_ref()).flat_map(keys_of).collect()
}

/// Runs one operation. A write that was sent before with its idempotency key has its first outcome.
pub(super) fn run(keys: &mut Keyspace, operation: Operation) -> Result<Outcome, MockRefusal> {
    let Some(v1::IdempotencyKey { client, sequence }) = key_of(&operation) else { return run_once(keys, operation) };
    if let Some(outcome) = keys.recorded.get(&(client.clone(), sequence)) {
        return Ok(outcome.clone());
    }
    let outcome = run_once(keys, operation)?;
    keys.recorded.insert((client, sequence), outcome.clone());
    Ok(outcome)
}

fn key_of(operation: &Operation) -> Option<v1::IdempotencyKey> {
    operation.options().as_ref()?.idempotency_key.clone()
}

fn run_once(keys: &mut Keyspace, operation: Operation) -> Result<Outcome, MockRefusal> {
    Ok(match operation {
        Operation::Get(request) => Outcome::Get(keys.get(&request)?),
        Operation::Set(request) => Outcome::Set(keys.set(request)?),
        Operation::Delete(request) => Outcome::Delete(v1::DeleteResponse { deleted: keys.delete(&request.keys) }),
        Operation::Increment(request) => {
            Outcome::Increment(v1::IncrementResponse { value: keys.increment(request.key, request.by)? })
        }
        Operation::Expire(request) => {
            Outcome::Expire(v1::ExpireResponse { applied: keys.expire(&request.key, request.expiry) })
        }
        Operation::HashGet(request) => Outcome::HashGet(keys.hash_get(&request)?),
        Operation::HashSet(request) => {
            Outcome::HashSet(v1::HashSetResponse { added: keys.hash_set(request.key, request.fields)? })
        }
        Operation::HashDelete(request) => {
            let deleted = keys.hash_delete(&request.key, &request.fields)?;
            Outcome::HashDelete(v1::HashDeleteResponse { deleted })
        }
        Operation::Execute(request) => {
            Outcome::Execute(v1::ExecuteResponse { reply: Some(commands::run(keys, &request.args)?) })
        }
    })
}

/// An outcome as responses have it.
pub(super) fn response(outcome: Result<Outcome, MockRefusal>) -> PipelineResponse {
    let outcome = outcome.unwrap_or_else(|refusal| Outcome::Error(refusal.error()));
    PipelineResponse { outcome: Some(outcome) }
}

/// Runs an operation that meets a fault. What it changes is committed by itself.
pub(super) fn run_with(
    keys: &mut Keyspace,
    operation: Option<Operation>,
    fault: Option<MockFault>,
) -> Result<Outcome, MockRefusal> {
    let outcome = run_uncommitted(keys, operation, fault);
    keys.commit();
    outcome
}

fn run_uncommitted(
    keys: &mut Keyspace,
    operation: Option<Operation>,
    fault: Option<MockFault>,
) -> Result<Outcome, MockRefusal> {
    let operation = operation.ok_or_else(|| MockRefusal::invalid("operation: not given, or unknown"))?;
    let applies = fault.as_ref().is_none_or(MockFault::is_applied);
    match fault.and_then(MockFault::refusal) {
        None => run(keys, operation),
        Some(refusal) => {
            if applies {
                // Its own result is lost.
                let _ = run(keys, operation);
            }
            Err(refusal)
        }
    }
}

/// Operations in their order, with the faults that some of them meet.
fn with_faults(
    operations: Vec<PipelineRequest>,
    faults: Vec<Option<MockFault>>,
) -> impl Iterator<Item = (Option<Operation>, Option<MockFault>)> {
    let operations = operations.into_iter().map(|request| request.operation);
    operations.zip(faults.into_iter().chain(std::iter::repeat(None)))
}

/// Runs operations in their order; some of them meet faults. Each is committed by itself.
pub(super) fn run_all(
    keys: &mut Keyspace,
    operations: Vec<PipelineRequest>,
    faults: Vec<Option<MockFault>>,
) -> Vec<PipelineResponse> {
    let run = |(operation, fault)| response(run_with(keys, operation, fault));
    with_faults(operations, faults).map(run).collect()
}

/// Compares, and runs the branch that the comparisons choose.
pub(super) fn transact(
    keys: &mut Keyspace,
    request: v1::TxnRequest,
    faults: Vec<Option<MockFault>>,
) -> Result<v1::TxnResponse, MockRefusal> {
    let key = request.options.as_ref().and_then(|options| options.idempotency_key.clone());
    let key = key.map(|key| (key.client, key.sequence));
    if let Some(response) = key.as_ref().and_then(|key| keys.recorded_txns.get(key)) {
        return Ok(response.clone());
    }
    let mut succeeded = true;
    for compare in &request.compares {
        succeeded &= keys.holds(compare)?;
    }
    let branch = if succeeded { request.operations } else { request.otherwise };
    let run = |(operation, fault)| response(run_uncommitted(keys, operation, fault));
    let responses = with_faults(branch, faults).map(run).collect();
    // All of it at one moment.
    keys.commit();
    let response = v1::TxnResponse { succeeded, responses };
    keys.recorded_txns.extend(key.map(|key| (key, response.clone())));
    Ok(response)
}
