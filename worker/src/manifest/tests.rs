//! Bad manifests and what is said of them, word by word: `tests/*.txt`.
//!
//! A case is a name, options after `|`, the text, and what is expected, one finding per line with
//! line and column (`-` where there is none) in the file. A text that does not begin with
//! `apiVersion` stands below three lines that do. To make the expectations anew:
//! `WEIR_UPDATE=1 cargo test --workspace --bin weir manifest`; then read every one that changed.

use std::path::Path;

use super::finding::Severity;
use super::{Options, check};

const HEADER: &str = "apiVersion: weir.dev/v1alpha1\nkind: StreamJob\nmetadata: { name: j }\n";

struct Case<'a> {
    title: &'a str,
    text: &'a str,
    expected: &'a str,
}

fn cases(file: &str) -> Vec<Case<'_>> {
    file.split("\n=== ")
        .skip(1)
        .map(|case| {
            let (title, rest) = case.split_once('\n').expect("a case has a title line");
            let (text, expected) =
                rest.split_once("\n>>>\n").expect("a case has '>>>' before what is expected");
            Case { title, text, expected: expected.trim_end() }
        })
        .collect()
}

/// What is said of a case, in the form of the file.
fn said(case: &Case<'_>, plan: bool) -> String {
    let mut options = Options { storage: Some("file:///tmp/weir".to_owned()), plan, ..Options::default() };
    let mut words = case.title.split_once('|').map_or("", |(_, o)| o).split_whitespace();
    while let Some(word) = words.next() {
        match (word, words.next()) {
            ("--set", Some(set)) => options.overrides.push(set.to_owned()),
            ("--job", Some(job)) => options.job = Some(job.to_owned()),
            ("--no", Some("storage")) => options.storage = None,
            other => panic!("{}: {other:?} is no option of a case", case.title),
        }
    }
    // Made of words, because an editor would tidy such characters away.
    let text = case.text.replace("<TAB>", "\t").replace("<ESC>", "\u{1b}").replace("<NBSP>", "\u{a0}");
    let text = if text.starts_with("apiVersion") || case.title.contains("(whole)") {
        format!("{text}\n")
    } else {
        format!("{HEADER}{text}\n")
    };
    let outcome = check(&text, &options);
    let findings = outcome.findings.iter().map(|f| {
        let place = f.span.map_or("-".to_owned(), |s| format!("{}:{}", s.line, s.column));
        let word = match f.severity {
            Severity::Problem => "",
            Severity::Warning => "warning: ",
            Severity::Note => "note: ",
        };
        let hint = f.hint.as_ref().map_or(String::new(), |h| format!(" [hint: {h}]"));
        let other = f.other.map_or(String::new(), |s| format!(" [other: {}:{}]", s.line, s.column));
        format!("{place} {word}{}{hint}{other}", f.sentence())
    });
    let lines: Vec<String> = findings.collect();
    if lines.is_empty() { "nothing".to_owned() } else { lines.join("\n") }
}

fn run(name: &str, plan: bool, at_least: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manifest/tests").join(name);
    let file = std::fs::read_to_string(&path).expect("the file of cases is there");
    let cases = cases(&file);
    assert!(cases.len() >= at_least, "{} cases", cases.len());
    if std::env::var_os("WEIR_UPDATE").is_some() {
        let mut anew = file.split("\n=== ").next().unwrap_or_default().to_owned();
        for case in &cases {
            anew.push_str(&format!("\n=== {}\n{}\n>>>\n{}\n", case.title, case.text, said(case, plan)));
        }
        std::fs::write(&path, anew).expect("the file of cases is writable");
        return;
    }
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let said = said(case, plan);
            (said != case.expected)
                .then(|| format!("=== {}\nexpected:\n{}\nsaid:\n{said}", case.title, case.expected))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n\n"));
}

#[test]
fn what_is_wrong_with_a_manifest_is_said_with_its_place() {
    run("manifests.txt", false, 80);
}

#[test]
fn the_examples_have_no_problems() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut jobs = 0;
    let inside = |folder: &Path| {
        std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()).collect::<Vec<_>>()
    };
    let folders = inside(&examples).into_iter().filter(|path| path.is_dir());
    let manifests = folders.flat_map(|f| inside(&f)).filter(|f| f.extension().is_some_and(|e| e == "yaml"));
    for manifest in manifests {
        let text = std::fs::read_to_string(&manifest).expect("a manifest can be read");
        let options =
            Options { storage: Some("file:///tmp/weir".to_owned()), plan: true, ..Options::default() };
        let outcome = check(&text, &options);
        let said: Vec<String> = outcome.findings.iter().map(|f| f.sentence().to_string()).collect();
        assert!(outcome.checked.is_some(), "{}: {said:?}", manifest.display());
        jobs += 1;
    }
    assert!(jobs > 0);
}
