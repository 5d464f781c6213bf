//! The paths of the console, and what every response of it carries.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Form, Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::access::{self, AccessRefusal, PasswordRefusal, Passwords};
use super::feed::Feed;
use super::page::{self, LabPanel};
use super::presses::PressToken;
use super::stream;
use super::verbs::{ChosenVerb, VerbDesk};
use crate::http::Caller;

/// What a browser may load and do: only files of the console itself, no inline script, no frames.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                          form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// How many pages are live at a time; further ones reload.
pub const STREAMS_MAX: usize = 16;
/// Longest body of a request, bytes: a form with one verb.
const BODY_BYTES_MAX: usize = 4096;

const CSS: &str = include_str!("assets/console.css");
const SCRIPT: &str = include_str!("assets/console.js");

const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
];

/// A console.
#[derive(Clone)]
pub struct Console {
    feed: Feed,
    /// Checks whoever comes from elsewhere; `None`: nobody from elsewhere is let in.
    passwords: Option<Arc<dyn Passwords>>,
    /// The verbs of a lab, if it is one.
    desk: Option<Arc<VerbDesk>>,
    token: PressToken,
    prefix: &'static str,
    streams: Arc<Semaphore>,
}

impl Console {
    /// The console of a node, below `/console`: it only shows.
    #[must_use]
    pub fn of_node(feed: Feed, passwords: Arc<dyn Passwords>) -> Console {
        Console::new(feed, Some(passwords), None)
    }

    /// The console of a lab: for this machine only, with buttons.
    #[must_use]
    pub fn of_lab(feed: Feed, desk: Arc<VerbDesk>) -> Console {
        Console::new(feed, None, Some(desk))
    }

    fn new(feed: Feed, passwords: Option<Arc<dyn Passwords>>, desk: Option<Arc<VerbDesk>>) -> Console {
        let streams = Arc::new(Semaphore::new(STREAMS_MAX));
        Console { feed, passwords, desk, token: PressToken::default(), prefix: "/console", streams }
    }

    /// Its paths: `/` leads to the page.
    pub fn router(self) -> Router {
        let prefix = self.prefix;
        let mut paths = Router::new()
            .route("/", get(move || async move { found(prefix) }))
            .route(prefix, get(show))
            .route(&format!("{prefix}/stream"), get(live))
            .route(&format!("{prefix}/console.css"), get(|| async { file("text/css; charset=utf-8", CSS) }))
            .route(&format!("{prefix}/console.js"), get(|| async { file("text/javascript; charset=utf-8", SCRIPT) }));
        if self.desk.is_some() {
            paths = paths.route(&format!("{prefix}/verb"), post(press));
        }
        let guarded = middleware::from_fn_with_state(self.clone(), guard);
        paths.route_layer(guarded).layer(DefaultBodyLimit::max(BODY_BYTES_MAX)).with_state(self)
    }
}

fn file(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Another page of the console, to be requested with GET.
fn found(path: &str) -> Response {
    let location = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

/// Lets a request in, and adds the headers to the response.
async fn guard(
    State(console): State<Console>,
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Response {
    let admitted = access::admit(&caller, request.headers(), console.passwords.as_deref());
    let mut response = match admitted {
        Ok(()) => next.run(request).await,
        Err(refusal) => console.refuse(&refusal),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, value);
    }
    response
}

async fn show(State(console): State<Console>, headers: HeaderMap) -> Response {
    let frame = console.feed.frame().await;
    let Some(desk) = &console.desk else {
        return html(StatusCode::OK, page::page(&frame, console.prefix, None));
    };
    let runs = desk.runs().borrow().clone();
    let panel = LabPanel { zones: desk.zones(), token: &console.token, runs: &runs };
    let mut response = html(StatusCode::OK, page::page(&frame, console.prefix, Some(&panel)));
    if let Ok(cookie) = HeaderValue::from_str(&console.token.cookie(&headers)) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

async fn live(State(console): State<Console>) -> Response {
    stream::open(&console.feed, console.desk.as_deref(), &console.streams)
}

/// A press of a button.
#[derive(Debug, Deserialize)]
struct Pressed {
    token: String,
    verb: String,
    target: String,
}

async fn press(
    State(console): State<Console>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Form(pressed): Form<Pressed>,
) -> Response {
    if let Err(refusal) = console.token.check(&headers, caller.is_encrypted, &pressed.token) {
        return console.say(StatusCode::FORBIDDEN, "Not pressed", &refusal.to_string());
    }
    let Some(desk) = &console.desk else { return StatusCode::NOT_FOUND.into_response() };
    let Some(verb) = ChosenVerb::of(desk.zones(), &pressed.verb, &pressed.target) else {
        return console.say(StatusCode::BAD_REQUEST, "Not pressed", "the lab has no such verb, or not on this target");
    };
    match desk.press(verb) {
        Ok(()) => found(console.prefix),
        Err(in_progress) => console.say(StatusCode::CONFLICT, "Not pressed", &in_progress.to_string()),
    }
}

impl Console {
    fn say(&self, status: StatusCode, title: &str, reason: &str) -> Response {
        html(status, page::refusal(self.prefix, title, reason))
    }

    fn refuse(&self, refusal: &AccessRefusal) -> Response {
        let status = match refusal {
            AccessRefusal::NoHost => StatusCode::BAD_REQUEST,
            AccessRefusal::OnlyThisMachine | AccessRefusal::NotEncrypted => StatusCode::FORBIDDEN,
            AccessRefusal::NoPassword | AccessRefusal::Password(PasswordRefusal::Wrong) => StatusCode::UNAUTHORIZED,
            AccessRefusal::Password(PasswordRefusal::NoRight(_)) => StatusCode::FORBIDDEN,
            AccessRefusal::Password(PasswordRefusal::TooMany) => StatusCode::TOO_MANY_REQUESTS,
            AccessRefusal::Password(PasswordRefusal::Unavailable(_)) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut response = self.say(status, "The console is not shown", &refusal.to_string());
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Basic realm=\"Fastness console\", charset=\"UTF-8\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

fn html(status: StatusCode, markup: maud::Markup) -> Response {
    let body = Body::from(markup.into_string());
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], body).into_response()
}

#[cfg(test)]
mod tests;
