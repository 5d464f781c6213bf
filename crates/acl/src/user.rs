//! A user: passwords and selectors.

use std::fmt;

use fastness_engine::command::CommandTable;

use crate::limits::{PASSWORDS_MAX, PATTERNS_MAX, RULE_BYTES_MAX, SELECTORS_MAX};
use crate::password::{self, PasswordHash};
use crate::rule_error::{RuleError, RuleProblem};
use crate::selector::Selector;
use crate::words::{self, MergeError};

/// A user's rules, compiled for one command table. The name is not part of it.
#[derive(Clone)]
pub struct User {
    pub(crate) table: &'static CommandTable,
    is_on: bool,
    is_nopass: bool,
    /// Empty if any password is accepted.
    passwords: Vec<PasswordHash>,
    pub(crate) root: Selector,
    pub(crate) selectors: Vec<Selector>,
    /// Whether a selector allows everything. Valid after [`User::seal`].
    pub(crate) is_unrestricted: bool,
}

impl User {
    /// A user as ACL SETUSER creates it: off, no passwords, no commands, no keys, no channels, all databases.
    #[must_use]
    pub fn new(table: &'static CommandTable) -> User {
        let (root, selectors) = (Selector::new(table), Vec::new());
        User { table, is_on: false, is_nopass: false, passwords: Vec::new(), root, selectors, is_unrestricted: false }
    }

    /// A user that may do everything, without a password: `on nopass ~* &* +@all`.
    #[must_use]
    pub fn all(table: &'static CommandTable) -> User {
        let mut user = User { is_on: true, is_nopass: true, ..User::new(table) };
        user.root = Selector::all(table);
        user.seal();
        user
    }

    /// Applies the rules of ACL SETUSER to a copy, in their order. A selector may be spread over several rules
    /// (`(+get`, `~a)`). A password (`>password`) is hashed at once.
    ///
    /// # Errors
    /// The first rule that is malformed, exceeds a limit, or names an unknown command or category; an unclosed selector
    /// before all others. The user itself is unchanged then.
    pub fn with_rules<'a>(&self, rules: impl IntoIterator<Item = &'a [u8]>) -> Result<User, RuleError> {
        let rules = words::merged(rules).map_err(|error| match error {
            MergeError::Unmatched(first) => RuleError::new(first, RuleProblem::UnmatchedParenthesis),
            MergeError::TooLong(first) => RuleError::new(first, RuleProblem::TooLong),
        })?;
        let mut user = self.clone();
        for rule in rules {
            user.apply(&rule).map_err(|problem| RuleError::new(&rule, problem))?;
        }
        user.seal();
        Ok(user)
    }

    /// Applies one rule. After an error, some of it may have been applied.
    pub(crate) fn apply(&mut self, rule: &[u8]) -> Result<(), RuleProblem> {
        if rule.len() > RULE_BYTES_MAX {
            return Err(RuleProblem::TooLong);
        }
        match words::up_to_zero(rule).to_ascii_lowercase().as_slice() {
            [] if rule.is_empty() => {}
            b"on" => self.is_on = true,
            b"off" => self.is_on = false,
            // Payloads of RESTORE are always checked.
            b"sanitize-payload" | b"skip-sanitize-payload" => {}
            b"nopass" => self.set_nopass(true),
            b"resetpass" => self.set_nopass(false),
            [b'>', ..] => self.add_password(password::hash_of(&rule[1..]))?,
            [b'#', ..] => self.add_password(password::parse(&rule[1..])?)?,
            [b'<', ..] => self.remove_password(password::hash_of(&rule[1..]))?,
            [b'!', ..] => self.remove_password(password::parse(&rule[1..])?)?,
            b"clearselectors" => self.selectors.clear(),
            b"reset" => *self = User::new(self.table),
            _ if words::is_selector(rule) => self.add_selector(Selector::parse(self.table, rule)?)?,
            _ => self.root.apply(self.table, rule)?,
        }
        self.check_patterns()
    }

    /// Concludes a series of rules.
    pub(crate) fn seal(&mut self) {
        let is_unrestricted = self.all_selectors().any(Selector::is_unrestricted);
        self.is_unrestricted = is_unrestricted;
    }

    fn check_patterns(&self) -> Result<(), RuleProblem> {
        let count = self.root.count() + self.selectors.iter().map(Selector::count).sum::<usize>();
        if count > PATTERNS_MAX { Err(RuleProblem::TooManyPatterns) } else { Ok(()) }
    }

    fn set_nopass(&mut self, is_nopass: bool) {
        self.is_nopass = is_nopass;
        self.passwords.clear();
    }

    fn add_password(&mut self, hash: PasswordHash) -> Result<(), RuleProblem> {
        self.is_nopass = false;
        if self.passwords.contains(&hash) {
            return Ok(());
        }
        if self.passwords.len() >= PASSWORDS_MAX {
            return Err(RuleProblem::TooManyPasswords);
        }
        self.passwords.push(hash);
        Ok(())
    }

    fn remove_password(&mut self, hash: PasswordHash) -> Result<(), RuleProblem> {
        let at = self.passwords.iter().position(|known| *known == hash).ok_or(RuleProblem::NoSuchPassword)?;
        self.passwords.remove(at);
        Ok(())
    }

    pub(crate) fn add_selector(&mut self, selector: Selector) -> Result<(), RuleProblem> {
        if self.selectors.len() >= SELECTORS_MAX {
            return Err(RuleProblem::TooManySelectors);
        }
        self.selectors.push(selector);
        self.check_patterns()
    }

    /// The canonical form: what ACL LIST prints after `user <name> `, for example
    /// `on #<hash> ~* resetchannels -@all +get (%R~b &* -@all +set)`.
    #[must_use]
    pub fn rules(&self) -> Vec<u8> {
        let mut text = if self.is_on { b"on ".to_vec() } else { b"off ".to_vec() };
        if self.is_nopass {
            text.extend_from_slice(b"nopass ");
        }
        for hash in &self.passwords {
            text.push(b'#');
            password::write(hash, &mut text);
            text.push(b' ');
        }
        self.root.write(&mut text);
        for selector in &self.selectors {
            text.extend_from_slice(b" (");
            selector.write(&mut text);
            text.push(b')');
        }
        text
    }

    /// Whether clients may authenticate as this user.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether any password is accepted.
    #[must_use]
    pub fn is_nopass(&self) -> bool {
        self.is_nopass
    }

    /// The SHA-256 of each password, in the order in which they were added.
    pub fn passwords(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.passwords.iter()
    }

    /// Whether the password is one of the user's, or any is accepted. Does not depend on [`User::is_on`]. Takes the
    /// same time whichever password it is.
    #[must_use]
    pub fn accepts(&self, password: &[u8]) -> bool {
        self.is_nopass || password::matches(&self.passwords, password)
    }

    /// The selector that belongs to the user itself.
    #[must_use]
    pub fn root(&self) -> &Selector {
        &self.root
    }

    /// The other selectors, in the order in which they were added.
    #[must_use]
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    pub(crate) fn all_selectors(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.selectors)
    }
}

impl PartialEq for User {
    /// Users of different tables are never equal.
    fn eq(&self, other: &User) -> bool {
        std::ptr::eq(self.table, other.table)
            && (self.is_on, self.is_nopass) == (other.is_on, other.is_nopass)
            && self.passwords == other.passwords
            && self.root == other.root
            && self.selectors == other.selectors
    }
}

impl Eq for User {}

impl fmt::Debug for User {
    /// Without the passwords' hashes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.clone();
        shown.passwords.clear();
        let rules = shown.rules();
        f.debug_struct("User")
            .field("passwords", &self.passwords.len())
            .field("rules", &rules.escape_ascii().to_string())
            .finish()
    }
}
