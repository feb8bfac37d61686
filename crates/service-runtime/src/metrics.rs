//! Metrics with the product's prefix, and names that `promtool check metrics` accepts.
//!
//! Every function registers what it returns, so a metric that exists is a metric that is scraped.

use prometheus::{
    Error, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, Result, core::Collector,
};

const PREFIX: &str = "isotherm_";

/// Seconds from half a millisecond to a minute.
pub const DURATION_BUCKETS: &[f64] = &[
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

pub fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter> {
    register(registry, IntCounter::with_opts(total(name, help)?)?)
}

pub fn counter_vec(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec> {
    register(registry, IntCounterVec::new(total(name, help)?, labels)?)
}

pub fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge> {
    register(registry, IntGauge::with_opts(state(name, help)?)?)
}

pub fn gauge_vec(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec> {
    register(registry, IntGaugeVec::new(state(name, help)?, labels)?)
}

/// A gauge of fractions, for example seconds.
pub fn float_gauge(registry: &Registry, name: &str, help: &str) -> Result<Gauge> {
    register(registry, Gauge::with_opts(state(name, help)?)?)
}

/// Gauges of fractions, for example seconds.
pub fn float_gauge_vec(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<GaugeVec> {
    register(registry, GaugeVec::new(state(name, help)?, labels)?)
}

/// A histogram over `buckets`, usually [`DURATION_BUCKETS`].
pub fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
) -> Result<Histogram> {
    let opts = HistogramOpts::from(state(name, help)?).buckets(buckets.to_vec());
    register(registry, Histogram::with_opts(opts)?)
}

/// Histograms over `buckets`, usually [`DURATION_BUCKETS`].
pub fn histogram_vec(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: &[f64],
) -> Result<HistogramVec> {
    let opts = HistogramOpts::from(state(name, help)?).buckets(buckets.to_vec());
    register(registry, HistogramVec::new(opts, labels)?)
}

/// A registry with what the kernel and the build know about this process.
pub(crate) fn process_registry(service: &str) -> Result<Registry> {
    let registry = Registry::new();
    #[cfg(target_os = "linux")]
    registry.register(Box::new(
        prometheus::process_collector::ProcessCollector::for_self(),
    ))?;
    gauge_vec(
        &registry,
        "build_info",
        "The version of this service, as a label; the value is always 1.",
        &["version", "service"],
    )?
    .with_label_values(&[env!("CARGO_PKG_VERSION"), service])
    .set(1);
    Ok(registry)
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn total(name: &str, help: &str) -> Result<Opts> {
    if !name.ends_with("_total") {
        return Err(Error::Msg(format!(
            "the name of counter {name} must end in _total"
        )));
    }
    opts(name, help)
}

fn state(name: &str, help: &str) -> Result<Opts> {
    if ["_total", "_count", "_sum", "_bucket"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
    {
        return Err(Error::Msg(format!(
            "{name} is no counter; its name must not end like a counter's"
        )));
    }
    opts(name, help)
}

fn opts(name: &str, help: &str) -> Result<Opts> {
    let words = name.split('_');
    if name.starts_with(PREFIX) || help.is_empty() {
        return Err(Error::Msg(format!(
            "{name} needs a help text and gets its prefix here"
        )));
    }
    if let Some(unit) = words.into_iter().find(|word| {
        [
            "ms",
            "millis",
            "milliseconds",
            "minutes",
            "hours",
            "kb",
            "mb",
        ]
        .contains(word)
    }) {
        return Err(Error::Msg(format!(
            "{name}: {unit} is not a base unit; use seconds or bytes"
        )));
    }
    Ok(Opts::new(format!("{PREFIX}{name}"), help))
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn a_metric_gets_the_prefix_once_and_is_scraped() {
        let registry = Registry::new();
        counter_vec(&registry, "ingest_events_total", "Events.", &["result"])
            .unwrap()
            .with_label_values(&["ok"])
            .inc_by(3);

        let text = TextEncoder::new()
            .encode_to_string(&registry.gather())
            .unwrap();

        assert!(text.contains("isotherm_ingest_events_total{result=\"ok\"} 3"));
        assert!(counter(&registry, "isotherm_ingest_errors_total", "Twice.").is_err());
    }

    #[test]
    fn names_that_promtool_would_refuse_are_refused() {
        let registry = Registry::new();
        assert!(counter(&registry, "ingest_events", "No suffix.").is_err());
        assert!(gauge(&registry, "hot_lag_total", "A gauge.").is_err());
        assert!(gauge(&registry, "hot_lag_milliseconds", "Not a base unit.").is_err());
        assert!(gauge(&registry, "hot_lag_seconds", "").is_err());
        assert!(float_gauge(&registry, "hot_lag_seconds", "Fine.").is_ok());
    }
}
