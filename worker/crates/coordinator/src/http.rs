//! What a coordinator tells and takes over HTTP: `GET /v1/job`, `GET /metrics`, `GET /healthz`,
//! `POST /v1/job/stop`, `POST /v1/job/rescale`, `/v1/job/savepoints` (see [`savepoints`]).
//!
//! What changes a job must be sent as JSON: a web page that a person happens to open can't do that without
//! being asked for permission first. Where others than the job's owner reach the address, it only answers reads
//! ([`serve_reads`]); changes then come in by [`serve_secure`], from who has a certificate of the job.

mod savepoints;
mod secure;

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::watch;
use weir_runtime::tls::Transport;

use crate::driver::{AskError, Requests};
use crate::event::{Accepted, Refused, Request, StopRequest};
use crate::metrics::{MoreMetrics, render};
use crate::status::JobStatus;

/// What is served.
#[derive(Clone)]
pub struct Api {
    /// The job's status.
    pub status: watch::Receiver<Arc<JobStatus>>,
    /// The way to its coordinator.
    pub requests: Requests,
    /// Metrics besides those of the status.
    pub more: Option<MoreMetrics>,
}

/// The body of `POST /v1/job/stop`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StopBody {
    /// Whether to stop at once, without a last checkpoint.
    #[serde(default)]
    pub now: bool,
}

/// The body of `POST /v1/job/rescale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RescaleBody {
    /// Subtasks per vertex.
    pub parallelism: u32,
}

/// What answers a change of parallelism that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rescaling {
    /// What the job runs at until then.
    pub from: u32,
    /// What it will run at.
    pub to: u32,
}

/// The routes.
pub fn router(api: Api) -> Router {
    routes(api, post(stop), post(rescale), post(savepoints::create))
}

/// The routes where nothing can be changed.
fn reads(api: Api) -> Router {
    routes(api, post(read_only), post(read_only), post(read_only))
}

fn routes(
    api: Api,
    stop: MethodRouter<Api>,
    rescale: MethodRouter<Api>,
    savepoint: MethodRouter<Api>,
) -> Router {
    Router::new()
        .route("/v1/job", get(job))
        .route("/v1/job/stop", stop)
        .route("/v1/job/rescale", rescale)
        .route("/v1/job/savepoints", savepoint.get(savepoints::all))
        .route("/v1/job/savepoints/{id}", get(savepoints::one))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .with_state(api)
}

/// Serves until `stop` is done.
///
/// # Errors
/// The listener's.
pub async fn serve(
    listener: TcpListener,
    api: Api,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(api)).with_graceful_shutdown(stop).await
}

/// Serves reads until `stop` is done; a request to change the job is answered with 403.
///
/// # Errors
/// The listener's.
pub async fn serve_reads(
    listener: TcpListener,
    api: Api,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, reads(api)).with_graceful_shutdown(stop).await
}

/// Serves all to processes that show a certificate of the job, until `stop` is done.
///
/// # Errors
/// The listener's.
pub async fn serve_secure(
    listener: TcpListener,
    transport: Transport,
    api: Api,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let listener = secure::SecureListener::new(listener, transport)?;
    axum::serve(listener, router(api)).with_graceful_shutdown(stop).await
}

async fn job(State(api): State<Api>) -> Json<JobStatus> {
    let status = Arc::clone(&api.status.borrow());
    Json(JobStatus::clone(&status))
}

async fn metrics(State(api): State<Api>) -> Response {
    let status = Arc::clone(&api.status.borrow());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], render(&status, api.more.as_ref())).into_response()
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn stop(State(api): State<Api>, body: Result<Json<StopBody>, JsonRejection>) -> Response {
    match body {
        Ok(Json(StopBody { now })) => {
            let how = if now { StopRequest::Now } else { StopRequest::Graceful };
            answer(api.requests.ask(Request::Stop(how)).await)
        }
        Err(why) => malformed(&why),
    }
}

async fn rescale(State(api): State<Api>, body: Result<Json<RescaleBody>, JsonRejection>) -> Response {
    match body {
        Ok(Json(RescaleBody { parallelism })) => {
            answer(api.requests.ask(Request::Rescale { parallelism }).await)
        }
        Err(why) => malformed(&why),
    }
}

/// 202: it is being done, and the status tells how far.
fn answer(answer: Result<Accepted, AskError>) -> Response {
    match answer {
        Ok(Accepted::Stopping) => (StatusCode::ACCEPTED, Json(serde_json::json!({}))).into_response(),
        Ok(Accepted::Rescaling { from, to }) => {
            (StatusCode::ACCEPTED, Json(Rescaling { from, to })).into_response()
        }
        Ok(Accepted::Savepoint { id, place }) => {
            (StatusCode::ACCEPTED, Json(serde_json::json!({ "id": id, "place": place }))).into_response()
        }
        Err(AskError::Refused(Refused::Invalid(why))) => error(StatusCode::UNPROCESSABLE_ENTITY, why),
        Err(AskError::Refused(Refused::NotNow(why))) => error(StatusCode::CONFLICT, why),
        Err(AskError::Gone) => error(StatusCode::SERVICE_UNAVAILABLE, AskError::Gone.to_string()),
    }
}

async fn read_only() -> Response {
    let why = "this address only answers reads; the job is changed over the address of --admin, with a certificate of the job";
    error(StatusCode::FORBIDDEN, why.to_owned())
}

fn malformed(why: &JsonRejection) -> Response {
    let text = match why {
        JsonRejection::MissingJsonContentType(_) => {
            "send JSON, with the header Content-Type: application/json".to_owned()
        }
        other => other.body_text(),
    };
    error(why.status(), text)
}

async fn not_found(uri: Uri) -> Response {
    let message = format!(
        "nothing is at {}; there are GET /v1/job, GET /metrics, GET /healthz, GET and POST /v1/job/savepoints, POST /v1/job/stop and POST /v1/job/rescale",
        uri.path()
    );
    error(StatusCode::NOT_FOUND, message)
}

async fn not_allowed(uri: Uri) -> Response {
    let how = match uri.path() {
        "/v1/job/stop" | "/v1/job/rescale" => "can only be asked for, with POST",
        _ => "can only be read, with GET",
    };
    error(StatusCode::METHOD_NOT_ALLOWED, format!("{} {how}", uri.path()))
}

fn error(status: StatusCode, message: String) -> Response {
    (status, Json(serde_json::json!({ "error": message }))).into_response()
}
