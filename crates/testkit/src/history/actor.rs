//! One client of a run: it sends requests, measures times, and classifies outcomes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastness_load::outcome::{classify, classify_exec};
use fastness_load::{Access, Client, Endpoint, Outcome};
use fastness_resp::{Protocol, Value};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::record::{Op, Span};
use super::run::{Counts, Run};

/// Operations of one group of clients, by outcome.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    acknowledged: AtomicU64,
    refused: AtomicU64,
    unknown: AtomicU64,
    reads: AtomicU64,
}

impl Tally {
    pub(crate) fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            acknowledged: of(&self.acknowledged),
            refused: of(&self.refused),
            unknown: of(&self.unknown),
            reads: of(&self.reads),
        }
    }

    fn wrote(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Acknowledged => &self.acknowledged,
            Outcome::Refused => &self.refused,
            Outcome::Unknown => &self.unknown,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The outcome of a request.
#[derive(Debug, Clone)]
pub(crate) struct Attempt<R> {
    pub(crate) span: Span,
    pub(crate) outcome: Outcome,
    /// The decoded answer, if the request was acknowledged.
    pub(crate) result: Option<R>,
}

impl<R> Attempt<R> {
    pub(crate) fn is_done(&self) -> bool {
        self.outcome == Outcome::Acknowledged
    }
}

/// Pause between two attempts to read a key back.
const AGAIN: Duration = Duration::from_millis(50);

/// See the module.
pub(crate) struct Actor {
    pub(crate) id: u32,
    pub(crate) run: Arc<Run>,
    pub(crate) rng: SmallRng,
    client: Client,
    tally: Arc<Tally>,
    written: u64,
    /// Number of connections to copies opened so far, and the numbers of the open ones.
    opened: u64,
    connections: HashMap<Endpoint, u64>,
    insists_until: Option<Instant>,
}

impl Actor {
    pub(crate) fn new(id: u32, run: Arc<Run>, tally: Arc<Tally>) -> Actor {
        let options = &run.options;
        let protocol = if id.is_multiple_of(2) { Protocol::Resp2 } else { Protocol::Resp3 };
        let access =
            Access { seeds: options.seeds.clone(), tls: options.tls.clone(), protocol, timeout: options.timeout };
        let rng = SmallRng::seed_from_u64(options.seed.wrapping_add(u64::from(id)));
        let client = Client::new(access, run.topology.clone());
        Actor { id, run, rng, client, tally, written: 0, opened: 0, connections: HashMap::new(), insists_until: None }
    }

    /// Repeats reads from now on until they are answered, or until this moment.
    pub(crate) fn insist_until(&mut self, moment: Instant) {
        self.insists_until = Some(moment);
    }

    /// A value that is unique in the run.
    pub(crate) fn new_value(&mut self) -> u64 {
        self.written += 1;
        u64::from(self.id) << 32 | self.written
    }

    /// The operation as recorded in a history.
    pub(crate) fn op<T, R>(&self, attempt: &Attempt<R>, what: T) -> Op<T> {
        Op { client: self.id, span: attempt.span, what }
    }

    /// Sends a write. `shape` decodes its answer; an answer that it does not know makes the run invalid.
    pub(crate) async fn write<R>(&mut self, command: &[&[u8]], shape: impl Fn(&Value) -> Option<R>) -> Attempt<R> {
        let call = self.run.clock.now_ns();
        let answer = self.client.call(command).await.map(|reply| (classify(&reply), reply));
        let attempt = self.sort(call, answer, shape);
        self.tally.wrote(attempt.outcome);
        attempt
    }

    /// Sends writes between MULTI and EXEC to the primary of `key`.
    pub(crate) async fn transact<R>(
        &mut self,
        key: &str,
        commands: &[&[&[u8]]],
        shape: impl Fn(&[Value]) -> Option<R>,
    ) -> Attempt<R> {
        let call = self.run.clock.now_ns();
        let answer = match self.client.primary(key.as_bytes()).await {
            Some(primary) => self.client.transaction(&primary, commands).await,
            None => Err(Outcome::Refused),
        };
        let attempt = self.sort(call, answer.map(|reply| (classify_exec(&reply), reply)), elements(shape));
        self.tally.wrote(attempt.outcome);
        attempt
    }

    /// Sends a read.
    ///
    /// # Errors
    /// If it is repeated without success.
    pub(crate) async fn read<R>(
        &mut self,
        command: &[&[u8]],
        shape: impl Fn(&Value) -> Option<R>,
    ) -> Result<Attempt<R>, String> {
        loop {
            let call = self.run.clock.now_ns();
            let answer = self.client.call(command).await.map(|reply| (classify(&reply), reply));
            let attempt = self.sort(call, answer, &shape);
            if let Some(attempt) = self.settle_read(attempt, command).await? {
                return Ok(attempt);
            }
        }
    }

    /// Sends reads between MULTI and EXEC to the primary of `key`.
    ///
    /// # Errors
    /// As [`Actor::read`].
    pub(crate) async fn read_together<R>(
        &mut self,
        key: &str,
        commands: &[&[&[u8]]],
        shape: impl Fn(&[Value]) -> Option<R>,
    ) -> Result<Attempt<R>, String> {
        loop {
            let call = self.run.clock.now_ns();
            let answer = match self.client.primary(key.as_bytes()).await {
                Some(primary) => self.client.transaction(&primary, commands).await,
                None => Err(Outcome::Refused),
            };
            let attempt = self.sort(call, answer.map(|reply| (classify_exec(&reply), reply)), elements(&shape));
            if let Some(attempt) = self.settle_read(attempt, commands[0]).await? {
                return Ok(attempt);
            }
        }
    }

    /// Watches the keys in `watch` and reads them on one connection, which [`Actor::exec`] uses afterwards.
    pub(crate) async fn watch<R>(
        &mut self,
        watch: &[&[u8]],
        read: &[&[u8]],
        shape: impl Fn(&Value) -> Option<R>,
    ) -> Option<(Endpoint, Attempt<R>)> {
        let primary = self.client.primary(watch[1]).await?;
        let call = self.run.clock.now_ns();
        let replies = self.client.pipeline(&primary, &[watch, read]).await;
        let answer = replies.map(|mut replies| {
            let read = replies.pop().unwrap_or(Value::Null);
            let watched = replies.pop().unwrap_or(Value::Null);
            let outcome = if classify(&watched) == Outcome::Acknowledged { classify(&read) } else { Outcome::Refused };
            (outcome, read)
        });
        let attempt = self.sort(call, answer, shape);
        if attempt.is_done() {
            self.tally.reads.fetch_add(1, Ordering::Relaxed);
            return Some((primary, attempt));
        }
        // The connection may watch keys without a transaction that ends this.
        self.client.disconnect(&primary);
        None
    }

    /// Sends a transaction on the connection that watches.
    pub(crate) async fn exec<R>(
        &mut self,
        watching: &Endpoint,
        commands: &[&[&[u8]]],
        shape: impl Fn(&[Value]) -> Option<R>,
    ) -> Attempt<R> {
        let call = self.run.clock.now_ns();
        let answer = if self.client.is_connected(watching) {
            self.client.transaction(watching, commands).await
        } else {
            Err(Outcome::Refused)
        };
        let attempt = self.sort(call, answer.map(|reply| (classify_exec(&reply), reply)), elements(shape));
        self.tally.wrote(attempt.outcome);
        attempt
    }

    /// All replicas with a copy of a key, the primary first.
    pub(crate) async fn copies(&mut self, key: &str) -> Vec<Endpoint> {
        self.client.copies(key.as_bytes()).await
    }

    /// Sends a read to one copy, after READONLY on a new connection. Returns the number of the connection, which is
    /// unique in the run.
    pub(crate) async fn read_at<R>(
        &mut self,
        copy: &Endpoint,
        command: &[&[u8]],
        shape: impl Fn(&Value) -> Option<R>,
    ) -> (u64, Attempt<R>) {
        let call = self.run.clock.now_ns();
        let replies = if self.client.is_connected(copy) {
            self.client.pipeline(copy, &[command]).await
        } else {
            self.opened += 1;
            self.connections.insert(copy.clone(), u64::from(self.id) << 32 | self.opened);
            self.client.pipeline(copy, &[&[b"READONLY"], command]).await
        };
        let number = self.connections.get(copy).copied().unwrap_or(0);
        let last = replies.map(|mut replies| replies.pop().unwrap_or(Value::Null));
        let attempt = self.sort(call, last.map(|reply| (classify(&reply), reply)), shape);
        self.tally.reads.fetch_add(u64::from(attempt.is_done()), Ordering::Relaxed);
        (number, attempt)
    }

    fn sort<R>(
        &self,
        call: u64,
        answer: Result<(Outcome, Value), Outcome>,
        shape: impl Fn(&Value) -> Option<R>,
    ) -> Attempt<R> {
        let (outcome, result) = match answer {
            Ok((Outcome::Acknowledged, reply)) => match shape(&reply) {
                Some(result) => (Outcome::Acknowledged, Some(result)),
                None => {
                    self.run.odd(format!("client {} was answered {reply:?}", self.id));
                    (Outcome::Unknown, None)
                }
            },
            Ok((outcome, _)) | Err(outcome) => (outcome, None),
        };
        let end = (outcome != Outcome::Unknown).then(|| self.run.clock.now_ns());
        Attempt { span: Span { call, end }, outcome, result }
    }

    /// `None`: the read is to be repeated. A read without an answer has no effect, so it counts as refused.
    async fn settle_read<R>(&mut self, attempt: Attempt<R>, command: &[&[u8]]) -> Result<Option<Attempt<R>>, String> {
        if attempt.is_done() {
            self.tally.reads.fetch_add(1, Ordering::Relaxed);
            return Ok(Some(attempt));
        }
        match self.insists_until {
            None => Ok(Some(Attempt { outcome: Outcome::Refused, ..attempt })),
            Some(moment) if Instant::now() >= moment => {
                let words: Vec<_> = command.iter().map(|word| String::from_utf8_lossy(word)).collect();
                Err(format!("{}: could not be read back: {:?}", words.join(" "), attempt.outcome))
            }
            Some(_) => {
                tokio::time::sleep(AGAIN).await;
                Ok(None)
            }
        }
    }
}

/// The shape of EXEC's array. An error among its elements does not match.
fn elements<R>(shape: impl Fn(&[Value]) -> Option<R>) -> impl Fn(&Value) -> Option<R> {
    move |reply| match reply {
        Value::Array(elements) => shape(elements),
        _ => None,
    }
}

/// Decoders of answers.
pub(crate) mod shape {
    use fastness_resp::Value;

    /// Stands for a value that is not a number: it is never written, so a checker finds it.
    pub(crate) const NO_NUMBER: u64 = u64::MAX;

    pub(crate) fn integer(reply: &Value) -> Option<i64> {
        match reply {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// A number or nothing, as GET returns.
    pub(crate) fn number(reply: &Value) -> Option<Option<u64>> {
        match reply {
            Value::Null => Some(None),
            Value::Bulk(text) => Some(Some(parse(text).unwrap_or(NO_NUMBER))),
            _ => None,
        }
    }

    /// A sum, 0 for a missing key.
    pub(crate) fn sum(reply: &Value) -> Option<i64> {
        match reply {
            Value::Null => Some(0),
            Value::Bulk(text) => parse(text),
            _ => None,
        }
    }

    /// A sum for each element.
    pub(crate) fn sums(reply: &Value) -> Option<Vec<i64>> {
        match reply {
            Value::Array(elements) => elements.iter().map(sum).collect(),
            _ => None,
        }
    }

    pub(crate) fn ok(reply: &Value) -> Option<()> {
        matches!(reply, Value::Simple(text) if text == b"OK").then_some(())
    }

    /// Whether a conditional command was executed.
    pub(crate) fn done(reply: &Value) -> Option<bool> {
        match reply {
            Value::Null => Some(false),
            _ => ok(reply).map(|()| true),
        }
    }

    pub(crate) fn text(reply: &Value) -> Option<Vec<u8>> {
        match reply {
            Value::Null => Some(Vec::new()),
            Value::Bulk(text) => Some(text.clone()),
            _ => None,
        }
    }

    pub(crate) fn parse<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
        std::str::from_utf8(text).ok()?.parse().ok()
    }
}
