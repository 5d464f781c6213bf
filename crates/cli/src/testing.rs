//! A scripted server on loopback.

use std::sync::Arc;

use fastness_resp::request::{ArgSpans, Limits, Parsed, parse};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::access::{Access, ProtocolChoice};
use crate::address::Address;

/// What the server does after a command.
pub(crate) enum Answer {
    /// Sends these bytes.
    Bytes(Vec<u8>),
    /// Closes the connection.
    Close,
}

/// Sends a text; CR LF is appended.
pub(crate) fn line(text: &str) -> Answer {
    Answer::Bytes(format!("{text}\r\n").into_bytes())
}

type Script = Arc<Mutex<dyn FnMut(&str) -> Answer + Send>>;

/// A server that answers each command, as a line, as a function says.
pub(crate) struct Scripted {
    pub(crate) address: Address,
    seen: Arc<Mutex<Vec<String>>>,
    listening: tokio::task::JoinHandle<()>,
}

impl Scripted {
    pub(crate) async fn start(script: impl FnMut(&str) -> Answer + Send + 'static) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
        let (script, seen): (Script, _) = (Arc::new(Mutex::new(script)), Arc::new(Mutex::new(Vec::new())));
        let noted = seen.clone();
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, script.clone(), noted.clone()));
            }
        });
        Scripted { address, seen, listening }
    }

    /// The commands that have arrived, as lines.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn serve(mut stream: TcpStream, script: Script, seen: Arc<Mutex<Vec<String>>>) {
    let (mut input, mut spans) = (Vec::new(), ArgSpans::new());
    loop {
        while let Ok(Parsed::Complete { consumed }) = parse(&input, &mut spans, &Limits::DEFAULT) {
            let words = spans.args(&input).to_owned_args();
            input.drain(..consumed);
            let line = words.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ");
            seen.lock().push(line.clone());
            let answer = (script.lock())(&line);
            let Answer::Bytes(bytes) = answer else { return };
            if stream.write_all(&bytes).await.is_err() {
                return;
            }
        }
        if !matches!(stream.read_buf(&mut input).await, Ok(1..)) {
            return;
        }
    }
}

/// An address at which nobody listens.
pub(crate) fn dead() -> Address {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    Address::new("127.0.0.1", listener.local_addr().unwrap().port())
}

/// Access without TLS and password, in RESP2.
pub(crate) fn plain() -> Access {
    Access { tls: None, credentials: None, protocol: ProtocolChoice::Resp2, database: 0 }
}
