//! Manifests and SQL that the documents show: what is said to work works.
//!
//! Blocks of YAML are manifests, or pieces of their `spec`; blocks marked `yaml other` are something else. Blocks of SQL
//! are marked: `tables` stand before all that follow in the document, `works` has no problems, `refused` has exactly
//! those that its last lines name, as `-- error: …`.

use weir_plan::PlanOptions;

use super::all;
use super::markdown::{Block, blocks};
use crate::manifest::{Options, check};

/// What a manifest needs besides the fields that a piece shows.
const HEADER: &str = "apiVersion: weir.dev/v1alpha1\nkind: StreamJob\nmetadata:\n  name: sample\n";
const SQL: &str = "  sql: |
    CREATE TABLE a (n BIGINT) WITH ('connector' = 'datagen');
    CREATE TABLE b (n BIGINT) WITH ('connector' = 'blackhole');
    INSERT INTO b SELECT n FROM a;
";

#[test]
fn every_manifest_that_is_shown_has_no_problems() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (document, text) in all() {
        for block in blocks(&text).iter().filter(|b| b.info == "yaml") {
            seen += 1;
            let mut manifest = block.text.clone();
            if !manifest.contains("apiVersion:") {
                assert!(
                    manifest.starts_with("spec:"),
                    "{document}:{}: not a piece of a manifest",
                    block.line
                );
                manifest = format!("{HEADER}{manifest}");
            }
            if !manifest.contains("sql: |") {
                manifest += SQL;
            }
            let storage = Some("file:///tmp/weir".to_owned());
            let outcome = check(&manifest, &Options { storage, plan: true, ..Options::default() });
            if outcome.checked.is_none() {
                let said: Vec<_> = outcome.findings.iter().map(|f| f.sentence()).collect();
                wrong.push(format!("{document}:{}: {}", block.line, said.join("; ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 10, "only {seen} manifests were found");
}

/// What is said of the SQL of a block.
fn said(tables: &str, block: &Block) -> Vec<String> {
    match weir_plan::plan(&format!("{tables}{}", block.text), &PlanOptions::default()) {
        Ok(planned) => planned.warnings.into_iter().map(|p| p.message).collect(),
        Err(problems) => problems.into_iter().map(|p| p.message).collect(),
    }
}

#[test]
fn sql_that_is_shown_is_planned_or_refused_as_it_says() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (document, text) in all() {
        let mut tables = String::new();
        for block in blocks(&text) {
            let expected: Vec<_> = match block.info.as_str() {
                "sql tables" => {
                    tables += &block.text;
                    continue;
                }
                "sql works" => Vec::new(),
                "sql refused" => block
                    .text
                    .lines()
                    .filter_map(|l| l.strip_prefix("-- error: "))
                    .map(str::to_owned)
                    .collect(),
                info if info.starts_with("sql") => panic!("{document}:{}: what is {info:?}?", block.line),
                _ => continue,
            };
            seen += 1;
            let said = said(&tables, &block);
            if said != expected {
                wrong.push(format!("{document}:{}: {said:?} instead of {expected:?}", block.line));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 8, "only {seen} blocks of SQL were found");
}
