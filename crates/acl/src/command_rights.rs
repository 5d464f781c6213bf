//! The commands that a selector may run: `+get`, `-config|set`, `+@read`, `+select|0`, `-@all`.

use std::collections::{BTreeMap, BTreeSet};

use fastness_engine::command::{Categories, CommandSpec, CommandTable};
use fastness_resp::Args;

use crate::rule_error::RuleProblem;
use crate::words;

/// One rule of those that are kept to print them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CommandRule {
    allows: bool,
    /// A command, `container|sub`, `command|first-argument` or `@category`, in lower case.
    name: Vec<u8>,
}

/// Commands of a selector, compiled for one table, and the rules that made them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandRights {
    /// A bit per [`CommandSpec::index`].
    bits: Box<[u64]>,
    /// Whether the rules start with `+@all`, so that they allow commands that another version of the table has.
    starts_with_all: bool,
    /// Whether all commands are allowed.
    are_all: bool,
    /// In the order in which they were given. A rule replaces earlier ones of the same name, and a command's those of
    /// its subcommands and first arguments. Applied in this order they result in the same rights.
    rules: Vec<CommandRule>,
    /// First arguments, in lower case, with which a command is allowed although its bit is not set.
    first_arguments: BTreeMap<usize, BTreeSet<Vec<u8>>>,
}

impl CommandRights {
    /// No commands.
    pub(crate) fn none(table: &CommandTable) -> CommandRights {
        CommandRights {
            bits: vec![0; table.all().len().div_ceil(64)].into(),
            starts_with_all: false,
            are_all: false,
            rules: Vec::new(),
            first_arguments: BTreeMap::new(),
        }
    }

    /// Starts from all or no commands: `+@all`, `-@all`.
    pub(crate) fn start(&mut self, table: &CommandTable, all: bool) {
        self.starts_with_all = all;
        self.rules.clear();
        self.first_arguments.clear();
        table.all().iter().for_each(|spec| self.set_bit(spec.index, all));
        self.are_all = all;
    }

    /// Applies a rule that starts with `+` or `-`.
    pub(crate) fn apply(&mut self, table: &CommandTable, rule: &[u8]) -> Result<(), RuleProblem> {
        let (allows, name) = match rule {
            [b'+', name @ ..] => (true, name),
            [b'-', name @ ..] => (false, name),
            _ => return Err(RuleProblem::Syntax),
        };
        match name {
            [b'@', category @ ..] if category.eq_ignore_ascii_case(b"all") => self.start(table, allows),
            [b'@', category @ ..] => self.apply_category(table, category, allows)?,
            _ => match name.iter().rposition(|byte| *byte == b'|') {
                Some(bar) if allows => self.allow_part(table, name, bar)?,
                _ => {
                    let spec = table.named(name).ok_or(RuleProblem::Unknown)?;
                    self.set(table, spec, allows);
                    self.keep(spec.name.as_bytes(), allows);
                }
            },
        }
        self.are_all = self.starts_with_all && table.all().iter().all(|spec| self.bit(spec.index));
        Ok(())
    }

    fn apply_category(&mut self, table: &CommandTable, category: &[u8], allows: bool) -> Result<(), RuleProblem> {
        let bit = Categories::named(category).ok_or(RuleProblem::Unknown)?;
        for spec in table.all().iter().filter(|spec| spec.categories.has(bit)) {
            self.set(table, spec, allows);
        }
        self.keep(&[b"@", category].concat(), allows);
        Ok(())
    }

    /// Allows a subcommand, or a command with one first argument; `bar` is where the latter starts in the name.
    fn allow_part(&mut self, table: &CommandTable, name: &[u8], bar: usize) -> Result<(), RuleProblem> {
        let (command, part) = (&name[..bar], &name[bar + 1..]);
        let spec = table.named(command).ok_or(RuleProblem::Unknown)?;
        if is_subcommand(spec) {
            return Err(RuleProblem::FirstArgumentOfSubcommand);
        }
        if part.is_empty() {
            return Err(RuleProblem::Syntax);
        }
        if spec.is_container() {
            let sub = table.named(name).ok_or(RuleProblem::Unknown)?;
            self.set(table, sub, true);
        } else {
            // It could not be read back from the printed form.
            if words::has_spaces(part) || part.iter().any(|byte| matches!(byte, b'"' | b'\'')) {
                return Err(RuleProblem::Syntax);
            }
            self.first_arguments.entry(spec.index).or_default().insert(part.to_ascii_lowercase());
        }
        self.keep(name, true);
        Ok(())
    }

    /// Allows or denies a command with its subcommands.
    fn set(&mut self, table: &CommandTable, spec: &CommandSpec, allows: bool) {
        self.set_bit(spec.index, allows);
        self.first_arguments.remove(&spec.index);
        table.subcommands_of(spec).iter().for_each(|sub| self.set_bit(sub.index, allows));
    }

    fn set_bit(&mut self, index: usize, value: bool) {
        let bit = 1 << (index % 64);
        if value {
            self.bits[index / 64] |= bit;
        } else {
            self.bits[index / 64] &= !bit;
        }
    }

    fn bit(&self, index: usize) -> bool {
        self.bits.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Keeps a rule to print it, in place of those that it makes superfluous.
    fn keep(&mut self, name: &[u8], allows: bool) {
        let name = name.to_ascii_lowercase();
        let is_covered =
            |other: &[u8]| other.strip_prefix(&name[..]).is_some_and(|rest| matches!(rest, [] | [b'|', ..]));
        self.rules.retain(|rule| !is_covered(&rule.name));
        self.rules.push(CommandRule { allows, name });
    }

    /// Whether all commands are allowed.
    pub(crate) fn are_all(&self) -> bool {
        self.are_all
    }

    /// Whether the command is allowed with these arguments.
    pub(crate) fn allow(&self, spec: &CommandSpec, args: Args<'_>) -> bool {
        self.bit(spec.index) || (!self.first_arguments.is_empty() && self.allow_first_argument(spec, args))
    }

    fn allow_first_argument(&self, spec: &CommandSpec, args: Args<'_>) -> bool {
        let (Some(allowed), Some(first)) = (self.first_arguments.get(&spec.index), args.try_get(1)) else {
            return false;
        };
        allowed.contains(&first.to_ascii_lowercase())
    }

    /// Number of first arguments that are named.
    pub(crate) fn count(&self) -> usize {
        self.first_arguments.values().map(BTreeSet::len).sum()
    }

    /// Appends the rules.
    pub(crate) fn write(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(if self.starts_with_all { b"+@all" } else { b"-@all" });
        for rule in &self.rules {
            text.extend_from_slice(if rule.allows { b" +" } else { b" -" });
            text.extend_from_slice(&rule.name);
        }
    }
}

fn is_subcommand(spec: &CommandSpec) -> bool {
    spec.name.contains('|')
}
