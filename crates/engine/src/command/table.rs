//! The command table: from a name to everything that is known about a command.
//!
//! A row ([`CommandSpec`]) joins two halves: the facts that Valkey states (`facts.rs`, generated) and a [`Command`],
//! which is written beside the code that runs it; a command that Valkey does not have brings its facts (`own.rs`). The
//! specification owns every fact about a command that routing, admission, ACL, logs and documentation need: nothing
//! else compares names.
//!
//! A table holds every command that Valkey knows. Which of them are implemented depends on who builds it: the engine
//! lists its own (`registry.rs`), and a front end adds those that need more than the data ([`CommandTable::new`]).

use std::ops::Range;

use super::acl_facts::{self, ChannelArguments, DatabaseUse, FindDatabases, NamedDatabases};
use super::argument_facts::ARGUMENTS;
use super::arguments::Argument;
use super::facts::FACTS;
use super::key_finders::{self, FindKeys};
use super::own::{self, OwnFacts};
use super::spec::{Begin, Categories, Facts, Find, Flags, Group, KeyFlags, KeyPositions, KeySpec, key_flag};
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::{Args, ReplyBuf};

/// Runs a command that needs the data alone. A reply has been written when it returns `Ok`; on `Err` nothing has
/// been written to the reply and nothing has changed, and [`Engine::execute`] writes the error.
pub type RunData = fn(&mut Engine, Args<'_>, &mut Env<'_>) -> Result<(), CommandError>;

/// Runs a command that needs the command table alone. Replies as [`RunData`] does.
pub type RunTable = fn(&'static CommandTable, Args<'_>, &mut ReplyBuf) -> Result<(), CommandError>;

/// Who runs a command.
#[derive(Clone, Copy)]
pub enum Run {
    /// The engine: the command reads or changes data, and needs nothing else.
    Data(RunData),
    /// Whoever holds the table: the command describes commands.
    Table(RunTable),
    /// The shard, on the connection's transaction or its writes.
    Session(SessionCommand),
    /// The shard: the command runs scripts or functions, or manages them.
    Script(ScriptCommand),
    /// The front end: the command needs the connection or the node. The front end finds its code by
    /// [`CommandSpec::index`].
    FrontEnd,
    /// Nobody, by design: refused with this text, which names the alternative. No look-up returns such a row.
    Refused(&'static str),
    /// Nobody yet: answered as an unknown command. No look-up returns such a row.
    Missing,
}

/// Commands on a connection's transaction and on its last write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionCommand {
    /// Starts to queue commands.
    Multi,
    /// Runs the queued commands.
    Exec,
    /// Drops the queued commands.
    Discard,
    /// Watches keys: a change of one of them aborts the next EXEC.
    Watch,
    /// Stops watching all keys.
    Unwatch,
    /// Waits until replicas hold the connection's last write.
    Wait,
    /// Waits until this node and replicas hold the connection's last write.
    Waitaof,
}

/// Commands on scripts and functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named as the command is")]
pub enum ScriptCommand {
    Eval,
    EvalRo,
    Evalsha,
    EvalshaRo,
    Fcall,
    FcallRo,
    ScriptExists,
    ScriptFlush,
    ScriptKill,
    ScriptLoad,
    ScriptShow,
    FunctionDelete,
    FunctionDump,
    FunctionFlush,
    FunctionKill,
    FunctionList,
    FunctionLoad,
    FunctionRestore,
    FunctionStats,
}

impl ScriptCommand {
    /// Whether it runs a script or function.
    #[inline]
    #[must_use]
    pub fn runs(self) -> bool {
        matches!(
            self,
            ScriptCommand::Eval
                | ScriptCommand::EvalRo
                | ScriptCommand::Evalsha
                | ScriptCommand::EvalshaRo
                | ScriptCommand::Fcall
                | ScriptCommand::FcallRo
        )
    }

    /// Whether it is one whose script or function may not write.
    #[inline]
    #[must_use]
    pub fn is_read_only(self) -> bool {
        matches!(self, ScriptCommand::EvalRo | ScriptCommand::EvalshaRo | ScriptCommand::FcallRo)
    }

    /// Whether it runs a function.
    #[inline]
    #[must_use]
    pub fn is_of_function(self) -> bool {
        matches!(self, ScriptCommand::Fcall | ScriptCommand::FcallRo)
    }
}

/// What a command does with its one key, once its options are known (Valkey's `variable_flags`).
pub type KeyFlagsOf = fn(Args<'_>) -> KeyFlags;

/// Passes the index of each argument that is a secret, of a request that may be malformed.
pub type SecretsOf = fn(Args<'_>, &mut dyn FnMut(usize));

/// An implemented or refused command: the half of its row that is written beside its code.
///
/// ```text
/// pub const GET: Command = Command::data("get", "<key>", "Returns the string value of a key.", run);
/// ```
#[derive(Clone, Copy)]
pub struct Command {
    name: &'static str,
    syntax: &'static str,
    summary: &'static str,
    run: Run,
    shows_data: bool,
    runs_while_queueing: bool,
    changes_connection: bool,
    key_flags: Option<KeyFlagsOf>,
    secrets: Option<SecretsOf>,
    own: Option<&'static OwnFacts>,
}

impl Command {
    /// A command of this name in lower case (`container|sub` for a subcommand), with its arguments as HELP prints them
    /// (`<key> [SAMPLES <count>]`) and a one-sentence summary for COMMAND DOCS, HELP and the documentation.
    #[must_use]
    pub const fn new(name: &'static str, syntax: &'static str, summary: &'static str, run: Run) -> Command {
        Command {
            name,
            syntax,
            summary,
            run,
            shows_data: false,
            runs_while_queueing: false,
            changes_connection: false,
            key_flags: None,
            secrets: None,
            own: None,
        }
    }

    /// A command that the engine runs.
    #[must_use]
    pub const fn data(name: &'static str, syntax: &'static str, summary: &'static str, run: RunData) -> Command {
        Command::new(name, syntax, summary, Run::Data(run))
    }

    /// A command that reads the command table.
    #[must_use]
    pub const fn table(name: &'static str, syntax: &'static str, summary: &'static str, run: RunTable) -> Command {
        Command::new(name, syntax, summary, Run::Table(run))
    }

    /// A command that the shard runs.
    #[must_use]
    pub const fn session(
        name: &'static str,
        syntax: &'static str,
        summary: &'static str,
        command: SessionCommand,
    ) -> Command {
        Command::new(name, syntax, summary, Run::Session(command))
    }

    /// A command that the shard runs, on scripts and functions.
    #[must_use]
    pub const fn script(
        name: &'static str,
        syntax: &'static str,
        summary: &'static str,
        command: ScriptCommand,
    ) -> Command {
        Command::new(name, syntax, summary, Run::Script(command))
    }

    /// A command that the front end runs.
    #[must_use]
    pub const fn front_end(name: &'static str, syntax: &'static str, summary: &'static str) -> Command {
        Command::new(name, syntax, summary, Run::FrontEnd)
    }

    /// A command that is refused in every form, with an error text that names the alternative.
    #[must_use]
    pub const fn refused(name: &'static str, text: &'static str) -> Command {
        Command::new(name, "", "", Run::Refused(text))
    }

    /// Shows data although Valkey does not mark it as reading: any replica serves it, and on a primary its reply
    /// depends on everything staged.
    #[must_use]
    pub const fn showing_data(mut self) -> Command {
        self.shows_data = true;
        self
    }

    /// Runs at once between MULTI and EXEC, where other commands are queued.
    #[must_use]
    pub const fn running_while_queueing(mut self) -> Command {
        self.runs_while_queueing = true;
        self
    }

    /// Changes the state of the connection that it comes over: front ends whose calls have no connection refuse it.
    #[must_use]
    pub const fn changing_connection(mut self) -> Command {
        self.changes_connection = true;
        self
    }

    /// Resolves `variable_flags` for COMMAND GETKEYSANDFLAGS.
    #[must_use]
    pub const fn with_key_flags(mut self, of: KeyFlagsOf) -> Command {
        self.key_flags = Some(of);
        self
    }

    /// Has arguments that logs and SLOWLOG must not show.
    #[must_use]
    pub const fn with_secrets(mut self, of: SecretsOf) -> Command {
        self.secrets = Some(of);
        self
    }

    /// Is none of Valkey's: these are its facts.
    #[must_use]
    pub const fn with_facts(mut self, facts: &'static OwnFacts) -> Command {
        self.own = Some(facts);
        self
    }

    /// The name in lower case.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Who runs it.
    #[must_use]
    pub const fn run(&self) -> Run {
        self.run
    }
}

/// What of the data a command reads or changes; admission goes by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// No data: PING, TIME, and what the connection or the node answers. Served in every state.
    Nothing,
    /// The data under its keys, or in the slot that an argument names.
    Keys,
    /// The whole keyspace of the shard: DBSIZE, KEYS, SCAN, RANDOMKEY, FLUSHALL.
    Keyspace,
}

/// One command or subcommand: a row of the table.
pub struct CommandSpec {
    /// Its place in [`CommandTable::all`], equal in every table of the same commands: for arrays with one element per
    /// command.
    pub index: usize,
    /// Lower case; a subcommand is written `container|sub`.
    pub name: &'static str,
    /// Number of arguments with the name (a subcommand: with both names); negative: at least that many.
    pub arity: i16,
    /// See [`Flags`].
    pub flags: Flags,
    /// See [`Categories`].
    pub categories: Categories,
    /// See [`KeySpec`].
    pub key_specs: &'static [KeySpec],
    /// See [`KeyPositions`].
    pub positions: KeyPositions,
    /// Finds the keys whose permissions are checked, where the specifications do not suffice.
    pub(super) find_keys: Option<FindKeys>,
    /// See [`ChannelArguments`].
    pub channels: ChannelArguments,
    /// See [`DatabaseUse`].
    pub database_use: DatabaseUse,
    /// See [`CommandSpec::named_databases`].
    named_databases: Option<FindDatabases>,
    /// An argument that is no key and routes like one; see [`CommandSpec::route`].
    pub(super) routed_by: Option<usize>,
    /// Hints for clients, as COMMAND INFO prints them.
    pub tips: &'static [&'static str],
    /// Version of Valkey (or of what it came from) that first had it; of Fastness's own commands, Fastness's version.
    pub since: &'static str,
    /// See [`Group`].
    pub group: Group,
    /// The arguments after the name; empty unless implemented.
    pub syntax: &'static str,
    /// One sentence; empty unless implemented.
    pub summary: &'static str,
    /// Its arguments, as COMMAND DOCS describes them.
    pub(super) arguments: &'static [Argument],
    /// Who runs it. A container with implemented subcommands runs nothing itself unless it says so.
    pub run: Run,
    /// See [`Scope`].
    pub scope: Scope,
    /// Whether its reply shows data: on a primary it may depend on uncommitted effects.
    pub shows_data: bool,
    /// Whether it runs at once between MULTI and EXEC.
    pub runs_while_queueing: bool,
    /// See [`Command::changing_connection`].
    pub changes_connection: bool,
    /// See [`Command::with_key_flags`].
    pub(super) key_flags: Option<KeyFlagsOf>,
    /// See [`Command::with_secrets`].
    pub(super) secrets: Option<SecretsOf>,
    /// Indexes in [`CommandTable::all`] of a container's subcommands; empty for other commands.
    pub subcommands: Range<usize>,
    /// Whether clients may use it: it or one of its subcommands runs.
    pub is_implemented: bool,
    /// Whether it is one of Fastness's own: Valkey has no such command.
    pub is_own: bool,
    /// Whether its one key is the first argument.
    pub key_is_first: bool,
}

/// Commands that change no data and count as writing in some respects, because Valkey replicates them.
const REPLICATED: [&str; 3] = ["pfcount", "publish", "spublish"];

impl CommandSpec {
    /// Whether it changes no data, and yet is delayed with writes (CLIENT PAUSE WRITE) and refused in scripts that may
    /// not write: Valkey's `CMD_MAY_REPLICATE`, without the commands that run scripts.
    #[must_use]
    pub fn is_replicated(&self) -> bool {
        REPLICATED.contains(&self.name)
    }

    fn new(index: usize, row: &Facts, facts: &[Facts]) -> CommandSpec {
        CommandSpec {
            index,
            name: row.name,
            arity: row.arity,
            flags: row.flags,
            categories: row.categories,
            key_specs: row.key_specs,
            positions: positions(row.key_specs),
            find_keys: key_finders::finder_of(row.name, row.key_specs),
            channels: acl_facts::channels(row),
            database_use: acl_facts::database_use(row),
            named_databases: acl_facts::named_databases(row),
            routed_by: row.key_specs.iter().find_map(routes),
            tips: row.tips,
            since: row.since,
            group: row.group,
            syntax: "",
            summary: "",
            arguments: arguments_of(row.name),
            run: Run::Missing,
            scope: Scope::Nothing,
            shows_data: false,
            runs_while_queueing: false,
            changes_connection: false,
            key_flags: None,
            secrets: None,
            subcommands: subcommands(row.name, facts),
            is_implemented: false,
            is_own: false,
            key_is_first: key_is_first(row.key_specs),
        }
    }

    fn join(&mut self, command: &Command) {
        let Command { name, syntax, summary, run, shows_data, key_flags, secrets, own, .. } = *command;
        self.changes_connection = command.changes_connection;
        assert!(matches!(self.run, Run::Missing), "{name} is in the table twice");
        (self.syntax, self.summary, self.run) = (syntax, summary, run);
        self.runs_while_queueing = command.runs_while_queueing;
        (self.key_flags, self.secrets) = (key_flags, secrets);
        let touches_data = self.flags.has_any(Flags(Flags::WRITE.0 | Flags::READONLY.0));
        self.scope = match run {
            _ if self.has_keys() => Scope::Keys,
            Run::Data(_) | Run::Script(_) if touches_data => Scope::Keyspace,
            _ => Scope::Nothing,
        };
        self.shows_data = shows_data;
        if let Some(own) = own {
            (self.is_own, self.arguments) = (true, own.arguments);
        }
    }

    /// Whether a request of `count` arguments, the name included, is complete.
    #[inline]
    #[must_use]
    pub fn takes(&self, count: usize) -> bool {
        let arity = usize::from(self.arity.unsigned_abs());
        if self.arity >= 0 { count == arity } else { count >= arity }
    }

    /// The argument that decides in which slot it runs, beside its keys: CLUSTERSCAN's cursor.
    #[inline]
    pub fn route<'a>(&self, args: Args<'a>) -> Option<&'a [u8]> {
        args.try_get(self.routed_by?)
    }

    /// Which argument is the first of its keys, if its place is fixed: to request the memory of that key before the
    /// command runs.
    #[inline]
    #[must_use]
    pub fn first_key_at(&self) -> Option<usize> {
        usize::try_from(self.positions.first).ok().filter(|first| *first > 0)
    }

    /// The databases that the arguments name, with their places: SELECT, SWAPDB, MOVE, and DB of COPY.
    #[must_use]
    pub fn named_databases(&self, args: Args<'_>) -> NamedDatabases {
        self.named_databases.map_or_else(NamedDatabases::new, |find| find(args))
    }

    /// Passes the index of each argument that logs must not show, also of a malformed request.
    pub fn secrets(&self, args: Args<'_>, hide: &mut dyn FnMut(usize)) {
        if let Some(secrets) = self.secrets {
            secrets(args, hide);
        }
    }

    /// Whether it runs, or says what to use instead.
    #[must_use]
    pub fn runs(&self) -> bool {
        !matches!(self.run, Run::Missing | Run::Refused(_))
    }

    /// Whether it means anything only on a connection that lasts: it reads or changes that connection's state.
    #[must_use]
    pub fn needs_connection(&self) -> bool {
        self.changes_connection || matches!(self.run, Run::Session(_))
    }

    /// Whether it has subcommands.
    #[must_use]
    pub fn is_container(&self) -> bool {
        !self.subcommands.is_empty()
    }

    /// Whether it may change data: it is marked so, or runs a script that may.
    #[inline]
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.flags.has(Flags::WRITE) || self.runs_writing_script()
    }

    /// Whether it runs a script or function that may write.
    #[inline]
    #[must_use]
    pub fn runs_writing_script(&self) -> bool {
        matches!(self.run, Run::Script(command) if command.runs() && !command.is_read_only())
    }
}

impl std::fmt::Debug for CommandSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CommandSpec").field(&self.name).finish()
    }
}

/// Four times the number of top-level commands, so that most look-ups compare one name.
const BUCKETS: usize = 1024;

/// Every command with its index by name.
pub struct CommandTable {
    specs: Vec<CommandSpec>,
    /// Open addressing: index of a spec plus 1, 0 is free. Top-level commands alone.
    by_name: Box<[u16; BUCKETS]>,
}

impl CommandTable {
    /// The table in which these commands are implemented or refused, and all others are missing.
    ///
    /// # Panics
    /// If a command is listed twice, has no facts, or brings facts although Valkey has such a command: the lists are
    /// constants, and every test that uses a table finds out.
    #[must_use]
    pub fn new<'a>(commands: impl IntoIterator<Item = &'a Command>) -> CommandTable {
        let commands: Vec<&Command> = commands.into_iter().collect();
        let mut facts = FACTS.to_vec();
        commands.iter().filter_map(|command| command.own).for_each(|own| own::insert(&mut facts, own));
        let mut specs: Vec<CommandSpec> =
            facts.iter().enumerate().map(|(index, row)| CommandSpec::new(index, row, &facts)).collect();
        for command in commands {
            let spec = specs
                .iter_mut()
                .find(|spec| spec.name == command.name)
                .unwrap_or_else(|| panic!("{} is listed, and no facts about it exist", command.name));
            spec.join(command);
        }
        for index in 0..specs.len() {
            specs[index].is_implemented = specs[index].runs()
                || specs[index].subcommands.clone().any(|sub| specs[sub].runs() && !is_help(specs[sub].name));
        }
        let mut table = CommandTable { specs, by_name: Box::new([0; BUCKETS]) };
        for index in 0..table.specs.len() {
            table.enter(index);
        }
        table
    }

    fn enter(&mut self, index: usize) {
        let name = self.specs[index].name;
        if name.contains('|') {
            return;
        }
        let mut bucket = bucket_of(name.as_bytes());
        while self.by_name[bucket] != 0 {
            bucket = (bucket + 1) % BUCKETS;
        }
        self.by_name[bucket] = index as u16 + 1;
    }

    /// Every command and subcommand that Valkey knows, and those listed that it does not, by group and name.
    #[must_use]
    pub fn all(&self) -> &[CommandSpec] {
        &self.specs
    }

    /// What clients may use: everything that runs, and the containers of what runs.
    pub fn implemented(&self) -> impl Iterator<Item = &CommandSpec> {
        self.specs.iter().filter(|spec| spec.is_implemented)
    }

    /// What Valkey has and this table has not: for the documentation.
    pub fn missing(&self) -> impl Iterator<Item = &CommandSpec> {
        self.specs.iter().filter(|spec| !spec.is_implemented)
    }

    /// The subcommands of a container.
    #[must_use]
    pub fn subcommands_of(&self, container: &CommandSpec) -> &[CommandSpec] {
        &self.specs[container.subcommands.clone()]
    }

    /// The row of this name (`object|encoding` for a subcommand), in upper or lower case, implemented or not.
    #[must_use]
    pub fn named(&self, name: &[u8]) -> Option<&CommandSpec> {
        match name.iter().position(|byte| *byte == b'|') {
            None => self.top_level(name),
            Some(bar) => self.subcommand(self.top_level(&name[..bar])?, &name[bar + 1..]),
        }
    }

    /// The row that a request names, implemented or not.
    #[must_use]
    pub fn of_request(&self, args: Args<'_>) -> Option<&CommandSpec> {
        let spec = self.top_level(args.try_get(0)?)?;
        args.try_get(1).and_then(|name| self.subcommand(spec, name)).or(Some(spec))
    }

    /// A top-level command by its name alone.
    #[inline]
    pub(super) fn top_level(&self, name: &[u8]) -> Option<&CommandSpec> {
        let mut bucket = bucket_of(name);
        while self.by_name[bucket] != 0 {
            let spec = &self.specs[usize::from(self.by_name[bucket]) - 1];
            if spec.name.as_bytes().eq_ignore_ascii_case(name) {
                return Some(spec);
            }
            bucket = (bucket + 1) % BUCKETS;
        }
        None
    }

    /// A container's subcommand.
    pub(super) fn subcommand(&self, container: &CommandSpec, name: &[u8]) -> Option<&CommandSpec> {
        let prefix = container.name.len() + 1;
        self.subcommands_of(container).iter().find(|spec| spec.name.as_bytes()[prefix..].eq_ignore_ascii_case(name))
    }
}

impl std::fmt::Debug for CommandTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommandTable").field("commands", &self.specs.len()).finish_non_exhaustive()
    }
}

/// What the arguments of Valkey's command of this name are.
fn arguments_of(name: &str) -> &'static [Argument] {
    ARGUMENTS.iter().find(|(command, _)| *command == name).map_or(&[], |(_, arguments)| arguments)
}

/// Whether a command is a container's HELP. A container whose only subcommand is HELP helps nobody.
pub(super) fn is_help(name: &str) -> bool {
    name.ends_with("|help")
}

/// FNV-1a over the name in lower case.
#[inline]
fn bucket_of(name: &[u8]) -> usize {
    let hash =
        name.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte | 0x20)).wrapping_mul(0x0100_0193));
    (hash ^ hash >> 15) as usize % BUCKETS
}

fn key_is_first(specs: &[KeySpec]) -> bool {
    let [KeySpec { begin: Begin::At(1), find: Find::Range { last: 0, .. }, flags, .. }] = specs else { return false };
    !flags.has(KeyFlags(key_flag::NOT_KEY))
}

/// The argument that a key specification names though it is no key.
fn routes(spec: &KeySpec) -> Option<usize> {
    match spec.begin {
        Begin::At(at) if spec.flags.has(KeyFlags(key_flag::NOT_KEY)) => Some(at.into()),
        _ => None,
    }
}

/// The rows are sorted by name, so a container's subcommands stand in one range.
fn subcommands(container: &str, facts: &[Facts]) -> Range<usize> {
    let belongs = |row: &Facts| row.name.strip_prefix(container).is_some_and(|rest| rest.starts_with('|'));
    let first = facts.iter().position(belongs).unwrap_or(0);
    first..first + facts[first..].iter().take_while(|row| belongs(row)).count()
}

/// The one range that older clients route by: the groups of keys with fixed places that follow each other.
fn positions(specs: &[KeySpec]) -> KeyPositions {
    if let [KeySpec { begin: Begin::At(at), find: Find::Range { last, step, .. }, .. }] = *specs {
        let first = i16::from(at);
        return KeyPositions { first, last: absolute(first, last), step: i16::from(step) };
    }
    let mut found = KeyPositions::default();
    for spec in specs {
        let (Begin::At(at), Find::Range { last, step: 1, .. }) = (spec.begin, spec.find) else { continue };
        let first = i16::from(at);
        if found.first == 0 {
            found = KeyPositions { first, last: absolute(first, last), step: 1 };
        } else if first == found.last + 1 {
            found.last = absolute(first, last);
        }
    }
    found
}

fn absolute(first: i16, last: i8) -> i16 {
    let last = i16::from(last);
    if last >= 0 { first + last } else { last }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
