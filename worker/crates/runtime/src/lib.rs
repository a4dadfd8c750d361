//! Clock and randomness behind traits, so that the same code runs in production and in simulation.
//!
//! It does not own any policy.

mod clock;
mod random;

pub use clock::{Clock, SystemClock, Timestamp};
pub use random::{Random, SeededRandom, SystemRandom};
