//! `GET /v1/job`, `GET /metrics`, `GET /healthz`. Reading only; nothing here changes a job.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::metrics::render;
use crate::status::JobStatus;

type Status = watch::Receiver<Arc<JobStatus>>;

/// The routes over a job's status.
pub fn router(status: Status) -> Router {
    Router::new()
        .route("/v1/job", get(job))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .with_state(status)
}

/// Serves until `stop` is done.
///
/// # Errors
/// The listener's.
pub async fn serve(
    listener: TcpListener,
    status: Status,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(status)).with_graceful_shutdown(stop).await
}

async fn job(State(status): State<Status>) -> Json<JobStatus> {
    let status = Arc::clone(&status.borrow());
    Json(JobStatus::clone(&status))
}

async fn metrics(State(status): State<Status>) -> Response {
    let status = Arc::clone(&status.borrow());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], render(&status)).into_response()
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn not_found(uri: Uri) -> Response {
    let message =
        format!("nothing is at {}; there are GET /v1/job, GET /metrics and GET /healthz", uri.path());
    error(StatusCode::NOT_FOUND, message)
}

async fn not_allowed(uri: Uri) -> Response {
    error(StatusCode::METHOD_NOT_ALLOWED, format!("{} can only be read, with GET", uri.path()))
}

fn error(status: StatusCode, message: String) -> Response {
    (status, Json(serde_json::json!({ "error": message }))).into_response()
}
