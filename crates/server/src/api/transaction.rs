//! Transactions: comparisons, then operations, with nothing of other clients in between.
//!
//! What is compared is watched, then read; the operations are a transaction that is run only if nothing of it has
//! changed since. After a conflict everything is done again.

use bytes::Bytes;
use fastness_resp::Value;
use fastness_types::{ShardId, Slot, slot_of};
use fastness_wire::v1::compare::Condition;
use fastness_wire::v1::pipeline_response::Outcome;
use fastness_wire::v1::{self, Compare, PipelineRequest, PipelineResponse};
use tonic::Code;

use super::gateway::{Gateway, failed};
use super::lane::Caller;
use super::lane::Lane;
use super::operation::{Attributes, Commands, Prepared, Target, last_reply};
use super::refusal::{ApiRefusal, reason};

/// How often a transaction is tried while others change what it compares.
const TRIES_MAX: usize = 16;

/// A transaction whose request is right.
struct Transaction {
    slot: Slot,
    compares: Vec<(Vec<Bytes>, Condition)>,
    watched: Vec<Bytes>,
    operations: Vec<Prepared>,
    otherwise: Vec<Prepared>,
    attributes: Attributes,
}

/// Runs one.
pub(super) async fn run(
    gateway: &Gateway,
    caller: &Caller,
    request: v1::TxnRequest,
) -> Result<v1::TxnResponse, ApiRefusal> {
    let transaction = prepare(gateway, request)?;
    let target = Target::Slot(transaction.slot);
    let (shard, replica) = gateway.replica(target)?;
    // Kept only if it ends well: what it watches must not outlast the call. A conflict has ended the watches.
    let mut lane = gateway.lane(caller, shard, &replica).await?;
    for _ in 0..TRIES_MAX {
        let tried = transaction.try_once(&mut lane, shard, caller).await;
        if let Some(response) = tried.map_err(|refusal| gateway.located(target, refusal))? {
            caller.lanes.keep(lane);
            return Ok(response);
        }
    }
    caller.lanes.keep(lane);
    let text = format!("other clients have changed what is compared in each of {TRIES_MAX} tries");
    Err(ApiRefusal { code: Code::Aborted, ..ApiRefusal::unavailable(reason::CONFLICT, text) })
}

fn prepare(gateway: &Gateway, request: v1::TxnRequest) -> Result<Transaction, ApiRefusal> {
    let prepare_all = |requests: Vec<PipelineRequest>| -> Result<Vec<Prepared>, ApiRefusal> {
        let prepare_one = |request: PipelineRequest| {
            let operation = request.operation.ok_or_else(|| ApiRefusal::invalid("operation: not given, or unknown"))?;
            gateway.prepare(operation)
        };
        requests.into_iter().map(prepare_one).collect()
    };
    let (operations, otherwise) = (prepare_all(request.operations)?, prepare_all(request.otherwise)?);
    let watched: Vec<Bytes> = request.compares.iter().map(|compare| compare.key.clone()).collect();
    let compares: Vec<_> = request.compares.into_iter().map(reading).collect::<Result<_, _>>()?;
    let mut slots = watched.iter().map(|key| Target::Slot(slot_of(key)));
    let mut targets = operations.iter().chain(&otherwise).map(|prepared| prepared.target);
    let first = slots.next().or_else(|| operations.first().map(|prepared| prepared.target));
    let Some(Target::Slot(slot)) = first else {
        return Err(ApiRefusal::invalid("operations: at least one comparison, or one operation on a key"));
    };
    if !slots.all(|target| target == Target::Slot(slot)) || !targets.all(|target| target == Target::Slot(slot)) {
        let text = "CROSSSLOT Keys in request don't hash to the same slot";
        return Err(ApiRefusal::from_reply(text.as_bytes()));
    }
    for prepared in operations.iter().chain(&otherwise) {
        prepared.steps()?;
    }
    let attributes = Attributes::of(request.options)?;
    Ok(Transaction { slot, compares, watched, operations, otherwise, attributes })
}

/// The command whose reply a comparison judges.
pub(super) fn reading(compare: Compare) -> Result<(Vec<Bytes>, Condition), ApiRefusal> {
    let condition = compare.condition.ok_or_else(|| ApiRefusal::invalid("compares: a condition for each"))?;
    let command = match (&condition, compare.field) {
        (Condition::Equals(_), None) => vec!["GET".into(), compare.key],
        (Condition::Equals(_), Some(field)) => vec!["HGET".into(), compare.key, field],
        (Condition::Exists(_), None) => vec!["EXISTS".into(), compare.key],
        (Condition::Exists(_), Some(field)) => vec!["HEXISTS".into(), compare.key, field],
    };
    Ok((command, condition))
}

/// Whether a comparison holds; `None`: the reply is none to its command.
fn holds(condition: &Condition, reply: &Value) -> Option<bool> {
    match (condition, reply) {
        (Condition::Equals(expected), Value::Bulk(value)) => Some(value == expected),
        (Condition::Equals(_), Value::Null) => Some(false),
        (Condition::Exists(expected), Value::Integer(count)) => Some((*count == 1) == *expected),
        _ => None,
    }
}

impl Transaction {
    /// `None`: another client has changed what was compared, and nothing has happened.
    async fn try_once(
        &self,
        lane: &mut Lane,
        shard: ShardId,
        caller: &Caller,
    ) -> Result<Option<v1::TxnResponse>, ApiRefusal> {
        let succeeded = self.compare(lane, shard, caller).await?;
        let branch = if succeeded { &self.operations } else { &self.otherwise };
        let mut commands = Commands::default();
        if branch.is_empty() {
            commands.add(&["UNWATCH".into()], &Attributes::default());
        } else {
            let steps: Vec<&[Vec<Bytes>]> = branch.iter().map(Prepared::steps).collect::<Result<_, _>>()?;
            commands.add_transaction(steps.into_iter().flatten(), &self.attributes);
        }
        let writes = branch.iter().any(|prepared| prepared.writes);
        let replies = lane.exchange(&commands.encoded(), commands.count, caller).await;
        let last = last_reply(replies.map_err(|error| failed(writes, shard, error))?)?;
        let mut replies = match last {
            Value::Array(replies) => replies.into_iter(),
            Value::Simple(_) => Vec::new().into_iter(),
            _ => return Ok(None),
        };
        let mut responses = Vec::with_capacity(branch.len());
        for prepared in branch {
            let own = replies.by_ref().take(prepared.steps()?.len()).collect();
            let outcome = prepared.clone().outcome_of_steps(own);
            let outcome = outcome.unwrap_or_else(|refusal| Outcome::Error(refusal.into()));
            responses.push(PipelineResponse { outcome: Some(outcome) });
        }
        Ok(Some(v1::TxnResponse { succeeded, responses }))
    }

    /// Watches and compares.
    async fn compare(&self, lane: &mut Lane, shard: ShardId, caller: &Caller) -> Result<bool, ApiRefusal> {
        if self.compares.is_empty() {
            return Ok(true);
        }
        let mut commands = Commands::default();
        let watch = [&[Bytes::from_static(b"WATCH")], &*self.watched].concat();
        commands.add(&watch, &Attributes::default());
        self.compares.iter().for_each(|(command, _)| commands.add(command, &Attributes::default()));
        let replies = lane.exchange(&commands.encoded(), commands.count, caller).await;
        let replies = replies.map_err(|error| failed(false, shard, error))?;
        let mut all_hold = true;
        let conditions = self.compares.iter().map(|(_, condition)| Some(condition));
        for (reply, condition) in replies.into_iter().zip([None].into_iter().chain(conditions)) {
            match (&reply, condition) {
                (Value::Error(text), _) => return Err(ApiRefusal::from_reply(text)),
                (_, None) => {}
                (reply, Some(condition)) => {
                    let other = || ApiRefusal::new(Code::Internal, reason::INVALID, "the reply is to another command");
                    all_hold &= holds(condition, reply).ok_or_else(other)?;
                }
            }
        }
        Ok(all_hold)
    }
}
