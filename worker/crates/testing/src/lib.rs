//! What tests of several crates need: real S3 servers that install and start themselves, stores that
//! misbehave, and the conformance suite of stores. Never part of a released binary.

#![allow(clippy::panic, clippy::unwrap_used, reason = "code of tests: a broken assumption ends the test")]

pub mod conformance;
mod crashing;
mod faulty;
mod net_proxy;
mod racy;
mod s3_proxy;
mod s3_server;
mod tools;

pub use crashing::{CrashingStore, Death};
pub use faulty::{Faults, FaultyStore};
pub use net_proxy::{NetFault, NetProxy};
pub use racy::RacyStore;
pub use s3_proxy::{S3Fault, S3Proxy};
pub use s3_server::{ACCESS_KEY, BUCKET, S3Kind, S3Server, SECRET_KEY};
