//! `/metrics`: what [`State`](super::state::State) holds, as Prometheus reads it.
//!
//! Each metric is one [`Metric`]: name, labels, meaning, and how its samples come out of a [`Snapshot`]. Nothing is counted here and no store is
//! asked: a scrape is as fast as the snapshot's copy. `docs/METRICS.md` is the contract; a test compares the two.

mod daemon;
mod policies;
mod process;
mod runs;

use std::fmt;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::state::{PolicyState, Snapshot};
use crate::base::{Error, Result};
pub use process::ProcessStats;

/// Media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// One name, and where its samples come from.
struct Metric {
    /// Full name, `_total` of counters included.
    name: &'static str,
    /// Names of its labels.
    labels: &'static [&'static str],
    /// One sentence without a full stop.
    help: &'static str,
    /// Appends the samples.
    samples: fn(&View, &mut Samples),
}

impl Metric {
    fn is_counter(&self) -> bool {
        self.name.ends_with("_total")
    }
}

/// What samples are made of.
struct View {
    state: Snapshot,
    now: Timestamp,
    process: ProcessStats,
}

/// The samples of one metric: values of its labels, and the number.
#[derive(Default)]
struct Samples(Vec<(Vec<String>, f64)>);

impl Samples {
    fn push(&mut self, labels: &[&str], value: f64) {
        self.0.push((labels.iter().map(|&l| l.to_owned()).collect(), value));
    }

    /// A sample for each policy that has one.
    fn each(&mut self, view: &View, value: impl Fn(&PolicyState) -> Option<f64>) {
        for (name, policy) in &view.state.policies {
            if let Some(value) = value(policy) {
                self.push(&[name], value);
            }
        }
    }
}

/// All metrics, in the order in which they are documented and sent.
fn all() -> impl Iterator<Item = &'static Metric> {
    [daemon::METRICS, policies::METRICS, runs::METRICS, process::METRICS].into_iter().flatten()
}

/// The text of a scrape at `now`. A metric without a sample is left out, header included.
pub fn render(state: Snapshot, now: Timestamp, process: ProcessStats) -> Result<String> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(View { state, now, process }));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).map_err(|e| Error::internal("write the metrics").source(e))?;
    Ok(text)
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("now", &self.now).finish_non_exhaustive()
    }
}

impl Collector for View {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for metric in all() {
            let mut samples = Samples::default();
            (metric.samples)(self, &mut samples);
            if samples.0.is_empty() {
                continue;
            }
            let kind = if metric.is_counter() { MetricType::Counter } else { MetricType::Gauge };
            // The encoder puts the suffix of counters back.
            let name = if metric.is_counter() { metric.name.trim_end_matches("_total") } else { metric.name };
            let mut family = encoder.encode_descriptor(name, metric.help, None, kind)?;
            for (values, value) in samples.0 {
                let labels: Vec<(&str, String)> = metric.labels.iter().copied().zip(values).collect();
                let mut sample = family.encode_family(&labels)?;
                if metric.is_counter() {
                    sample.encode_counter::<Vec<(&str, String)>, f64, f64>(&value, None)?;
                } else {
                    sample.encode_gauge(&value)?;
                }
            }
        }
        Ok(())
    }
}

/// Seconds since the epoch.
fn seconds(time: Timestamp) -> f64 {
    time.as_microsecond() as f64 / 1e6
}

const fn flag(yes: bool) -> f64 {
    if yes { 1.0 } else { 0.0 }
}

#[cfg(test)]
mod tests;
