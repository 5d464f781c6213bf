//! Serves the port.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, http};
use fastness_console::http::{Caller, HttpBounds, Opener, serve};
use tokio::net::TcpListener;

use super::exposition::Exposition;
use super::readiness::NotReady;
use super::{Metrics, replica};
use crate::descriptors;
use crate::process::Usage;
use crate::shared::Phase;

/// The bounds of the port: a client that does not send requests, or does not read the answers, must not block others.
const BOUNDS: HttpBounds = HttpBounds {
    connections_max: descriptors::METRICS_CONNECTIONS_MAX,
    head_time_max: Duration::from_secs(10),
    connection_time_max: Duration::from_secs(120),
};

impl Metrics {
    /// Serves until the node closes. `console`: further paths.
    pub async fn serve(self, listener: TcpListener, opener: Arc<dyn Opener>, console: Router) {
        let closing = self.node.clone();
        let router = Router::new()
            .route(
                "/metrics",
                get(|metrics: State<Metrics>| async move { text(StatusCode::OK, metrics.exposition().await) }),
            )
            .route("/healthz", get(|metrics: State<Metrics>| async move { said(&metrics.healthy()) }))
            .route("/readyz", get(|metrics: State<Metrics>| async move { said(&metrics.ready().await) }))
            .route("/digest", get(digest))
            .fallback(|| async { text(StatusCode::NOT_FOUND, PATHS.to_owned()) })
            .with_state(self)
            .merge(console);
        serve(listener, router, opener, BOUNDS, closing.reached(Phase::Closing)).await;
    }

    async fn exposition(&self) -> String {
        let mut text = Exposition::default();
        let usage = Usage::now();
        self.write_node(&usage, &mut text);
        let mut snapshots = Vec::new();
        for (shard, running) in self.replicas.all() {
            let purged = running.control.purged().0 as f64;
            text.one("fastness_log_purged_index", "gauge", &replica::label(shard), purged);
            if let Some(margin) = running.control.status().quorum_margin() {
                text.one("fastness_quorum_margin", "gauge", &replica::label(shard), margin as f64);
            }
            if let Some(snapshot) = running.snapshot().await {
                snapshots.push((shard, snapshot));
            }
        }
        replica::write(&mut text, &snapshots, &usage);
        text.finish()
    }

    /// One line per replica: shard, applied index, digest of the data at that index (or why there is none now).
    /// Replicas with the same index have the same digest.
    async fn digests(&self) -> String {
        let mut text = String::new();
        for (shard, replica) in self.replicas.all() {
            let _ = match replica.digest().await {
                Some(Ok((index, digest))) => writeln!(text, "{shard} {} {:032x}", index.0, digest.0),
                Some(Err(error)) => writeln!(text, "{shard} - {error}"),
                None => writeln!(text, "{shard} - no answer in time"),
            };
        }
        text
    }
}

/// What is said of any other path.
const PATHS: &str = "the paths are /metrics, /healthz, /readyz and /console\n";

async fn digest(State(metrics): State<Metrics>, Extension(caller): Extension<Caller>) -> Response {
    if !metrics.node.config.load().metrics_digest {
        return text(StatusCode::NOT_FOUND, "set the option metrics-digest to yes for /digest\n".to_owned());
    }
    if !caller.address.ip().to_canonical().is_loopback() {
        return text(StatusCode::FORBIDDEN, "/digest is for callers on this machine only\n".to_owned());
    }
    text(StatusCode::OK, metrics.digests().await)
}

fn text(status: StatusCode, text: String) -> Response {
    let kind = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    (status, [(header::CONTENT_TYPE, kind)], text).into_response()
}

fn said(result: &Result<(), NotReady>) -> Response {
    match result {
        Ok(()) => text(StatusCode::OK, "ok\n".to_owned()),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}
