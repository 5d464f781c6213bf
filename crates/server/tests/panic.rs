//! A connection's task that panics: it ends, and nothing of it is left. Alone in its process, since it is told to panic
//! by a failpoint.

#![allow(clippy::unwrap_used)]

mod harness;

use std::sync::atomic::Ordering;

use fastness_types::Durability;
use harness::{FrontEnd, Options, eventually, simple};

/// Found: its place among `maxclients`, and its line in CLIENT LIST, stayed for ever.
#[test]
fn a_connections_task_that_panics_leaves_nothing_behind() {
    let server = FrontEnd::open(Options { durability: Durability::Async, ..Options::default() });
    let mut client = server.connect();
    for _ in 0..3 {
        let mut other = server.connect_raw();
        assert_eq!(other.call(&["PING"]), simple("PONG"));
        fail::cfg("server::read", "1*panic(told to)->off").unwrap();
        other.send(&["PING"]);
        assert_eq!(other.try_receive(), None);
        fail::remove("server::read");
    }
    assert_eq!(client.call(&["SET", "k", "v"]), simple("OK"), "others are served");
    eventually("its place is free", || server.node.connected.load(Ordering::Relaxed) == 1);
    assert_eq!(client.call_text(&["CLIENT", "LIST"]).lines().count(), 1);
    assert!(client.call_text(&["INFO", "stats"]).contains("\r\nconnection_panics:3\r\n"));

    // In the midst of a command: what is in memory is not known any more, and the replica ends.
    fail::cfg("server::executing", "1*panic(told to)->off").unwrap();
    client.send(&["PING"]);
    assert_eq!(client.try_receive(), None);
    fail::remove("server::executing");
    eventually("nobody is served", || {
        let mut late = server.connect_raw();
        let _ = late.stream.write_all(b"PING\r\n");
        late.try_receive().is_none()
    });
}
