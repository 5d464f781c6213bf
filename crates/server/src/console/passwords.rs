//! Who may see the console from another machine: a user of the cluster with a password, who may read the configuration.

use std::net::IpAddr;
use std::sync::Arc;

use fastness_console::web::access::{PasswordRefusal, Passwords};
use fastness_resp::Args;
use fastness_types::Clock;

use crate::access::{Lacking, Refused};
use crate::auth::{self, AuthRefusal};
use crate::shared::NodeShared;

/// The command that a user must be allowed to run: who may read it may know everything that the console shows.
const COMMAND: [&[u8]; 3] = [b"config", b"get", b"*"];

/// Checks passwords as every other front end does, with the same limit of failed attempts.
pub struct UsersOfCluster {
    node: Arc<NodeShared>,
    clock: Arc<dyn Clock>,
}

impl UsersOfCluster {
    pub(super) fn new(node: Arc<NodeShared>, clock: Arc<dyn Clock>) -> UsersOfCluster {
        UsersOfCluster { node, clock }
    }

    /// Notes in ACL LOG what was refused.
    fn note(&self, lacking: Lacking, object: &[u8], user: &[u8], source: IpAddr) {
        self.node.note_refused(Refused {
            lacking,
            context: "toplevel",
            object: object.to_vec(),
            user: user.to_vec(),
            client: format!("addr={source} cmd=console").into_bytes(),
        });
    }
}

impl Passwords for UsersOfCluster {
    fn check(&self, source: IpAddr, user: &[u8], password: &[u8]) -> Result<(), PasswordRefusal> {
        let account = match auth::check(&self.node, self.clock.boot(), source, (user, password)) {
            Ok(account) => account,
            Err(refusal @ (AuthRefusal::Wrong | AuthRefusal::TooMany)) => {
                self.note(Lacking::Auth, b"console", user, source);
                let too_many = refusal == AuthRefusal::TooMany;
                return Err(if too_many { PasswordRefusal::TooMany } else { PasswordRefusal::Wrong });
            }
            Err(refusal) => return Err(PasswordRefusal::Unavailable(refusal.to_string())),
        };
        if account.user.is_nopass() {
            let text = "this user needs no password: from another machine the console needs a user with one";
            return Err(PasswordRefusal::NoRight(text.to_owned()));
        }
        let args = Args::slices(&COMMAND);
        let spec = self.node.accounts.table().look_up(args);
        let allowed = spec.is_ok_and(|spec| account.user.check(spec, args).is_ok());
        if !allowed {
            self.note(Lacking::Command, b"config|get", user, source);
            let text = "this user may not see the console: it needs the right to run CONFIG GET";
            return Err(PasswordRefusal::NoRight(text.to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use fastness_control::Users;
    use fastness_types::{ClusterId, NodeId, SystemClock};

    use super::*;
    use crate::config::Config;
    use crate::resp_server::command::table;
    use crate::settings;

    /// SHA-256 of `secret`.
    const HASH: &str = "#2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

    fn users() -> UsersOfCluster {
        let config = Config::parse("requirepass secret").unwrap();
        let node = NodeShared::new(NodeId(1), ClusterId([1; 16]), config, table());
        let rules = [
            ("open".to_owned(), "on nopass ~* +@all".to_owned()),
            ("reader".to_owned(), format!("on {HASH} ~* +@read")),
            ("operator".to_owned(), format!("on {HASH} +config|get")),
        ];
        node.accounts.follow(&Users { version: 1, rules: rules.into() }, &settings::password("secret"));
        UsersOfCluster::new(node, Arc::new(SystemClock))
    }

    #[test]
    fn a_password_and_the_right_to_read_the_configuration_are_needed() {
        let users = users();
        let far: IpAddr = "192.0.2.1".parse().unwrap();
        for user in ["default", "operator"] {
            assert_eq!(users.check(far, user.as_bytes(), b"secret"), Ok(()), "{user}");
            assert_eq!(users.check(far, user.as_bytes(), b"wrong"), Err(PasswordRefusal::Wrong), "{user}");
        }
        assert_eq!(users.check(far, b"nobody", b"secret"), Err(PasswordRefusal::Wrong));
        for (user, reason) in [("open", "needs no password"), ("reader", "CONFIG GET")] {
            match users.check(far, user.as_bytes(), b"secret") {
                Err(PasswordRefusal::NoRight(text)) => assert!(text.contains(reason), "{user}: {text}"),
                other => panic!("{user}: {other:?}"),
            }
        }
        assert_eq!(users.node.access.count(Lacking::Auth), 3, "ACL LOG has the failed attempts");
        assert_eq!(users.node.access.count(Lacking::Command), 1);
    }

    #[test]
    fn whoever_guesses_too_often_is_not_checked() {
        let users = users();
        let guesser: IpAddr = "192.0.2.2".parse().unwrap();
        for _ in 0..fastness_types::limits::AUTH_FAILURES_MAX {
            assert_eq!(users.check(guesser, b"default", b"guess"), Err(PasswordRefusal::Wrong));
        }
        assert_eq!(users.check(guesser, b"default", b"secret"), Err(PasswordRefusal::TooMany));
    }
}
