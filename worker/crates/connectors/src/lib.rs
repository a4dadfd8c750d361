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
mod pace;
mod print;
mod sequence;
mod table;
#[cfg(test)]
mod testing;

use std::sync::Arc;

pub use options::OptionRow;
pub use table::{ColumnPath, CompareOp, Comparison, OptionError, Scan, SourceTable, TableSpec};
use weir_dataflow::SinkFactory;

/// Checks a declared table and makes something of it, or tells all that is wrong with it.
pub type Make<T> = fn(&TableSpec) -> Result<Arc<T>, Vec<OptionError>>;

/// A connector: one line in [`CONNECTORS`].
pub struct Connector {
    /// The value of the option `connector`.
    pub name: &'static str,
    /// Checks the options of a table that is read; `None` if the connector can't read.
    pub source: Option<Make<dyn SourceTable>>,
    /// Checks the options of a table that is written; `None` if the connector can't write.
    pub sink: Option<Make<dyn SinkFactory>>,
    /// Options: name, default (`None`: required, `Some("")`: absent), one line of help. The docs are made of it.
    pub options: &'static [OptionRow],
}

/// All connectors.
pub const CONNECTORS: &[Connector] =
    &[nexmark::CONNECTOR, datagen::CONNECTOR, filesystem::CONNECTOR, print::CONNECTOR, blackhole::CONNECTOR];

/// The connector of this name.
pub fn connector(name: &str) -> Option<&'static Connector> {
    CONNECTORS.iter().find(|c| c.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_option_is_named_once_and_explained() {
        for connector in CONNECTORS {
            let names: BTreeSet<_> = connector.options.iter().map(|(name, _, _)| name).collect();
            assert_eq!(names.len(), connector.options.len(), "{}", connector.name);
            assert!(connector.options.iter().all(|(_, _, help)| help.len() > 10), "{}", connector.name);
        }
        assert_eq!(connector("nexmark").map(|c| c.name), Some("nexmark"));
        assert!(connector("kafka").is_none());
    }
}
