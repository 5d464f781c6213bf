//! A closed loop over a few connections: each sends a pipeline of requests, waits for all replies, and sends the next.
//! The client does as little work as possible: requests are built once, and only the digits of their keys change.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::connection::{Connection, Endpoint, IoError, Tls, encode};

/// The commands that are sent, one after the other and then again, as words. As for valkey-benchmark, `__rand_int__`
/// stands for the twelve digits of a random number below [`ClosedLoopOptions::keys`], and the word `__data__` for a
/// value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Name in reports.
    pub name: &'static str,
    /// The words of each command.
    pub commands: &'static [&'static [&'static str]],
}

impl Kind {
    /// `GET key`.
    pub const GET: Kind = Kind { name: "GET", commands: &[&["GET", "key:__rand_int__"]] };
    /// `SET key value`.
    pub const SET: Kind = Kind { name: "SET", commands: &[&["SET", "key:__rand_int__", "__data__"]] };
}

/// Options of one measurement.
#[derive(Clone)]
pub struct ClosedLoopOptions {
    /// The primary.
    pub endpoint: Endpoint,
    /// TLS, if used.
    pub tls: Option<Tls>,
    /// Number of connections.
    pub connections: usize,
    /// Number of requests in one pipeline.
    pub pipeline: usize,
    /// The commands that are sent.
    pub kind: Kind,
    /// Length of a value, in bytes.
    pub value_bytes: usize,
    /// Random numbers in commands are less than this.
    pub keys: u64,
    /// Sends `WAIT n 0` after every pipeline and waits for its reply as well.
    pub wait_replicas: Option<u32>,
    /// Duration of the measurement.
    pub duration: Duration,
    /// Seed of the keys.
    pub seed: u64,
}

/// Result of a measurement.
#[derive(Debug)]
pub struct Report {
    /// Number of requests with a reply, without the WAITs.
    pub operations: u64,
    /// Number of error replies among them.
    pub errors: u64,
    /// Time from the first to the last request.
    pub elapsed: Duration,
    /// Microseconds from sending a pipeline to receiving its last reply.
    pub latency_us: Histogram<u64>,
}

impl Report {
    /// Operations per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64()
    }
}

/// Runs the measurement on the current runtime.
///
/// # Errors
/// If a connection fails.
pub async fn run(options: &ClosedLoopOptions) -> Result<Report, IoError> {
    let mut connections = Vec::with_capacity(options.connections);
    for _ in 0..options.connections {
        connections.push(Connection::open(&options.endpoint, options.tls.as_ref(), Duration::from_secs(10)).await?);
    }
    let started = Instant::now();
    let until = started + options.duration;
    let workers: Vec<_> = connections
        .into_iter()
        .enumerate()
        .map(|(i, connection)| tokio::spawn(worker(connection, options.clone(), i as u64, until)))
        .collect();
    let mut report = Report { operations: 0, errors: 0, elapsed: Duration::ZERO, latency_us: new_histogram() };
    for worker in workers {
        let part = worker.await.expect("a load worker does not panic")?;
        report.operations += part.operations;
        report.errors += part.errors;
        report.latency_us.add(&part.latency_us).expect("equal bounds");
    }
    report.elapsed = started.elapsed();
    Ok(report)
}

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("valid bounds")
}

async fn worker(
    mut connection: Connection,
    options: ClosedLoopOptions,
    id: u64,
    until: Instant,
) -> Result<Report, IoError> {
    let mut rng = SmallRng::seed_from_u64(options.seed ^ (id << 32));
    let count = options.kind.commands.len();
    let mut requests: Vec<Request> = (0..count).map(|first| Request::new(&options, first * options.pipeline)).collect();
    // Not all connections send the same command at the same time.
    let mut turn = id as usize;
    let mut report = Report { operations: 0, errors: 0, elapsed: Duration::ZERO, latency_us: new_histogram() };
    let replies = options.pipeline + usize::from(options.wait_replicas.is_some());
    let mut sent = Instant::now();
    while sent < until {
        let request = &mut requests[turn % count];
        turn += 1;
        request.choose_keys(|| rng.random_range(0..options.keys.max(1)));
        connection.send_raw(&request.bytes).await?;
        report.errors += connection.skip_replies(replies).await? as u64;
        report.operations += options.pipeline as u64;
        let now = Instant::now();
        report.latency_us.saturating_record((now - sent).as_micros() as u64);
        sent = now;
    }
    Ok(report)
}

/// The bytes of a pipeline, and the positions of its keys' digits.
struct Request {
    bytes: Vec<u8>,
    digits_at: Vec<usize>,
}

/// What a random number takes the place of.
const NUMBER: &[u8] = b"__rand_int__";
const DIGITS: usize = NUMBER.len();

impl Request {
    /// A pipeline that starts with the command of this number, counted through the kind's again and again.
    fn new(options: &ClosedLoopOptions, first: usize) -> Request {
        let value = vec![b'x'; options.value_bytes];
        let mut bytes = Vec::new();
        let commands = options.kind.commands.iter().cycle().skip(first % options.kind.commands.len());
        for command in commands.take(options.pipeline) {
            let word = |word: &&'static str| if *word == "__data__" { &value[..] } else { word.as_bytes() };
            encode(&command.iter().map(word).collect::<Vec<_>>(), &mut bytes);
        }
        if let Some(replicas) = options.wait_replicas {
            encode(&[b"WAIT", replicas.to_string().as_bytes(), b"0"], &mut bytes);
        }
        let starts = bytes.windows(DIGITS).enumerate().filter(|(_, window)| *window == NUMBER);
        Request { digits_at: starts.map(|(at, _)| at).collect(), bytes }
    }

    fn choose_keys(&mut self, mut next: impl FnMut() -> u64) {
        for &at in &self.digits_at {
            let mut number = next();
            for digit in self.bytes[at..at + DIGITS].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_in_place() {
        let options = ClosedLoopOptions {
            endpoint: Endpoint::new("localhost", 1),
            tls: None,
            connections: 1,
            pipeline: 2,
            kind: Kind::SET,
            value_bytes: 3,
            keys: 10,
            wait_replicas: Some(1),
            duration: Duration::ZERO,
            seed: 0,
        };
        let mut request = Request::new(&options, 0);
        let mut keys = [7u64, 123].into_iter();
        request.choose_keys(|| keys.next().expect("two keys"));
        let text = String::from_utf8(request.bytes).expect("ASCII");
        assert_eq!(
            text,
            "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000007\r\n$3\r\nxxx\r\n\
             *3\r\n$3\r\nSET\r\n$16\r\nkey:000000000123\r\n$3\r\nxxx\r\n\
             *3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$1\r\n0\r\n"
        );
    }
    #[test]
    fn commands_of_a_kind_take_turns() {
        let options = ClosedLoopOptions {
            endpoint: Endpoint::new("localhost", 1),
            tls: None,
            connections: 1,
            pipeline: 1,
            kind: Kind { name: "", commands: &[&["LPUSH", "l:__rand_int__", "__data__"], &["RPOP", "l"]] },
            value_bytes: 1,
            keys: 10,
            wait_replicas: None,
            duration: Duration::ZERO,
            seed: 0,
        };
        let text = |first| {
            let mut request = Request::new(&options, first);
            request.choose_keys(|| 9);
            String::from_utf8(request.bytes).expect("ASCII")
        };
        assert_eq!(text(0), "*3\r\n$5\r\nLPUSH\r\n$14\r\nl:000000000009\r\n$1\r\nx\r\n");
        assert_eq!((text(1), text(2)), ("*2\r\n$4\r\nRPOP\r\n$1\r\nl\r\n".to_owned(), text(0)));
    }
}
