//! Drives Debian's Chromium over its DevTools protocol, to test pages as people use them.
//!
//! The browser reads commands from one named pipe and writes answers and events to another (`--remote-debugging-pipe`),
//! each message ended by a zero byte. So it opens no port, and nothing else can drive it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The program.
const CHROMIUM: &str = "chromium";
/// Time limit of a command: on a busy machine the first one takes long.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Interval between two checks of a condition.
const POLL: Duration = Duration::from_millis(100);
/// Switches: no sandbox, which containers and root lack; nothing that calls its maker.
const SWITCHES: &[&str] = &[
    "--headless=new",
    "--no-sandbox",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-pings",
    "--force-prefers-reduced-motion",
];

/// Why no browser can be driven here; `None`: one can.
#[must_use]
pub fn lacking() -> Option<String> {
    let found = Command::new("sh").args(["-c", "command -v \"$0\" >/dev/null", CHROMIUM]).status();
    let is_found = found.is_ok_and(|status| status.success());
    (!is_found).then(|| "chromium is not installed (deploy/setup/system.sh test installs it)".to_owned())
}

/// A browser with one page. Dropping it ends it.
pub struct Browser {
    process: Child,
    commands: File,
    messages: Receiver<Value>,
    session: String,
    next: u64,
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser with an empty page.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start() -> Result<Browser> {
        let profile = tempfile::Builder::new().prefix("fastness-browser-").tempdir()?;
        let [commands, answers] = ["commands", "answers"].map(|name| profile.path().join(name));
        for pipe in [&commands, &answers] {
            mknodat(CWD, pipe.as_path(), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        }
        let mut command = Command::new("sh");
        command.args(["-c", "in=$0 out=$1 && shift && exec \"$@\" 3<\"$in\" 4>\"$out\""]);
        command.args([&commands, &answers]).arg(CHROMIUM).args(SWITCHES);
        command.arg(format!("--user-data-dir={}", profile.path().join("profile").display())).arg("about:blank");
        command.env("HOME", profile.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().context("sh")?;
        // Both opens wait for the other side, in the order of the shell.
        let commands = File::options().write(true).open(&commands)?;
        let answers = BufReader::new(File::open(&answers)?);
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in answers.split(0).map_while(std::result::Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { continue };
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Browser { process, commands, messages, session: String::new(), next: 0, _profile: profile };
        let page = browser.call("Target.createTarget", json!({ "url": "about:blank" }))?;
        let attached = json!({ "targetId": page["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attached)?;
        browser.session = attached["sessionId"].as_str().context("no session")?.to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Accessibility.enable"] {
            browser.call(domain, json!({}))?;
        }
        Ok(browser)
    }

    /// Calls a method of the protocol and returns its result.
    ///
    /// # Errors
    /// If it is refused, or the browser does not answer.
    pub fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.next += 1;
        let mut message = json!({ "id": self.next, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.commands.write_all(&[message.to_string().as_bytes(), &[0][..]].concat())?;
        let until = Instant::now() + ANSWER_MAX;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let answer = match self.messages.recv_timeout(left) {
                Ok(answer) => answer,
                Err(RecvTimeoutError::Timeout) => bail!("{method}: the browser does not answer"),
                Err(RecvTimeoutError::Disconnected) => bail!("{method}: the browser has ended"),
            };
            if answer["id"] == json!(self.next) {
                ensure!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return Ok(answer["result"].clone());
            }
        }
    }

    /// The size of the page in pixels, and the colours that its user prefers.
    ///
    /// # Errors
    /// As [`Browser::call`].
    pub fn resize(&mut self, width: u32, height: u32, is_dark: bool) -> Result<()> {
        let is_phone = width < 500;
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone });
        self.call("Emulation.setDeviceMetricsOverride", size)?;
        let scheme = if is_dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", media).map(drop)
    }

    /// Opens an address, and waits until the page and its scripts are loaded.
    ///
    /// # Errors
    /// If it is not loaded.
    pub fn open(&mut self, url: &str) -> Result<()> {
        let opened = self.call("Page.navigate", json!({ "url": url }))?;
        ensure!(opened["errorText"].is_null(), "{url}: {}", opened["errorText"]);
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'").map(drop)
    }

    /// The value of an expression in the page.
    ///
    /// # Errors
    /// If it throws.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let evaluated = self.call("Runtime.evaluate", parameters)?;
        ensure!(evaluated["exceptionDetails"].is_null(), "{expression}: {}", evaluated["exceptionDetails"]);
        Ok(evaluated["result"]["value"].clone())
    }

    /// Waits until an expression in the page is true.
    ///
    /// # Errors
    /// If it is not in time; with the text of the page.
    pub fn wait_for(&mut self, expression: &str) -> Result<()> {
        let until = Instant::now() + ANSWER_MAX;
        loop {
            // A page that is being loaded throws.
            if self.evaluate(expression).is_ok_and(|value| value == json!(true)) {
                return Ok(());
            }
            if Instant::now() >= until {
                let text = self.evaluate("document.body.innerText").unwrap_or_default();
                bail!("it does not become true: {expression}\n{}", text.as_str().unwrap_or_default());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Presses and releases a key, such as `Tab` or `Enter`.
    ///
    /// # Errors
    /// As [`Browser::call`].
    pub fn press(&mut self, key: &str) -> Result<()> {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            other => bail!("the code of the key {other} is not known"),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", event)?;
        }
        Ok(())
    }

    /// The nodes of the accessibility tree that a screen reader presents: role and name of each, in reading order.
    ///
    /// # Errors
    /// As [`Browser::call`].
    pub fn accessible(&mut self) -> Result<Vec<(String, String)>> {
        let tree = self.call("Accessibility.getFullAXTree", json!({}))?;
        let nodes = tree["nodes"].as_array().context("no nodes")?;
        let presented = nodes.iter().filter(|node| node["ignored"] != json!(true));
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        Ok(presented.map(|node| (text(&node["role"]), text(&node["name"]))).collect())
    }

    /// Writes a picture of what is visible, or of the whole page, as a WebP file.
    ///
    /// # Errors
    /// If it cannot be made or written.
    pub fn screenshot(&mut self, path: &Path, is_whole: bool) -> Result<()> {
        let picture = self.call(
            "Page.captureScreenshot",
            json!({ "format": "webp", "quality": 85, "captureBeyondViewport": is_whole }),
        )?;
        let bytes = BASE64_STANDARD.decode(picture["data"].as_str().context("no picture")?)?;
        std::fs::write(path, bytes).with_context(|| path.display().to_string())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends when it is told to, and its children with it.
        self.session.clear();
        let _ = self.call("Browser.close", json!({}));
        let until = Instant::now() + Duration::from_secs(10);
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(POLL);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
