//! One client of a run: it sends requests, measures times, and classifies outcomes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastness_load::Outcome;
use fastness_resp::Value;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::record::{Op, Span};
use super::run::Run;
use super::voice::{CopyPlace, Voice, VoiceAnswer, Watching};
use crate::clients::{AnyClient, Tally};

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

    pub(crate) fn is_refused(&self) -> bool {
        self.outcome == Outcome::Refused
    }
}

/// Pause between two attempts to read a key back.
const AGAIN: Duration = Duration::from_millis(50);

/// See the module.
pub(crate) struct Actor {
    pub(crate) id: u32,
    pub(crate) run: Arc<Run>,
    pub(crate) rng: SmallRng,
    voice: Voice,
    tally: Arc<Tally>,
    written: u64,
    insists_until: Option<Instant>,
}

impl Actor {
    pub(crate) fn new(id: u32, run: Arc<Run>, client: AnyClient, tally: Arc<Tally>) -> Actor {
        let rng = SmallRng::seed_from_u64(run.options.seed.wrapping_add(u64::from(id)));
        Actor { id, run, rng, voice: Voice::new(client), tally, written: 0, insists_until: None }
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
        let answer = self.voice.call(command).await;
        let attempt = self.sort(call, answer, shape);
        self.tally.wrote(attempt.outcome);
        attempt
    }

    /// Sends writes as one transaction, that of MULTI and EXEC, to the primary of `key`.
    pub(crate) async fn transact<R>(
        &mut self,
        key: &str,
        commands: &[&[&[u8]]],
        shape: impl Fn(&[Value]) -> Option<R>,
    ) -> Attempt<R> {
        let call = self.run.clock.now_ns();
        let answer = self.voice.transact(key.as_bytes(), commands).await;
        let attempt = self.sort(call, answer, elements(shape));
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
            let answer = self.voice.call(command).await;
            let attempt = self.sort(call, answer, &shape);
            if let Some(attempt) = self.settle_read(attempt, command).await? {
                return Ok(attempt);
            }
        }
    }

    /// Sends reads as one transaction to the primary of `key`.
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
            let answer = self.voice.transact(key.as_bytes(), commands).await;
            let attempt = self.sort(call, answer, elements(&shape));
            if let Some(attempt) = self.settle_read(attempt, commands[0]).await? {
                return Ok(attempt);
            }
        }
    }

    /// Watches the keys in `watch` (a WATCH command) and reads them; [`Actor::exec`] depends on them afterwards.
    pub(crate) async fn watch<R>(
        &mut self,
        watch: &[&[u8]],
        read: &[&[u8]],
        shape: impl Fn(&Value) -> Option<R>,
    ) -> Option<(Watching, Attempt<R>)> {
        let call = self.run.clock.now_ns();
        let (watching, answer) = self.voice.watch(watch, read).await?;
        let attempt = self.sort(call, answer, shape);
        if attempt.is_done() {
            self.tally.read();
            return Some((watching, attempt));
        }
        // The connection may watch keys without a transaction that ends this.
        self.voice.unwatch(&watching);
        None
    }

    /// Sends a transaction that runs if nothing that is watched has changed.
    pub(crate) async fn exec<R>(
        &mut self,
        watching: &Watching,
        commands: &[&[&[u8]]],
        shape: impl Fn(&[Value]) -> Option<R>,
    ) -> Attempt<R> {
        let call = self.run.clock.now_ns();
        let answer = self.voice.exec(watching, commands).await;
        let attempt = self.sort(call, answer, elements(shape));
        self.tally.wrote(attempt.outcome);
        attempt
    }

    /// All places with a copy of a key.
    pub(crate) async fn copies(&mut self, key: &str) -> Vec<CopyPlace> {
        self.voice.copies(key.as_bytes()).await
    }

    /// Reads a string at one copy. Returns the number of the connection, which is unique in the run.
    pub(crate) async fn read_at<R>(
        &mut self,
        copy: &CopyPlace,
        key: &str,
        shape: impl Fn(&Value) -> Option<R>,
    ) -> (u64, Attempt<R>) {
        let call = self.run.clock.now_ns();
        let (number, answer) = self.voice.read_at(copy, key.as_bytes()).await;
        let attempt = self.sort(call, answer, shape);
        if attempt.is_done() {
            self.tally.read();
        }
        (u64::from(self.id) << 32 | number, attempt)
    }

    fn sort<R>(&self, call: u64, answer: VoiceAnswer, shape: impl Fn(&Value) -> Option<R>) -> Attempt<R> {
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
            self.tally.read();
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
