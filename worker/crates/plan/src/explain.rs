//! A planned job for people and programs: text, JSON, Mermaid.

use crate::Planned;

/// A description of a job.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Explained {}

/// Describes a job.
pub fn explain(_planned: &Planned) -> Explained {
    Explained {}
}
