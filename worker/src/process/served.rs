//! What a worker's process serves over HTTP: `GET /metrics` and `GET /healthz`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use weir_dataflow::Exchange;
use weir_protocol::JobConfig;

use super::RunError;
use super::metrics::{WorkerNumbers, render_worker};

/// What is known of the worker, as it becomes known.
#[derive(Debug, Default)]
pub(super) struct Known {
    slots: u32,
    connected: AtomicBool,
    job: OnceLock<(String, String, Arc<Exchange>)>,
}

impl Known {
    pub(super) fn new(slots: u32) -> Arc<Self> {
        Arc::new(Self { slots, ..Self::default() })
    }

    /// A coordinator is connected, or is not any more.
    pub(super) fn connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    /// The process has a job: always the same one.
    pub(super) fn job(&self, config: &JobConfig, exchange: &Arc<Exchange>) {
        self.job.get_or_init(|| (config.uid.to_string(), config.name.clone(), exchange.clone()));
    }

    fn numbers(&self) -> WorkerNumbers {
        let job = self.job.get();
        WorkerNumbers {
            job: job.map(|(uid, name, _)| (uid.clone(), name.clone())),
            connected: self.connected.load(Ordering::Relaxed),
            slots: self.slots,
            exchange: job.map(|(_, _, exchange)| exchange.counters()),
        }
    }
}

/// Serves until the process ends; the address.
pub(super) async fn serve(address: SocketAddr, known: Arc<Known>) -> Result<SocketAddr, RunError> {
    let failed = |error| RunError::Listen { what: "metrics", address, error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .fallback(not_found)
        .with_state(known);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::warn!(%error, "metrics are not served any more");
        }
    });
    Ok(bound)
}

async fn metrics(State(known): State<Arc<Known>>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], render_worker(&known.numbers()))
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn not_found(uri: Uri) -> impl IntoResponse {
    let text = format!("nothing is at {}; there are GET /metrics and GET /healthz\n", uri.path());
    (StatusCode::NOT_FOUND, text)
}
