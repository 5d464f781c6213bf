//! Private decoders of the data API, for fuzz targets. Each function decodes arbitrary bytes, panics if something does
//! not hold that always must, and returns whether the bytes were decoded.

use fastness_engine::command::{self, CommandTable};
use fastness_resp::ArgSpans;
use fastness_resp::request::{self, Limits, Parsed};
use fastness_wire::v1;
use fastness_wire::v1::pipeline_request::Operation;
use prost::Message;

use super::operation::{self, Commands, Prepared};
use super::transaction::reading;
use super::values;

/// Decodes a request of a pipeline or a transaction; the first byte says which. True if all of its operations can be
/// sent: what is sent is parsed again, and is the same commands.
#[must_use]
pub fn request(input: &[u8]) -> bool {
    let Some((kind, bytes)) = input.split_first() else { return false };
    let table = command::table();
    if kind & 1 == 0 {
        let Some(request) = decoded::<v1::PipelineRequest>(bytes) else { return false };
        return request.operation.is_some_and(|operation| is_sent(operation, table));
    }
    let Some(request) = decoded::<v1::TxnRequest>(bytes) else { return false };
    let compares = request.compares.into_iter().map(reading).filter_map(Result::ok);
    for (command, _) in compares {
        let mut commands = Commands::default();
        commands.add(&command, &operation::Attributes::default());
        assert_eq!(commands_of(&commands.encoded()), [command]);
    }
    let operations = request.operations.into_iter().chain(request.otherwise).filter_map(|request| request.operation);
    // All of them, whatever the first ones are.
    operations.filter(|operation| !is_sent(operation.clone(), table)).count() == 0
}

fn decoded<M: Message + Default + PartialEq>(bytes: &[u8]) -> Option<M> {
    let message = M::decode(bytes).ok()?;
    let again = M::decode(&message.encode_to_vec()[..]).expect("what was written can be read");
    // NaN differs from itself, so the bytes are compared.
    assert_eq!(again.encode_to_vec(), message.encode_to_vec(), "what was written is read as something else");
    Some(message)
}

fn is_sent(operation: Operation, table: &CommandTable) -> bool {
    let Ok(prepared) = operation::prepare(operation, table) else { return false };
    let commands = prepared.commands();
    let sent = commands_of(&commands.encoded());
    assert_eq!(sent.len(), commands.count, "as many commands are sent as replies are awaited");
    if let Ok(steps) = prepared.steps()
        && steps.len() == 1
    {
        assert_eq!(sent, steps, "one command is sent as it is");
    }
    true
}

/// The commands in these bytes, as a replica parses them.
fn commands_of(mut bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let (mut commands, mut spans) = (Vec::new(), ArgSpans::new());
    while !bytes.is_empty() {
        match request::parse(bytes, &mut spans, &Limits::DEFAULT) {
            Ok(Parsed::Complete { consumed }) => {
                commands.push(spans.args(bytes).to_owned_args());
                bytes = &bytes[consumed..];
            }
            other => panic!("what is sent to a replica is {other:?}"),
        }
    }
    commands
}

/// Takes the bytes as replies of a replica. True if they are replies: each can be sent to a client, which can read it.
#[must_use]
pub fn replies(input: &[u8]) -> bool {
    let Some((kind, mut bytes)) = input.split_first() else { return false };
    let mut replies = Vec::new();
    while let Ok(Some((reply, length))) = fastness_resp::value::parse(bytes) {
        replies.push(reply);
        bytes = &bytes[length..];
    }
    let is_whole = bytes.is_empty() && !replies.is_empty();
    for reply in &replies {
        let value = values::value(reply.clone());
        decoded::<v1::Value>(&value.encode_to_vec()).expect("a client can read every reply");
    }
    if let Ok(outcome) = prepared(*kind).outcome(replies) {
        let response = v1::PipelineResponse { outcome: Some(outcome) };
        decoded::<v1::PipelineResponse>(&response.encode_to_vec()).expect("a client can read every response");
    }
    is_whole
}

/// An operation of each kind, whose replies may be anything.
fn prepared(kind: u8) -> Prepared {
    let (key, options) = (bytes::Bytes::from_static(b"key"), None);
    let fields = vec![key.clone()];
    let field = v1::HashField { name: key.clone(), value: key.clone() };
    let operation = match kind % 10 {
        0 => Operation::Get(v1::GetRequest { key, with_ttl: false, options }),
        1 => Operation::Get(v1::GetRequest { key, with_ttl: true, options }),
        2 => Operation::Set(v1::SetRequest { key, return_previous: true, ..v1::SetRequest::default() }),
        3 => Operation::Delete(v1::DeleteRequest { keys: fields, options }),
        4 => Operation::Increment(v1::IncrementRequest { key, by: 1, options }),
        5 => Operation::Expire(v1::ExpireRequest { key, expiry: None, options }),
        6 => Operation::HashGet(v1::HashGetRequest { key, fields, options }),
        7 => Operation::HashGet(v1::HashGetRequest { key, fields: Vec::new(), options }),
        8 => Operation::HashSet(v1::HashSetRequest { key, fields: vec![field], options }),
        _ => Operation::HashDelete(v1::HashDeleteRequest { key, fields, options }),
    };
    operation::prepare(operation, command::table()).unwrap_or_else(|refusal| panic!("{refusal:?}"))
}
