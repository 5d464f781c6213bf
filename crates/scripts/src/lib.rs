//! Lua scripts and functions as Valkey has them. A run executes in steps on a stack of its own: it stops whenever it
//! wants a command executed and whenever it has executed enough instructions, and the driver decides when it resumes.
//!
//! Does not know data, users, clocks, connections or replication.

mod cache;
mod coroutine;
mod from_reply;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod inner;
mod library;
mod options;
mod program;
mod run;
mod sandbox;
mod script;
mod scripts;
mod shebang;
mod step;
mod to_reply;

pub use options::{Options, Origin, ScriptError, StartError};
pub use run::Run;
pub use script::{FunctionSpec, LibrarySpec, ScriptFlags, Sha};
pub use scripts::{Program, Scripts};
pub use step::{Answer, CallerFacts, Failure, Outcome, Step};
