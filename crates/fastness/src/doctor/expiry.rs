//! When a certificate expires, and the command that makes the next one.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::certs::show::date;

use super::finding::{CheckResult, Finding, NextStep};

const DAY_SECONDS: i64 = 86_400;
/// Below this many days a certificate is a warning, as in the log of a node and in `deploy/prometheus/alerts.yml`.
const WARNING_DAYS: i64 = 14;
/// Below this many days it is a problem.
const PROBLEM_DAYS: i64 = 3;

/// What a certificate says that its successor has to say, too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeCertificate {
    /// The node.
    pub node: u64,
    /// Host names and addresses.
    pub hosts: Vec<String>,
    /// Whether it allows `fastness lab`.
    pub lab: bool,
    /// The folder with the CA's certificate and key, if it is known.
    pub ca_folder: Option<String>,
}

impl NodeCertificate {
    /// The command that makes its successor. `ca` and `HOST` stand for what is not known here.
    pub fn renewal(&self) -> NextStep {
        let ca = self.ca_folder.clone().unwrap_or_else(|| "ca".to_owned());
        let out = Path::new(&ca).join(format!("renewed-{}", self.node)).display().to_string();
        let mut arguments = vec!["certs".to_owned(), "node".to_owned(), "--ca".to_owned(), ca];
        arguments.extend(["--node-id".to_owned(), self.node.to_string()]);
        let unknown = ["HOST".to_owned()];
        for host in if self.hosts.is_empty() { &unknown[..] } else { &self.hosts } {
            arguments.extend(["--host".to_owned(), host.clone()]);
        }
        arguments.extend(self.lab.then(|| "--lab".to_owned()));
        arguments.extend(["--out".to_owned(), out]);
        NextStep::Fastness(arguments)
    }
}

/// Seconds since the Unix epoch.
pub fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Judges an expiry, in seconds since the Unix epoch. `next` is the way to a new certificate.
pub fn judge(check: &'static str, subject: &str, (expires_at, now): (i64, i64), next: NextStep) -> Finding {
    let when = date(Duration::from_secs(expires_at.max(0) as u64));
    let left = expires_at - now;
    let days = left.div_euclid(DAY_SECONDS);
    if left <= 0 {
        let observed = format!("it has expired, at {when}");
        let why = "no node and no client accepts it: new connections fail";
        return Finding::ok(check, subject, observed).but(CheckResult::Problem, why).then(next);
    }
    let found = Finding::ok(check, subject, format!("valid until {when}, {days} days left"));
    let why = "after that, no node and no client can connect";
    match days {
        ..PROBLEM_DAYS => found.but(CheckResult::Problem, why).then(next),
        PROBLEM_DAYS..WARNING_DAYS => found.but(CheckResult::Warning, why).then(next),
        _ => found,
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::testing::result;
    use super::*;

    #[test]
    fn an_expiry_is_first_a_warning_and_then_a_problem() {
        let certificate =
            NodeCertificate { node: 2, hosts: vec!["h".into(), "::1".into()], lab: true, ca_folder: None };
        let of = |days: i64| {
            let times = (1_800_000_000 + days * DAY_SECONDS + 60, 1_800_000_000);
            result(&judge("certificate", "node 2", times, certificate.renewal()))
        };
        assert_eq!(
            [of(300), of(14), of(13), of(3)],
            [CheckResult::Ok, CheckResult::Ok, CheckResult::Warning, CheckResult::Warning]
        );
        assert_eq!([of(2), of(0), of(-1)], [CheckResult::Problem; 3]);
        let next = certificate.renewal().to_string();
        assert_eq!(next, "fastness certs node --ca ca --node-id 2 --host h --host ::1 --lab --out ca/renewed-2");
    }
}
