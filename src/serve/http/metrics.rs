//! The front's own metrics, in upstream's names, labels and text (runtime contract 8.2).
//!
//! Labels are routes, never request paths, so that the page's size is bounded by the service and not by its clients.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::batch_metrics::{self, Batched};
use super::websocket::counts::{self, SocketCounts};
use crate::serve::config;

/// The counts of one server.
#[derive(Debug)]
pub struct Metrics {
    namespace: String,
    bounds: Vec<f64>,
    endpoints: Vec<Endpoint>,
    labels: String,
    /// The labels without the runner's.
    identity: String,
    last_request: AtomicU64,
}

#[derive(Debug)]
struct Endpoint {
    label: String,
    in_progress: AtomicI64,
    by_status: Mutex<BTreeMap<u16, Counts>>,
    sockets: SocketCounts,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    total: u64,
    seconds: f64,
    buckets: Vec<u64>,
}

/// What every series is labelled with.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The service's name.
    pub service: &'a str,
    /// The bento's version.
    pub version: &'a str,
    /// What is counted as a runner: classes are, by their own names, as upstream has it.
    pub runner: Option<&'a str>,
}

/// What is told of the workers on the same page.
#[derive(Clone, Copy, Debug, Default)]
pub struct Workers {
    /// Workers that take calls.
    pub ready: usize,
    /// Workers there should be.
    pub total: usize,
    /// Times a worker was started again.
    pub restarts: u64,
    /// Times a worker was replaced for the memory that it held.
    pub replacements: u64,
    /// Calls that wait for a slot.
    pub waiting: usize,
    /// Calls that run, those included that nobody waits for any more.
    pub running: u32,
}

impl Metrics {
    /// Makes counts for the endpoints `labels`, of which the first `apis` are APIs.
    pub fn new(config: &config::service::Metrics, labels: &[String], apis: usize, names: Names<'_>) -> Self {
        let zero = Counts { buckets: vec![0; config.buckets.len()], ..Counts::default() };
        let endpoints = labels.iter().enumerate().map(|(index, label)| {
            let statuses: &[u16] = if index < apis { &[200, 500] } else { &[] };
            let by_status = statuses.iter().map(|status| (*status, zero.clone())).collect();
            Endpoint {
                label: escape(label),
                in_progress: AtomicI64::new(0),
                by_status: Mutex::new(by_status),
                sockets: SocketCounts::default(),
            }
        });
        let (service, version) = (escape(names.service), escape(names.version));
        let identity = format!("service_name=\"{service}\",service_version=\"{version}\"");
        let runner = names.runner.map(|runner| format!("runner_name=\"{}\",", escape(runner)));
        let runner = runner.unwrap_or_default();
        Self {
            namespace: config.namespace.clone(),
            bounds: config.buckets.clone(),
            endpoints: endpoints.collect(),
            labels: format!("{runner}{identity}"),
            identity,
            last_request: AtomicU64::new(0),
        }
    }

    /// Counts a request as in progress.
    pub fn begin(&self, endpoint: usize) {
        self.endpoints[endpoint].in_progress.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the counts of an endpoint's WebSockets.
    pub fn sockets(&self, endpoint: usize) -> &SocketCounts {
        &self.endpoints[endpoint].sockets
    }

    /// Counts a request as answered.
    pub fn end(&self, endpoint: usize, status: u16, duration: Duration) {
        let endpoint = &self.endpoints[endpoint];
        endpoint.in_progress.fetch_sub(1, Ordering::Relaxed);
        let now = Timestamp::now().as_microsecond();
        self.last_request.store(u64::try_from(now).unwrap_or(0), Ordering::Relaxed);
        let seconds = duration.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        let mut by_status = endpoint.by_status.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = by_status.entry(status).or_default();
        counts.buckets.resize(self.bounds.len(), 0);
        counts.total += 1;
        counts.seconds += seconds;
        if let Some(bucket) = counts.buckets.get_mut(bucket) {
            *bucket += 1;
        }
    }

    /// Writes the page, with the counts of units after the service's own.
    pub fn render(&self, workers: Workers, batched: &[Batched<'_>], units: &[&Self]) -> String {
        let mut page = String::with_capacity(16 * 1024);
        // Writing to a string does not fail.
        let all: Vec<&Self> = std::iter::once(self).chain(units.iter().copied()).collect();
        let _ = write_requests(&mut page, &all).and_then(|()| self.write_workers(&mut page, workers));
        batch_metrics::write(&mut page, &self.identity, batched);
        page
    }

    fn write_workers(&self, page: &mut String, workers: Workers) -> std::fmt::Result {
        let labels = &self.labels;
        let Workers { ready, total, restarts, replacements, waiting, running } = workers;
        head(page, "ekiben", "workers", "Worker processes", "gauge")?;
        writeln!(page, "ekiben_workers{{{labels},state=\"ready\"}} {ready}")?;
        writeln!(page, "ekiben_workers{{{labels},state=\"unready\"}} {}", total.saturating_sub(ready))?;
        head(page, "ekiben", "worker_restarts_total", "Workers started again after they died", "counter")?;
        writeln!(page, "ekiben_worker_restarts_total{{{labels}}} {restarts}")?;
        let help = "Workers replaced because they held more memory than they may";
        head(page, "ekiben", "worker_replacements_total", help, "counter")?;
        writeln!(page, "ekiben_worker_replacements_total{{{labels}}} {replacements}")?;
        head(page, "ekiben", "calls_waiting", "Calls that wait for a slot", "gauge")?;
        writeln!(page, "ekiben_calls_waiting{{{labels}}} {waiting}")?;
        let help = "Calls that workers run, those included that no client waits for any more";
        head(page, "ekiben", "calls_running", help, "gauge")?;
        writeln!(page, "ekiben_calls_running{{{labels}}} {running}")
    }
}

/// Writes the series of requests; those of one name stand together, whatever they are of.
fn write_requests(page: &mut String, all: &[&Metrics]) -> std::fmt::Result {
    let mut spaces: Vec<&str> = Vec::new();
    for metrics in all {
        if !spaces.contains(&metrics.namespace.as_str()) {
            spaces.push(&metrics.namespace);
        }
    }
    for space in spaces {
        let of_space: Vec<&Metrics> =
            all.iter().copied().filter(|metrics| metrics.namespace == space).collect();
        write_totals(page, space, &of_space)?;
        write_durations(page, space, &of_space)?;
        write_gauges(page, space, &of_space)?;
    }
    Ok(())
}

fn write_totals(page: &mut String, space: &str, all: &[&Metrics]) -> std::fmt::Result {
    head(page, space, "request_total", "Total number of HTTP requests", "counter")?;
    each(all, |labels, endpoint, status, counts| {
        let total = counts.total;
        writeln!(
            page,
            "{space}_request_total{{endpoint=\"{endpoint}\",http_response_code=\"{status}\",{labels}}} {total}.0"
        )
    })
}

fn write_durations(page: &mut String, space: &str, all: &[&Metrics]) -> std::fmt::Result {
    head(page, space, "request_duration_seconds", "API HTTP request duration in seconds", "histogram")?;
    let name = format!("{space}_request_duration_seconds");
    for metrics in all {
        each(&[metrics], |labels, endpoint, status, counts| {
            if counts.total == 0 {
                return Ok(());
            }
            let before = format!("endpoint=\"{endpoint}\",http_response_code=\"{status}\"");
            let mut sum = 0;
            for (bound, count) in metrics.bounds.iter().zip(&counts.buckets) {
                sum += count;
                writeln!(page, "{name}_bucket{{{before},le=\"{bound:?}\",{labels}}} {sum}.0")?;
            }
            let total = counts.total;
            writeln!(page, "{name}_bucket{{{before},le=\"+Inf\",{labels}}} {total}.0")?;
            writeln!(page, "{name}_count{{{before},{labels}}} {total}.0")?;
            writeln!(page, "{name}_sum{{{before},{labels}}} {:?}", counts.seconds)
        })?;
    }
    Ok(())
}

fn write_gauges(page: &mut String, space: &str, all: &[&Metrics]) -> std::fmt::Result {
    head(page, space, "request_in_progress", "Total number of HTTP requests in progress", "gauge")?;
    for Metrics { endpoints, labels, .. } in all {
        for Endpoint { label, in_progress, .. } in endpoints {
            let count = in_progress.load(Ordering::Relaxed);
            writeln!(page, "{space}_request_in_progress{{endpoint=\"{label}\",{labels}}} {count}.0")?;
        }
    }
    // Only the service that clients call has any: no name stands twice.
    for Metrics { endpoints, labels, .. } in all {
        let sockets = endpoints.iter().map(|endpoint| (endpoint.label.as_str(), &endpoint.sockets));
        counts::write(page, space, labels, sockets)?;
    }
    let last = |metrics: &&&Metrics| metrics.last_request.load(Ordering::Relaxed) > 0;
    let mut asked = all.iter().filter(last).peekable();
    let (name, pid) = ("last_request_timestamp_seconds", std::process::id());
    if asked.peek().is_some() {
        head(page, space, name, "Timestamp of the last HTTP request", "gauge")?;
    }
    for Metrics { last_request, labels, .. } in asked {
        let last = last_request.load(Ordering::Relaxed);
        let (seconds, micros) = (last / 1_000_000, last % 1_000_000);
        writeln!(page, "{space}_{name}{{pid=\"{pid}\",{labels}}} {seconds}.{micros:06}")?;
    }
    Ok(())
}

fn each(
    all: &[&Metrics],
    mut write: impl FnMut(&str, &str, u16, &Counts) -> std::fmt::Result,
) -> std::fmt::Result {
    for Metrics { endpoints, labels, .. } in all {
        for endpoint in endpoints {
            let by_status = endpoint.by_status.lock().unwrap_or_else(PoisonError::into_inner);
            for (status, counts) in by_status.iter() {
                write(labels, &endpoint.label, *status, counts)?;
            }
        }
    }
    Ok(())
}

/// Writes what stands before the series of a name.
pub(super) fn head(page: &mut String, space: &str, name: &str, help: &str, kind: &str) -> std::fmt::Result {
    writeln!(page, "# HELP {space}_{name} {help}\n# TYPE {space}_{name} {kind}")
}

/// Writes a label's value.
pub(super) fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_of_functions_is_no_runner() {
        let config =
            config::service::Metrics { namespace: "bentoml_api_server".to_owned(), buckets: vec![1.0] };
        let names = Names { service: "iris", version: "v1", runner: None };
        let metrics = Metrics::new(&config, &["/predict".to_owned()], 1, names);
        let line = r#"bentoml_api_server_request_total{endpoint="/predict",http_response_code="200",service_name="iris",service_version="v1"} 0.0"#;
        let page = metrics.render(Workers::default(), &[], &[]);
        assert!(page.lines().any(|found| found == line) && !page.contains("runner_name"), "{page}");
    }

    #[test]
    fn the_page_has_upstreams_series() {
        let config =
            config::service::Metrics { namespace: "bentoml_service".to_owned(), buckets: vec![0.005, 1.0] };
        let labels = ["/echo".to_owned(), "un\"matched".to_owned()];
        let names = Names { service: "Main", version: "not available", runner: Some("Main") };
        let metrics = Metrics::new(&config, &labels, 1, names);
        metrics.begin(0);
        metrics.begin(0);
        metrics.end(0, 200, Duration::from_millis(4));
        metrics.end(0, 200, Duration::from_millis(500));
        metrics.begin(1);
        metrics.end(1, 404, Duration::from_secs(2));
        let page = metrics.render(Workers::default(), &[], &[]);
        let names = r#"runner_name="Main",service_name="Main",service_version="not available""#;
        let mut expected = vec![
            format!(
                r#"bentoml_service_request_total{{endpoint="/echo",http_response_code="200",{names}}} 2.0"#
            ),
            format!(
                r#"bentoml_service_request_total{{endpoint="/echo",http_response_code="500",{names}}} 0.0"#
            ),
            format!(
                r#"bentoml_service_request_total{{endpoint="un\"matched",http_response_code="404",{names}}} 1.0"#
            ),
            format!(r#"bentoml_service_request_in_progress{{endpoint="/echo",{names}}} 0.0"#),
            "# TYPE bentoml_service_request_duration_seconds histogram".to_owned(),
        ];
        for (bound, count) in [("0.005", 1), ("1.0", 2), ("+Inf", 2)] {
            let series = "bentoml_service_request_duration_seconds_bucket";
            let before = r#"endpoint="/echo",http_response_code="200""#;
            expected.push(format!(r#"{series}{{{before},le="{bound}",{names}}} {count}.0"#));
        }
        for line in expected {
            assert!(page.lines().any(|found| found == line), "{line}\nin\n{page}");
        }
        assert!(!page.contains("http_response_code=\"500\",le="), "{page}");
    }

    #[test]
    fn units_stand_beside_the_service_below_one_heading() {
        let of = |namespace: &str, service: &str, runner: &str| {
            let config = config::service::Metrics { namespace: namespace.to_owned(), buckets: vec![1.0] };
            let names = Names { service, version: "v1", runner: Some(runner) };
            Metrics::new(&config, &["/double".to_owned()], 1, names)
        };
        let (own, inner) = (of("bentoml_service", "Main", "Main"), of("bentoml_service", "Inner", "Inner"));
        let runner = of("bentoml_runner", "svc", "iris");
        inner.begin(0);
        inner.end(0, 200, Duration::from_millis(3));
        let page = own.render(Workers::default(), &[], &[&inner, &runner]);
        assert_eq!(page.matches("# TYPE bentoml_service_request_total counter").count(), 1);
        for line in [
            r#"bentoml_service_request_total{endpoint="/double",http_response_code="200",runner_name="Inner",service_name="Inner",service_version="v1"} 1.0"#,
            r#"bentoml_runner_request_total{endpoint="/double",http_response_code="500",runner_name="iris",service_name="svc",service_version="v1"} 0.0"#,
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\nin\n{page}");
        }
    }
}
