//! `fastness lab console` as a process, and its buttons as a user of the page presses them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::cluster::binary;

/// The console of a lab. Dropping it ends it.
pub struct LabConsole {
    process: Child,
    url: String,
}

impl LabConsole {
    /// Starts the console of the lab in this folder on a free port.
    ///
    /// # Errors
    /// If it does not say where it is.
    pub fn start(dir: &Path) -> Result<LabConsole> {
        let mut command = Command::new(binary()?);
        command.args(["lab", "console", "--port", "0", "--json", "--dir"]).arg(dir);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("no output")?).read_line(&mut line)?;
        let printed: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        let url = printed["console"].as_str().context("no address")?.to_owned();
        Ok(LabConsole { process, url })
    }

    /// The address of the page.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `host:port`.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.url.trim_start_matches("http://").trim_end_matches("/console")
    }
}

impl Drop for LabConsole {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let _ = self.process.wait();
    }
}

/// Presses a button with the keyboard.
///
/// # Errors
/// If the page has no such button.
pub fn press(browser: &mut Browser, verb: &str, target: &str) -> Result<()> {
    let focus = format!(
        "(() => {{
            const target = [...document.getElementsByName('target')].find((field) => field.value === '{target}');
            const button = target.form.querySelector('button[value={verb}]');
            button.focus();
            return document.activeElement === button;
        }})()"
    );
    ensure!(browser.evaluate(&focus)? == json!(true), "{verb} of {target:?} cannot be focused");
    browser.press("Enter")
}

/// Waits until the newest verb that was pressed has ended, and returns its output.
///
/// # Errors
/// If it does not end, or fails.
pub fn ended(browser: &mut Browser, words: &str) -> Result<String> {
    let newest = "document.querySelector('#runs details')";
    let done = format!(
        "{newest} !== null && {newest}.querySelector('code').innerText === 'fastness lab {words}' \
         && /done|failed/.test({newest}.querySelector('summary').innerText)"
    );
    browser.wait_for(&done)?;
    let outcome = browser.evaluate(&format!("{newest}.textContent"))?;
    let outcome = outcome.as_str().unwrap_or_default().to_owned();
    ensure!(outcome.contains("done"), "{outcome}");
    Ok(outcome)
}
