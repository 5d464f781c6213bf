//! Sends traces to an OpenTelemetry collector (OTLP over gRPC). A task of the node's runtime.
//!
//! A finished record waits for `STORED_WAIT`, so that acknowledgements which arrive after the commit belong to it. Then
//! its spans are sent with those of others, one request at a time. A request that fails or takes longer than
//! `EXPORT_MAX` is not repeated: its traces are counted as dropped, and so are those that find the queue full
//! meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fastness_types::{Clock, SystemClock};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::record::TraceRecord;
use super::spans;
use super::tracer::{DropReason, ToExporter};
use crate::config::Config;
use crate::shared::{NodeShared, Phase};
use crate::throttle::Throttle;

/// How long a finished record waits for acknowledgements.
const STORED_WAIT: Duration = Duration::from_secs(1);
/// Records that wait for that, or for the collector; further ones are dropped.
const WAITING_MAX: usize = 1024;
/// Traces in one request.
const BATCH_MAX: usize = 128;
/// How often requests are made.
const EXPORT_EVERY: Duration = Duration::from_millis(500);
/// Longest time for connecting to the collector, and for one request.
const CONNECT_MAX: Duration = Duration::from_secs(2);
const EXPORT_MAX: Duration = Duration::from_secs(5);
/// The same for the last request of a node that ends.
const LAST_EXPORT_MAX: Duration = Duration::from_secs(1);

/// Why traces cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The URL.
    #[error("otlp-endpoint: {0}")]
    Endpoint(#[from] tonic::transport::Error),
    /// The CA certificates of the collector.
    #[error("otlp-ca-cert-file {0}: {1}")]
    Ca(std::path::PathBuf, std::io::Error),
}

/// The collector that a configuration names; `None`: traces are off.
///
/// # Errors
/// See [`TraceError`].
pub(crate) fn collector(config: &Config) -> Result<Option<Channel>, TraceError> {
    if config.traces.endpoint.is_empty() {
        return Ok(None);
    }
    let endpoint = Endpoint::from_shared(config.traces.endpoint.clone())?;
    let endpoint = endpoint.connect_timeout(CONNECT_MAX).timeout(EXPORT_MAX);
    let endpoint = match endpoint.uri().scheme_str() {
        Some("https") => endpoint.tls_config(tls(config)?)?,
        _ => endpoint,
    };
    Ok(Some(endpoint.connect_lazy()))
}

fn tls(config: &Config) -> Result<ClientTlsConfig, TraceError> {
    let file = config.traces.ca_cert_file.as_ref().or(config.tls_ca_cert_file.as_ref());
    let Some(file) = file else { return Ok(ClientTlsConfig::new()) };
    let pem = std::fs::read(file).map_err(|error| TraceError::Ca(file.clone(), error))?;
    Ok(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))
}

/// See the module.
pub(crate) struct Exporter {
    node: Arc<NodeShared>,
    collector: TraceServiceClient<Channel>,
    /// Oldest first, with the time at which they are sent.
    waiting: VecDeque<(Instant, Box<TraceRecord>)>,
    failures: Throttle,
}

impl Exporter {
    /// Sends to this collector.
    pub(crate) fn new(node: Arc<NodeShared>, collector: Channel) -> Exporter {
        let collector = TraceServiceClient::new(collector);
        Exporter { node, collector, waiting: VecDeque::new(), failures: Throttle::default() }
    }

    /// Exports what arrives, until the node closes.
    pub(crate) async fn run(mut self, mut queue: mpsc::Receiver<ToExporter>) {
        let closing = self.node.clone();
        let closing = closing.reached(Phase::Closing);
        tokio::pin!(closing);
        let mut tick = tokio::time::interval(EXPORT_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = queue.recv() => match message {
                    Some(ToExporter::Follow(followed)) => {
                        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
                        tokio::spawn(followed.follow(clock));
                    }
                    Some(ToExporter::Finished(record)) => self.keep(record),
                    None => return,
                },
                _ = tick.tick() => self.export_due().await,
                () = &mut closing => {
                    let all = self.take(|_| true, BATCH_MAX);
                    // Whatever else there is: the node ends now.
                    let _ = tokio::time::timeout(LAST_EXPORT_MAX, self.export(all)).await;
                    return;
                }
            }
        }
    }

    /// Keeps a record until it is due, unless too many wait: the collector is slow.
    fn keep(&mut self, record: Box<TraceRecord>) {
        if self.waiting.len() >= WAITING_MAX {
            return self.node.tracer.count_dropped(DropReason::Queue, 1);
        }
        self.waiting.push_back((Instant::now() + STORED_WAIT, record));
    }

    /// Takes the oldest records that are due.
    #[allow(clippy::vec_box, reason = "records are boxed once, where a write begins, and are not moved")]
    fn take(&mut self, is_due: impl Fn(Instant) -> bool, max: usize) -> Vec<Box<TraceRecord>> {
        let is_next = |(at, _): &(Instant, Box<TraceRecord>)| is_due(*at);
        let count = self.waiting.iter().take_while(|next| is_next(next)).count().min(max);
        self.waiting.drain(..count).map(|(_, record)| record).collect()
    }

    async fn export_due(&mut self) {
        loop {
            let now = Instant::now();
            let due = self.take(|at| at <= now, BATCH_MAX);
            // A collector that does not answer costs one request of each round.
            if due.is_empty() || !self.export(due).await {
                return;
            }
        }
    }

    /// Sends traces; `false`: they are dropped.
    #[allow(clippy::vec_box, reason = "as they come from the queue")]
    async fn export(&mut self, records: Vec<Box<TraceRecord>>) -> bool {
        let count = records.len();
        let request = self.request(&records);
        // From here on nobody follows their entries.
        drop(records);
        let error = match tokio::time::timeout(EXPORT_MAX, self.collector.export(request)).await {
            Ok(Ok(_)) => {
                self.node.tracer.count_exported(count);
                return true;
            }
            Ok(Err(status)) => format!("{:?}: {}", status.code(), status.message()),
            Err(_) => format!("no answer within {EXPORT_MAX:?}"),
        };
        self.node.tracer.count_dropped(DropReason::Collector, count);
        if let Some(others) = self.failures.permit() {
            tracing::warn!(error, traces = count, others, "the collector of otlp-endpoint does not take traces");
        }
        false
    }

    fn request(&self, records: &[Box<TraceRecord>]) -> ExportTraceServiceRequest {
        let mut next_id = || rand::random_range(1..=u64::MAX);
        let node = &self.node;
        let scope = InstrumentationScope {
            name: "fastness".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let spans = records.iter().flat_map(|record| spans::of(record, &mut next_id)).collect();
        let attributes = vec![
            spans::text("service.name", "fastness"),
            spans::text("service.version", env!("CARGO_PKG_VERSION")),
            spans::text("service.instance.id", node.node.to_string()),
            spans::text("cloud.availability_zone", node.az.to_string()),
            spans::text("fastness.cluster", node.cluster.to_string()),
        ];
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource { attributes, ..Resource::default() }),
                scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }],
                ..ResourceSpans::default()
            }],
        }
    }
}
