//! What an actor needs of its client, whatever that client speaks.
//!
//! WATCH and EXEC are for connections of RESP. Over gRPC and in the SDK a transaction compares the values that were
//! read; every written value is unique, so a key with the same value has not been written in between.

use std::collections::HashMap;

use bytes::Bytes;
use fastness_load::outcome::{classify, classify_exec};
use fastness_load::{Client, Endpoint, Outcome};
use fastness_resp::Value;
use fastness_wire::v1::{self, compare};

use crate::clients::{AnyClient, outcome_of_sdk};

/// An answer with the outcome that it means, or only the outcome.
pub(super) type VoiceAnswer = Result<(Outcome, Value), Outcome>;

/// Where a copy of a key is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CopyPlace {
    /// After READONLY.
    Resp(Endpoint),
    /// At a node's gRPC listener.
    Grpc(String),
    /// At a replica that the SDK chooses.
    Sdk,
}

impl std::fmt::Display for CopyPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CopyPlace::Resp(endpoint) => endpoint.fmt(f),
            CopyPlace::Grpc(address) => write!(f, "{address} (gRPC)"),
            CopyPlace::Sdk => f.write_str("a replica that the SDK has chosen"),
        }
    }
}

/// What a transaction depends on.
#[derive(Debug)]
pub(crate) enum Watching {
    /// Keys that this connection watches.
    Connection(Endpoint),
    /// Keys with the values that they must have.
    Values(Vec<(Bytes, Option<Bytes>)>),
}

/// The client of an actor.
pub(super) struct Voice {
    client: AnyClient,
    /// Number of connections to copies opened so far, and the numbers of the open ones.
    opened: u64,
    connections: HashMap<Endpoint, u64>,
}

impl Voice {
    pub(super) fn new(client: AnyClient) -> Voice {
        Voice { client, opened: 0, connections: HashMap::new() }
    }

    /// Runs one command.
    pub(super) async fn call(&mut self, command: &[&[u8]]) -> VoiceAnswer {
        let reply = match &mut self.client {
            AnyClient::Resp(client) => client.call(command).await?,
            AnyClient::Grpc(client) => client.run(command, None).await.map_err(|failure| failure.outcome)?,
            AnyClient::Sdk(client) => client.run(command).await.map_err(|error| outcome_of_sdk(&error))?,
        };
        Ok((classify(&reply), reply))
    }

    /// Runs commands as one transaction; `key` is one of its keys. The answer is that of EXEC.
    pub(super) async fn transact(&mut self, key: &[u8], commands: &[&[&[u8]]]) -> VoiceAnswer {
        match &mut self.client {
            AnyClient::Resp(client) => {
                let primary = client.primary(key).await.ok_or(Outcome::Refused)?;
                let reply = client.transaction(&primary, commands).await?;
                Ok((classify_exec(&reply), reply))
            }
            AnyClient::Grpc(_) | AnyClient::Sdk(_) => self.compare_and_run(&[], commands).await,
        }
    }

    /// Watches the keys in `watch` (a WATCH command), and reads them.
    pub(super) async fn watch(&mut self, watch: &[&[u8]], read: &[&[u8]]) -> Option<(Watching, VoiceAnswer)> {
        let AnyClient::Resp(client) = &mut self.client else {
            let answer = self.call(read).await;
            let values = match &answer {
                Ok((Outcome::Acknowledged, reply)) => values(&watch[1..], reply)?,
                _ => Vec::new(),
            };
            return Some((Watching::Values(values), answer));
        };
        let primary = client.primary(watch[1]).await?;
        let replies = client.pipeline(&primary, &[watch, read]).await;
        let answer = replies.map(|mut replies| {
            let read = replies.pop().unwrap_or(Value::Null);
            let watched = replies.pop().unwrap_or(Value::Null);
            let outcome = if classify(&watched) == Outcome::Acknowledged { classify(&read) } else { Outcome::Refused };
            (outcome, read)
        });
        Some((Watching::Connection(primary), answer))
    }

    /// Gives up a watch without a transaction.
    pub(super) fn unwatch(&mut self, watching: &Watching) {
        if let (AnyClient::Resp(client), Watching::Connection(endpoint)) = (&mut self.client, watching) {
            client.disconnect(endpoint);
        }
    }

    /// Runs commands if nothing that is watched has changed. The answer is that of EXEC.
    pub(super) async fn exec(&mut self, watching: &Watching, commands: &[&[&[u8]]]) -> VoiceAnswer {
        match (&mut self.client, watching) {
            (AnyClient::Resp(client), Watching::Connection(endpoint)) => {
                if !client.is_connected(endpoint) {
                    return Err(Outcome::Refused);
                }
                let reply = client.transaction(endpoint, commands).await?;
                Ok((classify_exec(&reply), reply))
            }
            (_, Watching::Values(values)) => self.compare_and_run(values, commands).await,
            (_, Watching::Connection(_)) => Err(Outcome::Refused),
        }
    }

    async fn compare_and_run(&mut self, values: &[(Bytes, Option<Bytes>)], commands: &[&[&[u8]]]) -> VoiceAnswer {
        let replies = match &mut self.client {
            AnyClient::Resp(_) => Err(Outcome::Refused),
            AnyClient::Grpc(client) => {
                let compares = values.iter().map(|(key, value)| compare(key, value.as_ref())).collect();
                client.transact(compares, commands, None).await.map_err(|failure| failure.outcome)
            }
            AnyClient::Sdk(client) => client.transact(values, commands).await.map_err(|error| outcome_of_sdk(&error)),
        };
        // As EXEC: no value if a watched key has changed.
        let reply = replies?.map_or(Value::Null, Value::Array);
        Ok((classify_exec(&reply), reply))
    }

    /// All places with a copy of a key.
    pub(super) async fn copies(&mut self, key: &[u8]) -> Vec<CopyPlace> {
        match &mut self.client {
            AnyClient::Resp(client) => client.copies(key).await.into_iter().map(CopyPlace::Resp).collect(),
            AnyClient::Grpc(client) => client.copies().iter().cloned().map(CopyPlace::Grpc).collect(),
            AnyClient::Sdk(_) => vec![CopyPlace::Sdk],
        }
    }

    /// Reads a string at one copy. Returns the number of the connection, which is unique for this client. The SDK
    /// promises no order, so each of its reads has a number of its own.
    pub(super) async fn read_at(&mut self, copy: &CopyPlace, key: &[u8]) -> (u64, VoiceAnswer) {
        let (number, reply) = match (&mut self.client, copy) {
            (AnyClient::Resp(client), CopyPlace::Resp(endpoint)) => {
                let (opened, connections) = (&mut self.opened, &mut self.connections);
                read_at_connection(client, (opened, connections), endpoint, key).await
            }
            (AnyClient::Grpc(client), CopyPlace::Grpc(address)) => client.read_at(address, key).await,
            (AnyClient::Sdk(client), CopyPlace::Sdk) => {
                self.opened += 1;
                (self.opened, client.read_at_replica(key).await)
            }
            _ => (0, Err(Outcome::Refused)),
        };
        (number, reply.map(|reply| (classify(&reply), reply)))
    }
}

/// Reads after READONLY, which is sent with the first read of a connection.
async fn read_at_connection(
    client: &mut Client,
    (opened, connections): (&mut u64, &mut HashMap<Endpoint, u64>),
    endpoint: &Endpoint,
    key: &[u8],
) -> (u64, Result<Value, Outcome>) {
    let get: &[&[u8]] = &[b"GET", key];
    let replies = if client.is_connected(endpoint) {
        client.pipeline(endpoint, &[get]).await
    } else {
        *opened += 1;
        connections.insert(endpoint.clone(), *opened);
        client.pipeline(endpoint, &[&[b"READONLY"], get]).await
    };
    let number = connections.get(endpoint).copied().unwrap_or(0);
    (number, replies.map(|mut replies| replies.pop().unwrap_or(Value::Null)))
}

/// The keys with the values that were read: one, or those of an array.
fn values(keys: &[&[u8]], reply: &Value) -> Option<Vec<(Bytes, Option<Bytes>)>> {
    let of = |reply: &Value| match reply {
        Value::Null => Some(None),
        Value::Bulk(value) => Some(Some(Bytes::copy_from_slice(value))),
        _ => None,
    };
    let values: Vec<Option<Bytes>> = match reply {
        Value::Array(replies) => replies.iter().map(of).collect::<Option<_>>()?,
        reply => vec![of(reply)?],
    };
    let keys = keys.iter().map(|key| Bytes::copy_from_slice(key));
    (keys.len() == values.len()).then(|| keys.zip(values).collect())
}

fn compare(key: &Bytes, value: Option<&Bytes>) -> v1::Compare {
    let condition = match value {
        Some(value) => compare::Condition::Equals(value.clone()),
        None => compare::Condition::Exists(false),
    };
    v1::Compare { key: key.clone(), field: None, condition: Some(condition) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_compares_with_what_was_read() {
        let read = Value::Array(vec![Value::Null, Value::Bulk(b"7".to_vec())]);
        let expected = vec![("a".into(), None), ("b".into(), Some("7".into()))];
        assert_eq!(values(&[b"a", b"b"], &read), Some(expected));
        assert_eq!(values(&[b"a"], &Value::Bulk(b"1".to_vec())), Some(vec![("a".into(), Some("1".into()))]));
        assert_eq!(values(&[b"a", b"b"], &Value::Null), None, "one value for two keys");
        assert_eq!(values(&[b"a"], &Value::Integer(1)), None);
        assert_eq!(compare(&"a".into(), None).condition, Some(compare::Condition::Exists(false)));
    }
}
