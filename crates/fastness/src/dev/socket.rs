//! Requests of the other `fastness dev` commands to the supervisor: one line of JSON each way over `DIR/dev.sock`.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::folder::Folder;

/// Longest line, in bytes.
pub const LINE_BYTES_MAX: u64 = 64 * 1024;
/// The kernel's limit of a socket's path, including its final zero.
const PATH_BYTES_MAX: usize = 107;
/// Time limit of a request. The supervisor answers at once, or within 10 s if a start waits for dying processes. If it
/// does not, it is stopped or broken.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// A request to the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Start those of these nodes that are not running.
    Start(Vec<u64>),
    /// Stop a node with SIGTERM, so that it hands over leadership.
    End {
        /// Id of the node.
        node: u64,
    },
    /// Read the settings again, because a command has changed the durability mode or the nodes.
    Reload,
    /// Stop all nodes, then the supervisor itself.
    Shutdown,
}

/// The supervisor's response.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// Nodes that were started.
    pub started: Vec<u64>,
    /// Why nothing was done.
    pub error: Option<String>,
}

/// The socket's address: its path, or a shorter name of the same file, which is valid as long as the returned folder is
/// open.
fn address(folder: &Folder) -> Result<(PathBuf, Option<std::fs::File>)> {
    let path = folder.socket();
    if path.as_os_str().len() <= PATH_BYTES_MAX {
        return Ok((path, None));
    }
    let open = std::fs::File::open(folder.path())?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}/dev.sock", open.as_raw_fd())), Some(open)))
}

/// Opens the socket. Only the owner of the lock may do so, because it replaces the socket of a supervisor that has
/// died.
pub fn listen(folder: &Folder) -> Result<UnixListener> {
    let (path, _open) = address(folder)?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let listener = UnixListener::bind(&path).with_context(|| folder.socket().display().to_string())?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Sends a request to the supervisor; `None` if there is none.
pub fn send(folder: &Folder, request: &Request) -> Result<Option<Response>> {
    let (path, _open) = address(folder)?;
    let Ok(mut stream) = UnixStream::connect(path) else { return Ok(None) };
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    if stream.write_all(&line).is_err() {
        return Ok(None);
    }
    let mut answer = String::new();
    match BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut answer) {
        Ok(0) => return Ok(None),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
        Err(error) => return Err(error).context("the supervisor of this dev cluster does not answer"),
    }
    let response: Response = serde_json::from_str(&answer).context("the supervisor's answer is not readable")?;
    match response.error {
        Some(error) => bail!(error),
        None => Ok(Some(response)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(folder: &Folder) {
        assert_eq!(send(folder, &Request::Shutdown).unwrap(), None);
        let listener = listen(folder).unwrap();
        listener.set_nonblocking(false).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            stream.write_all(b"{\"started\":[2],\"error\":null}\n").unwrap();
            serde_json::from_str::<Request>(&line).unwrap()
        });
        let response = send(folder, &Request::Start(vec![1, 2])).unwrap().unwrap();
        assert_eq!(response.started, [2]);
        assert_eq!(server.join().unwrap(), Request::Start(vec![1, 2]));
        // The listener is closed, although the file still exists.
        assert_eq!(send(folder, &Request::Shutdown).unwrap(), None);
    }

    #[test]
    fn a_request_is_answered() {
        let dir = tempfile::tempdir().unwrap();
        exchange(&Folder::at(dir.path()).unwrap());
    }

    #[test]
    fn a_long_path_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        exchange(&Folder::at(&dir.path().join("x".repeat(150))).unwrap());
    }
}
