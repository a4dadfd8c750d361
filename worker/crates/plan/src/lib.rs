//! From Flink SQL to a job: what the engine runs, or everything that is wrong, each with its place.
//!
//! Owns: the dialect, types and functions as Flink means them, the logical plan, the job graph with
//! stable ids. It is the only crate that knows DataFusion, of which it uses name resolution,
//! optimiser rules and expressions, never the execution. It does not own: what a connector's options
//! mean (`weir-connectors`), how a transform works (`weir-dataflow`), what a setting means (`weir-crds`).

mod call;
mod catalog;
mod desugar;
mod dialect;
mod explain;
mod expression;
mod functions;
mod graph;
mod ids;
mod interval;
mod lower;
mod planner;
mod problem;
mod query;
mod rel;
mod resolve;
mod script;
mod show;
mod table;
mod types;
mod window_tvf;

use std::time::Duration;

pub use catalog::TABLE_OPTIONS;
pub use explain::{Explained, explain};
pub use functions::help::{FUNCTIONS, FunctionHelp};
pub use problem::Problem;
use weir_connectors::{CONNECTORS, Connector};
use weir_dataflow::Job;

/// What a plan depends on besides the SQL.
#[derive(Clone)]
pub struct PlanOptions {
    /// Subtasks per vertex; at least 1.
    pub parallelism: u32,
    /// Number of key groups of the job.
    pub max_parallelism: u32,
    /// Keys of unbounded aggregates that were not touched for this long (processing time) may be
    /// dropped; zero: never.
    pub state_ttl: Duration,
    /// A split without rows for this long does not hold the watermark back, where a table says nothing else;
    /// `None`: it does for ever.
    pub idle_timeout: Option<Duration>,
    /// The connectors that tables may name.
    pub connectors: &'static [Connector],
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            parallelism: 1,
            max_parallelism: 128,
            state_ttl: Duration::ZERO,
            idle_timeout: None,
            connectors: CONNECTORS,
        }
    }
}

/// A `SET 'key' = 'value'` statement.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Setting {
    /// The key as written.
    pub key: String,
    /// The value as written.
    pub value: String,
    /// Line of the key, from 1.
    pub line: u32,
    /// Column of the key in characters, from 1.
    pub column: u32,
    /// Length of the key in characters.
    pub length: u32,
}

impl Setting {
    /// A problem at the setting's place, in the form of all others.
    pub fn problem(&self, sql: &str, message: impl Into<String>, hint: Option<String>) -> Problem {
        let place = problem::Place { line: self.line, column: self.column, length: self.length };
        let fault = problem::Fault { place, message: message.into(), hint };
        fault.shown(sql)
    }
}

/// A job that can be run.
#[derive(Clone)]
pub struct Planned {
    /// The graph and its code.
    pub job: Job,
    /// The SET statements in their order; what they mean is the caller's concern.
    pub settings: Vec<Setting>,
    /// What is allowed but likely not meant.
    pub warnings: Vec<Problem>,
    /// What is known of each vertex besides the graph, in the order of the vertices.
    pub properties: Vec<VertexProperties>,
}

/// What the planner derived for the rows that a vertex gives.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VertexProperties {
    /// Columns with their SQL types.
    pub columns: Vec<String>,
    /// Which kinds of rows it gives.
    pub changelog: Changelog,
    /// The event-time column, if rows carry watermarked event time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_time: Option<String>,
}

/// Which kinds of rows a relation consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Changelog {
    /// `+I` only.
    InsertOnly,
    /// `+I`, `-U`, `+U`, `-D`.
    Retract,
}

/// Plans a job.
///
/// # Errors
/// Everything that is wrong with it, in the order of the text.
pub fn plan(sql: &str, options: &PlanOptions) -> Result<Planned, Vec<Problem>> {
    deep(|| planner::plan(sql, options)).map_err(|faults| shown(faults, sql))
}

/// Enough for the deepest expression that is let through.
const STACK_BYTES: usize = 256 * 1024 * 1024;

/// Runs the planner where it cannot run out of stack, nor take the process with it.
fn deep<T: Send>(
    work: impl FnOnce() -> Result<T, Vec<problem::Fault>> + Send,
) -> Result<T, Vec<problem::Fault>> {
    let failed = |message: &str| {
        let start = problem::Place { line: 1, column: 1, length: 0 };
        Err(vec![
            problem::Fault::new(start, message)
                .hint("this is a defect of weir: please report it with the SQL"),
        ])
    };
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name("plan".into()).stack_size(STACK_BYTES).spawn_scoped(scope, work);
        match thread.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(planned)) => planned,
            Ok(Err(_)) => failed("the planner broke off on this job"),
            Err(e) => failed(&format!("the planner could not be started: {e}")),
        }
    })
}

/// Reads the SET statements only, before the job's configuration exists. Cheap; other statements
/// are passed over unchecked.
///
/// # Errors
/// Text that cannot be taken apart into statements, and malformed SET statements.
pub fn settings(sql: &str) -> Result<Vec<Setting>, Vec<Problem>> {
    let (settings, faults) = script::parse_settings(sql);
    if faults.is_empty() { Ok(settings) } else { Err(shown(faults, sql)) }
}

fn shown(mut faults: Vec<problem::Fault>, sql: &str) -> Vec<Problem> {
    faults.sort_by_key(|f| f.place);
    faults.dedup();
    faults.into_iter().map(|f| f.shown(sql)).collect()
}
