//! The coordinator of a job: decides when checkpoints are taken and when they are complete, where
//! subtasks run, and what follows a failure.
//!
//! The decisions are one pure function, [`step`]: an [`Event`] at a [`Moment`] changes the [`State`]
//! and gives [`Action`]s. A thin [`Coordinator`] carries those out. It does not own: what makes a
//! record durable (`weir-checkpoint`), and what subtasks do (`weir-dataflow`).

mod action;
mod checkpoint;
mod driver;
mod event;
mod handlers;
pub mod http;
mod link;
mod metrics;
mod options;
mod permit;
mod placement;
mod restart;
mod savepoints;
mod state;
pub mod status;
mod step;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use action::Action;
pub use driver::{AskError, Coordinator, PlanGraph, Requests, Shell};
pub use event::{
    Accepted, AppendOutcome, ClaimOutcome, Entry, Event, Exit, Loaded, Moment, Refused, Request, Retained,
    StopRequest, Ticket,
};
pub use link::{LinkEvent, WorkerLink, Workers};
pub use metrics::{MoreMetrics, render as render_metrics};
pub use options::Options;
pub use permit::{CommitPermit, Message};
pub use placement::{Homes, Offer, Place, place};
pub use restart::RestartState;
pub use savepoints::{SavepointRequest, SavepointState, SavepointStatus};
pub use state::State;
pub use status::JobStatus;
pub use step::step;
