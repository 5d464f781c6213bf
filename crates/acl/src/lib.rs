//! Users of the access control list: what ACL SETUSER's rules mean, and whether a user may run a request.
//!
//! A [`User`] has passwords and selectors. A selector states commands, keys, channels and databases; a request is
//! allowed if one selector allows all of it. The root selector belongs to the user itself, others stand in parentheses.
//!
//! The modules, from the lowest to the highest; none imports a higher one:
//!
//! - [`limits`]: bounds of a user. [`rule_error`]: why a rule is refused, in Valkey's words.
//! - `words`: rules that are spread over arguments or stand in one text.
//! - `password`, `key_pattern`, `database_rights`, `command_rights`: one kind of rule each.
//! - [`selector`]: rules of all kinds that hold together. [`user`]: the whole.
//! - [`denied`], `check`: whether a user may run a request, and the texts if not.
//! - `stored`: reads the stored form of a user, maybe another version's. [`category`]: ACL CAT.
//!
//! Rules, texts and the stored form are those of Valkey 9.1, byte for byte. Known differences, all on the strict side:
//!
//! - A user has bounds ([`limits`]).
//! - A first argument (`+select|0`) with white space, a zero byte or a quote is refused: Valkey accepts it and stops
//!   when it prints the user.
//! - A pattern of PSUBSCRIBE and a first argument are compared as a whole, where Valkey compares up to a zero byte.
//!
//! Pure: no sockets, no clocks, no global state. It does not know the names of users, connections or stores.

pub mod category;
mod check;
mod command_rights;
mod database_rights;
pub mod denied;
mod key_pattern;
pub mod limits;
mod password;
pub mod rule_error;
pub mod selector;
mod stored;
pub mod user;
mod words;

pub use denied::Denied;
pub use rule_error::{RuleError, RuleProblem};
pub use selector::Selector;
pub use user::User;
