//! The transforms, one file each.

pub mod aggregate;
pub mod aggregate_call;
pub mod calc;
pub mod window_aggregate;
pub mod window_assign;
