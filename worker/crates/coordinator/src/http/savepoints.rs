//! Savepoints over HTTP: asked for, listed, waited for.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::{Api, answer, error, malformed};
use crate::event::Request;
use crate::savepoints::{SavepointRequest, SavepointStatus};
use crate::status::JobStatus;

/// An answer is held no longer than this, whatever is asked for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The status is told a little later than a request is answered.
const GRACE: Duration = Duration::from_millis(500);

pub(super) async fn create(
    State(api): State<Api>,
    body: Result<Json<SavepointRequest>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(request)) => answer(api.requests.ask(Request::Savepoint(request)).await),
        Err(why) => malformed(&why),
    }
}

pub(super) async fn all(State(api): State<Api>) -> Json<Vec<SavepointStatus>> {
    Json(api.status.borrow().savepoints.clone())
}

/// With `?wait=<seconds>` the answer comes when the savepoint has ended, or after so many seconds.
pub(super) async fn one(State(mut api): State<Api>, Path(id): Path<String>, uri: Uri) -> Response {
    let wait = match seconds(uri.query()) {
        Ok(wait) => wait.min(LONGEST_WAIT),
        Err(why) => return error(StatusCode::BAD_REQUEST, why),
    };
    // Whether it came in time, the coordinator went, or time is up: what is known then is told.
    let known = |status: &Arc<JobStatus>| find(status, &id).is_some();
    let there = tokio::time::timeout(GRACE, api.status.wait_for(known)).await.is_ok_and(|s| s.is_ok());
    if there {
        let ended = |status: &Arc<JobStatus>| find(status, &id).is_none_or(|s| s.state.ended());
        drop(tokio::time::timeout(wait, api.status.wait_for(ended)).await);
    }
    let status = api.status.borrow().clone();
    match find(&status, &id) {
        Some(savepoint) => Json(savepoint.clone()).into_response(),
        None => {
            let known: Vec<&str> = status.savepoints.iter().map(|s| s.id.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            error(
                StatusCode::NOT_FOUND,
                format!("this coordinator knows no savepoint {id}; it knows {known}"),
            )
        }
    }
}

fn seconds(query: Option<&str>) -> Result<Duration, String> {
    let Some(query) = query else { return Ok(Duration::ZERO) };
    let seconds = query.strip_prefix("wait=").and_then(|text| text.parse().ok());
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| format!("{query:?} is not understood: write wait=<seconds>"))
}

fn find<'a>(status: &'a JobStatus, id: &str) -> Option<&'a SavepointStatus> {
    status.savepoints.iter().find(|savepoint| savepoint.id.as_str() == id)
}
