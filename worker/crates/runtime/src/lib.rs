//! Clock and randomness behind traits, so that the same code runs in production and in simulation; who may
//! talk to a process of a job.
//!
//! It does not own any policy.

mod clock;
mod crash;
mod random;
pub mod tls;

pub use clock::{Clock, SystemClock, Timestamp};
pub use crash::crash_point;
pub use random::{Random, SeededRandom, SystemRandom};
