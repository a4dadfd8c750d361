//! Whole jobs: what `explain` says of them, and that ids are stable.

use std::fs;
use std::path::{Path, PathBuf};

use weir_plan::{PlanOptions, Planned, explain, plan};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jobs")
}

fn ddl() -> String {
    fs::read_to_string(folder().join("ddl.sql")).expect("the declarations")
}

fn planned(sql: &str) -> Planned {
    let sql = ddl() + sql;
    let options = PlanOptions { parallelism: 2, ..PlanOptions::default() };
    let shown = |problems: Vec<weir_plan::Problem>| {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    plan(&sql, &options).map_err(shown).expect("a job that can be planned")
}

/// `WEIR_UPDATE=1` writes the expected files anew; the difference is then for a person to judge.
#[test]
fn jobs_are_planned_as_expected() {
    let mut wrong = Vec::new();
    let mut files: Vec<_> =
        fs::read_dir(folder()).expect("the folder").map(|f| f.expect("a file").path()).collect();
    files.sort();
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "sql") && !f.ends_with("ddl.sql"))
    {
        let got = explain(&planned(&fs::read_to_string(file).expect("a job"))).text();
        let expected = file.with_extension("txt");
        if std::env::var_os("WEIR_UPDATE").is_some() {
            fs::write(&expected, &got).expect("the expected text");
        }
        if fs::read_to_string(&expected).unwrap_or_default() != got {
            wrong.push(format!("{}:\n{got}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const OUT: &str = "CREATE TABLE out (auction BIGINT, num BIGINT) WITH ('connector' = 'blackhole');";
const COUNT: &str = "INSERT INTO out SELECT auction, COUNT(*) FROM bid GROUP BY auction;";

/// Ids of the transforms of this name.
fn ids(planned: &Planned, name: &str) -> Vec<String> {
    let transforms = planned.job.graph.vertices.iter().flat_map(|v| &v.transforms);
    transforms.filter(|t| t.name == name).map(|t| t.id.to_string()).collect()
}

#[test]
fn the_id_of_an_aggregation_survives_edits_that_do_not_concern_it() {
    let before = planned(&format!("{OUT}{COUNT}"));
    let edits = [
        "INSERT INTO out SELECT x.auction AS a, COUNT(*) AS n -- why\n FROM bid AS x GROUP BY x.auction;",
        "INSERT INTO out SELECT auction, COUNT(*) FROM bid WHERE price > 10 GROUP BY auction;",
        "INSERT INTO out SELECT auction, n FROM (SELECT auction, COUNT(*) AS n FROM bid GROUP BY auction) WHERE n > 3;",
        "CREATE TABLE other (p BIGINT) WITH ('connector' = 'blackhole'); INSERT INTO other SELECT price FROM bid; INSERT INTO out SELECT auction, COUNT(*) FROM bid GROUP BY auction;",
    ];
    for edit in edits {
        let after = planned(&format!("{OUT}{edit}"));
        for name in ["Aggregate", "nexmark", "out"] {
            assert_eq!(ids(&before, name), ids(&after, name), "{name} after: {edit}");
        }
    }
}

#[test]
fn the_id_of_an_aggregation_changes_with_what_it_computes() {
    let before = ids(&planned(&format!("{OUT}{COUNT}")), "Aggregate");
    for edit in [
        "INSERT INTO out SELECT auction, SUM(price) FROM bid GROUP BY auction;",
        "INSERT INTO out SELECT bidder, COUNT(*) FROM bid GROUP BY bidder;",
    ] {
        assert_ne!(before, ids(&planned(&format!("{OUT}{edit}")), "Aggregate"), "{edit}");
    }
}

#[test]
fn aggregations_that_differ_by_their_filter_only_keep_apart() {
    let two = |a: &str, b: &str| {
        let one = |w: &str| {
            format!("INSERT INTO out SELECT auction, COUNT(*) FROM bid WHERE price > {w} GROUP BY auction;")
        };
        let mut found = ids(&planned(&format!("{OUT}{}{}", one(a), one(b))), "Aggregate");
        found.sort();
        found
    };
    let found = two("1", "2");
    assert_eq!(found.len(), 2);
    assert_ne!(found[0], found[1]);
    assert_eq!(found, two("2", "1"), "the order of the statements does not matter");
}

#[test]
fn equal_aggregations_of_two_statements_are_one() {
    let twice = planned(&format!(
        "{OUT}CREATE TABLE out2 (auction BIGINT, num BIGINT) WITH ('connector' = 'blackhole');{COUNT}{}",
        COUNT.replace("out", "out2")
    ));
    assert_eq!(ids(&twice, "Aggregate").len(), 1);
    assert_eq!(ids(&twice, "nexmark").len(), 1);
}

#[test]
fn only_what_is_used_is_read() {
    let job = planned(
        "CREATE TABLE out (p BIGINT) WITH ('connector' = 'blackhole'); INSERT INTO out SELECT price FROM bid;",
    );
    let source = job.job.nodes[0].source.as_ref().expect("a source");
    let names: Vec<_> = source.factory.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names.len(), 1, "the event type is compared by the source, the time is not read: {names:?}");
    assert!(source.watermark.is_none(), "nothing waits for event time");
}

#[test]
fn a_table_says_how_long_its_watermark_waits_for_a_split() {
    let timeout = |option: &str| {
        let job = planned(&format!(
            "CREATE TABLE logs (n BIGINT, at TIMESTAMP(3), WATERMARK FOR at AS at) WITH ({option}'connector' = 'datagen');
             CREATE TABLE out (n BIGINT) WITH ('connector' = 'blackhole');
             INSERT INTO out SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE logs, DESCRIPTOR(at), INTERVAL '1' HOUR))
             GROUP BY window_start, window_end;"
        ));
        let source = job.job.nodes.iter().find_map(|n| n.source.as_ref()).expect("a source");
        source.watermark.as_ref().expect("a watermark").idle_timeout
    };
    assert_eq!(timeout(""), None);
    let some = "'scan.watermark.idle-timeout' = '90 s', ";
    assert_eq!(timeout(some), Some(std::time::Duration::from_secs(90)));
}

#[test]
fn every_form_of_explain_names_every_vertex() {
    let job = planned(&format!("{OUT}{COUNT}"));
    let explained = explain(&job);
    let value: serde_json::Value = serde_json::from_str(&explained.json()).expect("JSON");
    assert_eq!(value["vertices"].as_array().map(Vec::len), Some(job.job.graph.vertices.len()));
    for v in &job.job.graph.vertices {
        assert!(explained.text().contains(&v.id.to_string()));
        assert!(explained.mermaid().contains(&format!("v{}", v.id)));
    }
}
