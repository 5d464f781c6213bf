//! Who may see the console: everybody on this machine, and from elsewhere a user with a password and the right to it.
//!
//! - A request counts as one of this machine if its connection comes from a loopback address, its `Host` is a loopback
//!   name, and no header says that it was passed on. So a page of a foreign host name that resolves to this machine
//!   (DNS rebinding) and whatever a reverse proxy on this machine passes on need a password.
//! - A password is accepted on an encrypted connection, or on one from this machine, whose other end may be a proxy
//!   that encrypts. On any other it is refused unread: everybody on the way would learn it.

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::{self, HeaderName};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::http::Caller;

/// Longest `Host` that is read.
const HOST_BYTES_MAX: usize = 256;
/// Headers by which proxies say that they pass a request on.
const PASSED_ON: [HeaderName; 6] = [
    header::FORWARDED,
    header::VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];

/// Why a user and a password do not suffice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordRefusal {
    /// The pair is wrong.
    #[error("wrong user or password")]
    Wrong,
    /// The user may not see the console.
    #[error("{0}")]
    NoRight(String),
    /// No password of this source is checked for the moment.
    #[error("too many failed attempts from this address: try again later")]
    TooMany,
    /// The pair cannot be checked now.
    #[error("{0}")]
    Unavailable(String),
}

/// Checks users and passwords.
pub trait Passwords: Send + Sync {
    /// Whether a user at `source` may see the console.
    ///
    /// # Errors
    /// They may not, or it cannot be said.
    fn check(&self, source: IpAddr, user: &[u8], password: &[u8]) -> Result<(), PasswordRefusal>;
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessRefusal {
    /// The head names no host, or several.
    #[error("the request must name one host")]
    NoHost,
    /// There is nobody to check a password.
    #[error("this console is for this machine only: open it as http://127.0.0.1 or http://localhost with its port")]
    OnlyThisMachine,
    /// A password would be readable on the way.
    #[error(
        "from another machine the console needs an encrypted connection: open it as https://, or through an SSH tunnel"
    )]
    NotEncrypted,
    /// No password was given.
    #[error("a user and a password are required")]
    NoPassword,
    /// The password does not suffice.
    #[error("{0}")]
    Password(PasswordRefusal),
}

/// Lets a request in, or says why not. `passwords`: `None`: nobody from elsewhere is let in.
///
/// # Errors
/// See [`AccessRefusal`].
pub fn admit(caller: &Caller, headers: &HeaderMap, passwords: Option<&dyn Passwords>) -> Result<(), AccessRefusal> {
    let host = host(headers).ok_or(AccessRefusal::NoHost)?;
    let source = caller.address.ip().to_canonical();
    let is_passed_on = PASSED_ON.iter().any(|name| headers.contains_key(name));
    if source.is_loopback() && is_loopback(host) && !is_passed_on {
        return Ok(());
    }
    let passwords = passwords.ok_or(AccessRefusal::OnlyThisMachine)?;
    if !caller.is_encrypted && !source.is_loopback() {
        return Err(AccessRefusal::NotEncrypted);
    }
    let (user, password) = credentials(headers).ok_or(AccessRefusal::NoPassword)?;
    passwords.check(source, &user, &password).map_err(AccessRefusal::Password)
}

/// The `Host` of a request, with its port.
#[must_use]
pub fn host(headers: &HeaderMap) -> Option<&str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return None };
    host.to_str().ok().filter(|host| !host.is_empty() && host.len() <= HOST_BYTES_MAX)
}

/// Whether a host, with or without a port, is this machine's loopback address under its own name.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(address, _)| address),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let is_address = || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    name.eq_ignore_ascii_case("localhost") || is_address()
}

/// User and password of `Authorization: Basic` (RFC 7617).
fn credentials(headers: &HeaderMap) -> Option<(Vec<u8>, Vec<u8>)> {
    let header = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, encoded) = header.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let pair = BASE64_STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some((pair[..colon].to_vec(), pair[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    struct Known;

    impl Passwords for Known {
        fn check(&self, _: IpAddr, user: &[u8], password: &[u8]) -> Result<(), PasswordRefusal> {
            match (user, password) {
                (b"admin", b"s:ecret") => Ok(()),
                _ => Err(PasswordRefusal::Wrong),
            }
        }
    }

    fn enter(source: &str, is_encrypted: bool, lines: &[(&str, &str)]) -> Result<(), AccessRefusal> {
        let caller = Caller { address: SocketAddr::new(source.parse().unwrap(), 50_000), is_encrypted };
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        admit(&caller, &headers, Some(&Known))
    }

    #[test]
    fn this_machine_needs_no_password_under_its_own_name_only() {
        for source in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            for host in ["localhost:9121", "LOCALHOST", "127.0.0.1:9121", "127.0.0.2", "[::1]:9121", "[::1]"] {
                assert_eq!(enter(source, false, &[("host", host)]), Ok(()), "{source} {host}");
            }
            let strange =
                ["example.com:9121", "127.0.0.1.example.com", "localhost.example.com", "10.0.0.1:9121", "[", ":"];
            for host in strange {
                assert_eq!(enter(source, false, &[("host", host)]), Err(AccessRefusal::NoPassword), "{source} {host}");
            }
            for header in ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"] {
                let passed_on = [("host", "localhost:9121"), (header, "192.0.2.1")];
                assert_eq!(enter(source, false, &passed_on), Err(AccessRefusal::NoPassword), "{header}");
            }
        }
    }

    #[test]
    fn other_machines_need_encryption_and_a_password() {
        let host = ("host", "10.0.0.1:9121");
        // admin:s:ecret, admin:wrong.
        let (right, wrong) =
            (("authorization", "Basic YWRtaW46czplY3JldA=="), ("authorization", "basic YWRtaW46d3Jvbmc="));
        for source in ["10.0.0.9", "2001:db8::1"] {
            assert_eq!(enter(source, false, &[host, right]), Err(AccessRefusal::NotEncrypted));
            assert_eq!(enter(source, false, &[("host", "localhost"), right]), Err(AccessRefusal::NotEncrypted));
            assert_eq!(enter(source, true, &[host]), Err(AccessRefusal::NoPassword));
            assert_eq!(enter(source, true, &[("host", "localhost")]), Err(AccessRefusal::NoPassword));
            assert_eq!(enter(source, true, &[host, right]), Ok(()));
            let refused = Err(AccessRefusal::Password(PasswordRefusal::Wrong));
            assert_eq!(enter(source, true, &[host, wrong]), refused);
            for garbage in ["Basic", "Basic *", "Bearer abc", "Basic bm9jb2xvbg=="] {
                assert_eq!(enter(source, true, &[host, ("authorization", garbage)]), Err(AccessRefusal::NoPassword));
            }
        }
        assert_eq!(enter("127.0.0.1", false, &[("host", "console.example.com"), right]), Ok(()), "through a proxy");
    }

    #[test]
    fn a_request_names_one_host() {
        assert_eq!(enter("127.0.0.1", false, &[]), Err(AccessRefusal::NoHost));
        assert_eq!(enter("127.0.0.1", false, &[("host", "localhost"), ("host", "x")]), Err(AccessRefusal::NoHost));
        let caller = Caller { address: SocketAddr::from(([127, 0, 0, 1], 1)), is_encrypted: false };
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "example.com".parse().unwrap());
        assert_eq!(admit(&caller, &headers, None), Err(AccessRefusal::OnlyThisMachine));
    }
}
