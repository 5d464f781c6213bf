//! A Valkey server for one test, on a Unix socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastness_resp::value::{self, Value};

/// The variable that contains the path of the server.
const SERVER_VARIABLE: &str = "FASTNESS_VALKEY_SERVER";

/// Longest wait for the server to start, and for a reply.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server with 16 databases. It is stopped when this is dropped.
pub struct Server {
    process: Child,
    socket: PathBuf,
}

impl Server {
    /// Starts the server; `None`, with a message, if none is installed.
    pub fn start() -> Option<Server> {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let Some(program) = std::env::var_os(SERVER_VARIABLE) else {
            println!("skipped: set {SERVER_VARIABLE} to a valkey-server 9.1 (`source deploy/setup/env.sh`)");
            return None;
        };
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let socket = std::env::temp_dir().join(format!("fastness-acl-{}-{number}.sock", std::process::id()));
        let process = Command::new(&program)
            .args(["--port", "0", "--save", "", "--databases", "16", "--unixsocket"])
            .arg(&socket)
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        Some(Server { process, socket })
    }

    /// Opens a connection.
    pub fn connect(&self) -> Connection {
        let begun = Instant::now();
        loop {
            match UnixStream::connect(&self.socket) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    return Connection { stream, buffer: Vec::new() };
                }
                Err(error) if begun.elapsed() > PATIENCE => panic!("the server does not start: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// A connection that waits for each reply.
pub struct Connection {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Sends a request and returns the reply.
    pub fn call<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Value {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n", word.as_ref().len()).as_bytes());
            request.extend_from_slice(word.as_ref());
            request.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&request).unwrap();
        loop {
            if let Some((value, length)) = value::parse(&self.buffer).unwrap() {
                self.buffer.drain(..length);
                return value;
            }
            let mut chunk = [0; 16 * 1024];
            let count = self.stream.read(&mut chunk).unwrap();
            assert!(count > 0, "the server closed the connection after {:?}", shown(words));
            self.buffer.extend_from_slice(&chunk[..count]);
        }
    }
}

/// Words for the message of a failure.
pub fn shown<W: AsRef<[u8]>>(words: &[W]) -> Vec<String> {
    words.iter().map(|word| word.as_ref().escape_ascii().to_string()).collect()
}
