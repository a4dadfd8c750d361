//! A problem of a manifest: where it is, what it is, and what is allowed.

use std::fmt;

/// Where in a manifest a problem is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// A field by its path: `spec.checkpoint.interval`, `spec.worker.env[2].name`,
    /// `spec.worker.labels["a.b/c"]`. The path of a field that should be there but is not names the
    /// missing field.
    Field(String),
    /// The name of a field, where the name itself is wrong; by the path it would have.
    Name(String),
    /// A place in the SQL of the job, counted from 1; columns count characters.
    Sql {
        /// The line.
        line: u32,
        /// The column.
        column: u32,
    },
}

impl Place {
    /// A field.
    pub fn field(path: impl Into<String>) -> Self {
        Self::Field(path.into())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(path) | Self::Name(path) => f.write_str(path),
            Self::Sql { line, column } => write!(f, "SQL line {line}, column {column}"),
        }
    }
}

/// A problem of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// What is wrong, in one sentence, with what is allowed.
    pub message: String,
    /// The other place, where two do not go together.
    pub other: Option<Place>,
}

impl Problem {
    /// A problem at a place.
    pub fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), other: None }
    }

    /// A problem at a field.
    pub fn field(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Place::field(path), message)
    }

    /// A problem at a place of the SQL.
    pub fn sql(line: u32, column: u32, message: impl Into<String>) -> Self {
        Self::new(Place::Sql { line, column }, message)
    }

    /// The same with the other place that it does not go together with.
    #[must_use]
    pub fn with(mut self, other: Place) -> Self {
        self.other = Some(other);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// The nearest of some known names, if one is near enough to be what was meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&lower, &k.to_lowercase()), k))
        .filter(|(distance, k)| *distance <= k.chars().count().max(name.chars().count()).div_ceil(3).min(6))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

/// `; did you mean "…"?`, or nothing.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|k| format!("; did you mean {k:?}?")).unwrap_or_default()
}

/// `a, b and c`.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>, last: &str) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match names.as_slice() {
        [] => "none".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}
