//! As much of Markdown as the documents use.

use std::collections::BTreeSet;

/// A block of code between fences.
pub(super) struct Block {
    /// The line of its first fence, from 1.
    pub(super) line: usize,
    /// What stands behind the first fence.
    pub(super) info: String,
    pub(super) text: String,
}

/// The blocks of code, and the lines outside of them with their numbers.
fn taken_apart(text: &str) -> (Vec<Block>, Vec<(usize, &str)>) {
    let (mut blocks, mut outside) = (Vec::new(), Vec::new());
    let mut open: Option<Block> = None;
    for (at, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(info), None) => {
                open = Some(Block { line: at + 1, info: info.trim().to_owned(), text: String::new() });
            }
            (None, Some(block)) => block.text += &format!("{line}\n"),
            (None, None) => outside.push((at + 1, line)),
        }
    }
    (blocks, outside)
}

/// The blocks of code.
pub(super) fn blocks(text: &str) -> Vec<Block> {
    taken_apart(text).0
}

/// The pieces of a line outside and inside of backquotes, in turn.
fn pieces(line: &str) -> impl Iterator<Item = (bool, &str)> {
    line.split('`').enumerate().map(|(i, piece)| (i % 2 == 1, piece))
}

/// Where links lead to, with their lines.
pub(super) fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, line) in taken_apart(text).1 {
        // A name of a link may hold code, its target does not.
        let plain: String = pieces(line).map(|(code, piece)| if code { "x" } else { piece }).collect();
        for rest in plain.split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or_default();
            found.push((at, target.to_owned()));
        }
    }
    found
}

/// Code within lines.
pub(super) fn spans(text: &str) -> Vec<(usize, String)> {
    let lines = taken_apart(text).1;
    let spans = |(at, line): (usize, &str)| {
        pieces(line).filter(|(code, _)| *code).map(|(_, piece)| (at, piece.to_owned())).collect::<Vec<_>>()
    };
    lines.into_iter().flat_map(spans).collect()
}

/// The anchors of the headings, as GitHub makes them.
pub(super) fn anchors(text: &str) -> BTreeSet<String> {
    let headings = taken_apart(text).1.into_iter().filter(|(_, line)| line.starts_with('#'));
    let anchor = |(_, line): (usize, &str)| {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let title = line.trim_start_matches('#').trim().to_lowercase();
        title.chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn a_text_is_taken_apart() {
    let text =
        "# `weir run`: it runs\n[a](b.md#c) and `[no](link)` and [`x`](y)\n```sh\nweir run\n```\nend\n";
    let blocks = blocks(text);
    assert_eq!((blocks[0].line, blocks[0].info.as_str(), blocks[0].text.as_str()), (3, "sh", "weir run\n"));
    assert_eq!(links(text), [(2, "b.md#c".to_owned()), (2, "y".to_owned())]);
    assert_eq!(spans(text).len(), 3);
    assert_eq!(anchors(text).into_iter().collect::<Vec<_>>(), ["weir-run-it-runs"]);
}
