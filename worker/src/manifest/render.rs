//! How findings are shown to people: the message, the place, the line of the file with carets.

use std::fmt::Write;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::finding::{Finding, Severity};
use super::yaml::Span;

/// The longest part of a line that is shown.
const WIDTH: usize = 160;

/// Shows findings of one file.
pub(crate) struct Renderer<'a> {
    file: &'a str,
    lines: Vec<&'a str>,
    colours: bool,
}

impl<'a> Renderer<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str, colours: bool) -> Self {
        Self { file, lines: text.lines().collect(), colours }
    }

    /// All findings, and how many problems there are.
    pub(crate) fn all(&self, findings: &[Finding]) -> String {
        let mut out = String::new();
        for finding in findings {
            out.push_str(&self.one(finding));
            out.push('\n');
        }
        let problems = findings.iter().filter(|f| f.severity == Severity::Problem).count();
        match problems {
            0 => {}
            1 => out.push_str(&format!("1 problem in {}\n", self.file)),
            n => out.push_str(&format!("{n} problems in {}\n", self.file)),
        }
        out
    }

    fn one(&self, finding: &Finding) -> String {
        let (word, colour) = match finding.severity {
            Severity::Problem => ("error", "31;1"),
            Severity::Warning => ("warning", "33;1"),
            Severity::Note => ("note", "36;1"),
        };
        let mut out = format!("{}: {}\n", self.paint(word, colour), visible(&finding.sentence()));
        let margin = finding.span.map_or(1, |s| s.line.to_string().len());
        let gap = " ".repeat(margin);
        if let Some(span) = finding.span {
            let _ = writeln!(out, "{gap}{} {}:{}:{}", self.paint("-->", "34"), self.file, span.line, span.column);
            self.source(&mut out, span, colour);
        } else if finding.field.is_none() {
            let _ = writeln!(out, "{gap}{} {}", self.paint("-->", "34"), self.file);
        }
        if let Some(other) = finding.other {
            let at = format!("{}:{}:{}", self.file, other.line, other.column);
            let _ = writeln!(out, "{gap} {} the other place: {at}", self.paint("=", "34"));
        }
        if let Some(hint) = &finding.hint {
            let _ = writeln!(out, "{gap} {} hint: {}", self.paint("=", "34"), visible(hint));
        }
        out
    }

    fn source(&self, out: &mut String, span: Span, colour: &str) {
        let Some(line) = self.lines.get(span.line.saturating_sub(1) as usize) else { return };
        let number = span.line.to_string();
        let gap = " ".repeat(number.len());
        let bar = self.paint("|", "34");
        let before = span.column.saturating_sub(1) as usize;
        // A long line is shown from a little before the place.
        let skip = if before > WIDTH / 2 { before - WIDTH / 4 } else { 0 };
        let shown: String = line.chars().skip(skip).take(WIDTH).map(printable).collect();
        let lead: usize = shown.chars().take(before - skip).map(|c| c.width().unwrap_or(1)).sum();
        let marked: String = shown.chars().skip(before - skip).take(span.length as usize).collect();
        let carets = "^".repeat(marked.width().max(1));
        let _ = writeln!(out, "{gap} {bar}");
        let _ = writeln!(out, "{} {bar} {}", self.paint(&number, "34"), shown.trim_end());
        let _ = writeln!(out, "{gap} {bar} {}{}", " ".repeat(lead), self.paint(&carets, colour));
    }

    fn paint(&self, text: &str, colour: &str) -> String {
        if self.colours { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// A character that takes room and does nothing to a terminal.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// A text that does nothing to a terminal.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { ' ' } else { printable(c) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_place_whatever_the_width_of_what_is_before_it() {
        let text = "a: 1\n名前: \tx\n";
        let finding = Finding {
            field: Some("spec.x".to_owned()),
            hint: Some("try y".to_owned()),
            other: Some(Span::at(1, 1)),
            ..Finding::problem(Some(Span { line: 2, column: 6, length: 1 }), "is wrong")
        };
        assert_eq!(
            Renderer::new("job.yaml", text, false).all(&[finding]),
            "error: spec.x: is wrong\n --> job.yaml:2:6\n  |\n2 | 名前:  x\n  |        ^\n  = the other place: \
             job.yaml:1:1\n  = hint: try y\n\n1 problem in job.yaml\n"
        );
    }

    #[test]
    fn a_file_can_not_steer_the_terminal() {
        let text = "a: \u{1b}[2Jx\n";
        let finding = Finding::problem(Some(Span::at(1, 1)), "bad \u{1b}[0m");
        assert!(!Renderer::new("f", text, false).all(&[finding]).contains('\u{1b}'));
    }
}
