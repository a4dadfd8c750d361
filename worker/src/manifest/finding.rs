//! One thing to say about a manifest, in the form that is shown and given out as JSON.

use serde::Serialize;

use super::yaml::{Mistake, Span};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Severity {
    /// The job can't run.
    Problem,
    /// Allowed, but likely not meant.
    Warning,
    /// Good to know.
    Note,
}

/// One thing to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// The path of the field, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) field: Option<String>,
    /// Where in the file; nothing if it is not about a place of it.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) span: Option<Span>,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// The other place, where two do not go together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) other: Option<Span>,
}

impl Finding {
    pub(crate) fn problem(span: Option<Span>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Problem,
            field: None,
            span,
            message: message.into(),
            hint: None,
            other: None,
        }
    }

    pub(crate) fn note(span: Option<Span>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::problem(span, message) }
    }

    /// The message with the field it is about in front.
    pub(crate) fn sentence(&self) -> String {
        match &self.field {
            Some(field) => format!("{field}: {}", self.message),
            None => self.message.clone(),
        }
    }
}

impl From<Mistake> for Finding {
    fn from(mistake: Mistake) -> Self {
        Self { other: mistake.other, ..Self::problem(Some(mistake.span), mistake.message) }
    }
}
