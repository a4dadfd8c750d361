//! Unbounded GROUP BY with changelog output.

use std::sync::Arc;

use weir_protocol::{Failure, StateTableInfo};

use super::aggregate_call::AggregateSpec;
use crate::TransformFactory;

/// See [`Aggregate::factory`].
#[derive(Debug)]
pub struct Aggregate;

impl Aggregate {
    /// Makes the transforms of an aggregation.
    ///
    /// # Errors
    /// A specification that can't be computed, with what is allowed.
    pub fn factory(spec: AggregateSpec) -> Result<Arc<dyn TransformFactory>, Failure> {
        Err(Failure::new(weir_protocol::FailureKind::Bug, format!("{spec:?}")))
    }

    /// The state that an aggregation declares.
    ///
    /// # Errors
    /// As [`Aggregate::factory`].
    pub fn tables(spec: &AggregateSpec) -> Result<Vec<StateTableInfo>, Failure> {
        Err(Failure::new(weir_protocol::FailureKind::Bug, format!("{spec:?}")))
    }
}
