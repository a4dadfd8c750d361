//! Talking to the coordinators of jobs: status is read in the clear by whoever may connect; a change of a job is
//! asked for under mutual TLS, with a certificate of that job.

mod live;

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::report::Report;

pub use live::LiveCoordinators;

/// Whom to talk to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The uid of the job.
    pub job: String,
    /// The coordinator's pod.
    pub pod: IpAddr,
}

/// What may be asked of a coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// To stop; at once, or after a last checkpoint.
    Stop {
        /// At once.
        now: bool,
    },
    /// To change the parallelism.
    Rescale {
        /// To so many subtasks per vertex.
        parallelism: u32,
    },
    /// To make a savepoint.
    Savepoint {
        /// Under this name.
        id: String,
        /// In this folder; beside the checkpoints if absent.
        to: Option<String>,
    },
}

impl Ask {
    /// Where it is posted, and what.
    pub fn request(&self) -> (&'static str, Value) {
        match self {
            Self::Stop { now } => ("/v1/job/stop", json!({ "now": now })),
            Self::Rescale { parallelism } => ("/v1/job/rescale", json!({ "parallelism": parallelism })),
            Self::Savepoint { id, to } => ("/v1/job/savepoints", json!({ "id": id, "to": to })),
        }
    }
}

/// Why there is no good answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It can't be done, whenever it is asked for.
    #[error("{0}")]
    Refused(String),
    /// It can't be done now.
    #[error("{0}")]
    NotNow(String),
    /// Nobody answered in time, or not as a coordinator does.
    #[error("the coordinator can't be reached: {0}")]
    Unreachable(String),
}

/// The coordinators of all jobs.
pub trait Coordinators: Send + Sync + 'static {
    /// What a job does.
    fn status(&self, address: &Address) -> impl Future<Output = Result<Report, AskError>> + Send;

    /// Asks for a change. That it is taken does not say that it is done: the status does. May be repeated.
    fn ask(&self, address: &Address, ask: &Ask) -> impl Future<Output = Result<(), AskError>> + Send;
}
