//! A real Valkey server for one test: a cluster of one node that owns every slot, with one database, on loopback.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use fastness_resp::{Protocol, value};
use tempfile::TempDir;

use crate::ports::Ports;

/// The variable that contains the path of the server.
pub const SERVER_VARIABLE: &str = "FASTNESS_VALKEY_SERVER";

/// How to get a server.
const HOW: &str = "set FASTNESS_VALKEY_SERVER to a valkey-server 9.1; deploy/setup/python.sh installs one, \
                   then `source deploy/setup/env.sh` (make test does both)";

/// A running server. It is stopped when this is dropped.
#[derive(Debug)]
pub struct Reference {
    process: Child,
    ports: Ports,
    _folder: TempDir,
}

/// Longest wait for the server to start, and for a reply.
const PATIENCE: Duration = Duration::from_secs(30);

impl Reference {
    /// Starts the server that [`SERVER_VARIABLE`] names.
    ///
    /// # Errors
    /// If the variable is not set, or the server does not start.
    pub fn start() -> anyhow::Result<Reference> {
        let server: PathBuf = std::env::var_os(SERVER_VARIABLE).context(HOW)?.into();
        let folder = tempfile::tempdir()?;
        let ports = Ports::reserve()?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let process = Command::new(&server)
            .args(["--port", &ports.at(0).to_string(), "--cluster-port", &ports.at(1).to_string()])
            .args(["--bind", "127.0.0.1", "--cluster-enabled", "yes"])
            .args(["--save", "", "--appendonly", "no", "--databases", "1"])
            .args(["--enable-debug-command", "local", "--dir"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{}: {HOW}", server.display()))?;
        let reference = Reference { process, ports, _folder: folder };
        reference.form_cluster()?;
        Ok(reference)
    }

    fn form_cluster(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut connection = loop {
            match self.connect(Protocol::Resp2) {
                Ok(connection) => break connection,
                Err(error) if begun.elapsed() > PATIENCE => return Err(error.context("the reference does not start")),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        let added = connection.call(&words(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]))?;
        if added != b"+OK\r\n" {
            bail!("CLUSTER ADDSLOTSRANGE: {}", added.escape_ascii());
        }
        loop {
            let info = connection.call(&words(&["CLUSTER", "INFO"]))?;
            if String::from_utf8_lossy(&info).contains("cluster_state:ok") {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                bail!("the reference does not form a cluster: {}", info.escape_ascii());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Opens a connection with this protocol version.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn connect(&self, protocol: Protocol) -> anyhow::Result<ReferenceConnection> {
        ReferenceConnection::open("127.0.0.1", self.ports.at(0), protocol)
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A request from words.
#[must_use]
pub fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

fn encode(request: &[Vec<u8>], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(format!("*{}\r\n", request.len()).as_bytes());
    for arg in request {
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
}

/// One connection that waits for its replies.
#[derive(Debug)]
pub struct ReferenceConnection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl ReferenceConnection {
    /// Opens a connection with this protocol version to any server, the reference or the product.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn open(host: &str, port: u16, protocol: Protocol) -> anyhow::Result<ReferenceConnection> {
        let stream = TcpStream::connect((host, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut connection = ReferenceConnection { stream, buffer: Vec::new() };
        let hello = connection.call(&words(&["HELLO", &protocol.number().to_string()]))?;
        if hello.starts_with(b"-") {
            bail!("HELLO: {}", hello.escape_ascii());
        }
        Ok(connection)
    }

    /// Sends a command and returns the bytes of its reply.
    ///
    /// # Errors
    /// If the connection ends, or no reply arrives.
    pub fn call(&mut self, request: &[Vec<u8>]) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        encode(request, &mut bytes);
        self.stream.write_all(&bytes)?;
        self.receive()
    }

    /// Sends commands as one pipeline and returns the bytes of each reply.
    ///
    /// # Errors
    /// As [`ReferenceConnection::call`].
    pub fn call_all(&mut self, requests: &[Vec<Vec<u8>>]) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut bytes = Vec::new();
        requests.iter().for_each(|request| encode(request, &mut bytes));
        self.stream.write_all(&bytes)?;
        requests.iter().map(|_| self.receive()).collect()
    }

    /// Returns the bytes of the next reply or message.
    ///
    /// # Errors
    /// If the connection ends, or nothing arrives.
    pub fn receive(&mut self) -> anyhow::Result<Vec<u8>> {
        loop {
            if let Some((_, length)) = value::parse(&self.buffer)? {
                return Ok(self.buffer.drain(..length).collect());
            }
            let mut chunk = [0; 65_536];
            let read = self.stream.read(&mut chunk)?;
            if read == 0 {
                bail!("the connection ended");
            }
            self.buffer.extend_from_slice(&chunk[..read]);
        }
    }
}
