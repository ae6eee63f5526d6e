//! What a service calls: how its runners and dependencies are to be run.

use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::batch::policy::Limits;
use super::config::runner::BatchConfig;
use super::config::service::Timeout;
use super::config::{RunnerConfig, ServiceConfig, service};
use super::error::ServeError;
use super::http::front;
use super::http::metrics::{Metrics, Names};
use super::manifest::{Batching, Unit, UnitKind};
use super::tracing::Tracer;
use super::worker::memory::Memory;
use super::worker::placement::Placement;
use super::worker::pool::{Capacity, Pool};
use super::worker::roster::Roster;
use super::worker::switchboard::Extension;

/// How a unit is to be run.
#[derive(Debug)]
pub struct Plan {
    /// How many workers it has.
    pub workers: u32,
    /// What they compute on.
    pub placement: Placement,
    /// What is configured for the batches of a runner.
    pub batching: Option<BatchConfig>,
    /// A worker that holds more memory is replaced.
    pub memory_limit: Option<Memory>,
    timeout: Timeout,
    max_concurrency: Option<u32>,
    metrics: Option<service::Metrics>,
}

/// What the units of a server have in common.
#[derive(Clone, Copy, Debug)]
pub struct Company<'a> {
    /// The name of the service that clients call.
    pub service: &'a str,
    /// The bento's version.
    pub version: &'a str,
    /// Where spans go, if they go anywhere.
    pub tracer: Option<&'a Arc<Tracer>>,
}

impl Plan {
    /// Plans a service that another one depends on.
    pub fn service(
        merged: &Map<String, Value>,
        place: impl FnOnce(u32) -> Result<Placement, ServeError>,
    ) -> Result<Self, ServeError> {
        let config = ServiceConfig::new(merged)?;
        Ok(Self {
            workers: config.workers,
            placement: place(config.workers)?,
            batching: None,
            memory_limit: config.worker_memory_limit,
            timeout: config.timeout,
            max_concurrency: config.max_concurrency,
            metrics: config.metrics,
        })
    }

    /// Plans a runner.
    pub fn runner(
        merged: &Map<String, Value>,
        place: impl FnOnce(&RunnerConfig) -> Result<Placement, ServeError>,
    ) -> Result<Self, ServeError> {
        let config = RunnerConfig::new(merged)?;
        let placement = place(&config)?;
        Ok(Self {
            workers: placement.workers(),
            placement,
            batching: Some(config.batching),
            memory_limit: config.worker_memory_limit,
            timeout: config.timeout,
            max_concurrency: config.max_concurrency,
            metrics: config.metrics,
        })
    }

    /// Lets another limit count than the configured one.
    pub fn set_timeout(&mut self, timeout: Timeout) {
        self.timeout = timeout;
    }

    /// Makes what callers see of the unit, and what the pages show of it.
    pub fn open(&self, unit: &Unit, roster: &Arc<Roster>, company: Company<'_>) -> (Extension, front::Unit) {
        let limits = unit.endpoints.iter().map(|endpoint| {
            let batch = endpoint.batch.as_ref()?;
            self.limits(unit, &endpoint.name, batch)
        });
        let capacity = Capacity { slots: unit.slots, is_serial: unit.slots == 1 };
        let pool = Pool::new(limits.collect(), capacity);
        let methods: Vec<Arc<str>> =
            unit.endpoints.iter().map(|endpoint| endpoint.name.as_str().into()).collect();
        let places = methods.iter().enumerate();
        let metrics = self.metrics.as_ref().map(|config| Arc::new(counts(unit, config, company)));
        let name: Arc<str> = unit.name.as_str().into();
        let extension = Extension {
            name: Arc::clone(&name),
            id: unit.id().into(),
            pool: Arc::clone(&pool),
            roster: Arc::clone(roster),
            methods: places
                .map(|(place, method)| (method.to_string(), (place, Arc::clone(method))))
                .collect(),
            timeout: self.timeout.limit,
            permits: self.max_concurrency.map(|most| Semaphore::new(most as usize)),
            metrics: metrics.clone(),
            tracer: company.tracer.map(Arc::clone),
        };
        let shown = front::Unit { kind: unit.kind, name, methods, roster: Arc::clone(roster), pool, metrics };
        (extension, shown)
    }

    /// Returns how calls of a method may be merged: what its code says, or else the configuration.
    fn limits(&self, unit: &Unit, method: &str, batch: &Batching) -> Option<Limits> {
        let Some(configured) = self.batching else { return Some(batch.limits()) };
        let pick = |limit: &str, configured: Option<u32>, own: u64| match configured {
            Some(configured) if !unit.declares(method, limit) => u64::from(configured),
            _ => own,
        };
        let max_size = pick("max_batch_size", configured.max_batch_size, batch.max_size);
        let max_latency_ms = pick("max_latency_ms", configured.max_latency_ms, batch.max_latency_ms);
        configured.enabled.then(|| Batching { max_size, max_latency_ms, array: None }.limits())
    }
}

/// Makes the counts of a unit's calls, labelled as upstream has them: a dependency is a service of its own, a runner
/// belongs to the service that calls it.
fn counts(unit: &Unit, config: &service::Metrics, company: Company<'_>) -> Metrics {
    let routes: Vec<String> = unit.endpoints.iter().map(|endpoint| endpoint.route.clone()).collect();
    let service = match unit.kind {
        UnitKind::Service => &unit.name,
        UnitKind::Runner => company.service,
    };
    let names = Names { service, version: company.version, runner: Some(&unit.name) };
    Metrics::new(config, &routes, routes.len(), names)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn runner(methods: &Value, config: &Value) -> (Unit, Plan) {
        let endpoint = |name: &str| {
            json!({"name": name, "route": format!("/{name}"),
                "batch": {"max_size": 100, "max_latency_ms": 60000, "array": null}})
        };
        let unit = json!({"kind": "runner", "name": "r", "slots": 1, "config": {"batching": methods},
            "endpoints": [endpoint("a"), endpoint("b")]});
        let plan = Plan::runner(config.as_object().unwrap(), |_| Ok(Placement::default())).unwrap();
        (serde_json::from_value(unit).unwrap(), plan)
    }

    fn limits(methods: &Value, config: &Value) -> Vec<Option<(u64, u128)>> {
        let (unit, plan) = runner(methods, config);
        let batches = unit
            .endpoints
            .iter()
            .map(|endpoint| plan.limits(&unit, &endpoint.name, endpoint.batch.as_ref().unwrap()));
        batches.map(|limits| limits.map(|found| (found.max_rows, found.max_latency.as_millis()))).collect()
    }

    #[test]
    fn the_configuration_limits_batches_of_methods_that_say_nothing_themselves() {
        assert_eq!(limits(&json!({}), &json!({})), [Some((100, 60_000)); 2]);
        let configured = json!({"batching": {"max_batch_size": 8, "max_latency_ms": 50}});
        let found = limits(&json!({"a": {"max_batch_size": 100}}), &configured);
        assert_eq!(found, [Some((100, 50)), Some((8, 50))]);
        assert_eq!(limits(&json!({}), &json!({"batching": {"enabled": false}})), [None, None]);
    }

    #[test]
    fn the_unit_has_what_is_configured_for_it() {
        let (unit, mut plan) = runner(&json!({}), &json!({"traffic": {"timeout": 9, "max_concurrency": 2}}));
        let company = Company { service: "svc", version: "v1", tracer: None };
        let roster = Arc::new(Roster::default());
        let (extension, shown) = plan.open(&unit, &roster, company);
        assert_eq!(extension.timeout, Duration::from_secs(9));
        assert_eq!(extension.permits.map(|permits| permits.available_permits()), Some(2));
        assert_eq!(shown.methods, ["a".into(), "b".into()] as [Arc<str>; 2]);
        plan.set_timeout(Timeout::new(Some(&json!(3))).unwrap());
        assert_eq!(plan.open(&unit, &roster, company).0.timeout, Duration::from_secs(3));
    }
}
