//! YAML as a tree of nodes that know their place.
//!
//! Owns: the events of the parser into nodes, anchors, duplicate keys, limits. It does not own what
//! the nodes mean.

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle, Span as Marks};
use serde_json::Value;

/// The largest manifest, in bytes.
pub(crate) const MAX_BYTES: usize = 1 << 20;
/// The most nodes of a file, aliases counted as what they stand for.
const MAX_NODES: usize = 50_000;

/// Where something stands: line and column from 1, in characters, and how many characters of that
/// line it covers (at least 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub(crate) struct Span {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) length: u32,
}

impl Span {
    pub(crate) fn at(line: u32, column: u32) -> Self {
        Self { line, column, length: 1 }
    }

    fn of(marks: Marks) -> Self {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (start, end) = (marks.start, marks.end);
        let length = if end.line() == start.line() { end.col().saturating_sub(start.col()) } else { 1 };
        Self {
            line: number(start.line()).max(1),
            column: number(start.col()) + 1,
            length: number(length).max(1),
        }
    }
}

/// A mistake in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) span: Span,
    pub(crate) message: String,
    /// The other place, where two do not go together.
    pub(crate) other: Option<Span>,
}

impl Mistake {
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), other: None }
    }
}

/// A node and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) content: Content,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Scalar {
        text: String,
        style: ScalarStyle,
    },
    List(Vec<Node>),
    /// Fields in their order: name, place of the name, value.
    Fields(Vec<(String, Span, Node)>),
}

impl Node {
    /// The field of this name.
    pub(crate) fn field(&self, name: &str) -> Option<&Node> {
        match &self.content {
            Content::Fields(fields) => fields.iter().find(|(n, ..)| n == name).map(|(.., node)| node),
            Content::Scalar { .. } | Content::List(_) => None,
        }
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar { text, .. } => Some(text),
            Content::List(_) | Content::Fields(_) => None,
        }
    }

    /// The value of a scalar: texts in quotes are text, others are what they look like.
    pub(crate) fn scalar(text: &str, style: ScalarStyle) -> Value {
        if style != ScalarStyle::Plain {
            return Value::from(text);
        }
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Value::Null,
            "true" | "True" | "TRUE" => Value::Bool(true),
            "false" | "False" | "FALSE" => Value::Bool(false),
            _ => number(text).unwrap_or_else(|| Value::from(text)),
        }
    }
}

/// A plain scalar as a number, if it is one. What is too large for 64 bits is a float.
fn number(text: &str) -> Option<Value> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') || digits.starts_with("00") {
        return None;
    }
    if digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit() {
        return None;
    }
    let whole = text.strip_prefix('+').unwrap_or(text);
    if let Ok(n) = whole.parse::<i64>() {
        return Some(Value::from(n));
    }
    let float = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    float.then(|| whole.parse::<f64>().ok().filter(|f| f.is_finite()).map(Value::from)).flatten()
}

/// Reads all documents of a file; empty ones are left out.
pub(crate) fn read(text: &str) -> Result<Vec<Node>, Vec<Mistake>> {
    let options = granit_parser::options! { block_nesting_limit: 64, flow_nesting_limit: 64 };
    let mut reader = Reader {
        parser: Parser::new_from_str_with_options(text, options),
        anchors: BTreeMap::new(),
        nodes: 0,
        mistakes: Vec::new(),
    };
    let mut documents = Vec::new();
    match reader.documents(&mut documents) {
        Ok(()) if reader.mistakes.is_empty() => Ok(documents),
        Ok(()) => Err(reader.mistakes),
        Err(mistake) => {
            reader.mistakes.push(mistake);
            Err(reader.mistakes)
        }
    }
}

struct Reader<'t> {
    parser: Parser<'t, granit_parser::StrInput<'t>>,
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
    /// Mistakes after which reading can go on.
    mistakes: Vec<Mistake>,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), Mistake> {
        loop {
            return match self.parser.next_event() {
                Some(Ok((Event::Comment(..), _))) => continue,
                Some(Ok((event, marks))) => Ok((event, Span::of(marks))),
                Some(Err(error)) => {
                    let span = Span::of(Marks::empty(*error.marker()));
                    Err(Mistake::new(span, format!("this is not YAML: {}", error.kind())))
                }
                None => Ok((Event::StreamEnd, Span::at(1, 1))),
            };
        }
    }

    fn documents(&mut self, documents: &mut Vec<Node>) -> Result<(), Mistake> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(()),
                (Event::StreamStart | Event::DocumentEnd, _) => {}
                (Event::DocumentStart(..), _) => {
                    self.anchors.clear();
                    let (event, span) = self.next()?;
                    let node = self.node(event, span)?;
                    let empty = matches!(&node.content, Content::Scalar { text, style: ScalarStyle::Plain }
                        if Node::scalar(text, ScalarStyle::Plain).is_null());
                    if !empty {
                        documents.push(node);
                    }
                }
                (_, span) => return Err(Mistake::new(span, "this is not YAML: a document was expected")),
            }
        }
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), Mistake> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(Mistake::new(span, format!("the file has more than {MAX_NODES} values")));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'t>, span: Span) -> Result<Node, Mistake> {
        let before = self.nodes;
        self.count(1, span)?;
        let (content, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let style = self.tag(tag.as_deref(), span, style);
                (Content::Scalar { text: text.into_owned(), style }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), span, ScalarStyle::Plain);
                (Content::List(self.list()?), anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), span, ScalarStyle::Plain);
                (Content::Fields(self.fields()?), anchor)
            }
            Event::Alias(id) => {
                let Some((node, nodes)) = self.anchors.get(&id).cloned() else {
                    return Err(Mistake::new(span, "an alias must not stand inside of what it names"));
                };
                self.count(nodes, span)?;
                return Ok(node);
            }
            _ => return Err(Mistake::new(span, "this is not YAML: a value was expected")),
        };
        let node = Node { span, content };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    /// Tags of YAML's own types are taken for what they say; others are mistakes.
    fn tag(&mut self, tag: Option<&granit_parser::Tag>, span: Span, style: ScalarStyle) -> ScalarStyle {
        match tag.map(|t| t.core_suffix()) {
            None | Some(Some("map" | "seq" | "int" | "float" | "bool" | "null")) => style,
            Some(Some("str")) => ScalarStyle::DoubleQuoted,
            Some(_) => {
                self.mistakes.push(Mistake::new(span, "tags are not allowed here: remove the part with '!'"));
                style
            }
        }
    }

    fn list(&mut self) -> Result<Vec<Node>, Mistake> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span)?),
            }
        }
    }

    fn fields(&mut self) -> Result<Vec<(String, Span, Node)>, Mistake> {
        let mut fields: Vec<(String, Span, Node)> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(fields);
            }
            let key = self.node(event, span)?;
            let (event, at) = self.next()?;
            let value = self.node(event, at)?;
            let name = match key.content {
                Content::Scalar { text, style } if Node::scalar(&text, style).is_string() => text,
                Content::Scalar { text, .. } => {
                    let message = format!("the name of a field must be text: write \"{text}\" in quotes");
                    self.mistakes.push(Mistake::new(span, message));
                    continue;
                }
                Content::List(_) | Content::Fields(_) => {
                    self.mistakes.push(Mistake::new(span, "the name of a field must be text"));
                    continue;
                }
            };
            if name == "<<" {
                self.mistakes
                    .push(Mistake::new(span, "merge keys (<<) are not allowed: write the fields out"));
            } else if let Some((_, first, _)) = fields.iter().find(|(n, ..)| *n == name) {
                let message = format!("{name:?} is given twice: keep one of the two");
                self.mistakes.push(Mistake { span, message, other: Some(*first) });
            } else {
                fields.push((name, span, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_what_they_look_like() {
        for (text, value) in [
            ("1", Value::from(1)),
            ("-5", Value::from(-5)),
            ("1.5", Value::from(1.5)),
            ("true", Value::from(true)),
            ("~", Value::Null),
            ("", Value::Null),
            ("10s", Value::from("10s")),
            ("010", Value::from("010")),
            ("1e3", Value::from(1000.0)),
            (".nan", Value::from(".nan")),
            ("yes", Value::from("yes")),
            ("99999999999999999999", Value::from(1e20)),
            ("1-2", Value::from("1-2")),
        ] {
            assert_eq!(Node::scalar(text, ScalarStyle::Plain), value, "{text}");
            assert!(Node::scalar(text, ScalarStyle::SingleQuoted).is_string());
        }
    }

    #[test]
    fn an_alias_stands_for_what_it_names_and_bombs_are_refused() {
        let nodes = read("a: &x {b: 1}\nc: *x\n").expect("aliases are fine");
        assert_eq!(nodes[0].field("c").and_then(|c| c.field("b")).and_then(Node::text), Some("1"));
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..9 {
            let before = format!("*a{}", i - 1);
            bomb.push_str(&format!("a{i}: &a{i} [{}]\n", vec![before; 10].join(", ")));
        }
        let mistakes = read(&bomb).expect_err("a bomb");
        assert!(mistakes[0].message.contains("more than"), "{mistakes:?}");
    }
}
