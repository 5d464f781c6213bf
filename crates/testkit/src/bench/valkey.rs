//! A real Valkey with two replicas, in memory only.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_load::Endpoint;

use crate::ports::Ports;

/// Three servers: a primary and two replicas. Stopped when dropped.
pub struct Valkey {
    servers: Vec<Child>,
    ports: Ports,
    _dir: tempfile::TempDir,
}

impl Valkey {
    /// Starts the servers and waits until both replicas follow.
    ///
    /// # Errors
    /// If a server does not start.
    pub fn start(binary: &Path) -> Result<Valkey> {
        let dir = tempfile::tempdir()?;
        let ports = Ports::reserve()?;
        let mut servers = Vec::new();
        for i in 0..3 {
            let home = dir.path().join(i.to_string());
            std::fs::create_dir(&home)?;
            let mut command = Command::new(binary);
            command.args(["--port", &ports.at(i).to_string(), "--bind", "127.0.0.1"]);
            command.args(["--save", "", "--appendonly", "no"]);
            command.arg("--dir").arg(&home).args(["--repl-diskless-sync-delay", "0"]);
            if i > 0 {
                command.args(["--replicaof", "127.0.0.1", &ports.at(0).to_string()]);
            }
            let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            servers.push(child.with_context(|| format!("starting {}", binary.display()))?);
        }
        let valkey = Valkey { servers, ports, _dir: dir };
        valkey.wait_for_replicas()?;
        Ok(valkey)
    }

    fn wait_for_replicas(&self) -> Result<()> {
        use std::io::{Read, Write};
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = std::net::TcpStream::connect(("127.0.0.1", self.ports.at(0))).and_then(|mut stream| {
                stream.set_read_timeout(Some(Duration::from_secs(2)))?;
                stream.write_all(b"WAIT 2 1000\r\n")?;
                let mut reply = [0; 16];
                let len = stream.read(&mut reply)?;
                Ok(reply[..len].to_vec())
            });
            if answer.is_ok_and(|a| a == b":2\r\n") {
                return Ok(());
            }
            ensure!(Instant::now() < until, "Valkey's replicas do not follow within 30 s");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The primary's endpoint.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::new("127.0.0.1", self.ports.at(0))
    }

    /// Process ids, the primary's first.
    #[must_use]
    pub fn pids(&self) -> Vec<i32> {
        self.servers.iter().filter_map(|s| i32::try_from(s.id()).ok()).collect()
    }
}

impl Drop for Valkey {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}
