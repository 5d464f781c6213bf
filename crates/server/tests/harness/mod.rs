//! One replica with its front end over real loopback sockets. The Raft group is played by the test, which decides when
//! what was proposed commits, and who leads.

#![allow(dead_code, clippy::unwrap_used)]

pub mod certificates;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastness_consensus::handle::{
    Committed, CommittedLog, EntryPayload, GroupDriver, Lease, ReadError, Role, group_pair,
};
use fastness_consensus::{GroupStatus, Progress};
use fastness_control::{ClusterMap, NodeInfo, fixtures};
use fastness_events::Events;
use fastness_resp::{Value, request, value};
use fastness_server::config::Config;
use fastness_server::group_view::GroupView;
use fastness_server::mailbox::ToReplica;
use fastness_server::replica::{self, Replica, ReplicaOptions};
use fastness_server::resp_server::accept;
use fastness_server::shared::NodeShared;
use fastness_shard::{Batching, SlotSet};
use fastness_types::{BootNs, ClusterId, Durability, Epoch, GroupId, HashSeed, LogIndex, NodeId, ShardId, SystemClock};
use parking_lot::Mutex;
use rustls::ServerConfig;

/// No test waits longer than that for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The group's log, and what the test holds back.
struct PlayedGroup {
    entries: Mutex<Vec<Committed>>,
    driver: Mutex<Option<GroupDriver>>,
    epoch: Mutex<Epoch>,
    commits: AtomicBool,
}

#[async_trait::async_trait]
impl CommittedLog for PlayedGroup {
    fn read_cached(&self, from: LogIndex, to: LogIndex, _: usize) -> Option<Vec<Committed>> {
        Some(self.entries.lock()[from.0 as usize - 1..to.0 as usize].to_vec())
    }

    async fn read(&self, from: LogIndex, to: LogIndex, max: usize) -> Result<Vec<Committed>, ReadError> {
        Ok(self.read_cached(from, to, max).unwrap())
    }
}

impl GroupView for PlayedGroup {
    fn status(&self) -> Option<GroupStatus> {
        None
    }

    fn stable_copies(&self, index: LogIndex) -> u64 {
        let committed = self.driver.lock().as_ref().map_or(LogIndex(0), GroupDriver::committed);
        if index <= committed { 2 } else { 0 }
    }

    fn stable_on(&self, index: LogIndex) -> Vec<NodeId> {
        (0..self.stable_copies(index)).map(|other| NodeId(other + 2)).collect()
    }

    fn flushed(&self) -> LogIndex {
        LogIndex(self.entries.lock().len() as u64)
    }

    fn progress(&self) -> Progress {
        // What is committed is acknowledged, and of that the loop is told.
        Progress::never()
    }
}

impl PlayedGroup {
    fn append(&self, epoch: Epoch, payload: EntryPayload) -> LogIndex {
        let mut entries = self.entries.lock();
        let index = LogIndex(entries.len() as u64 + 1);
        entries.push(Committed { index, epoch, payload });
        index
    }
}

/// See the module.
pub struct FrontEnd {
    pub node: Arc<NodeShared>,
    pub address: SocketAddr,
    group: Arc<PlayedGroup>,
    driver: GroupDriver,
    replica: Option<Replica>,
    runtime: tokio::runtime::Runtime,
}

/// How a front end is opened.
pub struct Options {
    pub config: String,
    pub durability: Durability,
    pub tls: Option<Arc<ServerConfig>>,
}

impl Default for Options {
    fn default() -> Self {
        Options { config: String::new(), durability: Durability::Sync, tls: None }
    }
}

/// Node 1 is this process; node 2 does not exist.
fn map(address: SocketAddr, durability: Durability) -> ClusterMap {
    let node = |id, az, port| NodeInfo { resp_port: port, resp_tls_port: port, ..fixtures::node(id, az) };
    ClusterMap {
        cluster_id: ClusterId([1; 16]),
        hash_seed: HashSeed([2; 16]),
        durability,
        replicas: 1,
        nodes: vec![node(1, "a", address.port()), node(2, "b", 1)],
        shards: vec![fixtures::shard(1, (0, 16383), [1, 2])],
        control_voters: vec![NodeId(1), NodeId(2)],
        ..fixtures::three_nodes()
    }
}

impl FrontEnd {
    pub fn open(options: Options) -> FrontEnd {
        let config = Config::parse(&format!("availability-zone a\n{}", options.config)).unwrap();
        let node =
            NodeShared::new(NodeId(1), ClusterId([1; 16]), config, fastness_server::resp_server::command::table());
        let group = Arc::new(PlayedGroup {
            entries: Mutex::default(),
            driver: Mutex::default(),
            epoch: Mutex::default(),
            commits: AtomicBool::new(true),
        });
        let (handle, driver) = group_pair(GroupId(1), group.clone(), Events::only_logged());
        *group.driver.lock() = Some(driver.clone());
        node.add_group(ShardId(1), handle.clone());
        let listener = accept::listen(IpAddr::V4(Ipv4Addr::LOCALHOST), 0, 128).unwrap();
        let address = listener.local_addr().unwrap();
        node.map.store(Some(Arc::new(map(address, options.durability))));
        let ports = (address.port(), address.port());
        let replica = replica::start(ReplicaOptions {
            node: node.clone(),
            shard: ShardId(1),
            slots: SlotSet::all(),
            seed: HashSeed([2; 16]),
            clock: Arc::new(SystemClock),
            handle,
            group: group.clone(),
            batching: Batching::default(),
            snapshots: None,
            ports,
            settings_server: None,
        })
        .unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (shared, mailbox) = (node.clone(), replica.mailbox.clone());
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            accept::accept(listener, options.tls.map(Into::into), shared, mailbox).await;
        });
        let server = FrontEnd { node, address, group, driver, replica: Some(replica), runtime };
        server.play();
        server.lead(1);
        server
    }

    /// Takes what is proposed into the log, and commits it unless told not to.
    fn play(&self) {
        let (group, driver) = (self.group.clone(), self.driver.clone());
        self.runtime.spawn(async move {
            loop {
                while let Some(proposal) = driver.next_proposal() {
                    if proposal.epoch == *group.epoch.lock() {
                        group.append(proposal.epoch, EntryPayload::Batch(proposal.payload));
                    }
                }
                if group.commits.load(Ordering::Acquire) {
                    driver.advance_committed(group.flushed());
                }
                tokio::select! {
                    () = driver.proposed() => {}
                    () = driver.reported() => {}
                }
            }
        });
    }

    /// This node leads, with a lease that does not end.
    pub fn lead(&self, term: u64) {
        let epoch = Epoch { term, node: NodeId(1) };
        *self.group.epoch.lock() = epoch;
        let lease = Lease::new(epoch);
        lease.extend(BootNs(u64::MAX));
        let first = self.group.append(epoch, EntryPayload::Blank);
        self.driver.set_role(Role::Leader { lease: Arc::new(lease), first });
        self.driver.advance_committed(first);
    }

    /// Node 2 has taken over: what was open here is lost.
    pub fn lose(&self, term: u64) {
        let epoch = Epoch { term, node: NodeId(2) };
        *self.group.epoch.lock() = epoch;
        self.group.entries.lock().truncate(self.committed().0 as usize);
        self.driver.set_role(Role::Follower { leader: Some(NodeId(2)) });
        let blank = self.group.append(epoch, EntryPayload::Blank);
        self.driver.advance_committed(blank);
    }

    /// This node follows, and knows no leader.
    pub fn follow_nobody(&self) {
        self.driver.set_role(Role::Follower { leader: None });
    }

    fn committed(&self) -> LogIndex {
        self.driver.committed()
    }

    /// Whether what is proposed commits from now on.
    pub fn set_commits(&self, commits: bool) {
        self.group.commits.store(commits, Ordering::Release);
        if commits {
            self.driver.advance_committed(self.group.flushed());
        }
    }

    /// A connection; the first one waits until the replica serves.
    pub fn connect(&self) -> Client {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut client = self.connect_raw();
            match client.call(&["GET", "is it there"]) {
                Value::Null => return client,
                other => assert!(Instant::now() < deadline, "the replica does not serve: {other:?}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A connection of which nothing is expected.
    pub fn connect_raw(&self) -> Client {
        Client::new(TcpStream::connect(self.address).unwrap())
    }
}

impl Drop for FrontEnd {
    fn drop(&mut self) {
        self.node.stop();
        if let Some(replica) = self.replica.take() {
            let _ = replica.mailbox.blocking_send(ToReplica::Stop);
            replica.thread.join().unwrap();
        }
        assert_eq!(self.node.connected.load(Ordering::Relaxed), 0, "connections are counted up and down alike");
    }
}

/// What a client speaks over.
pub trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A client that speaks what it is told to.
pub struct Client {
    pub stream: Box<dyn Stream>,
    received: Vec<u8>,
}

impl Client {
    pub fn new(tcp: TcpStream) -> Client {
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_write_timeout(Some(PATIENCE)).unwrap();
        tcp.set_nodelay(true).unwrap();
        Client::over(tcp)
    }

    pub fn over(stream: impl Stream + 'static) -> Client {
        Client { stream: Box::new(stream), received: Vec::new() }
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.stream.flush().unwrap();
    }

    pub fn send(&mut self, args: &[&str]) {
        let mut bytes = Vec::new();
        request::encode(args, &mut bytes);
        self.send_raw(&bytes);
    }

    /// The next reply; `None` if the connection was closed.
    pub fn try_receive(&mut self) -> Option<Value> {
        loop {
            if let Some((value, consumed)) = value::parse(&self.received).unwrap() {
                self.received.drain(..consumed);
                return Some(value);
            }
            let mut chunk = [0; 64 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(len) => self.received.extend_from_slice(&chunk[..len]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no reply: {error}; received {:?}", self.received.escape_ascii().to_string()),
            }
        }
    }

    pub fn receive(&mut self) -> Value {
        self.try_receive().expect("the connection was closed")
    }

    pub fn call(&mut self, args: &[&str]) -> Value {
        self.send(args);
        self.receive()
    }

    pub fn call_text(&mut self, args: &[&str]) -> String {
        match self.call(args) {
            Value::Error(text) => format!("-{}", String::from_utf8_lossy(&text)),
            Value::Integer(number) => number.to_string(),
            Value::Null | Value::NullArray => "(nil)".into(),
            value => String::from_utf8_lossy(value.as_bytes().unwrap_or_else(|| panic!("{value:?}"))).into_owned(),
        }
    }
}

pub fn simple(text: &str) -> Value {
    Value::Simple(text.into())
}

pub fn bulk(text: &str) -> Value {
    Value::Bulk(text.into())
}

/// Tries until it holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
