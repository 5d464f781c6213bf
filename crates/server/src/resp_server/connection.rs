//! Drives one connection with its socket, on the loop's thread: waits for events, reads, sends what is released.
//!
//! What happens to the bytes in between is [`fastness_connection`]'s. Rules of this half:
//! - Replies of a client that does not read are kept in memory, bounded by `client-output-buffer-limit`, by less once
//!   `maxmemory` is reached, and by next to nothing before authentication (`command.rs`).
//! - Nothing waits for ever without a word: a client that does not read although no more can be kept for it, and a
//!   reply or a command that the log has kept waiting for too long, close the connection with a log line
//!   ([`super::clients::Clients::close_stuck`]).
//! - After a protocol error, QUIT or a limit, what is released within `CLOSE_GRACE` is sent.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use fail::fail_point;
use fastness_connection::{Closing, Host, Received, Waits};
use fastness_shard::{ClientShare, PendingReply, WaitAnswer, WaitEnd, WaitsFor};
use tokio::io::Interest;

use super::ReplicaServer;
use super::blocked::{Blocked, unblocked, wait, wait_for_keys};
use super::clients::{Client, Unblock};
use super::command::ConnectionFrontEnd;
use super::outbound;
use super::received::{Closed, Filled};
use super::stats::add;
use super::stream::ClientStream;
use crate::replication_out::Outlet;

/// Replies of a closing connection that are pending or unsent get this long to be sent.
const CLOSE_GRACE: Duration = Duration::from_secs(5);
/// After the last reply a client gets this long to close its side. What it sends meanwhile is read and dropped: a
/// socket that is closed over unread bytes resets the connection, and replies that are on their way are lost.
const LINGER_MAX: Duration = Duration::from_secs(2);
/// How soon it is noticed that a client has closed its side while its command waits and nothing is read from it.
const CLOSED_CHECK_EVERY: Duration = Duration::from_secs(1);
/// Bytes that one turn sends: a socket takes megabytes at once, which is milliseconds of others' time.
const TURN_SENT_BYTES: usize = 64 * 1024;
/// What a connection takes beside the heap of its core.
const CONNECTION_BYTES: usize = size_of::<Driver>() + size_of::<Client>();

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client has closed it and has every reply, or it broke.
    Gone,
    /// QUIT, a protocol error, CLIENT KILL of itself: what is written is sent first.
    AfterReplies,
    /// CLIENT KILL, idle, over a limit, the node stops: at once.
    Now,
}

impl From<Closing> for End {
    fn from(closing: Closing) -> End {
        match closing {
            Closing::AfterReplies => End::AfterReplies,
            Closing::Now => End::Now,
        }
    }
}

/// Something happened.
enum Event {
    Socket(io::Result<tokio::io::Ready>),
    /// A reply may be released, a command may run, or messages of channels wait.
    Released,
    Unblocked(Option<WaitAnswer>),
    Killed,
    /// The client has closed its side while its command waited.
    Closed(Closed),
}

struct Driver {
    server: Rc<ReplicaServer>,
    client: Rc<Client>,
    stream: ClientStream,
    core: fastness_connection::Connection,
    blocked: Option<Blocked>,
    /// Whether it was seen that the client has closed its side while its command waited.
    closed_seen: bool,
    /// Whether the last turn has ended before the socket was full: there is more that it may take.
    has_more_to_send: bool,
    /// What the oldest pending reply depended on when it was last checked.
    oldest_pending: Option<PendingReply>,
    /// What all this takes.
    share: ClientShare,
}

/// Serves one connection that is entered, until it ends.
pub(super) async fn serve(server: &Rc<ReplicaServer>, client: &Rc<Client>, stream: ClientStream) {
    add(&server.stats.connections, 1);
    // The other front end bounds what its calls keep (`grpc-memory`), and its connections live for one call.
    client.has_read.set(matches!(stream, ClientStream::Memory(_)));
    let mut driver = Driver {
        client: client.clone(),
        stream,
        core: fastness_connection::Connection::new(&server.shard, Instant::now()),
        blocked: None,
        closed_seen: false,
        has_more_to_send: false,
        oldest_pending: None,
        share: server.shard.client_share(),
        server: server.clone(),
    };
    let end = driver.run().await;
    if client.subscriptions.has_published() {
        server.drop_published(client);
    }
    if end == End::AfterReplies {
        // Bounded: a client that does not read must not keep its connection.
        let _ = tokio::time::timeout(CLOSE_GRACE, driver.drain()).await;
    }
    driver.stream.close();
    if end == End::AfterReplies {
        let _ = tokio::time::timeout(LINGER_MAX, driver.stream.read_away()).await;
    }
}

impl Driver {
    async fn run(&mut self) -> End {
        loop {
            self.take_pushes();
            if let Err(end) = self.execute() {
                return end;
            }
            self.take_pushes();
            let Ok(pending) = self.send() else { return End::Gone };
            if let Err(end) = self.check_output() {
                return end;
            }
            if self.client.is_killed() {
                return End::Now;
            }
            if let Some(outlet) = self.take_outlet() {
                outbound::feed(&self.server, &self.client, &mut self.stream, outlet).await;
                return End::AfterReplies;
            }
            if self.has_more_to_send || self.core.has_more_to_run(&self.front_end()) {
                // Fairness: others on this thread run between two slices.
                tokio::task::yield_now().await;
                self.core.resume_slice();
                continue;
            }
            self.core.resume_slice();
            if self.core.is_finished() && !self.stream.wants_flush() {
                return End::Gone;
            }
            match self.next_event(pending).await {
                Event::Killed => return End::Now,
                Event::Closed(closed) => {
                    if let Err(end) = self.note_closed(closed) {
                        return end;
                    }
                }
                Event::Released => {}
                Event::Unblocked(answer) => {
                    if let Err(end) = self.unblock(answer) {
                        return end;
                    }
                }
                Event::Socket(Err(_)) => return End::Gone,
                Event::Socket(Ok(ready)) => {
                    if ready.is_writable() && self.stream.flush().is_err() {
                        return End::Gone;
                    }
                    if (ready.is_readable() || ready.is_read_closed())
                        && self.core.may_read(&self.front_end())
                        && let Err(end) = self.read_and_execute()
                    {
                        return end;
                    }
                }
            }
        }
    }

    /// Sends what is written, as far as the client takes it. Nothing is read any more.
    async fn drain(&mut self) {
        self.core.stop();
        self.blocked = None;
        self.server.pubsub.channels.leave(&self.client);
        self.server.pubsub.monitors.leave(&self.client);
        self.server.tracking.leave(&self.client);
        self.client.subscriptions.drop_pushes();
        while let Ok(pending) = self.send()
            && (self.core.unsent() > 0 || self.stream.wants_flush())
        {
            match self.next_event(pending).await {
                Event::Socket(Ok(ready)) if ready.is_writable() && self.stream.flush().is_ok() => {}
                Event::Released => {}
                _ => return,
            }
        }
    }

    /// Takes the messages of channels that wait for the client.
    fn take_pushes(&mut self) {
        if self.client.subscriptions.has_pushes() {
            self.core.push(&mut ConnectionFrontEnd::new(&self.server, &self.client));
        }
    }

    /// What PSYNC or SYNC has left, once every reply before it has left.
    fn take_outlet(&self) -> Option<Outlet> {
        if self.core.unsent() > 0 || self.stream.wants_flush() {
            return None;
        }
        self.client.outlet.take()
    }

    fn front_end(&self) -> ConnectionFrontEnd<'_> {
        ConnectionFrontEnd::new(&self.server, &self.client)
    }

    /// The client has closed its side while its command waits. What it has sent is answered: the command that waits, as
    /// well as those after it. A WAIT, which may be for ever, ends as if its time were over.
    fn note_closed(&mut self, closed: Closed) -> Result<(), End> {
        self.closed_seen = true;
        self.client.request_unblock(Unblock::TimedOut);
        if closed == Closed::Broken { Err(End::Gone) } else { Ok(()) }
    }

    async fn next_event(&mut self, pending: Option<PendingReply>) -> Event {
        let read = self.core.may_read(&self.front_end());
        if read && self.stream.has_plaintext() {
            return Event::Socket(Ok(tokio::io::Ready::READABLE));
        }
        let write = self.stream.wants_flush() || !self.core.sendable().is_empty();
        let interest = match (read, write) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        };
        let checks_closed = self.blocked.is_some() && !self.closed_seen;
        let Driver { stream, client, blocked, server, core, .. } = self;
        let socket = async {
            match interest {
                Some(interest) => stream.ready(interest).await,
                None => std::future::pending().await,
            }
        };
        let closed = async {
            match checks_closed {
                true => stream.closed(CLOSED_CHECK_EVERY).await,
                false => std::future::pending().await,
            }
        };
        let waits_for_room = !ConnectionFrontEnd::new(server, client).has_room();
        let room = async {
            match waits_for_room {
                true => server.eviction.has_made_room().await,
                false => std::future::pending().await,
            }
        };
        let is_unread = client.unread_since.get().is_some();
        let again = async {
            match is_unread {
                true => client.recheck_requested().await,
                false => std::future::pending().await,
            }
        };
        let gets_pushes = client.is_subscribed() || client.monitors.get();
        let pushes = async {
            match gets_pushes {
                true => client.subscriptions.pushes_arrived().await,
                false => std::future::pending().await,
            }
        };
        let released = async {
            match pending {
                Some(pending) => server.shard.wait_released(core.session(), pending).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            is_killed = client.killed_or_called() => if is_killed { Event::Killed } else { Event::Released },
            () = released => Event::Released,
            answer = unblocked(blocked) => Event::Unblocked(answer),
            ready = socket => Event::Socket(ready),
            () = pushes => Event::Released,
            closed = closed => Event::Closed(closed),
            () = again => Event::Released,
            () = room => Event::Released,
        }
    }

    /// The command that waited may run again, or has its answer. A client that is gone must not take from a key what it
    /// waited for, so its connection is checked first.
    fn unblock(&mut self, answer: Option<WaitAnswer>) -> Result<(), End> {
        self.blocked = None;
        self.client.set_waiting(false);
        // Of a script that runs in slices this is the only look at the socket.
        if self.core.session().runs_script() && self.stream.closed_now() == Some(Closed::Broken) {
            return Err(End::Gone);
        }
        if let Some(waiter) = self.core.session().key_wait()
            && let Some(closed) = self.stream.closed_now()
        {
            self.closed_seen = true;
            if closed == Closed::Broken {
                return Err(End::Gone);
            }
            self.server.shard.end_key_wait(&waiter, WaitEnd::TimedOut);
        }
        self.core.resume(answer, &mut ConnectionFrontEnd::new(&self.server, &self.client));
        Ok(())
    }

    /// Reads once and runs what came.
    fn read_and_execute(&mut self) -> Result<(), End> {
        let Driver { server, client, stream, core, .. } = self;
        let mut front_end = ConnectionFrontEnd::new(server, client);
        let mut is_broken = false;
        let result = core.receive(&server.shard, &mut front_end, &server.read_buffer, |_, buffer| {
            fail_point!("server::read");
            let before = buffer.len();
            let filled = stream.fill(buffer);
            let len = buffer.len() - before;
            add(&server.stats.bytes_in, len as u64);
            add(&client.bytes_in, len as u64);
            match filled {
                Err(_) => {
                    is_broken = true;
                    Err(Closing::Now)
                }
                Ok(Filled::End) => Ok(Received::End),
                Ok(Filled::Bytes(0)) => Ok(Received::Bytes(0)),
                Ok(Filled::Bytes(_)) => {
                    add(&server.stats.reads, 1);
                    client.active_at.set(Instant::now());
                    Ok(Received::Bytes(len))
                }
            }
        });
        if is_broken {
            return Err(End::Gone);
        }
        result?;
        self.note_waits();
        Ok(())
    }

    /// Runs what is left in the connection's own buffer.
    fn execute(&mut self) -> Result<(), End> {
        let mut front_end = ConnectionFrontEnd::new(&self.server, &self.client);
        if !self.core.has_more_to_run(&front_end) {
            return Ok(());
        }
        self.core.run(&self.server.shard, &mut front_end)?;
        self.note_waits();
        Ok(())
    }

    /// Follows what the newest command waits for.
    fn note_waits(&mut self) {
        if self.client.trace.is_live() {
            self.client.trace.expect_reply(self.client.bytes_out.get() + self.core.unsent() as u64);
        }
        let session = self.core.session();
        self.client.queued.set(session.queued().map_or(-1, |queued| queued as i64));
        self.client.watched.set(session.watched());
        if self.blocked.is_some() {
            return;
        }
        self.blocked = match self.core.waits() {
            None => {
                self.client.busy_since.set(None);
                return;
            }
            Some(Waits::Busy(waits_for)) => Some(Blocked::Busy(self.unpaused(waits_for))),
            Some(Waits::Copies(request)) => {
                self.start_waiting();
                let wait = wait(self.server.shard.clone(), self.client.clone(), request);
                Some(Blocked::Wait(Box::pin(wait)))
            }
        };
    }

    /// A wait that may be for ever starts. A client that has closed its side already does not wait.
    fn start_waiting(&self) {
        self.client.busy_since.set(None);
        self.client.set_waiting(true);
        if self.closed_seen {
            self.client.request_unblock(Unblock::TimedOut);
        }
    }

    /// Resolves when the command that was tried may run again.
    fn unpaused(&mut self, waits_for: WaitsFor) -> Pin<Box<dyn Future<Output = ()>>> {
        let shard = self.server.shard.clone();
        match waits_for {
            WaitsFor::Pause => {
                self.client.blocked.set(true);
                Box::pin(shard.unpaused())
            }
            WaitsFor::Lag(until) => Box::pin(async move { shard.slowed(until).await }),
            WaitsFor::Script(until) => Box::pin(async move { shard.script_ended(until).await }),
            WaitsFor::Turn => Box::pin(tokio::task::yield_now()),
            WaitsFor::Primary(until) => Box::pin(async move { shard.primary_found(until).await }),
            WaitsFor::Keys => {
                let Some(waiter) = self.core.session().key_wait() else { return Box::pin(std::future::ready(())) };
                self.start_waiting();
                Box::pin(wait_for_keys(shard, self.client.clone(), waiter))
            }
            WaitsFor::Shard | WaitsFor::Room => {
                add(&self.server.stats.stalled, 1);
                // A command that has ended since then was progress.
                let last_ended = self.core.last_ended();
                if self.client.busy_since.get().is_none_or(|since| since < last_ended) {
                    // Not since then: the command may have waited for keys, or arrived long after.
                    self.client.busy_since.set(Some(Instant::now()));
                }
                match waits_for {
                    WaitsFor::Room => Box::pin(async move { shard.room_made().await }),
                    _ => Box::pin(async move { shard.unblocked().await }),
                }
            }
        }
    }

    /// Sends what is released and fits into the socket. Returns what the oldest pending reply depends on.
    fn send(&mut self) -> io::Result<Option<PendingReply>> {
        let before = self.core.unsent();
        let pending = self.send_sendable();
        if self.client.trace.is_live() {
            let (sent, unsent) = (self.client.bytes_out.get(), self.core.unsent());
            self.client.trace.sent(sent, unsent, || self.server.shard.boot_now());
        }
        self.count_memory();
        if let Ok(pending) = pending {
            self.note_unread(pending, self.core.unsent() < before);
        }
        pending
    }

    /// Notes since when something keeps the connection from making progress; see
    /// [`super::clients::Clients::close_stuck`].
    fn note_unread(&mut self, pending: Option<PendingReply>, has_sent: bool) {
        if pending != self.oldest_pending {
            self.oldest_pending = pending;
            self.client.held_since.set(pending.map(|_| self.core.last_ended()));
        }
        let unread = self.core.sendable_bytes() > 0 && self.core.is_withheld(&self.front_end());
        if !unread {
            self.client.unread_since.set(None);
        } else if has_sent || self.client.unread_since.get().is_none() {
            self.client.unread_since.set(Some(Instant::now()));
        }
    }

    /// Reports what the connection takes, before others have their turn. What one turn may grow by is
    /// [`fastness_connection::connection::TURN_REPLY_BYTES`] and one reply.
    fn count_memory(&mut self) {
        let client = &self.client;
        let (query, free) = self.core.query_bytes();
        client.query_bytes.set(query);
        client.query_free.set(free);
        client.queued_bytes.set(self.core.session().queued_bytes());
        client.unsent_bytes.set(self.core.unsent());
        if !client.has_read.get() && self.core.unsent() == 0 && client.bytes_out.get() > 0 {
            client.has_read.set(true);
        }
        let texts = client.texts_bytes() + client.subscriptions.heap_bytes();
        self.share.set(CONNECTION_BYTES + texts + self.core.heap_bytes() + self.stream.heap_bytes());
        client.memory.set(self.share.bytes());
        if self.server.are_clients_above_ceiling() {
            self.server.start_evicting();
        }
    }

    fn send_sendable(&mut self) -> io::Result<Option<PendingReply>> {
        let mut left = TURN_SENT_BYTES;
        self.has_more_to_send = false;
        loop {
            let pending = self.core.release(&self.server.shard);
            let sendable = self.core.sendable();
            if sendable.is_empty() {
                return Ok(pending);
            }
            let all = sendable.len().min(left);
            let len = self.stream.send(&sendable[..all])?;
            if len == 0 {
                return Ok(pending);
            }
            left -= len;
            add(&self.server.stats.writes, 1);
            add(&self.server.stats.bytes_out, len as u64);
            add(&self.client.bytes_out, len as u64);
            self.core.sent(len);
            if len < all || self.core.unsent() == 0 {
                return Ok(pending);
            }
            if left == 0 {
                self.has_more_to_send = true;
                return Ok(pending);
            }
        }
    }

    /// Whether the client reads fast enough. What the shard has not released is not the client's fault.
    fn check_output(&mut self) -> Result<(), End> {
        let unsent = self.core.sendable_bytes() as u64;
        if unsent == 0 && self.client.over_soft_since.get().is_none() {
            return Ok(());
        }
        let limits = self.server.node.config.load().client_output_buffer_limit;
        let limit = limits.of(self.client.is_subscribed());
        if limit.soft_bytes == 0 || unsent <= limit.soft_bytes {
            self.client.over_soft_since.set(None);
        } else if self.client.over_soft_since.get().is_none() {
            self.client.over_soft_since.set(Some(Instant::now()));
        }
        if limit.hard_bytes > 0 && unsent > limit.hard_bytes {
            self.server.note_unread(&self.client, "client-output-buffer-limit's hard limit is reached");
            return Err(End::Now);
        }
        Ok(())
    }
}
