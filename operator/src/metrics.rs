//! What the operator counts of itself. Jobs have metrics of their own, served by their coordinators.

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::cluster::ClusterError;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Outcome {
    Ok,
    Conflict,
    Refused,
    Unavailable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: Outcome,
}

fn by(error: Option<&ClusterError>) -> ByOutcome {
    let outcome = match error {
        None => Outcome::Ok,
        Some(ClusterError::Conflict { .. }) => Outcome::Conflict,
        Some(ClusterError::Refused { .. } | ClusterError::Missing { .. }) => Outcome::Refused,
        Some(ClusterError::Unavailable { .. }) => Outcome::Unavailable,
    };
    ByOutcome { outcome }
}

/// The metrics; clones count into the same.
#[derive(Clone)]
pub struct Metrics(Arc<All>);

struct All {
    registry: Registry,
    reconciles: Family<ByOutcome, Counter>,
    requests: Family<ByOutcome, Counter>,
    seconds: Histogram,
    leads: Gauge,
    jobs: Gauge,
}

impl Metrics {
    /// All at nothing.
    pub fn new() -> Self {
        let (reconciles, requests) =
            (Family::<ByOutcome, Counter>::default(), Family::<ByOutcome, Counter>::default());
        let seconds = Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let (leads, jobs) = (Gauge::default(), Gauge::default());
        let mut registry = Registry::with_prefix("weir_operator");
        registry.register(
            "reconciles",
            "Passes over jobs and savepoints, by how they ended",
            reconciles.clone(),
        );
        registry.register(
            "api_requests",
            "Requests to the API server besides watches, by how they ended",
            requests.clone(),
        );
        registry.register_with_unit("reconcile", "How long a pass took", Unit::Seconds, seconds.clone());
        registry.register("leader", "1 while this operator leads, else 0", leads.clone());
        registry.register("jobs", "Jobs that are known", jobs.clone());
        Self(Arc::new(All { registry, reconciles, requests, seconds, leads, jobs }))
    }

    /// A request to the API server has been answered.
    pub fn request(&self, error: Option<&ClusterError>) {
        self.0.requests.get_or_create(&by(error)).inc();
    }

    /// A pass has ended.
    pub fn reconciled(&self, error: Option<&ClusterError>, took: std::time::Duration) {
        self.0.reconciles.get_or_create(&by(error)).inc();
        self.0.seconds.observe(took.as_secs_f64());
    }

    /// Whether this operator leads.
    pub fn leads(&self, leads: bool) {
        self.0.leads.set(i64::from(leads));
    }

    /// How many jobs there are.
    pub fn jobs(&self, count: usize) {
        self.0.jobs.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// In the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into memory does not fail.
        let _ = encode(&mut text, &self.0.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
