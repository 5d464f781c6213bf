//! A front end for the simulation: the product's connection core over the simulation's TCP, one task per connection on
//! the node's own thread.
//!
//! Parsing, pipelines, the order of replies, their release and CLIENT REPLY are [`fastness_connection`]'s, as in the
//! server. It knows no users, no TLS and few commands of its own. Before every reply it says where that comes from
//! (`origin.rs`).

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use fastness_connection::{Closing, Connection, Executed, Host, Received, ReplyMode, Waits};
use fastness_engine::command::{self, Command, CommandSpec, CommandTable};
use fastness_resp::{Args, Limits, ProtocolError, ReplyBuf};
use fastness_shard::{
    FrontEnd, FrontEndOutcome, PendingReply, Session, Shard, ShardView, Standing, WaitAnswer, WaitsFor,
};
use fastness_types::{NodeId, ShardId, Slot};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use turmoil::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use turmoil::net::{TcpListener, TcpStream};

use crate::sim::departures;
use crate::sim::net::host;
use crate::sim::node::SimNode;
use crate::sim::origin::ReplyOrigin;
use crate::sim::thread::on_thread_of;

/// Unsent replies of one connection, bytes; from this on no further command runs.
const UNSENT_BYTES_MAX: usize = 4096;
/// Received and not executed, bytes.
const QUERY_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bytes taken from the network at a time.
const READ_BYTES: usize = 64 * 1024;

/// Where a node serves a shard's clients.
#[must_use]
pub fn port(shard: ShardId) -> u16 {
    6000 + shard.0 as u16
}

/// Serves one shard replica's clients until the node is gone.
///
/// # Errors
/// The port is taken.
pub async fn listen(id: ShardId, shard: Shard, node: Rc<SimNode>) -> io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port(id))).await?;
    loop {
        let (stream, client) = listener.accept().await?;
        let driver = Driver::new(id, shard.clone(), node.clone(), (stream, client));
        // Whatever ends a connection, its client finds out by itself.
        let running = async move { drop(driver.run().await) };
        tokio::task::spawn_local(on_thread_of(node.clone(), id, running));
    }
}

/// What a command waits for.
type Blocked = Pin<Box<dyn Future<Output = Option<WaitAnswer>>>>;

struct Driver {
    shard: Shard,
    node: Rc<SimNode>,
    host: SimHost,
    core: Connection,
    blocked: Option<Blocked>,
    client: SocketAddr,
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    /// Taken from the network and not passed on.
    arrived: Vec<u8>,
    read_buffer: Cell<Vec<u8>>,
    sent: u64,
}

enum Event {
    Read(usize),
    Released,
    Unblocked(Option<WaitAnswer>),
}

impl Driver {
    fn new(id: ShardId, shard: Shard, node: Rc<SimNode>, (stream, client): (TcpStream, SocketAddr)) -> Driver {
        let (read, write) = stream.into_split();
        departures::start(client);
        Driver {
            host: SimHost {
                port: port(id),
                shard: shard.clone(),
                node: node.clone(),
                reply_mode: Cell::new(ReplyMode::On),
            },
            core: Connection::new(&shard, now()),
            shard,
            node,
            blocked: None,
            client,
            read,
            write,
            arrived: Vec::new(),
            read_buffer: Cell::default(),
            sent: 0,
        }
    }

    async fn run(mut self) -> io::Result<()> {
        loop {
            let closing = self.core.run(&self.shard, &mut self.host).err();
            self.follow_waits();
            let pending = self.send().await?;
            if closing.is_some() {
                return Ok(());
            }
            if self.core.has_more_to_run(&self.host) {
                tokio::task::yield_now().await;
                self.core.resume_slice();
                continue;
            }
            self.core.resume_slice();
            if self.core.is_finished() {
                return self.write.shutdown().await;
            }
            match self.next_event(pending).await? {
                Event::Released => {}
                Event::Unblocked(answer) => {
                    self.blocked = None;
                    self.core.resume(answer, &mut self.host);
                }
                Event::Read(len) => {
                    let Driver { core, shard, host, arrived, read_buffer, .. } = &mut self;
                    let received = core.receive(shard, host, read_buffer, |_, buffer| {
                        buffer.append(arrived);
                        Ok(if len == 0 { Received::End } else { Received::Bytes(len) })
                    });
                    self.follow_waits();
                    if received.is_err() {
                        self.send().await?;
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn next_event(&mut self, pending: Option<PendingReply>) -> io::Result<Event> {
        let may_read = self.core.may_read(&self.host);
        let Driver { shard, core, read, arrived, blocked, .. } = self;
        let released = async {
            match pending {
                Some(pending) => shard.wait_released(core.session(), pending).await,
                None => std::future::pending().await,
            }
        };
        let unblocked = async {
            match blocked {
                Some(blocked) => blocked.await,
                None => std::future::pending().await,
            }
        };
        arrived.reserve(READ_BYTES);
        tokio::select! {
            biased;
            () = released => Ok(Event::Released),
            answer = unblocked => Ok(Event::Unblocked(answer)),
            read = read.read_buf(arrived), if may_read => read.map(Event::Read),
        }
    }

    /// Follows what the newest command waits for.
    fn follow_waits(&mut self) {
        let (shard, key_wait) = (self.shard.clone(), self.core.session().key_wait());
        if self.blocked.is_some() {
            return;
        }
        self.blocked = match self.core.waits() {
            None => None,
            Some(Waits::Copies(request)) => Some(Box::pin(async move { Some(shard.wait(request).await) })),
            Some(Waits::Busy(waits_for)) => Some(Box::pin(async move {
                match waits_for {
                    WaitsFor::Lag(until) => shard.slowed(until).await,
                    WaitsFor::Primary(until) => shard.primary_found(until).await,
                    WaitsFor::Pause => shard.unpaused().await,
                    WaitsFor::Shard => shard.unblocked().await,
                    WaitsFor::Room => shard.room_made().await,
                    WaitsFor::Script(until) => shard.script_ended(until).await,
                    WaitsFor::Turn => tokio::task::yield_now().await,
                    WaitsFor::Keys => {
                        if let Some(key_wait) = key_wait {
                            key_wait.ready().await;
                        }
                    }
                }
                None
            })),
        };
    }

    /// Sends what is released. Returns what the oldest pending reply depends on.
    async fn send(&mut self) -> io::Result<Option<PendingReply>> {
        if self.node.stalls.get() && self.core.unsent() > 0 {
            self.node.stalled.set(self.node.stalled.get() + 1);
            while self.node.stalls.get() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        loop {
            let pending = self.core.release(&self.shard);
            let sendable = self.core.sendable();
            if sendable.is_empty() {
                return Ok(pending);
            }
            let len = sendable.len();
            // Noted before: the client may read the bytes while this task still waits for the last of them.
            departures::note(self.client, self.sent + len as u64);
            self.write.write_all(sendable).await?;
            self.sent += len as u64;
            self.core.sent(len);
        }
    }
}

/// The simulation's clock, in the product's type.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The owner of a simulated connection.
struct SimHost {
    port: u16,
    shard: Shard,
    node: Rc<SimNode>,
    reply_mode: Cell<ReplyMode>,
}

/// The commands of the simulation's front end: the engine's, the shard's, and those of a server that clients here use.
#[must_use]
pub fn commands() -> &'static CommandTable {
    const OWN: &[Command] = &[
        Command::front_end("readonly", "", "Enables reads from a replica on this connection."),
        Command::front_end("readwrite", "", "Disables reads from a replica on this connection."),
        Command::front_end("client|reply", "", "Sets whether the server replies to the commands of this connection."),
    ];
    static TABLE: LazyLock<CommandTable> = LazyLock::new(|| CommandTable::new(command::commands().chain(OWN)));
    &TABLE
}

impl Host for SimHost {
    fn clock(&self) -> Instant {
        now()
    }

    fn request_limits(&self) -> Limits {
        Limits::DEFAULT
    }

    fn unsent_bytes_max(&self) -> usize {
        UNSENT_BYTES_MAX
    }

    fn has_room(&self) -> bool {
        true
    }

    fn query_bytes_max(&self) -> u64 {
        QUERY_BYTES_MAX
    }

    fn reply_mode(&self) -> &Cell<ReplyMode> {
        &self.reply_mode
    }

    fn permit(&mut self, _: &'static CommandSpec, _: Args<'_>, _: &mut ReplyBuf) -> bool {
        true
    }

    fn set_running(&mut self, _: bool) {}

    fn executed(&mut self, _: &Executed<'_>) -> Option<Closing> {
        None
    }

    fn protocol_error(&mut self, error: &ProtocolError) {
        panic!("a simulated client broke the protocol: {error}");
    }

    fn query_too_long(&mut self, bytes_max: u64) {
        panic!("a simulated client sent a command of more than {bytes_max} bytes");
    }

    fn before_reply(&mut self, out: &mut ReplyBuf) {
        let (info, (mode, version)) = (self.shard.info(), self.shard.mode());
        let origin = ReplyOrigin {
            node: self.node.id,
            life: self.node.lives.get(),
            primary: info.standing == Standing::Primary,
            epoch: info.epoch,
            mode,
            version,
            applied: info.applied,
            left: Duration::ZERO,
        };
        out.simple(origin.encode());
    }
}

impl FrontEnd for SimHost {
    fn run(
        &mut self,
        spec: &'static CommandSpec,
        args: Args<'_>,
        session: &mut Session,
        _: &mut ShardView<'_>,
        out: &mut ReplyBuf,
    ) -> FrontEndOutcome {
        match spec.name {
            "readonly" | "readwrite" => {
                session.set_readonly(spec.name == "readonly");
                out.ok();
            }
            "client|reply" => {
                let mode = self.reply_mode.get().after(args.get(2)).expect("a simulated client names a mode");
                self.reply_mode.set(mode);
                if mode == ReplyMode::On {
                    out.ok();
                }
            }
            name => out.error(format!("ERR the simulation's front end does not implement {name}")),
        }
        FrontEndOutcome::Reply
    }

    fn permit_queued(&mut self, _: &'static CommandSpec, _: Args<'_>, _: &mut ReplyBuf) -> bool {
        true
    }

    fn user(&self) -> Vec<u8> {
        b"default".to_vec()
    }

    fn address(&self, _: Slot, primary: Option<NodeId>) -> Option<String> {
        primary.map(|node| format!("{}:{}", host(node), self.port))
    }
}
