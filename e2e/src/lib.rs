//! What stories on a real cluster are told with: commands against the cluster that `KUBECONFIG` names, an S3 server within
//! it, jobs over a known input and what they must come to, and what can be done to pods and nodes.
//!
//! It uses `kubectl` and `helm` as a person does, so that a story sees what a user sees. It owns no knowledge of how the
//! operator works, and nothing here is part of a released program.

#![allow(clippy::panic, clippy::unwrap_used, reason = "code of tests: a broken assumption ends the test")]

pub mod bucket;
pub mod charts;
pub mod job;
pub mod kubectl;
pub mod nodes;
pub mod reference;
pub mod story;
mod tools;

pub use job::Job;
pub use kubectl::Kubectl;
pub use story::Story;

use std::time::Duration;

/// Nothing that a story waits for takes longer, also on a busy machine.
pub const LONG: Duration = Duration::from_secs(300);
