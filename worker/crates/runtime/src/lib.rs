//! Clock and randomness behind traits, so that the same code runs in production and in simulation; who may
//! talk to a process of a job; whose log lines a process writes.
//!
//! It does not own any policy.

mod clock;
mod crash;
mod log_ids;
mod random;
pub mod tls;

pub use clock::{Clock, SystemClock, Timestamp};
pub use crash::crash_point;
pub use log_ids::LogIds;
pub use random::{Random, SeededRandom, SystemRandom};
