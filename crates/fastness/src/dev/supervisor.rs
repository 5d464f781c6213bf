//! The process that starts the nodes of a dev cluster, notices when they exit, and keeps `cluster.json` up to date. It
//! is `fastness dev` itself, or, with `--detach`, a child of it in its own session.
//!
//! Rules:
//! - There is one supervisor per folder: it holds `dev.lock`.
//! - It never restarts a node by itself: a node that was killed stays down until a command starts it.
//! - A dying node (see [`process::Presence`]) does not count as running. A command that starts it meanwhile waits, for
//!   at most [`DYING_MAX`], until the old process has released its data and ports.
//! - Nodes outlive the supervisor if it is killed; the next supervisor adopts the running ones.
//! - It stops when no node is running any more. If the folder is removed, it stops the nodes first.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::cluster_file::ClusterFile;
use super::folder::Folder;
use super::process::{self, ProcessId};
use super::settings::Settings;
use super::socket::{self, LINE_BYTES_MAX, Request, Response};
use super::{node_config, ports};

/// Interval between two checks for exits that no signal reports (of adopted nodes).
const POLL: Duration = Duration::from_millis(100);
/// A supervisor without requests and nodes stops after this time.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// Time that a node has after SIGTERM to hand over and drain; then it is killed.
const STOP_MAX: Duration = Duration::from_secs(20);
/// How long a new supervisor waits for one that is stopping.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// How long a start waits for dying processes of the same nodes. Less than [`socket::ANSWER_TIMEOUT`].
const DYING_MAX: Duration = Duration::from_secs(10);
/// Interval between two checks while a start waits for them.
const POLL_DYING: Duration = Duration::from_millis(5);
/// Largest number of requests that wait at once.
const REQUESTS_MAX: usize = 8;

type Incoming = (Request, oneshot::Sender<Response>);

/// A start that waits for dying processes.
struct Start {
    nodes: Vec<u64>,
    answer: oneshot::Sender<Response>,
    until: Instant,
}

/// A node's process: adopted, or a child of this process (which must be waited for).
struct Running {
    process: ProcessId,
    child: Option<Child>,
}

impl Running {
    /// Whether the process has released everything. Waits for it then, if it is a child.
    fn has_exited(&mut self) -> bool {
        match &mut self.child {
            Some(child) => !matches!(child.try_wait(), Ok(None)),
            None => self.process.has_exited(),
        }
    }
}

struct Supervisor {
    binary: PathBuf,
    folder: Folder,
    settings: Settings,
    /// Running and dying nodes.
    running: BTreeMap<u64, Running>,
    /// Starts that wait for dying processes.
    starts: Vec<Start>,
    /// When all nodes must have stopped, once a stop was requested.
    stop_deadline: Option<Instant>,
    /// Whether a node was ever started or adopted.
    used: bool,
}

/// Takes the folder's lock; waits a little for a supervisor that is stopping. `None` if another one continues to run.
pub async fn lock(folder: &Folder) -> Result<Option<File>> {
    let path = folder.lock();
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("{} is not writable", path.display()))?;
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() >= until => return Ok(None),
            Err(rustix::io::Errno::WOULDBLOCK) => tokio::time::sleep(POLL).await,
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        }
    }
}

/// Runs the supervisor until it stops. `_lock` is the folder's, see [`lock`].
pub async fn run(folder: Folder, settings: Settings, _lock: File) -> Result<()> {
    let binary = std::env::current_exe().context("cannot find this program's own file")?;
    let (requests_in, mut requests) = mpsc::channel(REQUESTS_MAX);
    let mut supervisor = Supervisor {
        binary,
        folder: folder.clone(),
        settings,
        running: BTreeMap::new(),
        starts: Vec::new(),
        stop_deadline: None,
        used: false,
    };
    supervisor.adopt();
    supervisor.write_file()?;
    let listener = UnixListener::from_std(socket::listen(&folder)?)?;
    let accepting = tokio::spawn(listen(listener, requests_in));
    let result = supervisor.supervise(&mut requests).await;
    accepting.abort();
    // Not required: the next supervisor replaces the socket.
    let _ = std::fs::remove_file(folder.socket());
    result
}

impl Supervisor {
    /// Adopts the nodes of an earlier supervisor, including dying ones, because their data is still locked.
    fn adopt(&mut self) {
        for node in self.settings.nodes() {
            if let Some(process) = process::left_of_node(&self.folder, node) {
                self.used |= process.is_running();
                self.running.insert(node, Running { process, child: None });
            }
        }
    }

    async fn supervise(&mut self, requests: &mut mpsc::Receiver<Incoming>) -> Result<()> {
        let (mut child_ended, mut terminate) = (signal(SignalKind::child())?, signal(SignalKind::terminate())?);
        let (mut interrupt, mut hangup) = (signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
        let mut tick = tokio::time::interval(POLL);
        let idle_until = Instant::now() + IDLE_MAX;
        loop {
            tokio::select! {
                _ = child_ended.recv() => {}
                _ = tick.tick() => {}
                () = tokio::time::sleep(POLL_DYING), if !self.starts.is_empty() => {}
                Some((request, answer)) = requests.recv() => self.answer(request, answer),
                _ = terminate.recv() => self.stop_all(),
                _ = interrupt.recv() => self.stop_all(),
                _ = hangup.recv() => self.stop_all(),
            }
            self.poll()?;
            self.start_waiting();
            let idle = !self.used && Instant::now() < idle_until && self.stop_deadline.is_none();
            if self.running.is_empty() && self.starts.is_empty() && !idle {
                return Ok(());
            }
        }
    }

    /// Notices exits, and does what is due.
    fn poll(&mut self) -> Result<()> {
        let before = self.running.len();
        self.running.retain(|node, running| {
            let gone = running.has_exited();
            if gone {
                tracing::info!(node, pid = running.process.pid, "node has stopped");
            }
            !gone
        });
        if !self.folder.settings().exists() {
            tracing::info!("the cluster's folder was removed: stopping its nodes");
            self.stop_all();
            return Ok(());
        }
        if self.stop_deadline.is_some_and(|until| Instant::now() >= until) {
            tracing::warn!("killing the nodes that did not stop in time");
            self.running.values().for_each(|running| running.process.signal(Signal::KILL));
        }
        if self.running.len() == before { Ok(()) } else { self.write_file() }
    }

    fn write_file(&self) -> Result<()> {
        let pids = self.running.iter().map(|(node, running)| (*node, running.process.pid)).collect();
        ClusterFile::of(&self.folder, &self.settings, &pids)?.write(&self.folder)
    }

    fn answer(&mut self, request: Request, answer: oneshot::Sender<Response>) {
        let result = match request {
            Request::Start(nodes) => {
                self.starts.push(Start { nodes, answer, until: Instant::now() + DYING_MAX });
                return;
            }
            Request::End { node } => self.stop_node(node),
            Request::Reload => self.reload(),
            Request::Shutdown => {
                self.stop_all();
                Ok(())
            }
        };
        // The caller may have disconnected.
        let _ = answer.send(response_of(result.map(|()| Vec::new())));
    }

    /// Performs the starts that no longer have to wait.
    fn start_waiting(&mut self) {
        let now = Instant::now();
        for start in std::mem::take(&mut self.starts) {
            if self.stop_deadline.is_none() && now < start.until && start.nodes.iter().any(|node| self.is_dying(*node))
            {
                self.starts.push(start);
                continue;
            }
            // The caller may have disconnected.
            let _ = start.answer.send(response_of(self.start(&start.nodes)));
        }
    }

    fn is_dying(&self, node: u64) -> bool {
        self.running.get(&node).is_some_and(|running| !running.process.is_running())
    }

    /// Reads the settings again. A node that was replaced but still runs remains supervised: it stops by itself.
    fn reload(&mut self) -> Result<()> {
        self.settings = Settings::load(&self.folder)?.context("the folder's settings (dev.json) are missing")?;
        self.write_file()
    }

    fn start(&mut self, nodes: &[u64]) -> Result<Vec<u64>> {
        if self.stop_deadline.is_some() {
            bail!("the cluster is being stopped");
        }
        nodes.iter().try_for_each(|node| self.settings.check_node(*node))?;
        // Includes exits that were not noticed yet.
        self.poll()?;
        if let Some(node) = nodes.iter().find(|node| self.is_dying(**node)) {
            bail!(
                "node {node} was killed, but its process has not released its data after {} s: check whether its disk is stalled",
                DYING_MAX.as_secs()
            );
        }
        let dead: Vec<u64> = nodes.iter().copied().filter(|node| !self.running.contains_key(node)).collect();
        self.check_ports(&dead)?;
        node_config::write(&self.folder, &self.settings, &dead)?;
        for &node in &dead {
            let started = process::start_node(&self.binary, &self.folder, node);
            let (child, process) = match started {
                Ok(started) => started,
                Err(error) => {
                    self.write_file()?;
                    return Err(error);
                }
            };
            tracing::info!(node, pid = process.pid, "node started");
            self.used = true;
            self.running.insert(node, Running { process, child: Some(child) });
        }
        self.write_file()?;
        Ok(dead)
    }

    fn check_ports(&self, nodes: &[u64]) -> Result<()> {
        let plan = self.settings.ports()?;
        let wanted = plan.iter().filter(|(node, _)| nodes.contains(node));
        let mut wanted = wanted.flat_map(|(_, ports)| ports.all(self.settings.shards));
        match ports::taken(&mut wanted) {
            None => Ok(()),
            Some((port, error)) => bail!(
                "port {port} is not free ({error}): this cluster uses ports {} to {}. Stop the program that uses it, or create a cluster \
                 with another --port in another --dir",
                self.settings.port,
                self.settings.port + 99
            ),
        }
    }

    fn stop_node(&mut self, node: u64) -> Result<()> {
        self.settings.check_node(node)?;
        self.poll()?;
        let running = self.running.get(&node).with_context(|| format!("node {node} is not running"))?;
        stop(&running.process, false);
        Ok(())
    }

    fn stop_all(&mut self) {
        if self.stop_deadline.is_none() {
            self.stop_deadline = Some(Instant::now() + STOP_MAX);
            self.running.values().for_each(|running| stop(&running.process, false));
        }
    }
}

fn response_of(result: Result<Vec<u64>>) -> Response {
    match result {
        Ok(started) => Response { started, error: None },
        Err(error) => Response { started: Vec::new(), error: Some(format!("{error:#}")) },
    }
}

/// Asks a process to stop; one that is stopped by a signal must be resumed to be able to.
pub fn stop(process: &ProcessId, kill: bool) {
    process.signal(if kill { Signal::KILL } else { Signal::TERM });
    process.signal(Signal::CONT);
}

async fn listen(listener: UnixListener, requests: mpsc::Sender<Incoming>) {
    while let Ok((stream, _)) = listener.accept().await {
        let requests = requests.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(stream, requests).await {
                tracing::debug!(%error, "a request could not be answered");
            }
        });
    }
}

async fn serve(mut stream: UnixStream, requests: mpsc::Sender<Incoming>) -> Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    BufReader::new(read.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
    let (answer, answered) = oneshot::channel();
    requests
        .send((serde_json::from_str(&line)?, answer))
        .await
        .map_err(|_| anyhow::anyhow!("the supervisor is stopping"))?;
    let mut text = serde_json::to_vec(&answered.await?)?;
    text.push(b'\n');
    write.write_all(&text).await?;
    Ok(())
}
