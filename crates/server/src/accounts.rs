//! The users that this node knows: the rules in the cluster's settings, compiled for its command table.
//!
//! Every command of a connection asks for the generation of the accounts and looks its user up again when that has
//! changed, so a change is in force for the next command of every connection once [`AccountBook::follow`] has returned.
//! Until the cluster has users, the node goes by those of its files. Without a user `default` among them, that one may
//! do everything, with the password of the settings or of the config file.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use fastness_acl::{RuleError, User};
use fastness_control::{Password, UserRules, Users};
use fastness_engine::command::CommandTable;
use fastness_types::limits::{USER_NAME_BYTES_MAX, USERS_BYTES_MAX, USERS_MAX};

/// The user of connections that have not named one.
pub const DEFAULT_USER: &str = "default";

/// One user.
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its rules as they are stored.
    pub stored: String,
    /// What it may do.
    pub user: User,
}

impl fmt::Debug for Account {
    /// Omits the rules: they contain hashes of passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Account").field(&self.name).finish()
    }
}

/// All users of one version.
pub struct Accounts {
    by_name: BTreeMap<String, Arc<Account>>,
    default: Arc<Account>,
}

impl Accounts {
    /// Compiles rules. An account whose rules have not changed is the one from `before`.
    fn of(table: &'static CommandTable, users: &Users, password: &Password, before: Option<&Accounts>) -> Accounts {
        let compile = |name: &str, stored: String| {
            let known = before.and_then(|before| before.by_name.get(name)).filter(|known| known.stored == stored);
            known.cloned().unwrap_or_else(|| Arc::new(Account::compile(table, name.to_owned(), stored)))
        };
        let rules = users.rules.iter().map(|(name, stored)| (name.clone(), compile(name, stored.clone())));
        let mut by_name: BTreeMap<_, _> = rules.collect();
        let default = by_name.entry(DEFAULT_USER.to_owned());
        let default = default.or_insert_with(|| compile(DEFAULT_USER, first_rules(password))).clone();
        Accounts { by_name, default }
    }

    /// The user of this name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&Arc<Account>> {
        self.by_name.get(std::str::from_utf8(name).ok()?)
    }

    /// The user of connections that have not named one.
    #[must_use]
    pub fn default_user(&self) -> &Arc<Account> {
        &self.default
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Account>> {
        self.by_name.values()
    }
}

impl Account {
    fn compile(table: &'static CommandTable, name: String, stored: String) -> Account {
        let user = User::from_stored(table, stored.as_bytes()).unwrap_or_else(|error| {
            // Written by a newer version: no rights are better than wrong ones.
            tracing::error!(user = name, %error, "the stored rules of a user are not readable: it may do nothing");
            User::new(table)
        });
        Account { name, stored, user }
    }
}

/// The accounts of a node, as they are now.
pub struct AccountBook {
    table: &'static CommandTable,
    now: ArcSwap<Accounts>,
    generation: AtomicU64,
    outdated: AtomicBool,
}

impl AccountBook {
    /// Before the cluster's settings are known: the users that this node's files define.
    #[must_use]
    pub fn new(table: &'static CommandTable, users: &Users, password: &Password) -> AccountBook {
        let first = Accounts::of(table, users, password, None);
        let now = ArcSwap::from_pointee(first);
        AccountBook { table, now, generation: AtomicU64::new(1), outdated: AtomicBool::new(false) }
    }

    /// Goes by these users from now on.
    pub fn follow(&self, users: &Users, password: &Password) {
        let before = self.now.load_full();
        let accounts = Accounts::of(self.table, users, password, Some(&before));
        let is_same = accounts.iter().len() == before.iter().len()
            && accounts.iter().zip(before.iter()).all(|(a, b)| Arc::ptr_eq(a, b));
        if !is_same {
            self.now.store(Arc::new(accounts));
            self.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// Sets whether newer accounts are known to exist, which this node does not get. Every command of every connection
    /// asks for that, by the generation. True if it has changed.
    pub fn set_outdated(&self, outdated: bool) -> bool {
        let changed = self.outdated.swap(outdated, Ordering::AcqRel) != outdated;
        if changed {
            self.generation.fetch_add(1, Ordering::Release);
        }
        changed
    }

    /// Whether newer accounts are known to exist: nobody may be served by these.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Acquire)
    }

    /// Rises with each change.
    #[inline]
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The accounts now.
    #[must_use]
    pub fn load(&self) -> Arc<Accounts> {
        self.now.load_full()
    }

    /// The user of connections that have not named one.
    #[must_use]
    pub fn default_user(&self) -> Arc<Account> {
        self.now.load().default.clone()
    }

    /// The commands that rules are about.
    #[must_use]
    pub fn table(&self) -> &'static CommandTable {
        self.table
    }
}

/// Why a change of users is refused. The texts are those of error replies without their first word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsersError {
    /// A rule is wrong.
    #[error("{}", String::from_utf8_lossy(.0.reply().strip_prefix(b"ERR ").unwrap_or_default()))]
    Rule(RuleError),
    /// The stored rules are not readable by this version.
    #[error("the stored rules of this user are not readable by this version: {0}")]
    Stored(RuleError),
    /// Rules that are not UTF-8.
    #[error("the rules of a user must be UTF-8 text")]
    NoText,
    /// A name is too long.
    #[error("the name of a user has at most {USER_NAME_BYTES_MAX} bytes")]
    LongName,
    /// There would be too many.
    #[error("a cluster has at most {USERS_MAX} users")]
    TooMany,
    /// They would take too much.
    #[error("names and rules of all users together have at most {USERS_BYTES_MAX} bytes")]
    TooLong,
}

/// The stored form of rules.
///
/// # Errors
/// They are not UTF-8.
pub fn text(user: &User) -> Result<String, UsersError> {
    String::from_utf8(user.rules()).map_err(|_| UsersError::NoText)
}

/// The users after a change, in the form in which a change is computed; all bounds are checked.
///
/// # Errors
/// There are too many users, a name is not allowed, or all of it takes too much.
pub fn check_bounds(users: &Users, change: &UserRules) -> Result<(), UsersError> {
    for name in change.keys() {
        if name.len() > USER_NAME_BYTES_MAX {
            return Err(UsersError::LongName);
        }
    }
    let kept = users.rules.iter().filter(|(name, _)| !change.contains_key(*name));
    let new = change.iter().filter_map(|(name, rules)| Some((name, rules.as_ref()?)));
    let (count, bytes) =
        kept.chain(new).fold((0, 0), |(n, bytes), (name, rules)| (n + 1, bytes + name.len() + rules.len()));
    if count > USERS_MAX {
        return Err(UsersError::TooMany);
    }
    if bytes > USERS_BYTES_MAX {
        return Err(UsersError::TooLong);
    }
    Ok(())
}

fn hashed(password: &Password) -> String {
    match password {
        Password::None => "nopass".to_owned(),
        Password::Sha256(hash) => {
            let digits = hash.iter().map(|byte| format!("{byte:02x}"));
            std::iter::once("#".to_owned()).chain(digits).collect()
        }
    }
}

/// The rules of `default` before the cluster has any for it.
#[must_use]
pub fn first_rules(password: &Password) -> String {
    format!("on {} ~* &* +@all", hashed(password))
}

/// The user as the stored rules have it; a new one if there are none.
///
/// # Errors
/// The stored rules are not readable by this version.
pub fn stored_user(
    table: &'static CommandTable,
    users: &Users,
    password: &Password,
    name: &str,
) -> Result<User, UsersError> {
    let first = first_rules(password);
    match users.rules.get(name).or_else(|| (name == DEFAULT_USER).then_some(&first)) {
        Some(stored) => User::from_stored(table, stored.as_bytes()).map_err(UsersError::Stored),
        None => Ok(User::new(table)),
    }
}

/// The change that gives `default` another password, as `requirepass` does.
///
/// # Errors
/// The stored rules of `default` are not readable by this version.
pub fn with_password(
    table: &'static CommandTable,
    users: &Users,
    password: &Password,
) -> Result<UserRules, UsersError> {
    let user = stored_user(table, users, password, DEFAULT_USER)?;
    let password = hashed(password);
    let user = user.with_rules([&b"resetpass"[..], password.as_bytes()]).map_err(UsersError::Rule)?;
    Ok([(DEFAULT_USER.to_owned(), Some(text(&user)?))].into())
}
