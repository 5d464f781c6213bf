//! Serves the port.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::exposition::Exposition;
use super::readiness::NotReady;
use super::{Metrics, replica};
use crate::descriptors;
use crate::process::Usage;
use crate::shared::Phase;

/// Longest time for receiving the head of a request.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// Longest time for a connection, with all of its requests: a client that does not read the answers must not block
/// others.
const CONNECTION_MAX: Duration = Duration::from_secs(120);

impl Metrics {
    /// Serves until the node closes.
    pub async fn serve(self, listener: TcpListener) {
        let slots = Arc::new(tokio::sync::Semaphore::new(descriptors::METRICS_CONNECTIONS_MAX));
        let closing = self.node.clone();
        let closing = closing.reached(Phase::Closing);
        tokio::pin!(closing);
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut closing => return,
            };
            let Ok((tcp, caller)) = accepted else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let metrics = self.clone();
            tokio::spawn(async move {
                let local = caller.ip().to_canonical().is_loopback();
                let service = hyper::service::service_fn(|request| metrics.answer(request, local));
                let served = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_MAX)
                    .serve_connection(TokioIo::new(tcp), service);
                // A connection that breaks, or lasts too long, is of no interest.
                let _ = tokio::time::timeout(CONNECTION_MAX, served).await;
                drop(slot);
            });
        }
    }

    /// `local`: the caller is on this machine.
    async fn answer(&self, request: Request<Incoming>, local: bool) -> Result<Response<Full<Bytes>>, Infallible> {
        let (status, text) = match request.uri().path() {
            "/metrics" => (StatusCode::OK, self.exposition().await),
            "/healthz" => said(&self.healthy()),
            "/readyz" => said(&self.ready().await),
            "/digest" if !self.node.config.load().metrics_digest => {
                (StatusCode::NOT_FOUND, "set the option metrics-digest to yes for /digest\n".to_owned())
            }
            "/digest" if !local => (StatusCode::FORBIDDEN, "/digest is for callers on this machine only\n".to_owned()),
            "/digest" => (StatusCode::OK, self.digests().await),
            _ => (StatusCode::NOT_FOUND, "the paths are /metrics, /healthz and /readyz\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        let kind = "text/plain; version=0.0.4; charset=utf-8";
        response.headers_mut().insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
        Ok(response)
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

fn said(result: &Result<(), NotReady>) -> (StatusCode, String) {
    match result {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}
