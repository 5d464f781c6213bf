//! The interactive mode: a prompt, replies, and what happens to the connection.

use std::path::PathBuf;

use fastness_engine::command::CommandTable;
use fastness_resp::Args;
use fastness_resp::request::split_line;
use fastness_resp::value::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::console::{Console, is_text};
use crate::editor::{LineReader, Typed};
use crate::error::CliError;
use crate::help;
use crate::session::{Note, Session};

/// Clears the screen and moves the cursor to its start.
const CLEAR: &[u8] = b"\x1b[H\x1b[2J";
/// Commands after which messages arrive that nobody has asked for one by one.
const STREAMS: &[&str] = &["monitor", "psubscribe", "ssubscribe", "subscribe"];

struct Repl {
    table: &'static CommandTable,
    session: Session,
    console: Console,
    interrupts: Signal,
}

/// Runs until the user leaves.
///
/// # Errors
/// The terminal fails.
pub async fn run(
    table: &'static CommandTable,
    session: Session,
    console: Console,
    history: Option<PathBuf>,
) -> Result<(), CliError> {
    // From now on Ctrl-C does not end the process. While a line is typed it is a key.
    let interrupts = signal(SignalKind::interrupt()).map_err(CliError::Terminal)?;
    let mut repl = Repl { table, session, console, interrupts };
    if let Err(error) = repl.session.connect().await {
        console.failure(&error.into());
    }
    let mut lines = LineReader::start(table, history);
    loop {
        match lines.read(repl.prompt()).await? {
            Typed::Line(line) => {
                if repl.line(&line).await?.is_break() {
                    return Ok(());
                }
            }
            Typed::Cancelled => console.print(b"(QUIT or Ctrl-D leaves)\n").map_err(CliError::Output)?,
            Typed::Ended => return Ok(()),
        }
    }
}

impl Repl {
    fn prompt(&self) -> String {
        if !self.session.is_connected() {
            return "not connected> ".to_owned();
        }
        let database = match self.session.database() {
            0 => String::new(),
            number => format!("[{number}]"),
        };
        let transaction = if self.session.state().in_transaction { "(TX)" } else { "" };
        format!("{}{database}{transaction}> ", self.session.address())
    }

    async fn line(&mut self, line: &str) -> Result<std::ops::ControlFlow<()>, CliError> {
        let go_on = Ok(std::ops::ControlFlow::Continue(()));
        let Some(words) = split_line(line.as_bytes()) else {
            self.console.print(b"The quotes do not match.\n").map_err(CliError::Output)?;
            return go_on;
        };
        let Some(first) = words.first() else { return go_on };
        match first.to_ascii_lowercase().as_slice() {
            b"quit" | b"exit" => return Ok(std::ops::ControlFlow::Break(())),
            b"clear" => self.console.print(CLEAR).map_err(CliError::Output)?,
            b"help" | b"?" => {
                let text = help::render(self.table, &words[1..]);
                self.console.print(text.as_bytes()).map_err(CliError::Output)?;
            }
            _ => self.command(&words).await?,
        }
        go_on
    }

    async fn command(&mut self, words: &[Vec<u8>]) -> Result<(), CliError> {
        let name = self.table.of_request(Args::owned(words)).map_or("", |spec| spec.name);
        let console = self.console;
        let (mut failed, mut was_unreachable) = (Ok(()), false);
        let mut note = |note: Note| {
            let is_again = matches!(note, Note::Unreachable(_)) && std::mem::replace(&mut was_unreachable, true);
            if !is_again && failed.is_ok() {
                failed = console.note(&note);
            }
        };
        let answered = tokio::select! {
            answered = self.session.call(words, &mut note) => Some(answered),
            _ = self.interrupts.recv() => None,
        };
        failed.map_err(CliError::Output)?;
        match answered {
            Some(Ok(reply)) => {
                console.reply(&reply, is_text(name)).map_err(CliError::Output)?;
                if STREAMS.contains(&name) && !matches!(reply, Value::Error(_)) {
                    self.stream().await?;
                }
                Ok(())
            }
            Some(Err(error)) => {
                console.failure(&error);
                Ok(())
            }
            None => self.abandon("the server may still execute the command"),
        }
    }

    /// Shows messages until Ctrl-C.
    async fn stream(&mut self) -> Result<(), CliError> {
        self.console.print(b"Waiting for messages; Ctrl-C leaves.\n").map_err(CliError::Output)?;
        loop {
            let message = tokio::select! {
                message = self.session.next_message() => message,
                _ = self.interrupts.recv() => return self.abandon("no more messages arrive"),
            };
            match message {
                Ok(message) => self.console.reply(&message, false).map_err(CliError::Output)?,
                Err(error) => {
                    eprintln!("{}: {error}", self.session.address());
                    return Ok(());
                }
            }
        }
    }

    fn abandon(&mut self, consequence: &str) -> Result<(), CliError> {
        self.session.disconnect();
        let text = format!("\nInterrupted: the connection was closed, and {consequence}.\n");
        self.console.print(text.as_bytes()).map_err(CliError::Output)
    }
}
