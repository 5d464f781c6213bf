//! Why a rule is refused.

use thiserror::Error;

use crate::limits::{PASSWORDS_MAX, PATTERNS_MAX, RULE_BYTES_MAX, SELECTORS_MAX};
use crate::words;

/// How much of a rule that is too long an error quotes, bytes.
const QUOTED_BYTES_MAX: usize = 128;

/// What is wrong with a rule. The texts are Valkey's, except for those of our own bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RuleProblem {
    /// The command, subcommand or category does not exist.
    #[error("Unknown command or category name in ACL")]
    Unknown,
    /// No rule has this form.
    #[error("Syntax error")]
    Syntax,
    /// The user has all keys already.
    #[error(
        "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try \
         'resetkeys' to start with an empty list of patterns"
    )]
    AfterAllKeys,
    /// The user has all channels already.
    #[error(
        "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. \
         Try 'resetchannels' to start with an empty list of channels"
    )]
    AfterAllChannels,
    /// The password to be removed is none of the user's.
    #[error("The password you are trying to remove from the user does not exist")]
    NoSuchPassword,
    /// The hash of a password is malformed.
    #[error("The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters")]
    BadHash,
    /// `+command|subcommand|argument`.
    #[error("Allowing first-arg of a subcommand is not supported")]
    FirstArgumentOfSubcommand,
    /// The number of a database is negative or too large.
    #[error("The provided database ID is out of range")]
    DatabaseOutOfRange,
    /// A selector is not closed.
    #[error("Unmatched parenthesis in acl selector")]
    UnmatchedParenthesis,
    /// See [`RULE_BYTES_MAX`].
    #[error("A rule has at most {RULE_BYTES_MAX} bytes")]
    TooLong,
    /// See [`PATTERNS_MAX`].
    #[error("A user has at most {PATTERNS_MAX} patterns, first arguments and databases")]
    TooManyPatterns,
    /// See [`SELECTORS_MAX`].
    #[error("A user has at most {SELECTORS_MAX} selectors")]
    TooManySelectors,
    /// See [`PASSWORDS_MAX`].
    #[error("A user has at most {PASSWORDS_MAX} passwords")]
    TooManyPasswords,
}

/// A refused rule. Displays what is wrong with it, without the rule; [`RuleError::reply`] is the whole text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{problem}")]
pub struct RuleError {
    rule: Vec<u8>,
    problem: RuleProblem,
}

impl RuleError {
    pub(crate) fn new(rule: &[u8], problem: RuleProblem) -> RuleError {
        RuleError { rule: rule.to_vec(), problem }
    }

    /// The refused rule; of a selector that is spread over several arguments: all of them, with blanks between. It may
    /// contain a password.
    #[must_use]
    pub fn rule(&self) -> &[u8] {
        &self.rule
    }

    /// What is wrong with it.
    #[must_use]
    pub fn problem(&self) -> RuleProblem {
        self.problem
    }

    /// The error reply of ACL SETUSER, error code first. It quotes the rule, so it need not be UTF-8.
    #[must_use]
    pub fn reply(&self) -> Vec<u8> {
        let quoted = words::up_to_zero(&self.rule);
        match self.problem {
            RuleProblem::UnmatchedParenthesis => {
                [b"ERR Unmatched parenthesis in acl selector starting at '", quoted, b"'."].concat()
            }
            problem => {
                let whole = problem != RuleProblem::TooLong;
                let quoted = if whole { quoted } else { &quoted[..quoted.len().min(QUOTED_BYTES_MAX)] };
                let problem = problem.to_string();
                [b"ERR Error in ACL SETUSER modifier '", quoted, b"': ", problem.as_bytes()].concat()
            }
        }
    }
}
