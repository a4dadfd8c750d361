//! From the path of a field, or a place in the SQL, to a place in the file.

use std::collections::BTreeMap;

use granit_parser::ScalarStyle;
use serde_json::{Map, Value};
use weir_crds::field_path;

use super::yaml::{Content, Node, Span};

/// Where each field of a document stands.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// By path: the place of the name, and that of the value if it is on one line.
    fields: BTreeMap<String, (Span, Option<Span>)>,
    start: Option<Span>,
}

impl Places {
    /// A document as JSON, with the place of every field.
    pub(super) fn of(document: &Node) -> (Self, Value) {
        let mut places = Self { start: Some(document.span), ..Self::default() };
        let value = places.value("", document);
        (places, value)
    }

    fn value(&mut self, path: &str, node: &Node) -> Value {
        match &node.content {
            Content::Scalar { text, style } => Node::scalar(text, *style),
            Content::List(items) => items
                .iter()
                .enumerate()
                .map(|(i, item)| {
                    let path = format!("{path}[{i}]");
                    self.fields.insert(path.clone(), (item.span, on_one_line(item)));
                    self.value(&path, item)
                })
                .collect(),
            Content::Fields(fields) => {
                let mut object = Map::new();
                for (name, span, item) in fields {
                    let path = field_path(path, name);
                    self.fields.insert(path.clone(), (*span, on_one_line(item)));
                    object.insert(name.clone(), self.value(&path, item));
                }
                Value::Object(object)
            }
        }
    }

    /// Where the name of a field stands; that of the field it would be in, if it is not there.
    pub(super) fn name(&self, path: &str) -> Option<Span> {
        self.nearest(path).map(|(name, _)| *name).or(self.start)
    }

    /// Where the value of a field stands, or its name if the value is not on one line.
    pub(super) fn field(&self, path: &str) -> Option<Span> {
        match self.fields.get(path) {
            Some((name, value)) => Some(value.unwrap_or(*name)),
            None => self.name(path),
        }
    }

    fn nearest(&self, path: &str) -> Option<&(Span, Option<Span>)> {
        let mut path = path;
        loop {
            if let Some(found) = self.fields.get(path) {
                return Some(found);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}

fn on_one_line(node: &Node) -> Option<Span> {
    match &node.content {
        Content::Scalar { text, style: ScalarStyle::Plain | ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted }
            if !text.is_empty() || node.span.length > 1 =>
        {
            Some(node.span)
        }
        _ => None,
    }
}

/// The SQL and where it stands in the file.
#[derive(Debug)]
pub(super) struct SqlPlaces {
    line: u32,
    column: u32,
    /// Whether every character of the SQL is found at its own place of the file.
    exact: bool,
}

impl SqlPlaces {
    pub(super) fn of(node: &Node) -> Self {
        let Content::Scalar { text, style } = &node.content else {
            return Self { line: node.span.line, column: node.span.column, exact: false };
        };
        let characters = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        let single = !text.contains('\n');
        let Span { line, column, length } = node.span;
        match style {
            // The span begins at the first line that is not blank.
            ScalarStyle::Literal => {
                let blank = text.chars().take_while(|c| *c == '\n').count();
                let blank = u32::try_from(blank).unwrap_or(u32::MAX);
                Self { line: line.saturating_sub(blank), column, exact: true }
            }
            ScalarStyle::Plain => Self { line, column, exact: single && characters == length },
            // A quote stands in front, and nothing is escaped if the length is that of the text.
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                Self { line, column: column + 1, exact: single && characters + 2 == length }
            }
            _ => Self { line, column, exact: false },
        }
    }

    /// A place of the SQL in the file; `false` beside it if only the start of the SQL is known.
    pub(super) fn locate(&self, line: u32, column: u32, length: u32) -> (Span, bool) {
        if self.exact {
            let span = Span {
                line: self.line + line.saturating_sub(1),
                column: self.column + column.saturating_sub(1),
                length: length.max(1),
            };
            return (span, true);
        }
        (Span::at(self.line, self.column), false)
    }
}
