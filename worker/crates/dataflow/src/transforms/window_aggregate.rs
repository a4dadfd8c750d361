//! GROUP BY over the windows of a window table function.

use std::sync::Arc;

use weir_protocol::{Failure, StateTableInfo};

use super::aggregate_call::AggregateSpec;
use crate::TransformFactory;
use crate::window::WindowSpec;

/// See [`WindowAggregate::factory`].
#[derive(Debug)]
pub struct WindowAggregate;

impl WindowAggregate {
    /// Makes the transforms of a window aggregation.
    ///
    /// # Errors
    /// A specification that can't be computed, with what is allowed.
    pub fn factory(spec: AggregateSpec, window: WindowSpec) -> Result<Arc<dyn TransformFactory>, Failure> {
        Err(Failure::new(weir_protocol::FailureKind::Bug, format!("{spec:?} {window:?}")))
    }

    /// The state that a window aggregation declares.
    ///
    /// # Errors
    /// As [`WindowAggregate::factory`].
    pub fn tables(spec: &AggregateSpec, window: &WindowSpec) -> Result<Vec<StateTableInfo>, Failure> {
        Err(Failure::new(weir_protocol::FailureKind::Bug, format!("{spec:?} {window:?}")))
    }
}
