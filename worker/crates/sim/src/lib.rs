//! A whole job in one thread, without clock, network or chance of its own: real coordinator and real
//! journal machines over a store, workers and a dataflow small enough to check every step.
//!
//! A [`World`] lists what can happen next ([`World::choices`]) and lets one of it happen
//! ([`World::apply`]); after each step all invariants are checked. A model checker tries every order; the
//! seeded simulation ([`run`]) draws one order from a seed. It does not own any logic of the job.

mod choice;
mod ghost;
mod process;
mod seeded;
mod setup;
mod store;
mod task;
mod worker;
mod world;

pub use choice::Choice;
pub use seeded::{Outcome, run};
pub use setup::{Mutant, Setup};
pub use world::World;
