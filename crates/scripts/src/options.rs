//! Settings of the runtime, and why scripts are refused.

/// Settings of the runtime.
#[derive(Debug, Clone)]
pub struct Options {
    /// Memory that one Lua state may use, in bytes. A script that needs more fails.
    pub memory_max: usize,
    /// Stack of a run, in bytes of address space.
    pub stack_bytes: usize,
    /// Instructions between two [`crate::Step::Slice`]; 1000 at least.
    pub slice_instructions: u32,
    /// Sources in the cache of scripts, in bytes.
    pub cache_bytes_max: usize,
    /// `VALKEY_VERSION`, such as 9.1.0.
    pub server_version: (u8, u8, u8),
}

impl Default for Options {
    fn default() -> Options {
        Options {
            memory_max: 256 * 1024 * 1024,
            stack_bytes: 8 * 1024 * 1024,
            slice_instructions: 100_000,
            cache_bytes_max: 128 * 1024 * 1024,
            server_version: (9, 1, 0),
        }
    }
}

/// How a script came into the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// EVAL: it may be evicted.
    Eval,
    /// SCRIPT LOAD: it stays until SCRIPT FLUSH.
    Load,
}

/// A script or library that was not accepted: the error line for the client, its code first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .line.escape_ascii())]
pub struct ScriptError {
    /// The line.
    pub line: Vec<u8>,
}

impl ScriptError {
    /// An error with the code ERR.
    pub(crate) fn new(text: impl std::fmt::Display) -> ScriptError {
        ScriptError { line: format!("ERR {text}").into_bytes() }
    }
}

/// Why no run has started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Another run is not over yet: one replica runs one script at a time.
    #[error("another script is running")]
    Busy,
    /// The script is not in the cache, or the function in no library.
    #[error("no such script or function")]
    Unknown,
    /// There is no memory for the stack of the run, or in the Lua state for the script.
    #[error("not enough memory to run a script")]
    OutOfMemory,
}
