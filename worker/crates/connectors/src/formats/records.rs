//! Text records: where one ends, and how the good ones of a block are kept when some are bad.

use std::ops::Range;

use arrow_array::RecordBatch;

/// Decodes text records into the columns that were asked for.
pub(crate) trait RecordDecoder: Send {
    /// Decodes these records of a block, all of them or none.
    ///
    /// # Errors
    /// Why not, for a person to read. The decoder can be used again.
    fn decode(&mut self, block: &[u8], records: &[Range<usize>]) -> Result<RecordBatch, String>;
}

/// How records are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// One record per line.
    Lines,
    /// One record per line, but line ends within a quoted field (one that starts with `"`) belong to it.
    QuotedFields {
        /// What separates fields.
        delimiter: u8,
    },
}

impl Framing {
    /// Appends the complete records of a block, without their line ends, blank ones left out; gives
    /// the position after the last complete one. At the end of a file what is left is a record too.
    pub(crate) fn cut(self, block: &[u8], end_of_file: bool, records: &mut Vec<Range<usize>>) -> usize {
        let mut start = 0;
        while start < block.len() {
            let (end, next) = match self.line_end(block, start) {
                Some(end) => (end, end + 1),
                None if end_of_file => (block.len(), block.len()),
                None => break,
            };
            let trimmed = if end > start && block[end - 1] == b'\r' { end - 1 } else { end };
            if !block[start..trimmed].iter().all(u8::is_ascii_whitespace) {
                records.push(start..trimmed);
            }
            start = next;
        }
        start
    }

    fn line_end(self, block: &[u8], start: usize) -> Option<usize> {
        let newline = memchr::memchr(b'\n', &block[start..]).map(|at| start + at);
        let Self::QuotedFields { delimiter } = self else { return newline };
        let line = &block[start..newline.unwrap_or(block.len())];
        if memchr::memchr(b'"', line).is_none() {
            return newline;
        }
        quoted_line_end(&block[start..], delimiter).map(|at| start + at)
    }
}

/// The first line end outside of quoted fields.
fn quoted_line_end(text: &[u8], delimiter: u8) -> Option<usize> {
    #[derive(Clone, Copy)]
    enum In {
        FieldStart,
        Field,
        Quotes,
        /// After a quote in quotes: the end of them, or half of an escaped one.
        Quote,
    }
    let mut state = In::FieldStart;
    for (at, &byte) in text.iter().enumerate() {
        state = match (state, byte) {
            (In::Quotes, b'"') => In::Quote,
            (In::Quotes, _) => In::Quotes,
            (In::FieldStart | In::Quote, b'"') => In::Quotes,
            (_, b'\n') => return Some(at),
            (_, byte) if byte == delimiter => In::FieldStart,
            _ => In::Field,
        };
    }
    None
}

/// A record that could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadRecord {
    /// Where it lies in the block.
    pub(crate) range: Range<usize>,
    /// What is wrong with it.
    pub(crate) reason: String,
}

/// Decodes records; those that can't be are given back and the rest is kept. Costs a second decoding
/// of the block, and about one more per bad record's share of it (halving), only if there are any.
pub(crate) fn decode_good(
    decoder: &mut dyn RecordDecoder,
    block: &[u8],
    records: &[Range<usize>],
) -> Result<(RecordBatch, Vec<BadRecord>), String> {
    match decoder.decode(block, records) {
        Ok(rows) => return Ok((rows, Vec::new())),
        Err(reason) if records.is_empty() => return Err(reason),
        Err(_) => {}
    }
    let mut bad = Vec::new();
    find_bad(decoder, block, records, &mut bad);
    let is_bad = |r: &Range<usize>| bad.iter().any(|b: &BadRecord| b.range == *r);
    let good: Vec<_> = records.iter().filter(|r| !is_bad(r)).cloned().collect();
    decoder.decode(block, &good).map(|rows| (rows, bad))
}

fn find_bad(decoder: &mut dyn RecordDecoder, block: &[u8], records: &[Range<usize>], bad: &mut Vec<BadRecord>) {
    let Err(reason) = decoder.decode(block, records) else { return };
    match records {
        [] => {}
        [one] => bad.push(BadRecord { range: one.clone(), reason }),
        _ => {
            let (left, right) = records.split_at(records.len() / 2);
            find_bad(decoder, block, left, bad);
            find_bad(decoder, block, right, bad);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(framing: Framing, text: &str, end: bool) -> (Vec<&str>, usize) {
        let mut records = Vec::new();
        let used = framing.cut(text.as_bytes(), end, &mut records);
        (records.into_iter().map(|r| &text[r]).collect(), used)
    }

    #[test]
    fn lines_end_at_line_ends_and_at_the_end_of_the_file() {
        assert_eq!(cut(Framing::Lines, "a\r\n\n  \nb\nc", false), (vec!["a", "b"], 9));
        assert_eq!(cut(Framing::Lines, "a\nc", true), (vec!["a", "c"], 3));
        assert_eq!(cut(Framing::Lines, "", true), (vec![], 0));
    }

    #[test]
    fn a_line_end_within_a_quoted_field_belongs_to_it() {
        let framing = Framing::QuotedFields { delimiter: b',' };
        let cases = [
            ("1,\"a\nb\",2\n3\n", vec!["1,\"a\nb\",2", "3"]),
            ("\"a \"\"b\n\"\"\",1\n2\n", vec!["\"a \"\"b\n\"\"\",1", "2"]),
            ("5\" pipe,1\n6\" pipe,2\n", vec!["5\" pipe,1", "6\" pipe,2"]),
        ];
        for (text, expected) in cases {
            assert_eq!(cut(framing, text, false), (expected, text.len()), "{text:?}");
        }
        assert_eq!(cut(framing, "1\n\"open\n", false), (vec!["1"], 2));
    }
}
