//! The scripts and functions of one replica, and the run that is suspended.

use std::rc::Rc;
use std::time::Duration;

use fastness_engine::Libraries;
use fastness_scripts::{Answer, Options, Scripts};
use fastness_types::limits;
use tokio::sync::Notify;

use super::script_run::ScriptRun;
use super::ticket::RunTicket;
use crate::idempotency::attempt::FirstAttempt;
use crate::unit::UnitInProgress;

/// A suspended run.
pub(crate) struct Suspended {
    pub(super) ticket: Rc<RunTicket>,
    pub(super) run: ScriptRun,
    /// The answer with which the run resumes.
    pub(super) answer: Answer,
    /// On the primary: its unit, and the idempotency key of its command.
    pub(super) unit: Option<(UnitInProgress, Option<FirstAttempt>)>,
}

impl Suspended {
    /// Whether it runs where nothing may change.
    pub(super) fn is_reading(&self) -> bool {
        self.unit.is_none()
    }
}

/// The scripts and functions of one replica.
pub(crate) struct Scripting {
    pub(super) runtime: Scripts,
    /// The libraries that the runtime has.
    pub(super) installed: Libraries,
    pub(super) suspended: Option<Box<Suspended>>,
    /// From this time of a run on other commands are answered BUSY; zero: never.
    pub(super) busy_after: Duration,
    pub(super) time_max: Duration,
    /// Whether scripts may run DEBUG.
    pub(crate) allows_debug: bool,
    /// Wakes commands that wait for a script.
    pub(super) ended: Rc<Notify>,
}

impl Default for Scripting {
    fn default() -> Scripting {
        Scripting {
            runtime: Scripts::new(Options { cache_bytes_max: limits::SCRIPT_CACHE_BYTES_MAX, ..Options::default() }),
            installed: Libraries::default(),
            suspended: None,
            busy_after: Duration::from_secs(5),
            time_max: limits::SCRIPT_TIME_MAX,
            allows_debug: false,
            ended: Rc::new(Notify::new()),
        }
    }
}

impl Scripting {
    /// Whether a script is suspended.
    #[inline]
    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended.is_some()
    }

    /// What is notified when a suspended script has ended.
    pub(crate) fn ended(&self) -> Rc<Notify> {
        self.ended.clone()
    }

    /// Whether a script is suspended that reads the committed state of a replica.
    pub(crate) fn holds_log(&self) -> bool {
        self.suspended.as_ref().is_some_and(|suspended| suspended.is_reading())
    }

    /// Sets `busy-reply-threshold` and `script-time-max`.
    pub(crate) fn set_times(&mut self, busy_after: Duration, time_max: Duration) {
        (self.busy_after, self.time_max) = (busy_after, time_max);
    }

    /// What the cache of scripts has.
    pub(crate) fn counts(&self) -> ScriptCounts {
        let (of_scripts, of_functions) = self.runtime.lua_bytes();
        ScriptCounts {
            cached: self.runtime.script_count(),
            cached_bytes: self.runtime.script_bytes(),
            libraries: self.installed.len(),
            library_bytes: self.installed.bytes(),
            functions: self.runtime.libraries().iter().map(|library| library.functions.len()).sum(),
            lua_bytes_of_scripts: of_scripts,
            lua_bytes_of_functions: of_functions,
        }
    }
}

/// Figures of scripts and functions, for INFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScriptCounts {
    /// Scripts in the cache.
    pub cached: usize,
    /// Bytes that they take.
    pub cached_bytes: usize,
    /// Libraries that this replica has installed.
    pub libraries: usize,
    /// Bytes that they take.
    pub library_bytes: usize,
    /// Their functions.
    pub functions: usize,
    /// Bytes that the Lua state of scripts uses.
    pub lua_bytes_of_scripts: usize,
    /// Bytes that the Lua state of functions uses.
    pub lua_bytes_of_functions: usize,
}
