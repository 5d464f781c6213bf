//! The line editor: completion, hints, and the history of lines without secrets.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::mpsc;

use fastness_engine::command::CommandTable;
use rustyline::completion::Completer;
use rustyline::config::{BellStyle, CompletionType};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hint, Hinter};
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};
use tokio::sync::mpsc as queue;

use crate::complete;
use crate::secret::has_secret;

/// Lines in the history.
const HISTORY_LINES_MAX: usize = 1000;
/// Longest line in the history, bytes.
const HISTORY_LINE_BYTES_MAX: usize = 4096;

/// What somebody has typed.
#[derive(Debug)]
pub enum Typed {
    /// A line.
    Line(String),
    /// Ctrl-C.
    Cancelled,
    /// Ctrl-D, or the terminal is gone.
    Ended,
}

/// A line editor in a thread of its own, so that the session need not wait for the keyboard.
pub struct LineReader {
    prompts: mpsc::Sender<String>,
    typed: queue::Receiver<Result<Typed, ReadlineError>>,
}

impl LineReader {
    /// Starts it. `history`: the file, which only its owner may read; it is made if it does not exist.
    #[must_use]
    pub fn start(table: &'static CommandTable, history: Option<PathBuf>) -> LineReader {
        let (prompts, asked) = mpsc::channel::<String>();
        let (answer, typed) = queue::channel(1);
        std::thread::spawn(move || {
            let mut editor = match LineEditor::open(table, history) {
                Ok(editor) => editor,
                // Nobody receives it only if the session has ended.
                Err(error) => return drop(answer.blocking_send(Err(error))),
            };
            for prompt in asked {
                if answer.blocking_send(editor.read(&prompt)).is_err() {
                    return;
                }
            }
        });
        LineReader { prompts, typed }
    }

    /// Shows the prompt and waits for a line.
    ///
    /// # Errors
    /// The terminal fails.
    pub async fn read(&mut self, prompt: String) -> Result<Typed, ReadlineError> {
        // A thread that has ended has sent the reason.
        let _ = self.prompts.send(prompt);
        self.typed.recv().await.unwrap_or(Ok(Typed::Ended))
    }
}

struct LineEditor {
    table: &'static CommandTable,
    editor: Editor<LineHelper, FileHistory>,
    history: Option<PathBuf>,
}

impl LineEditor {
    fn open(table: &'static CommandTable, history: Option<PathBuf>) -> Result<LineEditor, ReadlineError> {
        let config = Config::builder()
            .max_history_size(HISTORY_LINES_MAX)?
            .history_ignore_dups(true)?
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .bell_style(BellStyle::None)
            .build();
        let mut editor = Editor::with_config(config)?;
        let is_colored = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        editor.set_helper(Some(LineHelper { table, is_colored }));
        let mut editor = LineEditor { table, editor, history };
        if let Some(path) = &editor.history
            && let Err(error) = editor.editor.load_history(path)
        {
            editor.history_failed(error);
        }
        Ok(editor)
    }

    /// A history that cannot be used is no reason not to work. A file that does not exist yet is none to complain.
    fn history_failed(&mut self, error: ReadlineError) {
        if matches!(&error, ReadlineError::Io(io) if io.kind() == std::io::ErrorKind::NotFound) {
            return;
        }
        if let Some(path) = self.history.take() {
            eprintln!("no history is kept: {}: {error}", path.display());
        }
    }

    fn read(&mut self, prompt: &str) -> Result<Typed, ReadlineError> {
        match self.editor.readline(prompt) {
            Ok(line) => {
                self.remember(&line);
                Ok(Typed::Line(line))
            }
            Err(ReadlineError::Interrupted) => Ok(Typed::Cancelled),
            Err(ReadlineError::Eof) => Ok(Typed::Ended),
            Err(error) => Err(error),
        }
    }

    fn remember(&mut self, line: &str) {
        if line.len() > HISTORY_LINE_BYTES_MAX || has_secret(self.table, line) {
            return;
        }
        let added = self.editor.add_history_entry(line);
        if let Some(path) = &self.history
            && let Err(error) = added.and_then(|_| self.editor.append_history(path))
        {
            self.history_failed(error);
        }
    }
}

/// What the editor asks while somebody types.
struct LineHelper {
    table: &'static CommandTable,
    is_colored: bool,
}

/// A hint that is only shown: no key inserts it.
struct ShownHint(String);

impl Hint for ShownHint {
    fn display(&self) -> &str {
        &self.0
    }

    fn completion(&self) -> Option<&str> {
        None
    }
}

impl Completer for LineHelper {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let mut completion = complete::complete(self.table, &line[..pos]);
        if let [only] = &mut completion.words[..] {
            only.push(' ');
        }
        Ok((completion.start, completion.words))
    }
}

impl Hinter for LineHelper {
    type Hint = ShownHint;

    fn hint(&self, line: &str, pos: usize, _: &Context<'_>) -> Option<ShownHint> {
        if pos < line.len() {
            return None;
        }
        complete::hint(self.table, line).map(ShownHint)
    }
}

impl Highlighter for LineHelper {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        if self.is_colored { Cow::Owned(format!("\x1b[90m{hint}\x1b[0m")) } else { Cow::Borrowed(hint) }
    }
}

impl Validator for LineHelper {}
impl Helper for LineHelper {}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use fastness_engine::command::table;

    use super::*;

    #[test]
    fn the_history_is_private_and_has_no_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        let mut editor = LineEditor::open(table(), Some(path.clone())).unwrap();
        let long = format!("SET a {}", "x".repeat(HISTORY_LINE_BYTES_MAX));
        for line in ["SET a 1", "AUTH secret", "HELLO 3 AUTH u secret", " SET hidden 1", &long, "GET a"] {
            editor.remember(line);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("SET a 1\nGET a\n"), "{text}");
        assert!(!text.contains("secret") && !text.contains("hidden"), "{text}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = LineEditor::open(table(), Some(path)).unwrap();
        assert_eq!(again.editor.history().iter().collect::<Vec<_>>(), ["SET a 1", "GET a"]);
    }

    #[test]
    fn a_history_that_cannot_be_used_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let editor = LineEditor::open(table(), Some(dir.path().to_owned())).unwrap();
        assert!(editor.history.is_none(), "a folder is no file");
        let absent = dir.path().join("absent");
        assert!(LineEditor::open(table(), Some(absent)).unwrap().history.is_some());
    }

    #[test]
    fn a_single_completion_is_followed_by_a_blank() {
        let helper = LineHelper { table: table(), is_colored: false };
        let history = FileHistory::new();
        let complete = |line: &str| helper.complete(line, line.len(), &Context::new(&history)).unwrap();
        assert_eq!(complete("getr"), (0, vec!["getrange ".to_owned()]));
        assert!(complete("get").1.len() > 1);
        let hint = helper.hint("getrange", 8, &Context::new(&history)).unwrap();
        assert_eq!((hint.display(), hint.completion()), (" key start end", None));
        assert!(helper.hint("getrange", 3, &Context::new(&history)).is_none(), "the cursor is not at the end");
    }
}
