//! The client as the program calls it.

use std::io::{BufReader, IsTerminal};
use std::path::PathBuf;

use fastness_engine::command::CommandTable;

use crate::access::Access;
use crate::address::Address;
use crate::bulk;
use crate::console::Console;
use crate::error::CliError;
use crate::format::Output;
use crate::interactive;
use crate::script::{self, Repeat, Success};
use crate::session::Session;

/// What the client does.
#[derive(Debug)]
pub enum Mode {
    /// Runs one command.
    One {
        /// Its arguments, the name first.
        command: Vec<Vec<u8>>,
        /// Standard input is one more argument.
        is_last_from_input: bool,
        /// How often it runs.
        repeat: Repeat,
    },
    /// Runs commands as they are typed, or the lines of standard input if that is no terminal.
    Lines {
        /// The file with the lines of before, for a terminal.
        history: Option<PathBuf>,
    },
    /// Sends standard input as bulk input.
    Pipe,
}

/// What the user wants.
pub struct ClientOptions {
    /// Nodes; at least one. They are tried in turn.
    pub nodes: Vec<Address>,
    /// How connections are opened.
    pub access: Access,
    /// Redirections are followed.
    pub follows: bool,
    /// The form of replies.
    pub output: Output,
    /// What is done.
    pub mode: Mode,
}

/// Runs the client to its end.
///
/// # Errors
/// See [`CliError`]. A command that is answered with an error is [`Success::NotAll`].
pub async fn run(table: &'static CommandTable, options: ClientOptions) -> Result<Success, CliError> {
    let ClientOptions { nodes, access, follows, output, mode } = options;
    let console = Console { output };
    let session = |nodes, access| Session::new(table, access, nodes, follows);
    match mode {
        Mode::Pipe => pipe(table, access, nodes, console).await,
        Mode::One { mut command, is_last_from_input, repeat } => {
            if is_last_from_input {
                command.push(script::last_argument(std::io::stdin().lock())?);
            }
            script::one(table, &mut session(nodes, access)?, console, &command, repeat).await
        }
        Mode::Lines { history } if std::io::stdin().is_terminal() => {
            interactive::run(table, session(nodes, access)?, console, history).await?;
            Ok(Success::All)
        }
        Mode::Lines { .. } => {
            let input = BufReader::new(std::io::stdin());
            script::lines(table, &mut session(nodes, access)?, console, input).await
        }
    }
}

async fn pipe(
    table: &'static CommandTable,
    access: Access,
    nodes: Vec<Address>,
    console: Console,
) -> Result<Success, CliError> {
    let total = std::fs::metadata("/dev/stdin").ok().filter(std::fs::Metadata::is_file).map(|file| file.len());
    let (tally, ended) = bulk::run(table, access, nodes, std::io::stdin(), total).await;
    eprint!("{}", tally.failures());
    let summary = if console.output == Output::Json { tally.json() } else { tally.summary() };
    console.print(summary.as_bytes()).map_err(CliError::Output)?;
    ended?;
    Ok(if tally.is_success() { Success::All } else { Success::NotAll })
}
