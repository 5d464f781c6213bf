//! Adders that speak RESP.

use async_trait::async_trait;
use fastness_load::outcome::classify;
use fastness_load::{Access, Client, Connection, Endpoint, Outcome, SharedTopology};
use fastness_resp::{Value, request};

use super::adder::{Adder, Adding, Attempted, ReadyAdder, Repeating, Sequence, client_name};
use super::options::CountingOptions;
use crate::clients::ClientKind;

/// Those whose writes have idempotency keys.
pub(super) fn keyed(options: &CountingOptions) -> Vec<ReadyAdder> {
    let topology = SharedTopology::default();
    let (attribute, counted) = (ByAttribute::new(&options.access, &topology), ByConnection::new(options, &topology));
    vec![
        ReadyAdder::new("attribute", ClientKind::Resp, attribute),
        ReadyAdder::new("CLIENT IDEMPOTENCY", ClientKind::Resp, counted),
    ]
}

/// Those that make one attempt.
pub(super) fn single(options: &CountingOptions) -> Vec<ReadyAdder> {
    let client = Client::new(options.access.clone(), SharedTopology::default());
    vec![ReadyAdder::new("INCR", ClientKind::Resp, Once(client))]
}

/// A connection to the primary of a key, wherever it is.
struct Primary {
    access: Access,
    finder: Client,
    open: Option<(Endpoint, Connection)>,
}

impl Primary {
    fn new(access: &Access, topology: &SharedTopology) -> Primary {
        Primary { access: access.clone(), finder: Client::new(access.clone(), topology.clone()), open: None }
    }

    /// The connection, and whether it is a new one.
    async fn connection(&mut self, key: &str) -> Option<(&mut Connection, bool)> {
        let endpoint = self.finder.primary(key.as_bytes()).await?;
        let is_new = self.open.as_ref().is_none_or(|(open, _)| *open != endpoint);
        if is_new {
            self.open = None;
            match Connection::open(&endpoint, self.access.tls.as_ref(), self.access.timeout).await {
                Ok(connection) => self.open = Some((endpoint, connection)),
                Err(_) => self.finder.disconnect(&endpoint),
            }
        }
        self.open.as_mut().map(|(_, connection)| (connection, is_new))
    }

    /// The primary is to be found again.
    fn forget(&mut self) {
        if let Some((endpoint, _)) = self.open.take() {
            self.finder.disconnect(&endpoint);
        }
    }

    /// What the reply to a write with a key has shown; `None`: there is no reply.
    fn attempted(&mut self, reply: Option<Value>) -> Attempted {
        let attempted = match &reply {
            Some(Value::Integer(_)) => return Attempted::Done,
            Some(reply) => of_error(reply),
            None => Attempted::Perhaps,
        };
        self.forget();
        attempted
    }
}

fn of_error(reply: &Value) -> Attempted {
    let text = reply.as_error().unwrap_or_default();
    match classify(reply) {
        _ if text.starts_with(b"IDEMPOTENCYPAST") => Attempted::Forgotten,
        _ if text.starts_with(b"IDEMPOTENCYREUSED") => Attempted::Reused,
        Outcome::Refused => Attempted::Not,
        // A success of another shape is none of an INCR.
        Outcome::Unknown | Outcome::Acknowledged => Attempted::Perhaps,
    }
}

/// Sends each command with an attribute.
struct ByAttribute {
    primary: Primary,
    client: String,
    sequence: Sequence,
}

impl ByAttribute {
    fn new(access: &Access, topology: &SharedTopology) -> ByAttribute {
        let primary = Primary::new(access, topology);
        ByAttribute { primary, client: client_name("attribute"), sequence: Sequence::default() }
    }
}

#[async_trait]
impl Repeating for ByAttribute {
    fn next_write(&mut self) {
        self.sequence.next();
    }

    async fn attempt(&mut self, key: &str) -> Attempted {
        let mut bytes = Vec::new();
        let name = format!("{}:{}", self.client, self.sequence.last());
        request::encode_attribute(&[("idempotency-key", name.as_str())], &mut bytes);
        request::encode(&["INCR", key], &mut bytes);
        let Some((connection, _)) = self.primary.connection(key).await else { return Attempted::Not };
        let reply = async {
            connection.send_raw(&bytes).await?;
            connection.receive().await
        };
        let reply = reply.await.ok();
        self.primary.attempted(reply)
    }
}

/// Cannot send attributes: says at which number its connection begins.
struct ByConnection {
    primary: Primary,
    client: String,
    sequence: Sequence,
}

impl ByConnection {
    fn new(options: &CountingOptions, topology: &SharedTopology) -> ByConnection {
        let primary = Primary::new(&options.access, topology);
        ByConnection { primary, client: client_name("connection"), sequence: Sequence::default() }
    }
}

#[async_trait]
impl Repeating for ByConnection {
    fn next_write(&mut self) {
        // An open connection counts on by itself; a new one can begin anywhere.
        if self.primary.open.is_some() {
            self.sequence.following()
        } else {
            self.sequence.next()
        };
    }

    async fn attempt(&mut self, key: &str) -> Attempted {
        let next = self.sequence.last().to_string();
        let Some((connection, is_new)) = self.primary.connection(key).await else { return Attempted::Not };
        if is_new {
            let begins = [b"CLIENT", &b"IDEMPOTENCY"[..], self.client.as_bytes(), next.as_bytes()];
            let begun = connection.call(&begins).await;
            if begun.ok().is_none_or(|reply| reply.as_error().is_some()) {
                self.primary.forget();
                return Attempted::Not;
            }
        }
        let reply = connection.call(&[b"INCR", key.as_bytes()]).await.ok();
        self.primary.attempted(reply)
    }
}

/// Makes one attempt.
struct Once(Client);

#[async_trait]
impl Adder for Once {
    async fn add(&mut self, key: &str, _: &Adding) -> Outcome {
        match self.0.call(&[b"INCR", key.as_bytes()]).await {
            Ok(Value::Integer(_)) => Outcome::Acknowledged,
            Ok(reply) if reply.as_error().is_some() => classify(&reply),
            Ok(_) => Outcome::Unknown,
            Err(outcome) => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_an_attempt_has_done() {
        for (text, attempted) in [
            ("MOVED 1 a:2", Attempted::Not),
            ("ERR the idempotency key's sequence number is a time more than 60 s in the future", Attempted::Not),
            ("UNKNOWN outcome", Attempted::Perhaps),
            ("IDEMPOTENCYPAST the idempotency key", Attempted::Forgotten),
            ("IDEMPOTENCYREUSED the idempotency key", Attempted::Reused),
        ] {
            assert_eq!(of_error(&Value::Error(text.as_bytes().to_vec())), attempted, "{text}");
        }
        assert_eq!(of_error(&Value::Null), Attempted::Perhaps);
    }
}
