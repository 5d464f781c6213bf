//! Scripts and functions on one replica: EVAL, FCALL and their relatives, the cache of scripts, the libraries.
//!
//! A script runs on the primary as one unit, like EXEC: each of its commands is executed at once, its effects are
//! staged together when it ends, and the script itself is not replicated. On a replica only scripts that cannot write
//! run.
//!
//! # Long runs
//! A script runs for [`SCRIPT_SLICE`](fastness_types::limits::SCRIPT_SLICE) at a time. Then it is **suspended**: its
//! connection gets [`Outcome::Busy`](crate::Outcome::Busy), lets others run, and runs the same command again, which
//! resumes the script. Its connection drives it because the script's commands need the connection's user and front end.
//! In between the loop turns: batches commit, replies are released, the lease is kept.
//!
//! While a script is suspended:
//! - Memory has a part of its unit, which may be rolled back. So nothing else reads or changes data: commands of
//!   others wait, and from `busy-reply-threshold` on are answered BUSY, except those that Valkey allows. Nothing is
//!   staged (expiry, timestamps, settings), no image takes a step, and watchers read no values.
//! - The effects of the unit are alone in the buffer of the stage: units before it were sealed without it
//!   ([`Stage::hold_unit`](crate::stage::Stage::hold_unit)). They are not part of any batch.
//! - Its time stands still: all its commands have the time of its start.
//! - A replica applies nothing, so that the script sees one state.
//!
//! A suspended run is **abandoned**, and its unit rolled back, when its client is gone, when the tenure ends or is
//! handed over, and when memory is replaced. Its command, if the client is still there, then runs as one that has never
//! run: it is redirected, refused, or starts again. A run that takes longer than `script-time-max` is rolled back with
//! an error, even if it has written.
//!
//! # Inside of EXEC
//! A script is not suspended there. It has a part of the time that a transaction has, and beyond it the transaction is
//! rolled back.
//!
//! - `run`: from the command to the end of the run. `call`: the commands of a script. `place`: where it runs.
//! - `suspension`: suspended runs, and how they end. `manage`: SCRIPT. `libraries`: FUNCTION.

mod call;
mod libraries;
mod manage;
mod place;
mod run;
mod suspension;

use std::rc::Rc;
use std::time::Duration;

use fastness_engine::Libraries;
use fastness_scripts::{Options, Scripts};
use fastness_types::limits;
use tokio::sync::Notify;

pub(crate) use place::Place;
pub(crate) use suspension::{RunTicket, Suspended};

/// The scripts and functions of one replica.
pub(crate) struct Scripting {
    runtime: Scripts,
    /// The libraries that the runtime has.
    installed: Libraries,
    suspended: Option<Box<Suspended>>,
    /// From this time of a run on other commands are answered BUSY; zero: never.
    busy_after: Duration,
    time_max: Duration,
    /// Wakes commands that wait for a script.
    ended: Rc<Notify>,
}

impl Default for Scripting {
    fn default() -> Scripting {
        Scripting {
            runtime: Scripts::new(Options { cache_bytes_max: limits::SCRIPT_CACHE_BYTES_MAX, ..Options::default() }),
            installed: Libraries::default(),
            suspended: None,
            busy_after: Duration::from_secs(5),
            time_max: limits::SCRIPT_TIME_MAX,
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
