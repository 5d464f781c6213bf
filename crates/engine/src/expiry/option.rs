//! Deadlines among the options of commands that set or read a value: SET, GETEX, MSETEX, HSETEX, HGETEX.

use super::unit::TimeUnit;
use crate::error::CommandError;
use fastness_types::WallMs;

/// A deadline as the options give it, before its argument is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryOption<'a> {
    /// No option was given.
    None,
    /// KEEPTTL
    Keep,
    /// PERSIST
    Persist,
    /// EX, PX, EXAT or PXAT, with its argument.
    Time(TimeUnit, &'a [u8]),
}

/// A deadline that an option gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// No option was given.
    None,
    /// KEEPTTL
    Keep,
    /// PERSIST
    Persist,
    /// This deadline, which may have passed.
    At(WallMs),
}

/// The word that a command takes beside times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// KEEPTTL, of commands that set a value.
    KeepTtl,
    /// PERSIST, of commands that read one.
    Persist,
}

impl<'a> ExpiryOption<'a> {
    /// Reads an option, and its argument from `rest` if it has one. An option may be repeated, and its last argument
    /// counts.
    ///
    /// # Errors
    /// It is unknown, lacks its argument, or excludes an option that was read before.
    pub fn read(
        &mut self,
        option: &[u8],
        rest: &mut impl Iterator<Item = &'a [u8]>,
        beside: Beside,
    ) -> Result<(), CommandError> {
        let (word, meaning) = match beside {
            Beside::KeepTtl => ("keepttl", ExpiryOption::Keep),
            Beside::Persist => ("persist", ExpiryOption::Persist),
        };
        if option.eq_ignore_ascii_case(word.as_bytes()) {
            return self.set(meaning);
        }
        let unit = TimeUnit::of_option(option).ok_or(CommandError::Syntax)?;
        self.set(ExpiryOption::Time(unit, rest.next().ok_or(CommandError::Syntax)?))
    }

    fn set(&mut self, new: ExpiryOption<'a>) -> Result<(), CommandError> {
        let fits = match (*self, new) {
            (ExpiryOption::None, _) => true,
            (ExpiryOption::Time(old, _), ExpiryOption::Time(new, _)) => old == new,
            (old, new) => old == new,
        };
        *self = new;
        if fits { Ok(()) } else { Err(CommandError::Syntax) }
    }

    /// Reads the argument; `least` and `command` are as for [`TimeUnit::deadline`].
    ///
    /// # Errors
    /// As [`TimeUnit::deadline`].
    pub fn resolve(self, least: i64, now: WallMs, command: &'static str) -> Result<Expiry, CommandError> {
        Ok(match self {
            ExpiryOption::None => Expiry::None,
            ExpiryOption::Keep => Expiry::Keep,
            ExpiryOption::Persist => Expiry::Persist,
            ExpiryOption::Time(unit, text) => Expiry::At(unit.deadline(text, least, now, command)?),
        })
    }
}
