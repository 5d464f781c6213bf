//! Who may press a button: only the page of this console itself. Each of these checks refuses a press on its own, also
//! on a connection from this machine, because another page in the same browser is on this machine as well:
//!
//! - `Origin` is present and names exactly the scheme and the `Host` of the request.
//! - `Sec-Fetch-Site`, which a page cannot set, is `same-origin` where the browser sends it.
//! - The token in the form is that of this process. It is random, in the page only, and no other origin can read it.
//! - The cookie has the same token. It is `SameSite=Strict`, so no other site's page makes a browser send it.

use axum::http::HeaderMap;
use axum::http::header::{self, HeaderName};
use rand::Rng;

use super::access::host;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a press is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PressRefusal {
    /// Another page, or none, has sent it.
    #[error("only the page of this console may press its buttons: the Origin of the request is another one")]
    Origin,
    /// The browser says that another site is behind it.
    #[error("only the page of this console may press its buttons: the request comes from another site")]
    Site,
    /// The page is of another process, or it is no page.
    #[error("the page is not of this console: load it again")]
    Token,
    /// The cookie is missing.
    #[error("the cookie of the page is missing: allow cookies for this address, and load the page again")]
    Cookie,
}

/// The token of this process.
#[derive(Clone)]
pub struct PressToken(String);

impl Default for PressToken {
    fn default() -> PressToken {
        let bytes: [u8; 32] = rand::rng().random();
        PressToken(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl PressToken {
    /// For the form.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The cookie that belongs to a page of this host.
    #[must_use]
    pub fn cookie(&self, headers: &HeaderMap) -> String {
        format!("{}={}; Path=/; HttpOnly; SameSite=Strict", cookie_name(headers), self.0)
    }

    /// Whether a press is one of this console's page.
    ///
    /// # Errors
    /// See [`PressRefusal`].
    pub fn check(&self, headers: &HeaderMap, is_encrypted: bool, token: &str) -> Result<(), PressRefusal> {
        let scheme = if is_encrypted { "https" } else { "http" };
        let own = host(headers).map(|host| format!("{scheme}://{host}"));
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let (Some(origin), None, Some(own)) = (origins.next(), origins.next(), own) else {
            return Err(PressRefusal::Origin);
        };
        if !origin.as_bytes().eq_ignore_ascii_case(own.as_bytes()) {
            return Err(PressRefusal::Origin);
        }
        if headers.get_all(SEC_FETCH_SITE).iter().any(|site| site != "same-origin") {
            return Err(PressRefusal::Site);
        }
        if !self.is(token) {
            return Err(PressRefusal::Token);
        }
        let name = cookie_name(headers);
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let has_cookie = pairs.any(|(key, value)| key == name && self.is(value));
        if has_cookie { Ok(()) } else { Err(PressRefusal::Cookie) }
    }

    /// Compares without a hint of where a guess is wrong.
    fn is(&self, guess: &str) -> bool {
        let (own, guess) = (self.0.as_bytes(), guess.as_bytes());
        own.len() == guess.len() && own.iter().zip(guess).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

/// Cookies are shared by all ports of a host, so the name has the port.
fn cookie_name(headers: &HeaderMap) -> String {
    let port = host(headers).and_then(|host| host.rsplit_once(':')).map_or("", |(_, port)| port);
    let port: String = port.chars().filter(char::is_ascii_digit).collect();
    format!("fastness-lab-{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn each_check_refuses_on_its_own() {
        let token = PressToken::default();
        let cookie = format!("other=1; fastness-lab-7500={}", token.text());
        let press = |changed: &[(&'static str, &str)], removed: &[&str], text: &str| {
            let lines = [("host", "localhost:7500"), ("origin", "http://localhost:7500"), ("cookie", cookie.as_str())];
            let mut all = headers(&lines);
            removed.iter().for_each(|name| drop(all.remove(*name)));
            changed.iter().for_each(|(name, value)| drop(all.insert(*name, value.parse().unwrap())));
            token.check(&all, false, text)
        };
        let right = token.text();
        assert_eq!(press(&[], &[], right), Ok(()));
        assert_eq!(press(&[("sec-fetch-site", "same-origin")], &[], right), Ok(()));
        for origin in [
            "null",
            "http://evil.example",
            "http://localhost:7501",
            "https://localhost:7500",
            "http://localhost:75000",
            "http://127.0.0.1:7500",
        ] {
            assert_eq!(press(&[("origin", origin)], &[], right), Err(PressRefusal::Origin), "{origin}");
        }
        assert_eq!(press(&[], &["origin"], right), Err(PressRefusal::Origin));
        for site in ["cross-site", "same-site", "none"] {
            assert_eq!(press(&[("sec-fetch-site", site)], &[], right), Err(PressRefusal::Site), "{site}");
        }
        let other = PressToken::default();
        for wrong in ["", &right[1..], other.text()] {
            assert_eq!(press(&[], &[], wrong), Err(PressRefusal::Token));
        }
        assert_eq!(press(&[], &["cookie"], right), Err(PressRefusal::Cookie));
        let other_port = format!("fastness-lab-7501={right}");
        assert_eq!(press(&[("cookie", &other_port)], &[], right), Err(PressRefusal::Cookie));
    }

    #[test]
    fn a_cookie_is_not_sent_by_other_sites_or_read_by_scripts() {
        let token = PressToken::default();
        assert_eq!(token.text().len(), 64);
        let cookie = token.cookie(&headers(&[("host", "[::1]:7500")]));
        let expected = format!("fastness-lab-7500={}; Path=/; HttpOnly; SameSite=Strict", token.text());
        assert_eq!(cookie, expected);
    }
}
