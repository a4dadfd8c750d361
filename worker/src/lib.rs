//! Weir as a library: run a job in this process, or a process of a job.
//!
//! The `weir` binary is a command line over it.

pub mod logs;
pub mod process;
pub mod run;
mod traces;
