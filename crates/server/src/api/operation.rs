//! Operations as commands: what each sends to the shard, and what its replies mean.

use bytes::Bytes;
use fastness_connection::attribute::TraceParent;
use fastness_engine::command::{CommandTable, Flags, Group};
use fastness_resp::{Args, Protocol, ReplyBuf, Value};
use fastness_types::{BootNs, ShardId, Slot, limits, slot_of};
use fastness_wire::codec::ELEMENT_BYTES;
use fastness_wire::v1::pipeline_request::Operation;
use fastness_wire::v1::pipeline_response::Outcome;
use fastness_wire::v1::{self, CallOptions, expire_request, set_request};
use tonic::Code;

use super::refusal::{ApiRefusal, reason};
use super::values;

/// Where an operation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// On the primary of this slot's shard.
    Slot(Slot),
    /// On a replica of the called node: of this shard, or any.
    Replica(Option<ShardId>),
}

/// What a reply means.
#[derive(Debug, Clone)]
enum Meaning {
    Get { with_ttl: bool },
    Set { condition: Option<AppliedIf>, returns: bool },
    Delete,
    Increment,
    Expire,
    HashGet { fields: Vec<Bytes> },
    HashSet,
    HashDelete,
    Execute,
}

/// Under which condition a value is set, as far as its reply has to be read with it.
#[derive(Debug, Clone)]
enum AppliedIf {
    Absent,
    Present,
    Equal(Bytes),
}

/// An operation, ready to be sent.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub(super) target: Target,
    /// Whether it may change anything: whether it has happened matters if no reply comes.
    pub(super) writes: bool,
    /// One command, or several that are one moment.
    steps: Vec<Vec<Bytes>>,
    attributes: Attributes,
    meaning: Meaning,
}

/// What the elements of an operation take beside its bytes, once it is decoded.
pub(super) fn elements_bytes(operation: &Operation) -> usize {
    let elements = match operation {
        Operation::Execute(request) => request.args.len(),
        Operation::Delete(request) => request.keys.len(),
        Operation::HashGet(request) => request.fields.len(),
        Operation::HashDelete(request) => request.fields.len(),
        Operation::HashSet(request) => 2 * request.fields.len(),
        Operation::Get(_) | Operation::Set(_) | Operation::Increment(_) | Operation::Expire(_) => 0,
    };
    elements * ELEMENT_BYTES
}

/// Prepares an operation.
///
/// # Errors
/// The request is wrong.
pub(super) fn prepare(operation: Operation, commands: &CommandTable) -> Result<Prepared, ApiRefusal> {
    match operation {
        Operation::Get(request) => get(request),
        Operation::Set(request) => set(request),
        Operation::Delete(v1::DeleteRequest { keys, options }) => {
            let key = keys.first().cloned().ok_or_else(|| ApiRefusal::invalid("keys: at least one"))?;
            write(&key, &[&[Bytes::from_static(b"DEL")], &*keys].concat(), options, Meaning::Delete)
        }
        Operation::Increment(v1::IncrementRequest { key, by, options }) => {
            write(&key, &["INCRBY".into(), key.clone(), by.to_string().into()], options, Meaning::Increment)
        }
        Operation::Expire(request) => expire(request),
        Operation::HashGet(v1::HashGetRequest { key, fields, options }) => {
            let args = match fields.as_slice() {
                [] => vec!["HGETALL".into(), key.clone()],
                fields => [&["HMGET".into(), key.clone()], fields].concat(),
            };
            read(&key, &args, options, Meaning::HashGet { fields })
        }
        Operation::HashSet(v1::HashSetRequest { key, fields, options }) => {
            if fields.is_empty() {
                return Err(ApiRefusal::invalid("fields: at least one"));
            }
            let mut args = vec!["HSET".into(), key.clone()];
            args.extend(fields.into_iter().flat_map(|field| [field.name, field.value]));
            write(&key, &args, options, Meaning::HashSet)
        }
        Operation::HashDelete(v1::HashDeleteRequest { key, fields, options }) => {
            if fields.is_empty() {
                return Err(ApiRefusal::invalid("fields: at least one"));
            }
            write(&key, &[&["HDEL".into(), key.clone()], &*fields].concat(), options, Meaning::HashDelete)
        }
        Operation::Execute(request) => execute(&request, commands),
    }
}

fn get(v1::GetRequest { key, with_ttl, options }: v1::GetRequest) -> Result<Prepared, ApiRefusal> {
    let args: [Bytes; 2] = ["GET".into(), key.clone()];
    if !with_ttl {
        return read(&key, &args, options, Meaning::Get { with_ttl });
    }
    let mut prepared = read(&key, &args, options, Meaning::Get { with_ttl })?;
    prepared.steps.push(vec!["PTTL".into(), key]);
    Ok(prepared)
}

fn set(request: v1::SetRequest) -> Result<Prepared, ApiRefusal> {
    let v1::SetRequest { key, value, expiry, condition, return_previous, options } = request;
    let mut args: Vec<Bytes> = vec!["SET".into(), key.clone(), value];
    let condition = match condition {
        None => None,
        Some(set_request::Condition::IfAbsent(yes)) => {
            must_be_true("if_absent", yes)?;
            args.push("NX".into());
            Some(AppliedIf::Absent)
        }
        Some(set_request::Condition::IfPresent(yes)) => {
            must_be_true("if_present", yes)?;
            args.push("XX".into());
            Some(AppliedIf::Present)
        }
        Some(set_request::Condition::IfEqual(value)) => {
            args.extend(["IFEQ".into(), value.clone()]);
            Some(AppliedIf::Equal(value))
        }
    };
    if return_previous {
        args.push("GET".into());
    }
    match expiry {
        None => {}
        Some(set_request::Expiry::TtlMs(span)) => args.extend(["PX".into(), span.to_string().into()]),
        Some(set_request::Expiry::ExpireAtMs(at)) => args.extend(["PXAT".into(), at.to_string().into()]),
        Some(set_request::Expiry::KeepTtl(yes)) => {
            must_be_true("keep_ttl", yes)?;
            args.push("KEEPTTL".into());
        }
    }
    write(&key, &args, options, Meaning::Set { condition, returns: return_previous })
}

fn expire(v1::ExpireRequest { key, expiry, options }: v1::ExpireRequest) -> Result<Prepared, ApiRefusal> {
    let args: Vec<Bytes> = match expiry {
        None => vec!["PERSIST".into(), key.clone()],
        // The command would remove the key.
        Some(expire_request::Expiry::TtlMs(0)) => return Err(ApiRefusal::invalid("ttl_ms: at least 1")),
        Some(expire_request::Expiry::TtlMs(span)) => vec!["PEXPIRE".into(), key.clone(), span.to_string().into()],
        Some(expire_request::Expiry::ExpireAtMs(at)) => vec!["PEXPIREAT".into(), key.clone(), at.to_string().into()],
    };
    write(&key, &args, options, Meaning::Expire)
}

fn execute(request: &v1::ExecuteRequest, table: &CommandTable) -> Result<Prepared, ApiRefusal> {
    let slices: Vec<&[u8]> = request.args.iter().map(|arg| &arg[..]).collect();
    let args = Args::slices(&slices);
    if args.is_empty() {
        return Err(ApiRefusal::invalid("args: at least the command's name"));
    }
    let spec = table.look_up(args).map_err(|error| ApiRefusal::from_reply(error.as_ref()))?;
    if spec.needs_connection() {
        let instead = match spec.group {
            Group::Pubsub => {
                ": subscribe over RESP; PUBLISH works here, and WatchService.Watch follows changes of keys"
            }
            _ => "",
        };
        let text = format!("{} is for the state of a connection, which a call does not have{instead}", spec.name);
        return Err(ApiRefusal::new(Code::InvalidArgument, reason::NEEDS_CONNECTION, text));
    }
    let first = spec.route(args).or_else(|| spec.keys(args).next());
    let target = match (first, request.shard) {
        (Some(key), _) => Target::Slot(slot_of(key)),
        (None, 0) => Target::Replica(None),
        (None, shard) => Target::Replica(Some(ShardId(shard))),
    };
    let attributes = Attributes::of(request.options.clone())?;
    if spec.is_write() {
        attributes.refuse_replica()?;
    }
    Ok(Prepared {
        target,
        // Whatever is not known to only read: CONFIG SET and CLIENT KILL change something as well.
        writes: !spec.flags.has(Flags::READONLY),
        steps: vec![request.args.clone()],
        attributes,
        meaning: Meaning::Execute,
    })
}

fn must_be_true(field: &str, yes: bool) -> Result<(), ApiRefusal> {
    if yes { Ok(()) } else { Err(ApiRefusal::invalid(format!("{field}: true, or not given"))) }
}

fn read(key: &[u8], args: &[Bytes], options: Option<CallOptions>, meaning: Meaning) -> Result<Prepared, ApiRefusal> {
    let (target, attributes) = (Target::Slot(slot_of(key)), Attributes::of(options)?);
    Ok(Prepared { target, writes: false, steps: vec![args.to_vec()], attributes, meaning })
}

fn write(key: &[u8], args: &[Bytes], options: Option<CallOptions>, meaning: Meaning) -> Result<Prepared, ApiRefusal> {
    let prepared = read(key, args, options, meaning)?;
    prepared.attributes.refuse_replica()?;
    Ok(Prepared { writes: true, ..prepared })
}

/// The attribute, and the header of calls, with the client's span.
pub(super) const TRACE_PARENT: &str = "traceparent";

/// The attribute with the idempotency key.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What a call asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    /// As the attribute before a command has it: names and values.
    pairs: Vec<(&'static str, Vec<u8>)>,
    /// Whether any replica may answer.
    on_replica: bool,
}

impl Attributes {
    pub(super) fn of(options: Option<CallOptions>) -> Result<Attributes, ApiRefusal> {
        // Whether it is forwarded, the gateway looks up itself.
        let CallOptions { durability, consistency, idempotency_key, forward: _, max_staleness_ms } =
            options.unwrap_or_default();
        let (mut attributes, mut on_replica) = (Vec::new(), false);
        let unknown = |name: &str, number: i32| ApiRefusal::invalid(format!("options.{name}: {number} is unknown"));
        match v1::Durability::try_from(durability).map_err(|_| unknown("durability", durability))? {
            v1::Durability::Unspecified => {}
            v1::Durability::Sync => attributes.push(("durability", b"sync".to_vec())),
        }
        match v1::Consistency::try_from(consistency).map_err(|_| unknown("consistency", consistency))? {
            v1::Consistency::Unspecified => {}
            v1::Consistency::Quorum => attributes.push(("reads", b"quorum".to_vec())),
            v1::Consistency::Replica => on_replica = true,
        }
        match max_staleness_ms {
            0 => {}
            _ if !on_replica => {
                return Err(ApiRefusal::invalid("options.max_staleness_ms: only with CONSISTENCY_REPLICA"));
            }
            ms => attributes.push(("max-staleness", ms.to_string().into_bytes())),
        }
        if let Some(v1::IdempotencyKey { client, sequence }) = idempotency_key {
            if client.is_empty() || client.len() > limits::IDEMPOTENCY_CLIENT_BYTES_MAX {
                let text =
                    format!("options.idempotency_key.client: 1 to {} bytes", limits::IDEMPOTENCY_CLIENT_BYTES_MAX);
                return Err(ApiRefusal::invalid(text));
            }
            attributes.push((IDEMPOTENCY_KEY, [&client[..], b":", sequence.to_string().as_bytes()].concat()));
        }
        Ok(Attributes { pairs: attributes, on_replica })
    }

    /// For what only a primary can do.
    ///
    /// # Errors
    /// The call lets any replica answer.
    pub(super) fn refuse_replica(&self) -> Result<(), ApiRefusal> {
        let text = "options.consistency: CONSISTENCY_REPLICA is for reads of one operation";
        if self.on_replica { Err(ApiRefusal::invalid(text)) } else { Ok(()) }
    }

    /// The same for a command that is refused after the call's deadline, instead of run.
    pub(super) fn due_by(mut self, deadline: Option<BootNs>) -> Attributes {
        // Rounded up: the client's own clock ends the call first.
        let ms = deadline.map(|deadline| deadline.0.div_ceil(1_000_000));
        self.pairs.extend(ms.map(|ms| ("deadline", ms.to_string().into_bytes())));
        self
    }

    /// The same for a command that is a step of what the client traces.
    pub(super) fn within(mut self, parent: Option<TraceParent>) -> Attributes {
        self.pairs.extend(parent.map(|parent| (TRACE_PARENT, parent.to_string().into_bytes())));
        self
    }

    /// The same for a write that its idempotency key is bound to by this checksum; `None`: it has no key.
    pub(super) fn bound_to(&self, payload: u128) -> Option<Attributes> {
        self.pairs.iter().any(|(name, _)| *name == IDEMPOTENCY_KEY).then(|| {
            let mut attributes = self.clone();
            attributes.pairs.push(("idempotency-payload", format!("{payload:032x}").into_bytes()));
            attributes
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pairs.is_empty() && !self.on_replica
    }
}

/// Commands, encoded.
pub(super) struct Commands {
    out: ReplyBuf,
    /// How many there are: each gets one reply.
    pub(super) count: usize,
}

impl Default for Commands {
    fn default() -> Commands {
        Commands { out: ReplyBuf::new(Protocol::Resp3), count: 0 }
    }
}

impl Commands {
    pub(super) fn add(&mut self, args: &[Bytes], attributes: &Attributes) {
        if !attributes.pairs.is_empty() && self.out.attribute(attributes.pairs.len()) {
            for (name, value) in &attributes.pairs {
                self.out.bulk(name);
                self.out.bulk(value);
            }
        }
        self.out.array(args.len());
        args.iter().for_each(|arg| self.out.bulk(arg));
        self.count += 1;
    }

    /// These commands as one transaction.
    pub(super) fn add_transaction<'a>(
        &mut self,
        steps: impl IntoIterator<Item = &'a Vec<Bytes>>,
        attributes: &Attributes,
    ) {
        self.add(&["MULTI".into()], &Attributes::default());
        steps.into_iter().for_each(|step| self.add(step, &Attributes::default()));
        self.add(&["EXEC".into()], attributes);
    }

    pub(super) fn encoded(&self) -> Vec<u8> {
        self.out.to_vec()
    }
}

impl Prepared {
    /// Whether any replica may answer.
    pub(super) fn on_replica(&self) -> bool {
        self.attributes.on_replica
    }

    /// The same, refused instead of run after the deadline of the call.
    pub(super) fn due_by(self, deadline: Option<BootNs>) -> Prepared {
        Prepared { attributes: self.attributes.due_by(deadline), ..self }
    }

    /// The same, as a step of what the client traces.
    pub(super) fn within(self, parent: Option<TraceParent>) -> Prepared {
        Prepared { attributes: self.attributes.within(parent), ..self }
    }

    /// Its commands; several are one transaction.
    pub(super) fn commands(&self) -> Commands {
        let mut commands = Commands::default();
        match self.steps.as_slice() {
            [step] => commands.add(step, &self.attributes),
            steps => commands.add_transaction(steps, &self.attributes),
        }
        commands
    }

    /// The commands without what makes them one moment, for a transaction that has others as well.
    ///
    /// # Errors
    /// The operation has options: in a transaction they belong to the whole.
    pub(super) fn steps(&self) -> Result<&[Vec<Bytes>], ApiRefusal> {
        let misplaced = "options: those of an operation in a transaction are the transaction's";
        if self.attributes.is_empty() { Ok(&self.steps) } else { Err(ApiRefusal::invalid(misplaced)) }
    }

    /// The response that the replies to [`Prepared::commands`] are.
    ///
    /// # Errors
    /// One of them is an error.
    pub(super) fn outcome(self, replies: Vec<Value>) -> Result<Outcome, ApiRefusal> {
        let last = last_reply(replies)?;
        match (self.steps.len(), last) {
            (1, reply) => self.meaning.outcome(vec![reply]),
            (_, Value::Array(replies)) => self.meaning.outcome(replies),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// The response that the replies to [`Prepared::steps`] are.
    ///
    /// # Errors
    /// One of them is an error.
    pub(super) fn outcome_of_steps(self, replies: Vec<Value>) -> Result<Outcome, ApiRefusal> {
        self.meaning.outcome(replies)
    }
}

/// The last of the replies.
///
/// # Errors
/// One of them is an error.
pub(super) fn last_reply(replies: Vec<Value>) -> Result<Value, ApiRefusal> {
    let mut last = Value::Null;
    for reply in replies {
        match reply {
            Value::Error(text) => return Err(ApiRefusal::from_reply(&text)),
            reply => last = reply,
        }
    }
    Ok(last)
}

impl Meaning {
    /// The response that the replies are: one for each step.
    fn outcome(self, replies: Vec<Value>) -> Result<Outcome, ApiRefusal> {
        let mut replies = replies.into_iter();
        let reply = replies.next().unwrap_or(Value::Null);
        if let Value::Error(text) = reply {
            return Err(ApiRefusal::from_reply(&text));
        }
        Ok(match self {
            Meaning::Get { with_ttl } => {
                let ttl = if with_ttl { replies.next().map(integer).transpose()? } else { None };
                // -1: it does not expire; -2: there is none.
                let ttl_ms = ttl.and_then(|ttl| u64::try_from(ttl).ok());
                Outcome::Get(v1::GetResponse { value: bytes(reply)?, ttl_ms })
            }
            Meaning::Set { condition, returns } => Outcome::Set(set_response(condition.as_ref(), returns, reply)?),
            Meaning::Delete => Outcome::Delete(v1::DeleteResponse { deleted: count(reply)? }),
            Meaning::Increment => Outcome::Increment(v1::IncrementResponse { value: integer(reply)? }),
            Meaning::Expire => Outcome::Expire(v1::ExpireResponse { applied: integer(reply)? == 1 }),
            Meaning::HashGet { fields } => Outcome::HashGet(v1::HashGetResponse { fields: found(fields, reply)? }),
            Meaning::HashSet => Outcome::HashSet(v1::HashSetResponse { added: count(reply)? }),
            Meaning::HashDelete => Outcome::HashDelete(v1::HashDeleteResponse { deleted: count(reply)? }),
            Meaning::Execute => Outcome::Execute(v1::ExecuteResponse { reply: Some(values::value(reply)) }),
        })
    }
}

fn set_response(condition: Option<&AppliedIf>, returns: bool, reply: Value) -> Result<v1::SetResponse, ApiRefusal> {
    if !returns {
        // No value: the condition did not hold.
        return Ok(v1::SetResponse { applied: matches!(reply, Value::Simple(_)), previous: None });
    }
    let previous = bytes(reply)?;
    let applied = match condition {
        None => true,
        Some(AppliedIf::Absent) => previous.is_none(),
        Some(AppliedIf::Present) => previous.is_some(),
        Some(AppliedIf::Equal(value)) => previous.as_ref() == Some(value),
    };
    Ok(v1::SetResponse { applied, previous })
}

/// The fields that exist.
fn found(fields: Vec<Bytes>, reply: Value) -> Result<Vec<v1::HashField>, ApiRefusal> {
    let mut found = Vec::new();
    let mut add = |name: Option<Bytes>, value: Value| -> Result<(), ApiRefusal> {
        if let (Some(name), Some(value)) = (name, bytes(value)?) {
            found.push(v1::HashField { name, value });
        }
        Ok(())
    };
    match reply {
        Value::Array(values) => fields.into_iter().zip(values).try_for_each(|(name, value)| add(Some(name), value))?,
        Value::Map(pairs) => pairs.into_iter().try_for_each(|(name, value)| add(bytes(name)?, value))?,
        other => return Err(unexpected(&other)),
    }
    Ok(found)
}

fn bytes(reply: Value) -> Result<Option<Bytes>, ApiRefusal> {
    match reply {
        Value::Bulk(bytes) => Ok(Some(bytes.into())),
        Value::Null => Ok(None),
        Value::Error(text) => Err(ApiRefusal::from_reply(&text)),
        other => Err(unexpected(&other)),
    }
}

fn integer(reply: Value) -> Result<i64, ApiRefusal> {
    match reply {
        Value::Integer(number) => Ok(number),
        Value::Error(text) => Err(ApiRefusal::from_reply(&text)),
        other => Err(unexpected(&other)),
    }
}

fn count(reply: Value) -> Result<u64, ApiRefusal> {
    Ok(integer(reply)?.unsigned_abs())
}

/// A reply that the command never gives: a defect of this program.
fn unexpected(reply: &Value) -> ApiRefusal {
    let kind = match reply {
        Value::Simple(_) => "a status",
        Value::Integer(_) => "an integer",
        Value::Bulk(_) => "a string",
        Value::Null | Value::NullArray => "no value",
        _ => "an aggregate",
    };
    ApiRefusal::new(Code::Internal, reason::INVALID, format!("the command has replied with {kind}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_deadline_of_a_call_stands_before_its_command_or_its_exec() {
        let encoded = |with_ttl, deadline| {
            let operation = Operation::Get(v1::GetRequest { key: "k".into(), with_ttl, options: None });
            let prepared = prepare(operation, crate::resp_server::command::table()).unwrap();
            String::from_utf8(prepared.due_by(deadline).commands().encoded()).unwrap()
        };
        let get = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
        let attribute = "|1\r\n$8\r\ndeadline\r\n$4\r\n1501\r\n";
        assert_eq!(encoded(false, None), get);
        assert_eq!(encoded(false, Some(BootNs(1_500_000_001))), format!("{attribute}{get}"));
        let transaction = encoded(true, Some(BootNs(1_500_000_001)));
        assert!(transaction.starts_with("*1\r\n$5\r\nMULTI\r\n"), "{transaction}");
        assert!(transaction.ends_with(&format!("{attribute}*1\r\n$4\r\nEXEC\r\n")), "{transaction}");
        assert_eq!(transaction.matches("deadline").count(), 1, "{transaction}");
    }
}
