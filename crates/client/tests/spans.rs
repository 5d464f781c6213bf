//! What tracing learns of calls. The only test of its process: tracing decides once for a process whether anybody wants
//! a span, by the thread that opens it first, and that must not be the thread of a test without a subscriber.

#![allow(clippy::unwrap_used)]

// The other tests of this crate use the rest of it.
#[allow(dead_code)]
mod mock;

use std::io::Write;
use std::sync::{Arc, Mutex};

use mock::{moved, script, start_node};
use tracing_subscriber::fmt::format::FmtSpan;

/// What tracing has written.
#[derive(Clone, Default)]
struct WrittenTrace(Arc<Mutex<Vec<u8>>>);

impl Write for WrittenTrace {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn spans_name_calls_and_attempts_but_neither_values_nor_passwords() {
    let (first, second) = (start_node().await, start_node().await);
    let (trace, level) = (WrittenTrace::default(), tracing::level_filters::LevelFilter::TRACE);
    let writer = trace.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_span_events(FmtSpan::CLOSE)
        .with_max_level(level)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    script(&first, [moved(&second)]);
    let client = first.client_builder().password("default", "topsecret").build().unwrap();
    client.set("visible-key", "hidden-value").await.unwrap();
    client.get("visible-key").await.unwrap();
    drop(guard);
    let text = String::from_utf8(trace.0.lock().unwrap().clone()).unwrap();
    let own: Vec<&str> = text.lines().filter(|line| line.contains("fastness_client: close")).collect();
    let has = |parts: &[&str]| own.iter().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(has(&["operation=\"set\"", "attempts=2", "outcome=\"ok\""]), "{own:#?}");
    assert!(has(&["attempt=1", first.address(), "outcome=FailedPrecondition"]), "{own:#?}");
    assert!(has(&["attempt=2", second.address(), "outcome=\"ok\""]), "{own:#?}");
    assert!(has(&["operation=\"get\"", "attempt{attempt=1", "shard=1"]), "{own:#?}");
    for line in own {
        assert!(!["visible-key", "hidden-value", "topsecret"].iter().any(|word| line.contains(word)), "{line}");
    }
}
