//! What is wrong with a job's SQL, with its place, and how it is shown.

use std::fmt;

use datafusion_sql::sqlparser::tokenizer::{Location, Span};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// How many characters of the line are meant; at least 1.
    pub length: u32,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What is allowed, or what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The whole line that the problem is on.
    pub source_line: String,
}

/// Where in the text something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) length: u32,
}

impl Place {
    pub(crate) fn of(span: Span) -> Self {
        let Span { start, end } = span;
        let length = if start.line == end.line { end.column.saturating_sub(start.column) } else { 0 };
        Self::at(start, u32::try_from(length).unwrap_or(1))
    }

    /// This place, or the other one if this is the end of the text, which has none.
    pub(crate) fn or(self, end: Self) -> Self {
        if self.line == 1 && self.column == 1 && self.length == 0 { end } else { self }
    }

    /// A place that ends with its line if its length is 0.
    fn at(start: Location, length: u32) -> Self {
        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX).max(1);
        Self { line: number(start.line), column: number(start.column), length }
    }
}

/// A problem before the text of its line is added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) place: Place,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Fault {
    pub(crate) fn new(place: impl Into<Place>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the line of the text that the fault is on.
    pub(crate) fn shown(self, sql: &str) -> Problem {
        let Place { line, column, length } = self.place;
        let source_line = sql.lines().nth(line as usize - 1).unwrap_or("").to_owned();
        let rest = (source_line.chars().count() as u32 + 1).saturating_sub(column).max(1);
        let length = if length == 0 { rest } else { length.min(rest) };
        Problem { line, column, length, message: self.message, hint: self.hint, source_line }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl From<Span> for Place {
    fn from(span: Span) -> Self {
        Self::of(span)
    }
}

/// The problem with its line and a caret under its place:
///
/// ```text
/// error: line 2, column 8: unknown column `prise`
///   2 | SELECT prise FROM bid
///     |        ^^^^^
///   hint: did you mean `price`?
/// ```
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        writeln!(f, "error: line {}, column {}: {}", self.line, self.column, self.message)?;
        writeln!(f, "  {number} | {}", self.source_line)?;
        // Tabs are kept, so that the caret stands under its place whatever a tab's width.
        let before: String = self
            .source_line
            .chars()
            .take(self.column as usize - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        write!(f, "  {margin} | {before}{}", "^".repeat(self.length as usize))?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// The name that is nearest to `name` by edits, if it is near enough to be a slip.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&lower, &k.to_lowercase()), k))
        .filter(|(distance, k)| *distance <= 1 + k.len().min(name.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_its_line_and_a_caret_under_the_place() {
        let place = Place { line: 2, column: 9, length: 5 };
        let fault = Fault::new(place, "unknown column `prise`").hint("did you mean `price`?");
        let shown = fault.shown("INSERT INTO out\n\tSELECT prise FROM bid").to_string();
        assert_eq!(
            shown,
            "error: line 2, column 9: unknown column `prise`\n  2 | \tSELECT prise FROM bid\n    | \t       ^^^^^\n  hint: did you mean `price`?"
        );
    }

    #[test]
    fn a_place_beyond_the_text_is_shown_without_a_panic() {
        let fault = Fault::new(Place { line: 7, column: 90, length: 0 }, "end of the text");
        assert_eq!(fault.shown("SELECT").length, 1);
    }

    #[test]
    fn the_nearest_name_must_be_near() {
        assert_eq!(nearest("UPER", ["LOWER", "UPPER"]), Some("UPPER"));
        assert_eq!(nearest("frobnicate", ["LOWER", "UPPER"]), None);
    }
}
