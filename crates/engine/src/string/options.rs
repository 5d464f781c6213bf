//! The options that SET, GETEX and MSETEX share.

use crate::command::parse::integer;
use crate::error::CommandError;
use fastness_resp::Args;
use fastness_types::WallMs;

/// What the key must be for a value to be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition<'a> {
    /// NX
    IfMissing,
    /// XX
    IfThere,
    /// IFEQ
    IfEqual(&'a [u8]),
}

/// How a time is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// EX
    Seconds,
    /// PX
    Milliseconds,
    /// EXAT
    AtSeconds,
    /// PXAT
    AtMilliseconds,
}

/// A deadline as the options give it, not looked at yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryOption<'a> {
    /// None of them.
    None,
    /// KEEPTTL
    Keep,
    /// PERSIST
    Persist,
    /// EX and the like, with their argument.
    Time(Unit, &'a [u8]),
}

/// A deadline as a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Nothing was said.
    None,
    /// KEEPTTL
    Keep,
    /// PERSIST
    Persist,
    /// This one, which may have passed.
    At(WallMs),
}

/// Whose options these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// NX, XX, IFEQ, GET, KEEPTTL and times.
    Set,
    /// PERSIST and times.
    Getex,
    /// NX, XX, KEEPTTL and times.
    Msetex,
}

/// See the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options<'a> {
    /// NX, XX, IFEQ
    pub condition: Option<Condition<'a>>,
    /// GET
    pub get: bool,
    /// EX, PX, EXAT, PXAT, KEEPTTL, PERSIST
    pub expiry: ExpiryOption<'a>,
}

impl<'a> Options<'a> {
    /// Reads all of `args` as options. An option may be repeated, the last counts; IFEQ may not.
    ///
    /// # Errors
    /// What is no option, or stands beside one that it excludes.
    pub fn parse(args: Args<'a>, allowed: Allowed) -> Result<Options<'a>, CommandError> {
        let mut options = Options { condition: None, get: false, expiry: ExpiryOption::None };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let is = |name: &str| arg.eq_ignore_ascii_case(name.as_bytes());
            let sets = allowed != Allowed::Getex;
            if sets && is("nx") {
                options.condition(Condition::IfMissing)?;
            } else if sets && is("xx") {
                options.condition(Condition::IfThere)?;
            } else if allowed == Allowed::Set && is("ifeq") {
                let value = args.next().ok_or(CommandError::Syntax)?;
                if options.condition.replace(Condition::IfEqual(value)).is_some() {
                    return Err(CommandError::Syntax);
                }
            } else if allowed == Allowed::Set && is("get") {
                options.get = true;
            } else if sets && is("keepttl") {
                options.expiry.set(ExpiryOption::Keep)?;
            } else if allowed == Allowed::Getex && is("persist") {
                options.expiry.set(ExpiryOption::Persist)?;
            } else {
                let unit = Unit::named(arg).ok_or(CommandError::Syntax)?;
                options.expiry.set(ExpiryOption::Time(unit, args.next().ok_or(CommandError::Syntax)?))?;
            }
        }
        Ok(options)
    }

    fn condition(&mut self, new: Condition<'a>) -> Result<(), CommandError> {
        match self.condition.replace(new) {
            Some(old) if old != new => Err(CommandError::Syntax),
            _ => Ok(()),
        }
    }
}

impl<'a> ExpiryOption<'a> {
    /// Takes another option, which must be of the same kind; the last counts.
    pub(crate) fn set(&mut self, new: ExpiryOption<'a>) -> Result<(), CommandError> {
        let fits = match (*self, new) {
            (ExpiryOption::None, _) => true,
            (ExpiryOption::Time(old, _), ExpiryOption::Time(new, _)) => old == new,
            (old, new) => old == new,
        };
        *self = new;
        if fits { Ok(()) } else { Err(CommandError::Syntax) }
    }
}

impl Unit {
    pub(crate) fn named(name: &[u8]) -> Option<Unit> {
        let units = [
            ("ex", Unit::Seconds),
            ("px", Unit::Milliseconds),
            ("exat", Unit::AtSeconds),
            ("pxat", Unit::AtMilliseconds),
        ];
        units.iter().find(|(text, _)| name.eq_ignore_ascii_case(text.as_bytes())).map(|&(_, unit)| unit)
    }
}

impl ExpiryOption<'_> {
    /// As a time; `name` is the command's, for the error.
    pub(super) fn resolve(self, now: WallMs, name: &'static str) -> Result<Expiry, CommandError> {
        Ok(match self {
            ExpiryOption::None => Expiry::None,
            ExpiryOption::Keep => Expiry::Keep,
            ExpiryOption::Persist => Expiry::Persist,
            ExpiryOption::Time(unit, arg) => Expiry::At(deadline(unit, arg, now, name)?),
        })
    }
}

/// The deadline that `arg` gives in `unit`; it may have passed.
///
/// # Errors
/// Not a number; not above 0, or too large to be a time, with the command's `name`.
pub fn deadline(unit: Unit, arg: &[u8], now: WallMs, name: &'static str) -> Result<WallMs, CommandError> {
    let invalid = CommandError::InvalidExpire(name);
    let given = integer(arg)?;
    if given <= 0 {
        return Err(invalid);
    }
    let millis = match unit {
        Unit::Seconds | Unit::AtSeconds => given.checked_mul(1_000),
        Unit::Milliseconds | Unit::AtMilliseconds => Some(given),
    };
    let base = match unit {
        Unit::Seconds | Unit::Milliseconds => now.0 as i64,
        Unit::AtSeconds | Unit::AtMilliseconds => 0,
    };
    let at = millis.and_then(|millis| millis.checked_add(base)).ok_or(invalid)?;
    Ok(WallMs(at as u64))
}
