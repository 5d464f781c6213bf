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
//! - `scripting`: the state. `script_run`: what is known of a run. `ticket`: what a session has of it.
//! - `run`: from the command to the end of the run. `call`: the commands of a script. `place`: where it runs.
//! - `suspension`: suspended runs, and how they end. `manage`: SCRIPT. `libraries`: FUNCTION.

mod call;
mod libraries;
mod manage;
pub(crate) mod place;
mod run;
mod script_run;
pub(crate) mod scripting;
mod suspension;
pub(crate) mod ticket;
