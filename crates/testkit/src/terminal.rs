//! A program on a terminal of its own: what it shows, and keys for it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use parking_lot::Mutex;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

const POLL: Duration = Duration::from_millis(20);

/// A running program whose standard streams are a terminal of 80 columns and 24 rows. Dropping it kills the program.
pub struct OnTerminal {
    /// The program.
    pub child: Child,
    keys: File,
    /// The side of the program, to see its modes.
    terminal: OwnedFd,
    /// The modes of the terminal before the program was started.
    modes: Termios,
    shown: Arc<Mutex<Vec<u8>>>,
    patience: Duration,
}

impl OnTerminal {
    /// Starts it. `patience`: how long each wait may take.
    ///
    /// # Errors
    /// There is no terminal, or no such program.
    pub fn start(command: &mut Command, patience: Duration) -> Result<OnTerminal> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let control = openpt(flags)?;
        grantpt(&control)?;
        unlockpt(&control)?;
        let terminal = ioctl_tiocgptpeer(&control, flags)?;
        tcsetwinsize(&control, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 })?;
        let modes = tcgetattr(&terminal)?;
        command.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal.try_clone()?);
        let child = command.spawn()?;
        let mut screen = File::from(control);
        let keys = screen.try_clone()?;
        let shown = Arc::new(Mutex::new(Vec::new()));
        let seen = shown.clone();
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut part) {
                seen.lock().extend_from_slice(&part[..length]);
            }
        });
        Ok(OnTerminal { child, keys, terminal, modes, shown, patience })
    }

    /// Everything that the program has written, escape sequences included.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock()).into_owned()
    }

    /// Types keys.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.keys.write_all(keys.as_bytes())?)
    }

    /// Waits until the program has written this.
    ///
    /// # Errors
    /// It does not, in time.
    pub fn wait_for(&self, text: &str) -> Result<()> {
        self.wait_for_after(0, text).map(drop)
    }

    /// Waits until the program has written this after its first `from` bytes; returns how many bytes it has written.
    ///
    /// # Errors
    /// As [`OnTerminal::wait_for`].
    pub fn wait_for_after(&self, from: usize, text: &str) -> Result<usize> {
        let until = Instant::now() + self.patience;
        loop {
            let shown = self.shown.lock().clone();
            let new = String::from_utf8_lossy(&shown[from.min(shown.len())..]).into_owned();
            if new.contains(text) {
                return Ok(shown.len());
            }
            ensure!(Instant::now() < until, "{text:?} is not shown: {new:?}");
            std::thread::sleep(POLL);
        }
    }

    /// Whether the program has changed the modes of the terminal, and not restored them.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn has_other_modes(&self) -> Result<bool> {
        let now = tcgetattr(&self.terminal)?;
        Ok(now.local_modes != self.modes.local_modes || now.input_modes != self.modes.input_modes)
    }

    /// Waits until the program has ended.
    ///
    /// # Errors
    /// It does not, in time.
    pub fn ended(&mut self) -> Result<ExitStatus> {
        let until = Instant::now() + self.patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < until, "it does not end: {:?}", self.text());
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
