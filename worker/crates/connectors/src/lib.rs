//! Sources and sinks, and the formats of their records.
//!
//! It does not own: the loop around a source or a sink (`weir-dataflow`), SQL types and messages
//! with line and column (`weir-plan`).

mod blackhole;
mod datagen;
mod filesystem;
mod formats;
mod nexmark;
mod options;
mod print;
mod sequence;
mod table;
#[cfg(test)]
mod testing;

use std::sync::Arc;

pub use options::OptionRow;
pub use table::{ColumnPath, CompareOp, Comparison, OptionError, Scan, SourceTable, TableSpec};
use weir_dataflow::SinkFactory;

/// A connector: one line in [`CONNECTORS`].
pub struct Connector {
    /// The value of the option `connector`.
    pub name: &'static str,
    /// Checks the options of a table that is read; `None` if the connector can't read.
    pub source: Option<fn(&TableSpec) -> Result<Arc<dyn SourceTable>, Vec<OptionError>>>,
    /// Checks the options of a table that is written; `None` if the connector can't write.
    pub sink: Option<fn(&TableSpec) -> Result<Arc<dyn SinkFactory>, Vec<OptionError>>>,
    /// Options: name, default (`None`: required, `Some("")`: absent), one line of help. The docs are made of it.
    pub options: &'static [OptionRow],
}

/// All connectors.
pub const CONNECTORS: &[Connector] = &[nexmark::CONNECTOR, datagen::CONNECTOR, filesystem::CONNECTOR, print::CONNECTOR, blackhole::CONNECTOR];

/// The connector of this name.
pub fn connector(name: &str) -> Option<&'static Connector> {
    CONNECTORS.iter().find(|c| c.name == name)
}
