//! Metrics with the product's prefix, and names that `promtool check metrics` accepts.
//!
//! Every function registers the metric that it returns, so that it is scraped.

use prometheus::{
    Error, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, Result, core::Collector,
};

const PREFIX: &str = "isotherm_";

/// Buckets for durations: seconds from half a millisecond to a minute, each about twice the previous.
pub const DURATION_BUCKETS: &[f64] = &[
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

/// Registers a counter `isotherm_<name>`; the name must end in `_total`.
///
/// # Errors
/// The name or the help text breaks a naming rule, or the name is registered already: a bug, fail the
/// start.
pub fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter> {
    register(registry, IntCounter::with_opts(counter_opts(name, help)?)?)
}

/// Registers counters with `labels`; the name must end in `_total`.
///
/// # Errors
/// The name or the help text breaks a naming rule, or the name is registered already: a bug, fail the
/// start.
pub fn counter_vec(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec> {
    register(
        registry,
        IntCounterVec::new(counter_opts(name, help)?, labels)?,
    )
}

/// Registers a gauge of integers.
///
/// # Errors
/// The name or the help text breaks a naming rule, or the name is registered already: a bug, fail the
/// start.
pub fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge> {
    register(registry, IntGauge::with_opts(value_opts(name, help)?)?)
}

/// Registers gauges of integers with `labels`.
///
/// # Errors
/// The name or the help text breaks a naming rule, or the name is registered already: a bug, fail the
/// start.
pub fn gauge_vec(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec> {
    register(registry, IntGaugeVec::new(value_opts(name, help)?, labels)?)
}

/// Registers a gauge of floats, for example seconds.
///
/// # Errors
/// The name or the help text breaks a naming rule, or the name is registered already: a bug, fail the
/// start.
pub fn float_gauge(registry: &Registry, name: &str, help: &str) -> Result<Gauge> {
    register(registry, Gauge::with_opts(value_opts(name, help)?)?)
}

/// Registers gauges of floats with `labels`, for example seconds.
///
/// # Errors
/// The name or the help text breaks a naming rule, or the name is registered already: a bug, fail the
/// start.
pub fn float_gauge_vec(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<GaugeVec> {
    register(registry, GaugeVec::new(value_opts(name, help)?, labels)?)
}

/// Registers a histogram over `buckets`, usually [`DURATION_BUCKETS`].
///
/// # Errors
/// The name or the help text breaks a naming rule, or the name is registered already: a bug, fail the
/// start.
pub fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
) -> Result<Histogram> {
    let opts = HistogramOpts::from(value_opts(name, help)?).buckets(buckets.to_vec());
    register(registry, Histogram::with_opts(opts)?)
}

/// Registers histograms with `labels` over `buckets`, usually [`DURATION_BUCKETS`].
///
/// # Errors
/// The name or the help text breaks a naming rule, or the name is registered already: a bug, fail the
/// start.
pub fn histogram_vec(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: &[f64],
) -> Result<HistogramVec> {
    let opts = HistogramOpts::from(value_opts(name, help)?).buckets(buckets.to_vec());
    register(registry, HistogramVec::new(opts, labels)?)
}

/// Creates a registry with the metrics of the process and the build.
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

/// The options of a counter.
fn counter_opts(name: &str, help: &str) -> Result<Opts> {
    if !name.ends_with("_total") {
        return Err(Error::Msg(format!(
            "the name of counter {name} must end in _total"
        )));
    }
    opts(name, help)
}

fn value_opts(name: &str, help: &str) -> Result<Opts> {
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

/// Checks the rules that all metrics share, and adds the prefix.
fn opts(name: &str, help: &str) -> Result<Opts> {
    let mut words = name.split('_');
    if name.starts_with(PREFIX) || help.is_empty() {
        return Err(Error::Msg(format!(
            "{name} needs a help text and gets its prefix here"
        )));
    }
    if let Some(unit) = words.find(|word| {
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
    fn names_that_promtool_rejects_are_refused() {
        let registry = Registry::new();
        assert!(counter(&registry, "ingest_events", "No suffix.").is_err());
        assert!(gauge(&registry, "hot_lag_total", "A gauge.").is_err());
        assert!(gauge(&registry, "hot_lag_milliseconds", "Not a base unit.").is_err());
        assert!(gauge(&registry, "hot_lag_seconds", "").is_err());
        assert!(float_gauge(&registry, "hot_lag_seconds", "Fine.").is_ok());
    }
}
