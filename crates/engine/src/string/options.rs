//! The options that SET, GETEX and MSETEX share.

use crate::error::CommandError;
use crate::expiry::{Beside, ExpiryOption};
use fastness_resp::Args;

/// The least number that the commands of keys take for a time.
pub const LEAST_TIME: i64 = 1;

/// What SET requires of the key before it sets the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetCondition<'a> {
    /// NX
    IfMissing,
    /// XX
    IfExists,
    /// IFEQ
    IfEqual(&'a [u8]),
}

/// Which options a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// NX, XX, IFEQ, GET, KEEPTTL and times.
    Set,
    /// PERSIST and times.
    Getex,
    /// NX, XX, KEEPTTL and times.
    Msetex,
}

/// The options of one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetOptions<'a> {
    /// NX, XX, IFEQ
    pub condition: Option<SetCondition<'a>>,
    /// GET
    pub get: bool,
    /// EX, PX, EXAT, PXAT, KEEPTTL, PERSIST
    pub expiry: ExpiryOption<'a>,
}

impl<'a> SetOptions<'a> {
    /// Reads all of `args` as options. An option may be repeated, and the last one counts; IFEQ may not.
    ///
    /// # Errors
    /// An unknown option, or one that another one excludes.
    pub fn parse(args: Args<'a>, allowed: Allowed) -> Result<SetOptions<'a>, CommandError> {
        let mut options = SetOptions { condition: None, get: false, expiry: ExpiryOption::None };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let is = |name: &str| arg.eq_ignore_ascii_case(name.as_bytes());
            let sets = allowed != Allowed::Getex;
            if sets && is("nx") {
                options.condition(SetCondition::IfMissing)?;
            } else if sets && is("xx") {
                options.condition(SetCondition::IfExists)?;
            } else if allowed == Allowed::Set && is("ifeq") {
                let value = args.next().ok_or(CommandError::Syntax)?;
                if options.condition.replace(SetCondition::IfEqual(value)).is_some() {
                    return Err(CommandError::Syntax);
                }
            } else if allowed == Allowed::Set && is("get") {
                options.get = true;
            } else {
                let beside = if sets { Beside::KeepTtl } else { Beside::Persist };
                options.expiry.read(arg, &mut args, beside)?;
            }
        }
        Ok(options)
    }

    fn condition(&mut self, new: SetCondition<'a>) -> Result<(), CommandError> {
        match self.condition.replace(new) {
            Some(old) if old != new => Err(CommandError::Syntax),
            _ => Ok(()),
        }
    }
}
