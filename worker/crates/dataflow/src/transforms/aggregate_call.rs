//! Aggregate calls as the planner hands them over, and the types that they give.

use std::fmt;
use std::time::Duration;

use arrow_schema::{DataType, SchemaRef};

/// What an aggregate call computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AggregateFunction {
    /// `COUNT(*)` without an input, else the rows in which the input is not NULL.
    Count,
    /// The sum; NULL if there is no value.
    Sum,
    /// The smallest value; NULL if there is none.
    Min,
    /// The largest value; NULL if there is none.
    Max,
    /// The mean; NULL if there is no value. Of integers it is cut off to an integer, as in Flink.
    Avg,
}

impl fmt::Display for AggregateFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Count => "COUNT",
            Self::Sum => "SUM",
            Self::Min => "MIN",
            Self::Max => "MAX",
            Self::Avg => "AVG",
        })
    }
}

impl AggregateFunction {
    /// The type of the result, by Flink's rules; `None` as input is `COUNT(*)`.
    ///
    /// # Errors
    /// A sentence that says which inputs are allowed.
    pub fn output_type(self, input: Option<&DataType>) -> Result<DataType, String> {
        let Some(input) = input else {
            return match self {
                Self::Count => Ok(DataType::Int64),
                _ => Err(format!("{self} needs an argument")),
            };
        };
        let refused =
            |allowed: &str| Err(format!("{self} cannot be computed over {input}: it takes {allowed}"));
        match self {
            Self::Count => Ok(DataType::Int64),
            Self::Sum => match input {
                DataType::Decimal128(_, scale) => Ok(DataType::Decimal128(38, *scale)),
                t if is_number(t) => Ok(t.clone()),
                _ => refused("numbers"),
            },
            Self::Avg => match input {
                // Flink divides DECIMAL(38, s) by DECIMAL(20, 0).
                DataType::Decimal128(_, scale) => Ok(DataType::Decimal128(38, (*scale).max(6))),
                t if is_number(t) => Ok(t.clone()),
                _ => refused("numbers"),
            },
            Self::Min | Self::Max => match input {
                DataType::Boolean
                | DataType::Decimal128(..)
                | DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Utf8View
                | DataType::Date32
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Timestamp(..) => Ok(input.clone()),
                t if is_number(t) => Ok(t.clone()),
                _ => refused("numbers, strings, booleans, dates, times and timestamps"),
            },
        }
    }
}

fn is_number(t: &DataType) -> bool {
    matches!(
        t,
        DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Float32
            | DataType::Float64
    )
}

/// One aggregate of an aggregation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateCall {
    /// What is computed.
    pub function: AggregateFunction,
    /// The input column; none for `COUNT(*)`.
    pub input: Option<usize>,
    /// `FILTER (WHERE …)`: a boolean input column; only rows in which it is true count.
    pub filter: Option<usize>,
    /// The type of the result: what [`AggregateFunction::output_type`] gives.
    pub output: DataType,
}

/// An aggregation: grouping keys and aggregate calls.
#[derive(Debug, Clone)]
pub struct AggregateSpec {
    /// Input columns that are grouped by, in order; empty for a global aggregation.
    pub keys: Vec<usize>,
    /// The aggregates, in order.
    pub calls: Vec<AggregateCall>,
    /// The columns that come in.
    pub input_schema: SchemaRef,
    /// The columns that go out. `Aggregate`: the keys, then the calls. `WindowAggregate`: as its
    /// [`WindowSpec::output`](crate::window::WindowSpec) says.
    pub output_schema: SchemaRef,
    /// Whether rows may come that take others back (`-U`, `-D`).
    pub retracting: bool,
    /// Whether `-U` rows go out; a sink that upserts by the keys does not need them.
    pub update_before: bool,
    /// `Aggregate` only: a group that was not touched for this long is forgotten.
    pub ttl: Option<Duration>,
}
