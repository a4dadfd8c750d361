//! What the operator serves about itself: `/metrics`, `/healthz`, `/readyz`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// How the operator is, as the parts of it say.
#[derive(Clone, Default)]
pub struct Health(Arc<Flags>);

#[derive(Default)]
struct Flags {
    synced: AtomicBool,
    failed: AtomicBool,
}

impl Health {
    /// The watches have shown all that there is; or this operator waits for its turn, which is as good.
    pub fn is_synced(&self) {
        self.0.synced.store(true, Ordering::Relaxed);
    }

    /// A part that must run has ended.
    pub fn has_failed(&self) {
        self.0.failed.store(true, Ordering::Relaxed);
    }
}

/// Serves until the process ends.
///
/// # Errors
/// The listener's.
pub async fn serve(listener: TcpListener, metrics: Metrics, health: Health) -> std::io::Result<()> {
    let app = Router::new()
        .route("/metrics", get(render))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state((metrics, health));
    axum::serve(listener, app).await
}

async fn render(State((metrics, _)): State<(Metrics, Health)>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics.render()).into_response()
}

async fn healthz(State((_, health)): State<(Metrics, Health)>) -> (StatusCode, &'static str) {
    match health.0.failed.load(Ordering::Relaxed) {
        true => (StatusCode::INTERNAL_SERVER_ERROR, "a watch has ended\n"),
        false => (StatusCode::OK, "ok\n"),
    }
}

async fn readyz(State((_, health)): State<(Metrics, Health)>) -> (StatusCode, &'static str) {
    match health.0.synced.load(Ordering::Relaxed) && !health.0.failed.load(Ordering::Relaxed) {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "the API server has not shown all jobs yet\n"),
    }
}
