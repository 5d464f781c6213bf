//! A front end for the simulation: RESP over the simulation's TCP, one task per connection on the node's own thread.
//!
//! It keeps the rules of the real front end: commands run in the order in which they came, replies leave in that order,
//! a held reply leaves only when the shard says so **at that moment**, and one that may never leave is replaced by an
//! error. It knows no users, no TLS and few commands of its own. In front of every reply it says where that comes from
//! (`stamp.rs`).

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use fastness_engine::command::{CommandSpec, FrontEndCommand};
use fastness_resp::{ArgSpans, Args, Limits, Parsed, Protocol, ReplyBuf, request};
use fastness_shard::{
    FrontEnd, FrontEndOutcome, Outcome, PendingReply, Release, Session, Shard, ShardView, Standing, WaitsFor,
};
use fastness_types::{NodeId, ShardId, Slot};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use turmoil::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use turmoil::net::{TcpListener, TcpStream};

use crate::sim::net::host;
use crate::sim::node::SimNode;
use crate::sim::stamp::Stamp;
use crate::sim::thread::on_thread_of;

/// Replies of one connection that wait; at the bound no more is read.
const WAITING_MAX: usize = 64;

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
        let (stream, _) = listener.accept().await?;
        let connection = Connection::new(id, shard.clone(), node.clone(), stream);
        // Whatever ends a connection, its client finds out by itself.
        let running = async move { drop(connection.run().await) };
        tokio::task::spawn_local(on_thread_of(node.clone(), id, running));
    }
}

struct Connection {
    shard: Shard,
    session: Session,
    front_end: SimFrontEnd,
    node: Rc<SimNode>,
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    input: Vec<u8>,
    waiting: VecDeque<Waiting>,
}

/// A reply that has not left.
struct Waiting {
    /// Of the moment at which the command ran.
    stamp: Stamp,
    reply: ReplyBuf,
    pending: Option<PendingReply>,
}

enum Event {
    Read(usize),
    Released,
}

impl Connection {
    fn new(id: ShardId, shard: Shard, node: Rc<SimNode>, stream: TcpStream) -> Connection {
        let (read, write) = stream.into_split();
        let session = shard.session();
        Connection {
            shard,
            session,
            front_end: SimFrontEnd { port: port(id) },
            node,
            read,
            write,
            input: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    async fn run(mut self) -> io::Result<()> {
        loop {
            self.execute().await?;
            let held = self.send().await?;
            if self.waiting.len() < WAITING_MAX && self.has_command()? {
                continue;
            }
            match self.next_event(held).await? {
                Event::Read(0) => return Ok(()),
                Event::Read(_) | Event::Released => {}
            }
        }
    }

    async fn next_event(&mut self, held: Option<PendingReply>) -> io::Result<Event> {
        let Connection { shard, session, read, input, waiting, .. } = self;
        let released = async {
            match held {
                Some(pending) => shard.wait_released(session, pending).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = released => Ok(Event::Released),
            read = read.read_buf(input), if waiting.len() < WAITING_MAX => read.map(Event::Read),
        }
    }

    fn has_command(&self) -> io::Result<bool> {
        Ok(matches!(parse(&self.input, &mut ArgSpans::new())?, Parsed::Complete { .. }))
    }

    /// Runs what was received.
    async fn execute(&mut self) -> io::Result<()> {
        let mut spans = ArgSpans::new();
        while self.waiting.len() < WAITING_MAX {
            let Parsed::Complete { consumed } = parse(&self.input, &mut spans)? else { return Ok(()) };
            if spans.attribute(&self.input).is_some() {
                return Err(io::Error::other("the simulation's door takes no attributes"));
            }
            if !spans.is_empty() {
                let args = spans.args(&self.input).to_owned_args();
                self.execute_one(&args).await?;
            }
            spans.reset();
            self.input.drain(..consumed);
        }
        Ok(())
    }

    async fn execute_one(&mut self, args: &[Vec<u8>]) -> io::Result<()> {
        self.session.arrived();
        loop {
            let mut reply = ReplyBuf::new(Protocol::Resp2);
            let shard = self.shard.clone();
            let call = shard.call(Args::owned(args), shard.now());
            match shard.run(&mut self.session, call, &mut reply, &mut self.front_end) {
                Outcome::Reply { pending, .. } => {
                    self.push(reply, pending);
                    return Ok(());
                }
                Outcome::Wait(request) => {
                    self.send().await?;
                    let mut reply = ReplyBuf::new(Protocol::Resp2);
                    shard.wait(request).await.write(&mut reply);
                    self.push(reply, None);
                    return Ok(());
                }
                Outcome::Busy => {
                    // Nobody waits for the replies before it meanwhile: they leave when this command has run.
                    self.send().await?;
                    match self.session.waits_for() {
                        WaitsFor::Lag(until) => shard.slowed(until).await,
                        WaitsFor::Primary(until) => shard.primary_found(until).await,
                        WaitsFor::Pause => shard.unpaused().await,
                        WaitsFor::Shard => shard.unblocked().await,
                    }
                }
                Outcome::Close => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
    }

    fn push(&mut self, reply: ReplyBuf, pending: Option<PendingReply>) {
        let (info, (mode, version)) = (self.shard.info(), self.shard.mode());
        let stamp = Stamp {
            node: self.node.id,
            life: self.node.lives.get(),
            primary: info.standing == Standing::Primary,
            epoch: info.epoch,
            mode,
            version,
            applied: info.applied,
            left: Duration::ZERO,
        };
        self.waiting.push_back(Waiting { stamp, reply, pending });
    }

    /// Sends what may leave. Returns what the oldest held reply waits for.
    async fn send(&mut self) -> io::Result<Option<PendingReply>> {
        if self.node.stalls.get() && !self.waiting.is_empty() {
            self.node.stalled.set(self.node.stalled.get() + self.waiting.len() as u64);
            while self.node.stalls.get() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        while let Some(Waiting { stamp, reply, pending }) = self.waiting.front_mut() {
            let leave = match pending {
                Some(pending) => self.shard.release(*pending),
                None => Release::Now,
            };
            match (leave, *pending) {
                (Release::Wait, pending) => return Ok(pending),
                (Release::Unknown, Some(pending)) => {
                    reply.truncate(0);
                    reply.error(pending.unknown_text());
                }
                (Release::Now | Release::Unknown, _) => {}
            }
            let left = turmoil::sim_elapsed().unwrap_or_default();
            let mut bytes = Stamp { left, ..*stamp }.encode().into_bytes();
            reply.buf().copy(0..reply.len(), &mut bytes);
            self.write.write_all(&bytes).await?;
            self.waiting.pop_front();
        }
        Ok(None)
    }
}

fn parse(input: &[u8], spans: &mut ArgSpans) -> io::Result<Parsed> {
    request::parse(input, spans, &Limits::DEFAULT).map_err(|error| io::Error::other(error.to_string()))
}

/// What the shard asks of a connection's front end.
struct SimFrontEnd {
    port: u16,
}

impl FrontEnd for SimFrontEnd {
    fn permit(&mut self, _: &'static CommandSpec, _: Args<'_>, _: &Session, _: &mut ReplyBuf) -> bool {
        true
    }

    fn run(
        &mut self,
        command: FrontEndCommand,
        _: Args<'_>,
        session: &mut Session,
        _: &mut ShardView<'_>,
        out: &mut ReplyBuf,
    ) -> FrontEndOutcome {
        match command {
            FrontEndCommand::Readonly | FrontEndCommand::Readwrite => {
                session.set_readonly(command == FrontEndCommand::Readonly);
                out.ok();
            }
            _ => out.error(format!("ERR the simulation's door does not know {command:?}")),
        }
        FrontEndOutcome::Reply
    }

    fn address(&self, _: Slot, primary: Option<NodeId>) -> Option<String> {
        primary.map(|node| format!("{}:{}", host(node), self.port))
    }
}
