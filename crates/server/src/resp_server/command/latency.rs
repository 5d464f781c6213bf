//! LATENCY.

use super::call::{Call, ServerCommand};
use crate::resp_server::latency::{self, LatencyEvent, LatencySample, LatencySeries};

pub(super) const DOCTOR: ServerCommand =
    ServerCommand::reply("latency|doctor", "", "Returns a report on latency spikes, with advice.", doctor);
pub(super) const GRAPH: ServerCommand =
    ServerCommand::reply("latency|graph", "<event>", "Returns a graph of the latency samples of an event.", graph);
pub(super) const HISTOGRAM: ServerCommand = ServerCommand::reply(
    "latency|histogram",
    "[<command> ...]",
    "Returns the distribution of latencies of commands.",
    histogram,
);
pub(super) const HISTORY: ServerCommand =
    ServerCommand::reply("latency|history", "<event>", "Returns the latency samples of an event.", history);
pub(super) const LATEST: ServerCommand =
    ServerCommand::reply("latency|latest", "", "Returns the latest latency samples of all events.", latest);
pub(super) const RESET: ServerCommand =
    ServerCommand::reply("latency|reset", "[<event> ...]", "Removes the latency samples of events.", reset);

fn doctor(call: Call<'_, '_>) {
    let threshold = call.replica.node.config.load().latency_monitor_threshold;
    let report = call.replica.latency.report(threshold);
    call.out.verbatim(*b"txt", report.as_bytes());
}

fn graph(call: Call<'_, '_>) {
    let name = call.args.get(2);
    match LatencyEvent::named(name).and_then(|event| Some((event, call.replica.latency.of(event)?))) {
        Some((event, series)) => call.out.verbatim(*b"txt", latency::graph(event, &series).as_bytes()),
        None => call.out.error([b"ERR No samples available for event '", name, b"'"].concat()),
    }
}

fn history(call: Call<'_, '_>) {
    let series = LatencyEvent::named(call.args.get(2)).and_then(|event| call.replica.latency.of(event));
    let samples = series.unwrap_or_default().samples;
    call.out.array(samples.len());
    for LatencySample { at, ms } in samples {
        call.out.array(2);
        call.out.integer(at as i64);
        call.out.integer(ms as i64);
    }
}

/// Event, when its newest sample was, that sample, the longest span, the sum of all and their number; ms.
fn latest(call: Call<'_, '_>) {
    let all = call.replica.latency.all();
    call.out.array(all.len());
    for (event, LatencySeries { samples, max_ms, sum_ms, count }) in all {
        let newest = samples.back().map_or((0, 0), |sample| (sample.at, sample.ms));
        call.out.array(6);
        call.out.bulk(event.name());
        for number in [newest.0, newest.1, max_ms, sum_ms, count] {
            call.out.integer(number as i64);
        }
    }
}

fn reset(call: Call<'_, '_>) {
    let names = call.args.skip(2);
    let is_named = |event: LatencyEvent| names.iter().any(|name| name.eq_ignore_ascii_case(event.name().as_bytes()));
    let wanted = LatencyEvent::ALL.into_iter().filter(|event| names.is_empty() || is_named(*event));
    let removed = wanted.filter(|event| call.replica.latency.reset(*event)).count();
    call.out.integer(removed as i64);
}

/// `LATENCY HISTOGRAM [command …]`: runs per power of two of a microsecond, cumulated.
fn histogram(call: Call<'_, '_>) {
    let wanted: Vec<String> =
        call.args.skip(2).iter().map(|arg| String::from_utf8_lossy(arg).to_ascii_lowercase()).collect();
    let all = call.replica.stats.by_command();
    let shown: Vec<_> = all
        .iter()
        .filter(|(name, stats)| {
            let is_wanted =
                |w: &String| **name == w.as_str() || name.strip_prefix(w.as_str()).is_some_and(|r| r.starts_with('|'));
            stats.calls > 0 && (wanted.is_empty() || wanted.iter().any(is_wanted))
        })
        .collect();
    call.out.map(shown.len());
    for (name, stats) in shown {
        call.out.bulk(name);
        call.out.map(2);
        call.out.bulk("calls");
        call.out.integer(stats.calls as i64);
        call.out.bulk("histogram_usec");
        let filled: Vec<_> = stats.buckets.iter().enumerate().filter(|(_, count)| **count > 0).collect();
        call.out.map(filled.len());
        let mut sum = 0;
        for (bucket, count) in filled {
            sum += count;
            call.out.integer(1 << bucket);
            call.out.integer(sum as i64);
        }
    }
}
