//! The user's contract: `StreamJob` and `Savepoint` of group `weir.dev`, and what they mean.
//!
//! Owns: the types of spec and status with their documentation, ranges and rules; the definitions that
//! are made of them (`*.weir.dev.yaml` beside this crate); the check of a manifest's shape;
//! and one pure function from a spec to the [`weir_protocol::JobConfig`] that the engine reads, which
//! collects every problem with its place. It does not own: reading files (the command line), talking
//! to a cluster (the operator; nothing here has a client), and the meaning of SQL (`weir-plan`).

mod config;
pub mod limits;
mod overrides;
mod problem;
#[allow(unreachable_pub, reason = "the derive repeats each struct inside a function")]
mod savepoint;
mod settings;
mod shape;
#[allow(unreachable_pub, reason = "the derive repeats each struct inside a function")]
mod spec;
#[allow(unreachable_pub, reason = "the derive repeats each struct inside a function")]
mod status;
mod storage;
mod text;

pub use config::{Given, to_config};
pub use overrides::{Override, read_override};
pub use problem::{Place, Problem, nearest};
pub use savepoint::*;
pub use settings::{Setting, setting_help};
pub use shape::{API_VERSION, Shape, check_shape, field_path, schema};
pub use spec::*;
pub use status::*;
pub use storage::{check_endpoint, check_storage_url};

/// In the schema an enum is described by the field that holds it, not by its type.
fn the_field_describes(schema: &mut schemars::Schema) {
    schema.remove("description");
}
