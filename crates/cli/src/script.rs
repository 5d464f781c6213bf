//! Commands without a terminal: one from the arguments, or one from each line of standard input.

use std::io::{BufRead, Read};
use std::time::Duration;

use fastness_engine::command::CommandTable;
use fastness_resp::Args;
use fastness_resp::request::split_line;
use fastness_resp::value::Value;
use fastness_types::limits::VALUE_BYTES_MAX;
use tokio::sync::mpsc;

use crate::console::{Console, is_text};
use crate::error::CliError;
use crate::format::{Output, escape, has_error};
use crate::session::{Note, Session};

/// Longest line of standard input, bytes.
const LINE_BYTES_MAX: u64 = 16 << 20;
/// Lines that were read and not executed.
const LINES_AHEAD_MAX: usize = 16;

/// How often one command runs.
#[derive(Debug, Clone, Copy)]
pub struct Repeat {
    /// Number of times; `None`: for ever.
    pub count: Option<u64>,
    /// Time between two of them.
    pub interval: Duration,
}

/// Whether everything was answered without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Success {
    /// No reply was an error.
    All,
    /// At least one was, or contained one.
    NotAll,
}

/// Runs one command. An error reply goes to standard error, unless the output is JSON.
///
/// # Errors
/// The command has no reply, or the output fails.
pub async fn one(
    table: &CommandTable,
    session: &mut Session,
    console: Console,
    command: &[Vec<u8>],
    repeat: Repeat,
) -> Result<Success, CliError> {
    let mut success = Success::All;
    let mut done = 0;
    while repeat.count.is_none_or(|count| done < count) {
        if done > 0 {
            tokio::time::sleep(repeat.interval).await;
        }
        done += 1;
        let reply = match call(session, console, command).await {
            // Whoever repeats a command wants to see when it works again.
            Err(CliError::Session(error)) if repeat.count != Some(1) => {
                console.failure(&error);
                success = Success::NotAll;
                continue;
            }
            reply => reply?,
        };
        if has_error(&reply) {
            success = Success::NotAll;
        }
        match &reply {
            Value::Error(text) if console.output != Output::Json => eprintln!("{}", escape::text(text)),
            reply => console.reply(reply, is_text(name(table, command))).map_err(CliError::Output)?,
        }
    }
    Ok(success)
}

fn name(table: &CommandTable, command: &[Vec<u8>]) -> &'static str {
    table.of_request(Args::owned(command)).map_or("", |spec| spec.name)
}

async fn call(session: &mut Session, console: Console, command: &[Vec<u8>]) -> Result<Value, CliError> {
    let mut noted = Ok(());
    let mut note = |note: Note| {
        // That there is a connection is no news for a script.
        if !matches!(note, Note::Connected(_)) && noted.is_ok() {
            noted = console.note(&note);
        }
    };
    let reply = session.call(command, &mut note).await;
    noted.map_err(CliError::Output)?;
    Ok(reply?)
}

/// Runs each line of standard input as a command; replies and error replies are printed in order.
///
/// # Errors
/// As [`one`], or a line cannot be read: the lines before it have been executed.
pub async fn lines(
    table: &CommandTable,
    session: &mut Session,
    console: Console,
    input: impl BufRead + Send + 'static,
) -> Result<Success, CliError> {
    let (lines, mut read) = mpsc::channel(LINES_AHEAD_MAX);
    // A thread of its own: a runtime waits for its blocking tasks, and this one may wait for input for ever.
    std::thread::spawn(move || pass_lines(input, &lines));
    let mut success = Success::All;
    let mut number = 0;
    while let Some(line) = read.recv().await {
        number += 1;
        let command = split_line(&line?).ok_or(CliError::Quotes(number))?;
        if command.is_empty() {
            continue;
        }
        let reply = call(session, console, &command).await?;
        if has_error(&reply) {
            success = Success::NotAll;
        }
        console.reply(&reply, is_text(name(table, &command))).map_err(CliError::Output)?;
    }
    Ok(success)
}

fn pass_lines(mut input: impl BufRead, lines: &mpsc::Sender<Result<Vec<u8>, CliError>>) {
    loop {
        let mut line = Vec::new();
        let item = match input.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(len) if len as u64 > LINE_BYTES_MAX => Err(CliError::InputTooLong { what: "line", max: LINE_BYTES_MAX }),
            Ok(_) => Ok(line),
            Err(error) => Err(CliError::Input(error)),
        };
        let is_last = item.is_err();
        if lines.blocking_send(item).is_err() || is_last {
            return;
        }
    }
}

/// Reads an argument (`-x`).
///
/// # Errors
/// It cannot be read, or is longer than a value may be.
pub fn last_argument(input: impl Read) -> Result<Vec<u8>, CliError> {
    let max = VALUE_BYTES_MAX as u64;
    let mut argument = Vec::new();
    input.take(max + 1).read_to_end(&mut argument).map_err(CliError::Input)?;
    if argument.len() as u64 > max {
        return Err(CliError::InputTooLong { what: "value", max });
    }
    Ok(argument)
}
