//! The series about batches: of the service's own APIs, and of the units that it calls.

use std::fmt::Write;

use super::metrics::{escape, head};
use crate::serve::worker::batches::{Batches, Counts, WAIT_BOUNDS};

/// An API or method whose calls are merged.
#[derive(Clone, Copy, Debug)]
pub struct Batched<'a> {
    /// What upstream's series begin with: `bentoml_service` or `bentoml_runner`.
    pub space: &'static str,
    /// The service or runner.
    pub unit: &'a str,
    /// The API or method.
    pub method: &'a str,
    /// Its counts.
    pub batches: &'a Batches,
}

struct Series<'a> {
    space: &'static str,
    labels: String,
    bounds: &'a [u64],
    counts: Counts,
}

/// Writes how large batches were, by upstream's name, and how long and why calls have waited for theirs; `identity` are the
/// labels that all series of the server have.
pub fn write(page: &mut String, identity: &str, batched: &[Batched<'_>]) {
    let series: Vec<Series<'_>> = batched
        .iter()
        .map(|Batched { space, unit, method, batches }| Series {
            space,
            labels: format!("method_name=\"{}\",runner_name=\"{}\",{identity}", escape(method), escape(unit)),
            bounds: &batches.bounds,
            counts: batches.counts(),
        })
        .collect();
    if !series.is_empty() {
        // Writing to a string does not fail.
        let _ = write_sizes(page, &series).and_then(|()| write_waits(page, &series));
    }
}

fn write_sizes(page: &mut String, series: &[Series<'_>]) -> std::fmt::Result {
    for space in ["bentoml_service", "bentoml_runner"] {
        let mut of_space = series.iter().filter(|series| series.space == space).peekable();
        if of_space.peek().is_none() {
            continue;
        }
        let name = format!("{space}_adaptive_batch_size");
        head(page, space, "adaptive_batch_size", "Adaptive batch size", "histogram")?;
        for Series { labels, bounds, counts, .. } in of_space {
            let bounds = bounds.iter().map(|bound| format!("{bound}.0"));
            write_histogram(page, &name, labels, bounds, &counts.sizes)?;
            writeln!(page, "{name}_sum{{{labels}}} {}.0", counts.rows)?;
        }
    }
    Ok(())
}

fn write_waits(page: &mut String, series: &[Series<'_>]) -> std::fmt::Result {
    let name = "ekiben_batch_wait_seconds";
    let help = "How long the first call of a batch had waited";
    head(page, "ekiben", "batch_wait_seconds", help, "histogram")?;
    for Series { labels, counts, .. } in series {
        let bounds = WAIT_BOUNDS.iter().map(|bound| format!("{bound:?}"));
        write_histogram(page, name, labels, bounds, &counts.waits)?;
        writeln!(page, "{name}_sum{{{labels}}} {:?}", counts.waited)?;
    }
    head(page, "ekiben", "batches_total", "Batches, by why they were sent as they were", "counter")?;
    for Series { labels, counts, .. } in series {
        for (reason, count) in [("idle", counts.idle), ("full", counts.full)] {
            writeln!(page, "ekiben_batches_total{{reason=\"{reason}\",{labels}}} {count}")?;
        }
    }
    let help = "Calls refused because they would come too late";
    head(page, "ekiben", "calls_shed_total", help, "counter")?;
    series.iter().try_for_each(|Series { labels, counts, .. }| {
        writeln!(page, "ekiben_calls_shed_total{{{labels}}} {}", counts.shed)
    })
}

/// Writes the buckets and the count of a histogram; the last of `counts` is above all bounds.
fn write_histogram(
    page: &mut String,
    name: &str,
    labels: &str,
    bounds: impl Iterator<Item = String>,
    counts: &[u64],
) -> std::fmt::Result {
    let mut sum = 0;
    for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(counts) {
        sum += count;
        writeln!(page, "{name}_bucket{{le=\"{bound}\",{labels}}} {sum}.0")?;
    }
    writeln!(page, "{name}_count{{{labels}}} {sum}.0")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::serve::worker::batches::Reason;

    #[test]
    fn services_and_runners_have_upstreams_names() {
        let (own, runner) = (Batches::new(4), Batches::new(2));
        own.dispatched(3, Duration::ZERO, Reason::Idle);
        runner.dispatched(2, Duration::from_millis(3), Reason::Full);
        runner.shed();
        let batched = [
            Batched { space: "bentoml_service", unit: "Main", method: "a", batches: &own },
            Batched { space: "bentoml_runner", unit: "iris", method: "predict", batches: &runner },
        ];
        let mut page = String::new();
        write(&mut page, "service_name=\"Main\"", &batched);
        for line in [
            "# TYPE bentoml_service_adaptive_batch_size histogram",
            r#"bentoml_service_adaptive_batch_size_bucket{le="2.0",method_name="a",runner_name="Main",service_name="Main"} 0.0"#,
            r#"bentoml_service_adaptive_batch_size_bucket{le="4.0",method_name="a",runner_name="Main",service_name="Main"} 1.0"#,
            r#"bentoml_service_adaptive_batch_size_sum{method_name="a",runner_name="Main",service_name="Main"} 3.0"#,
            r#"bentoml_runner_adaptive_batch_size_count{method_name="predict",runner_name="iris",service_name="Main"} 1.0"#,
            r#"ekiben_batches_total{reason="full",method_name="predict",runner_name="iris",service_name="Main"} 1"#,
            r#"ekiben_calls_shed_total{method_name="predict",runner_name="iris",service_name="Main"} 1"#,
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\nin\n{page}");
        }
        let mut nothing = String::new();
        write(&mut nothing, "", &[]);
        assert_eq!(nothing, "");
    }
}
