//! The operator of weir: makes what runs in a cluster be what `StreamJob` and `Savepoint` objects ask for.
//!
//! Owns: the objects of a job, when its pods are made, replaced and stopped, and what is reported of it. It does
//! not own state: that is the journal in the job's bucket, of which the operator knows nothing and for which it
//! has no credentials. Whatever it does wrong costs time, not data.

pub mod certificates;
pub mod cluster;
pub mod controller;
pub mod coordinators;
pub mod leader;
pub mod metrics;
pub mod names;
mod queue;
pub mod report;
pub mod root;
pub mod run;
pub mod server;
