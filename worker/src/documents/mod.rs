//! The documents below `docs/`: parts of them are made of the code, and what the rest promises (links, commands,
//! manifests, SQL) is tried. Tests only.
//!
//! A part that is made stands between `<!-- made of the code: NAME -->` and `<!-- end -->`. To make all of them anew:
//! `WEIR_UPDATE=1 cargo test --workspace --bin weir documents`

mod commands;
mod connectors;
mod exit_codes;
mod fields;
mod functions;
mod links;
mod markdown;
mod metrics;
mod refusals;
mod samples;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All documents for people: their paths below the root, with their texts.
fn all() -> Vec<(String, String)> {
    let mut paths: Vec<String> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(str::to_owned).into();
    let below = |folder: &str| {
        let entries = fs::read_dir(root().join(folder)).expect("a folder of documents");
        let mut names: Vec<_> =
            entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    for folder in ["docs", "docs/kubernetes"] {
        paths.extend(below(folder).iter().filter(|n| n.ends_with(".md")).map(|n| format!("{folder}/{n}")));
    }
    paths.push("examples/README.md".to_owned());
    let examples = below("examples").into_iter().filter(|name| root().join("examples").join(name).is_dir());
    paths.extend(examples.map(|n| format!("examples/{n}/README.md")));
    let read = |path: String| {
        let text = fs::read_to_string(root().join(&path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// Tests run side by side, and several may write one document.
static WRITING: Mutex<()> = Mutex::new(());

/// A part of a document is this text; with `WEIR_UPDATE` it becomes so.
fn check_part(document: &str, part: &str, text: &str) {
    let _alone = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let path = root().join(document);
    let before = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{document}: {e}"));
    let begin = format!("<!-- made of the code: {part} -->\n");
    let (head, rest) = before.split_once(&begin).unwrap_or_else(|| panic!("{document} has no part {part:?}"));
    let (old, tail) =
        rest.split_once("<!-- end -->").unwrap_or_else(|| panic!("{document}: part {part:?} has no end"));
    let new = format!("\n{}\n\n", text.trim());
    if std::env::var_os("WEIR_UPDATE").is_some() && old != new {
        fs::write(&path, format!("{head}{begin}{new}<!-- end -->{tail}")).expect("documents are writable");
        return;
    }
    assert!(
        old == new,
        "{document}: the part {part:?} is not what the code says; make it anew: \
         WEIR_UPDATE=1 cargo test --workspace --bin weir documents"
    );
}

/// A table of Markdown.
fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(head.map(str::to_owned).into());
    text += &line(vec!["---".to_owned(); N]);
    for row in rows {
        text += &line(row.map(|cell| cell.replace('|', "\\|").replace('\n', " ")).into());
    }
    text
}

/// Text as code, if there is any.
fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}
