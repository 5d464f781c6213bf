//! Whether a user may run a request.

use fastness_engine::command::spec::key_flag;
use fastness_engine::command::{ChannelArguments, CommandSpec, DatabaseUse, Flags, KeyFlags};
use fastness_resp::Args;

use crate::denied::Denied;
use crate::selector::Selector;
use crate::user::User;

impl User {
    /// Whether the user may do everything, so that no request needs to be checked.
    #[inline]
    #[must_use]
    pub fn is_unrestricted(&self) -> bool {
        self.is_unrestricted
    }

    /// Whether the user may run this request on a connection that has selected database 0. `spec` is its row in the
    /// user's table: a subcommand's own, not its container's. The number of arguments must be right
    /// ([`CommandSpec::takes`]).
    ///
    /// # Errors
    /// What the user lacks; of several selectors' reasons the most relevant one.
    #[inline]
    pub fn check(&self, spec: &CommandSpec, args: Args<'_>) -> Result<(), Denied> {
        self.check_in(0, spec, args)
    }

    /// As [`User::check`], for a connection that has selected this database.
    ///
    /// # Errors
    /// As [`User::check`].
    pub fn check_in(&self, database: u32, spec: &CommandSpec, args: Args<'_>) -> Result<(), Denied> {
        if self.is_unrestricted {
            return Ok(());
        }
        let mut denied = Denied::Database(0);
        for selector in self.all_selectors() {
            match selector.check(database, spec, args) {
                Ok(()) => return Ok(()),
                Err(reason) => denied = denied.max(reason),
            }
        }
        Err(denied)
    }

    /// Whether the user may run this request on database 0, and also do this with every key: SORT with BY or GET reads
    /// keys that its arguments do not name, and needs [`key_flag::ACCESS`] to all of them. Valkey checks that when SORT
    /// runs; [`User::check`] does not include it.
    ///
    /// [`key_flag::ACCESS`]: fastness_engine::command::spec::key_flag::ACCESS
    #[must_use]
    pub fn may_run_on_every_key(&self, spec: &CommandSpec, args: Args<'_>, flags: KeyFlags) -> bool {
        self.all_selectors().any(|selector| selector.check(0, spec, args).is_ok() && selector.allows_every_key(flags))
    }

    /// Whether the user may run this request on database 0, and read all of these keys and every key with one of these
    /// prefixes. One selector must allow all of it. Number and kind of the arguments do not matter.
    #[must_use]
    pub fn may_read_all<'k>(
        &self,
        (spec, args): (&CommandSpec, Args<'_>),
        keys: impl Iterator<Item = &'k [u8]> + Clone,
        prefixes: impl Iterator<Item = &'k [u8]> + Clone,
    ) -> bool {
        let reads = KeyFlags(key_flag::ACCESS);
        self.is_unrestricted
            || self.all_selectors().any(|selector| {
                selector.check_databases(0, spec, args).is_ok()
                    && selector.commands.allow(spec, args)
                    && keys.clone().all(|key| selector.allows_key(key, reads))
                    && prefixes.clone().all(|prefix| selector.allows_keys_with_prefix(prefix, reads))
            })
    }

    /// Whether one of the selectors allows this channel, or this pattern of channels (as PSUBSCRIBE's): a connection
    /// whose subscription the changed rules of its user do not allow any more is closed.
    #[must_use]
    pub fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.all_selectors().any(|selector| selector.allows_channel(channel, is_pattern))
    }
}

impl Selector {
    /// Checks databases, command, keys and channels, in this order.
    fn check(&self, database: u32, spec: &CommandSpec, args: Args<'_>) -> Result<(), Denied> {
        self.check_databases(database, spec, args)?;
        if !spec.flags.has(Flags::NO_AUTH) && !self.commands.allow(spec, args) {
            return Err(Denied::Command);
        }
        self.check_keys(spec, args)?;
        self.check_channels(spec, args)
    }

    fn check_databases(&self, database: u32, spec: &CommandSpec, args: Args<'_>) -> Result<(), Denied> {
        if self.databases.are_all() {
            return Ok(());
        }
        for (at, named) in spec.named_databases(args) {
            if !self.databases.has(named) {
                return Err(Denied::Database(at));
            }
        }
        match spec.database_use {
            DatabaseUse::None => Ok(()),
            DatabaseUse::Current if self.databases.has(database) => Ok(()),
            DatabaseUse::Current | DatabaseUse::Every => Err(Denied::Database(0)),
        }
    }

    fn check_keys(&self, spec: &CommandSpec, args: Args<'_>) -> Result<(), Denied> {
        if self.has_all_keys() {
            return Ok(());
        }
        let denied = |(at, flags): &(usize, KeyFlags)| !self.allows_key(args.try_get(*at).unwrap_or_default(), *flags);
        match spec.keys_to_check(args).find(denied) {
            Some((at, _)) => Err(Denied::Key(at)),
            None => Ok(()),
        }
    }

    fn check_channels(&self, spec: &CommandSpec, args: Args<'_>) -> Result<(), Denied> {
        let (count, is_pattern) = match spec.channels {
            ChannelArguments::None => return Ok(()),
            ChannelArguments::First => (1, false),
            ChannelArguments::All => (usize::MAX, false),
            ChannelArguments::Patterns => (usize::MAX, true),
        };
        if self.has_all_channels() {
            return Ok(());
        }
        let channels = args.iter().enumerate().skip(1).take(count);
        match channels.into_iter().find(|(_, channel)| !self.allows_channel(channel, is_pattern)) {
            Some((at, _)) => Err(Denied::Channel(at)),
            None => Ok(()),
        }
    }
}
