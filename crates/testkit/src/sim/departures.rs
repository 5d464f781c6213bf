//! When bytes were sent on simulated connections: what a client cannot know, and its judge must.
//!
//! A front end notes how much it had sent and when; the client's side asks when the byte that completes a reply was
//! sent. One simulation runs on one thread, hence the thread's own list.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// How many bytes a connection had been sent in all, and when.
type Sent = Vec<(u64, Duration)>;

thread_local! {
    static DEPARTURES: RefCell<BTreeMap<SocketAddr, Sent>> = const { RefCell::new(BTreeMap::new()) };
}

/// A connection of the client at this address starts.
pub fn start(client: SocketAddr) {
    DEPARTURES.with_borrow_mut(|all| all.insert(client, Sent::new()));
}

/// So many bytes in all have been sent by now.
pub fn note(client: SocketAddr, bytes: u64) {
    let now = turmoil::sim_elapsed().unwrap_or_default();
    DEPARTURES.with_borrow_mut(|all| all.entry(client).or_default().push((bytes, now)));
}

/// When the last of the first `bytes` was sent; `None`: it was not.
#[must_use]
pub fn sent_at(client: SocketAddr, bytes: u64) -> Option<Duration> {
    DEPARTURES.with_borrow(|all| {
        let sent = all.get(&client)?;
        sent.get(sent.partition_point(|(len, _)| *len < bytes)).map(|(_, at)| *at)
    })
}
