//! From the text of a manifest to a job that can be run, or everything that is wrong with it, each
//! with its line and column.
//!
//! Owns: reading YAML with places, choosing the job in a file, `--set`, and bringing the problems of
//! shape, meaning and SQL to one form. It does not own what a field means (`weir-crds`) and what the
//! SQL means (`weir-plan`).

mod check;
mod document;
mod finding;
mod places;
mod render;
mod yaml;

#[cfg(test)]
mod tests;

pub(crate) use check::{Checked, Options, Outcome, check};
pub(crate) use finding::Finding;
pub(crate) use render::Renderer;
pub(crate) use yaml::MAX_BYTES;
