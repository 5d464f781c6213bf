//! FUNCTION: the libraries of functions. Their code is data of the shard; the runtime of each replica installs it when
//! it is first asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use fastness_engine::command::ScriptCommand;
use fastness_engine::functions::payload;
use fastness_engine::functions::spec::{self, StoredFunction};
use fastness_engine::{Libraries, glob};
use fastness_resp::Args;
use fastness_scripts::{Answer, FunctionSpec, LibrarySpec, ScriptFlags, Scripts, Step};
use fastness_types::limits;

use super::run::check_length;
use crate::execution::Execution;
use crate::state::{Primary, Replica};

/// How long the code of libraries may run when they are loaded, as in Valkey.
const LOAD_TIME_MAX: Duration = Duration::from_millis(500);

const FLAGS: [(u64, &str); 5] = [
    (spec::NO_WRITES, "no-writes"),
    (spec::ALLOW_OOM, "allow-oom"),
    (spec::ALLOW_STALE, "allow-stale"),
    (spec::NO_CLUSTER, "no-cluster"),
    (spec::ALLOW_CROSS_SLOT_KEYS, "allow-cross-slot-keys"),
];

/// What RESTORE does with the libraries that exist.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RestorePolicy {
    Append,
    Replace,
    Flush,
}

impl Replica {
    /// Has the runtime know the libraries that the data has now.
    pub(super) fn install_libraries(&mut self) {
        let libraries = self.data.engine.libraries();
        let scripts = &mut self.scripts;
        // A run keeps the functions that it has started with.
        if scripts.installed.is_same(libraries) || scripts.suspended.is_some() {
            return;
        }
        if libraries.is_empty() {
            scripts.runtime.flush_functions();
        }
        for (name, installed) in scripts.installed.iter() {
            if libraries.get(name) != Some(installed) {
                scripts.runtime.remove(name);
            }
        }
        for (name, library) in libraries.iter() {
            if scripts.installed.get(name) == Some(library) {
                continue;
            }
            let Some(functions) = spec::decode(&library.functions) else {
                debug_assert!(false, "a library has been stored with its functions");
                continue;
            };
            let functions = functions.into_iter().map(called).collect();
            scripts.runtime.install(LibrarySpec { name: name.to_vec(), code: library.code.clone(), functions });
        }
        scripts.installed = libraries.clone();
    }
}

impl Execution<'_> {
    /// FUNCTION LOAD, DELETE, FLUSH and RESTORE; an error is the line that is answered, and nothing was changed.
    pub(super) fn change_libraries(
        &mut self,
        primary: &mut Primary<'_>,
        command: ScriptCommand,
        args: Args<'_>,
    ) -> Result<(), Vec<u8>> {
        match command {
            ScriptCommand::FunctionLoad => self.load_library(primary, args),
            ScriptCommand::FunctionRestore => self.restore_libraries(primary, args),
            ScriptCommand::FunctionDelete => {
                let engine = &mut primary.replica.data.engine;
                if engine.libraries().get(args.get(2)).is_none() {
                    return Err(b"ERR Library not found".to_vec());
                }
                engine.delete_library(args.get(2), &mut primary.leader.stage.effects, self.now.wall);
                self.out.ok();
                Ok(())
            }
            _ => {
                check_flush(args)?;
                let engine = &mut primary.replica.data.engine;
                engine.flush_libraries(&mut primary.leader.stage.effects, self.now.wall);
                self.out.ok();
                Ok(())
            }
        }
    }

    fn load_library(&mut self, primary: &mut Primary<'_>, args: Args<'_>) -> Result<(), Vec<u8>> {
        let options = args.take(args.len() - 1).skip(2);
        if let Some(unknown) = options.iter().find(|option| !option.eq_ignore_ascii_case(b"replace")) {
            return Err([b"ERR Unknown option given: ", unknown].concat());
        }
        let code = args.get(args.len() - 1);
        let library = self.read_library(&mut primary.replica.scripts.runtime, code)?;
        let libraries = primary.replica.data.engine.libraries().clone();
        if options.is_empty() && libraries.get(&library.name).is_some() {
            return Err([b"ERR Library '", &*library.name, b"' already exists"].concat());
        }
        check_names(&libraries.without(&library.name), std::slice::from_ref(&library))?;
        let name = library.name.clone();
        let encoded = check_room(&libraries, std::slice::from_ref(&library))?;
        self.set_libraries(primary, &[library], &encoded);
        self.out.bulk(name);
        Ok(())
    }

    fn restore_libraries(&mut self, primary: &mut Primary<'_>, args: Args<'_>) -> Result<(), Vec<u8>> {
        if args.len() > 4 {
            return Err(wrong_arguments("RESTORE"));
        }
        let policy = match args.try_get(3).map(<[u8]>::to_ascii_lowercase).as_deref() {
            None | Some(b"append") => RestorePolicy::Append,
            Some(b"replace") => RestorePolicy::Replace,
            Some(b"flush") => RestorePolicy::Flush,
            Some(_) => {
                let text = "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.";
                return Err(text.as_bytes().to_vec());
            }
        };
        let codes = payload::read(args.get(2)).map_err(|error| error.to_string().into_bytes())?;
        if codes.len() > limits::LIBRARIES_MAX {
            return Err(too_many());
        }
        let mut read = Vec::with_capacity(codes.len());
        let ends = self.edges.clock.boot().plus(LOAD_TIME_MAX);
        for code in codes {
            if self.edges.clock.boot() >= ends {
                return Err(b"ERR FUNCTION RESTORE timeout".to_vec());
            }
            read.push(self.read_library(&mut primary.replica.scripts.runtime, &code)?);
        }
        let libraries = match policy {
            RestorePolicy::Flush => Libraries::default(),
            _ => primary.replica.data.engine.libraries().clone(),
        };
        let mut others = libraries.clone();
        for library in &read {
            if policy == RestorePolicy::Append && libraries.get(&library.name).is_some() {
                return Err([b"ERR Library ", &*library.name, b" already exists"].concat());
            }
            others = others.without(&library.name);
        }
        check_names(&others, &read)?;
        let encoded = check_room(&libraries, &read)?;
        if policy == RestorePolicy::Flush {
            let engine = &mut primary.replica.data.engine;
            engine.flush_libraries(&mut primary.leader.stage.effects, self.now.wall);
        }
        self.set_libraries(primary, &read, &encoded);
        self.out.ok();
        Ok(())
    }

    /// Stages libraries with their encoded functions.
    fn set_libraries(&mut self, primary: &mut Primary<'_>, new: &[LibrarySpec], encoded: &[Vec<u8>]) {
        let (engine, effects) = (&mut primary.replica.data.engine, &mut primary.leader.stage.effects);
        for (library, functions) in new.iter().zip(encoded) {
            engine.set_library(&library.name, (&library.code[..], &functions[..]), effects, self.now.wall);
        }
    }

    /// Runs the code of a library once to find out which functions it registers.
    fn read_library(&mut self, runtime: &mut Scripts, code: &[u8]) -> Result<LibrarySpec, Vec<u8>> {
        check_length(code)?;
        let mut run = runtime.start_library(code).map_err(|error| format!("ERR {error}").into_bytes())?;
        let ends = self.edges.clock.boot().plus(LOAD_TIME_MAX);
        let mut answer = Answer::Continue;
        loop {
            match run.step(answer) {
                Step::Library(read) => return read.map_err(|error| error.line),
                Step::MayRun { .. } => answer = Answer::MayRun(None),
                Step::Call { .. } => answer = Answer::Reply(b"-ERR redis.call is not allowed here\r\n".to_vec()),
                Step::Log { .. } | Step::Slice => answer = Answer::Continue,
                Step::Done(_) => return Err(b"ERR the library could not be read".to_vec()),
            }
            if self.edges.clock.boot() >= ends {
                answer = Answer::Kill(b"ERR FUNCTION LOAD timeout".to_vec());
            }
        }
    }

    /// FUNCTION LIST and DUMP.
    pub(super) fn show_libraries(&mut self, replica: &mut Replica, command: ScriptCommand, args: Args<'_>) {
        if command == ScriptCommand::FunctionDump {
            return self.out.bulk(payload::dump(replica.data.engine.libraries()));
        }
        let (pattern, with_code) = match list_options(args.skip(2)) {
            Ok(options) => options,
            Err(line) => return self.out.error(line),
        };
        let matches = |name: &[u8]| pattern.is_none_or(|pattern| glob::matches_any_case(pattern, name));
        let libraries = replica.data.engine.libraries();
        let shown: Vec<_> = libraries.iter().filter(|(name, _)| matches(name)).collect();
        self.out.array(shown.len());
        for (name, library) in shown {
            let functions = spec::decode(&library.functions).unwrap_or_default();
            self.out.map(if with_code { 4 } else { 3 });
            self.out.bulk("library_name");
            self.out.bulk(name);
            self.out.bulk("engine");
            self.out.bulk("LUA");
            self.out.bulk("functions");
            self.out.array(functions.len());
            functions.iter().for_each(|function| self.show_function(function));
            if with_code {
                self.out.bulk("library_code");
                self.out.bulk(&library.code);
            }
        }
    }

    fn show_function(&mut self, function: &StoredFunction) {
        self.out.map(3);
        self.out.bulk("name");
        self.out.bulk(&function.name);
        self.out.bulk("description");
        match &function.description {
            Some(text) => self.out.bulk(text),
            None => self.out.null(),
        }
        self.out.bulk("flags");
        let flags: Vec<&str> =
            FLAGS.iter().filter(|(bit, _)| function.flags & bit != 0).map(|(_, name)| *name).collect();
        self.out.set(flags.len());
        flags.iter().for_each(|flag| self.out.simple(flag));
    }
}

/// The pattern of names, and whether code is shown.
fn list_options(args: Args<'_>) -> Result<(Option<&[u8]>, bool), Vec<u8>> {
    let (mut pattern, mut with_code, mut at) = (None, false, 0);
    while let Some(option) = args.try_get(at) {
        if !with_code && option.eq_ignore_ascii_case(b"withcode") {
            with_code = true;
        } else if pattern.is_none() && option.eq_ignore_ascii_case(b"libraryname") {
            at += 1;
            let text = args.try_get(at).ok_or_else(|| b"ERR library name argument was not given".to_vec())?;
            pattern = Some(text);
        } else {
            return Err([b"ERR Unknown argument ", option].concat());
        }
        at += 1;
    }
    Ok((pattern, with_code))
}

fn check_flush(args: Args<'_>) -> Result<(), Vec<u8>> {
    match (args.try_get(2), args.len()) {
        (None, _) => Ok(()),
        (Some(mode), 3) if mode.eq_ignore_ascii_case(b"sync") || mode.eq_ignore_ascii_case(b"async") => Ok(()),
        (Some(_), 3) => Err(b"ERR FUNCTION FLUSH only supports SYNC|ASYNC option".to_vec()),
        _ => Err(wrong_arguments("FLUSH")),
    }
}

fn wrong_arguments(subcommand: &str) -> Vec<u8> {
    format!("ERR unknown subcommand or wrong number of arguments for '{subcommand}'. Try FUNCTION HELP.").into_bytes()
}

fn too_many() -> Vec<u8> {
    format!("ERR a shard has at most {} libraries", limits::LIBRARIES_MAX).into_bytes()
}

/// Whether there is room for new libraries beside those of `before`; returns their encoded functions. Called before
/// anything is staged.
fn check_room(before: &Libraries, new: &[LibrarySpec]) -> Result<Vec<Vec<u8>>, Vec<u8>> {
    let encoded: Vec<Vec<u8>> = new.iter().map(|library| spec::encode(&stored(&library.functions))).collect();
    let after = new.iter().zip(&encoded).fold(before.clone(), |libraries, (library, functions)| {
        libraries.with(&library.name, &library.code, functions)
    });
    if after.len() > limits::LIBRARIES_MAX {
        return Err(too_many());
    }
    if after.bytes() > limits::LIBRARIES_BYTES_MAX {
        let text = format!("ERR the libraries of the shard would exceed {} bytes", limits::LIBRARIES_BYTES_MAX);
        return Err(text.into_bytes());
    }
    Ok(encoded)
}

/// Whether the functions of new libraries have names that no other function has.
fn check_names(others: &Libraries, new: &[LibrarySpec]) -> Result<(), Vec<u8>> {
    let stored = others.iter().flat_map(|(_, library)| spec::decode(&library.functions).unwrap_or_default());
    // Upper and lower case are the same, as in Valkey.
    let mut names: BTreeSet<Vec<u8>> = stored.map(|function| function.name.to_ascii_lowercase()).collect();
    for function in new.iter().flat_map(|library| &library.functions) {
        if !names.insert(function.name.to_ascii_lowercase()) {
            return Err([b"ERR Function ", &*function.name, b" already exists"].concat());
        }
    }
    Ok(())
}

fn stored(functions: &[FunctionSpec]) -> Vec<StoredFunction> {
    let bits = |flags: ScriptFlags| {
        let set = [flags.no_writes, flags.allow_oom, flags.allow_stale, flags.no_cluster, flags.allow_cross_slot_keys];
        FLAGS.iter().zip(set).filter(|(_, is_set)| *is_set).map(|((bit, _), _)| bit).sum::<u64>()
    };
    let stored = |function: &FunctionSpec| StoredFunction {
        name: function.name.clone(),
        description: function.description.clone(),
        flags: bits(function.flags),
    };
    functions.iter().map(stored).collect()
}

fn called(function: StoredFunction) -> FunctionSpec {
    let has = |bit: u64| function.flags & bit != 0;
    let flags = ScriptFlags {
        no_writes: has(spec::NO_WRITES),
        allow_oom: has(spec::ALLOW_OOM),
        allow_stale: has(spec::ALLOW_STALE),
        no_cluster: has(spec::NO_CLUSTER),
        allow_cross_slot_keys: has(spec::ALLOW_CROSS_SLOT_KEYS),
        is_compatible: false,
    };
    FunctionSpec { name: function.name, description: function.description, flags }
}
