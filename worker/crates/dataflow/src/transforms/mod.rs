//! The transforms, one file each.

pub mod calc;
