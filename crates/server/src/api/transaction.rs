//! Transactions: comparisons, then operations, with nothing of other clients in between.
//!
//! What is compared is watched, then read; the operations are a transaction that is run only if nothing of it has
//! changed since. After a conflict everything is done again.

use bytes::Bytes;
use fastness_resp::Value;
use fastness_types::{ShardId, Slot, slot_of};
use fastness_wire::codec::OPERATION_BYTES;
use fastness_wire::v1::compare::Condition;
use fastness_wire::v1::pipeline_response::Outcome;
use fastness_wire::v1::{self, Compare, PipelineRequest, PipelineResponse};
use prost::Message as _;
use tonic::Code;
use xxhash_rust::xxh3::xxh3_128;

use super::gateway::{Gateway, failed};
use super::lane::{Caller, Lane, LaneKind};
use super::operation::{self, Attributes, Commands, Prepared, Target, last_reply};
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
    /// The same with the checksum of the request, if it has an idempotency key: what of it runs depends on the data, so
    /// the commands that run are no checksum of it.
    keyed: Option<Attributes>,
}

/// What stands before the replies of a transaction with an idempotency key: which operations have run.
const OPERATIONS: &str = "operations";
const OTHERWISE: &str = "otherwise";

/// What the elements of a transaction take beside its bytes, once it is decoded.
pub(super) fn elements_bytes(request: &v1::TxnRequest) -> usize {
    let operations = request.operations.iter().chain(&request.otherwise);
    let elements = operations.filter_map(|one| one.operation.as_ref()).map(operation::elements_bytes).sum::<usize>();
    let all = request.compares.len() + request.operations.len() + request.otherwise.len();
    elements + all * OPERATION_BYTES
}

/// Runs one.
pub(super) async fn run(
    gateway: &Gateway,
    caller: &Caller,
    request: v1::TxnRequest,
) -> Result<v1::TxnResponse, ApiRefusal> {
    let forwards = request.options.as_ref().is_some_and(|options| options.forward) && !caller.is_forwarded;
    let again = forwards.then(|| request.clone());
    let transaction = prepare(gateway, caller, request)?;
    match (run_here(gateway, caller, &transaction).await, again) {
        (Err(refusal), Some(request)) if refusal.reason == "MOVED" => {
            gateway.forwarder.run_txn(caller, &refusal, request, transaction.writes()).await
        }
        (outcome, _) => outcome,
    }
}

async fn run_here(
    gateway: &Gateway,
    caller: &Caller,
    transaction: &Transaction,
) -> Result<v1::TxnResponse, ApiRefusal> {
    let target = Target::Slot(transaction.slot);
    let (shard, replica) = gateway.replica(target)?;
    // Kept only if it ends well: what it watches must not outlast the call. A conflict has ended the watches.
    let mut lane = gateway.lane(caller, (shard, LaneKind::Primary), &replica).await?;
    let sent_before = transaction.answer_again(&mut lane, shard, caller).await;
    if let Some(response) = sent_before.map_err(|refusal| gateway.located(target, refusal))? {
        caller.lanes.keep(lane);
        return Ok(response);
    }
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

fn prepare(gateway: &Gateway, caller: &Caller, request: v1::TxnRequest) -> Result<Transaction, ApiRefusal> {
    let payload = v1::TxnRequest { options: None, ..request.clone() };
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
    let attributes = Attributes::of(request.options)?.due_by(caller.deadline()).within(caller.trace_parent);
    attributes.refuse_replica()?;
    let keyed = attributes.bound_to(xxh3_128(&payload.encode_to_vec()));
    Ok(Transaction { slot, compares, watched, operations, otherwise, attributes, keyed })
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

fn is_marker(reply: Option<&Value>) -> bool {
    let text = reply.and_then(Value::as_bytes);
    text.is_some_and(|text| text == OPERATIONS.as_bytes() || text == OTHERWISE.as_bytes())
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
        let branch = self.branch(succeeded);
        let mut commands = Commands::default();
        if branch.is_empty() {
            commands.add(&["UNWATCH".into()], &Attributes::default());
        } else {
            let steps: Vec<&[Vec<Bytes>]> = branch.iter().map(Prepared::steps).collect::<Result<_, _>>()?;
            let steps = steps.into_iter().flatten();
            match &self.keyed {
                None => commands.add_transaction(steps, &self.attributes),
                Some(keyed) => {
                    let marker = vec!["ECHO".into(), if succeeded { OPERATIONS } else { OTHERWISE }.into()];
                    commands.add_transaction([&marker].into_iter().chain(steps), keyed);
                }
            }
        }
        let writes = branch.iter().any(|prepared| prepared.writes);
        let replies = lane.exchange(&commands.encoded(), commands.count, caller).await;
        let last = last_reply(replies.map_err(|error| failed(writes, shard, error))?)?;
        match last {
            Value::Array(replies) => self.response(succeeded, replies).map(Some),
            Value::Simple(_) => self.response(succeeded, Vec::new()).map(Some),
            _ => Ok(None),
        }
    }

    fn writes(&self) -> bool {
        self.operations.iter().chain(&self.otherwise).any(|prepared| prepared.writes)
    }

    fn branch(&self, succeeded: bool) -> &[Prepared] {
        if succeeded { &self.operations } else { &self.otherwise }
    }

    /// The response of a request that was sent before with its idempotency key, and has run; `None`: it has not.
    async fn answer_again(
        &self,
        lane: &mut Lane,
        shard: ShardId,
        caller: &Caller,
    ) -> Result<Option<v1::TxnResponse>, ApiRefusal> {
        let Some(keyed) = self.keyed.as_ref().filter(|_| !self.compares.is_empty()) else { return Ok(None) };
        let mut commands = Commands::default();
        // What it reads routes it to the primary of the slot, and changes nothing.
        commands.add_transaction([&self.compares[0].0], keyed);
        let replies = lane.exchange(&commands.encoded(), commands.count, caller).await;
        match last_reply(replies.map_err(|error| failed(false, shard, error))?)? {
            Value::Array(replies) if is_marker(replies.first()) && replies.len() > 1 => {
                self.response(true, replies).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The response whose operations have these replies, after a marker if it has an idempotency key.
    fn response(&self, succeeded: bool, replies: Vec<Value>) -> Result<v1::TxnResponse, ApiRefusal> {
        let mut replies = replies.into_iter().peekable();
        let marker = self.keyed.as_ref().and_then(|_| replies.next_if(|reply| is_marker(Some(reply))));
        // A transaction that was sent before has perhaps run the other branch.
        let succeeded = marker.map_or(succeeded, |marker| marker.as_bytes() == Some(OPERATIONS.as_bytes()));
        let branch = self.branch(succeeded);
        let mut responses = Vec::with_capacity(branch.len());
        for prepared in branch {
            let own = replies.by_ref().take(prepared.steps()?.len()).collect();
            let outcome = prepared.clone().outcome_of_steps(own);
            let outcome = outcome.unwrap_or_else(|refusal| Outcome::Error(refusal.into()));
            responses.push(PipelineResponse { outcome: Some(outcome) });
        }
        Ok(v1::TxnResponse { succeeded, responses })
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
