//! The transforms, one file each.

mod accumulators;
pub mod aggregate;
pub mod aggregate_call;
pub mod calc;
mod places;
#[cfg(test)]
mod testing;
pub mod window_aggregate;
pub mod window_assign;
