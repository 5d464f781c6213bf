//! Bounds of a user: rules come from clients, are kept by every node and are checked with every request.

/// Length of one rule, bytes; of a selector that is spread over several arguments: of all of them.
pub const RULE_BYTES_MAX: usize = 64 * 1024;

/// Patterns of keys and channels, first arguments of commands and numbers of databases, in all selectors of a user
/// together.
pub const PATTERNS_MAX: usize = 1_000;

/// Selectors of a user, the root selector not counted.
pub const SELECTORS_MAX: usize = 64;

/// Passwords of a user.
pub const PASSWORDS_MAX: usize = 100;
