//! Traces of checkpoints and of recoveries, for OpenTelemetry. Off unless the environment names a collector, as every
//! program with OpenTelemetry has it: `OTEL_EXPORTER_OTLP_ENDPOINT`, or `…_TRACES_ENDPOINT`.
//!
//! They are made of the coordinator's reports when a checkpoint or a recovery is over: nothing is measured twice, and
//! nothing on the way of a checkpoint waits for a collector. It owns what a trace looks like and how it is sent; it
//! decides nothing, and a collector that is away costs nothing but traces.

mod client;
mod reports;
mod spans;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use tokio::sync::watch;
use weir_coordinator::JobStatus;
use weir_protocol::JobConfig;
use weir_runtime::Random;

use client::Plain;
use reports::Reports;
use spans::Spans;

/// The collector that is to be used.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// How long a collector may take for what it is sent at a time.
const PATIENCE: Duration = Duration::from_secs(10);

/// The way to a collector.
pub(crate) struct Traces {
    exporter: SpanExporter,
}

impl Traces {
    /// If the environment asks for traces.
    pub(crate) fn from_environment(config: &JobConfig) -> Option<Arc<Self>> {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let off = std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
        if off || !ENDPOINTS.into_iter().any(set) {
            return None;
        }
        match SpanExporter::builder().with_http().with_http_client(Plain).build() {
            Ok(mut exporter) => {
                exporter.set_resource(&resource(config, set("OTEL_SERVICE_NAME")));
                Some(Arc::new(Self { exporter }))
            }
            Err(error) => {
                tracing::warn!(%error, "no traces are sent");
                None
            }
        }
    }

    /// Sends what the status tells, until its end.
    pub(crate) async fn follow(
        self: Arc<Self>,
        mut status: watch::Receiver<Arc<JobStatus>>,
        random: Arc<dyn Random>,
    ) {
        let (mut reports, mut fails) = (Reports::default(), false);
        loop {
            let over = status.changed().await.is_err();
            let now = status.borrow_and_update().clone();
            let mut spans = Spans::new(&now, random.as_ref());
            reports.take(&now, over, &mut spans);
            let batch = spans.finish();
            if !batch.is_empty() {
                let sent = tokio::time::timeout(PATIENCE, self.exporter.export(batch)).await;
                let error = match sent {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(error.to_string()),
                    Err(_) => Some(format!("the collector took longer than {PATIENCE:?}")),
                };
                fails = told(fails, error);
            }
            if over {
                return;
            }
        }
    }
}

/// Says that traces are lost when that begins, not for each of them.
fn told(failed: bool, error: Option<String>) -> bool {
    match (failed, &error) {
        (false, Some(error)) => tracing::warn!("traces can't be sent and are lost: {error}"),
        (true, None) => tracing::info!("traces are sent again"),
        (true, Some(_)) | (false, None) => {}
    }
    error.is_some()
}

fn resource(config: &JobConfig, named: bool) -> Resource {
    let job = [
        KeyValue::new("weir.job.name", config.name.clone()),
        KeyValue::new("weir.job.uid", config.uid.to_string()),
    ];
    // What the environment says of the resource is in it already.
    let builder = Resource::builder().with_attributes(job);
    if named { builder.build() } else { builder.with_service_name("weir").build() }
}
