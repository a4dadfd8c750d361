//! What the planner asks of a connector: a table of this schema with these options, read or written.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use weir_dataflow::SourceFactory;

/// A table as declared: physical columns only (no computed ones) and the options of its `WITH`.
#[derive(Debug, Clone)]
pub struct TableSpec {
    /// The table's name, for messages and split ids.
    pub name: String,
    /// Physical columns in the declared order.
    pub schema: SchemaRef,
    /// All options but `connector`, with the keys as written.
    pub options: BTreeMap<String, String>,
    /// Columns of `PARTITIONED BY`.
    pub partitioned_by: Vec<String>,
}

/// What is wrong with a table's options. All problems are reported together; the planner adds line
/// and column of the option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionError {
    /// The option, if the problem lies with one that was written.
    pub key: Option<String>,
    /// What is wrong and what is allowed, with the nearest known name for an unknown one.
    pub message: String,
}

/// A column, or a field of a ROW column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColumnPath {
    /// Position in [`TableSpec::schema`].
    pub column: usize,
    /// Position of the field in the column's `Struct` type.
    pub field: Option<usize>,
}

/// `path <op> value`, for rows where the path is not null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// An integer column.
    pub path: ColumnPath,
    /// Which values pass.
    pub op: CompareOp,
    /// The literal.
    pub value: i64,
}

/// Which values pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompareOp {
    /// `=`
    Eq,
    /// `<>`
    NotEq,
    /// `<`
    Lt,
    /// `<=`
    LtEq,
    /// `>`
    Gt,
    /// `>=`
    GtEq,
}

/// What a query needs of a table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scan {
    /// What comes out, in this order; field paths as flat columns.
    pub columns: Vec<ColumnPath>,
    /// All hold for every row that the query uses. A source may take over any of them.
    pub filters: Vec<Comparison>,
}

/// A table that can be read.
pub trait SourceTable: Send + Sync {
    /// Makes the source for what a query needs: its schema is that of `scan.columns` (a field path
    /// gives the field's type, nullable if the row column is), and it says which of the filters it
    /// has taken over entirely.
    fn scan(&self, scan: &Scan) -> (Arc<dyn SourceFactory>, Vec<bool>);
}
