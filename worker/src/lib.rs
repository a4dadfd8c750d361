//! Weir as a library: run a job in this process.
//!
//! The `weir` binary is a command line over it.

pub mod run;
