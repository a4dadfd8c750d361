//! What is wrong is told with its place and its words.

use weir_plan::{PlanOptions, plan, settings};

const DDL: &str = "CREATE TABLE src (id BIGINT, name STRING, r ROW<a INT, b STRING>, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH ('connector' = 'filesystem', 'path' = 'file:///data/in', 'format' = 'json');
CREATE TABLE out (id BIGINT, name STRING) WITH ('connector' = 'blackhole');
CREATE TABLE files (id BIGINT, n BIGINT) WITH ('connector' = 'filesystem', 'path' = 'file:///data/out', 'format' = 'json');
";

/// The problems as `line:column message`; lines count after the declarations.
fn problems(sql: &str) -> Vec<String> {
    let text = format!("{DDL}{sql}");
    match plan(&text, &PlanOptions::default()) {
        Ok(_) => Vec::new(),
        Err(problems) => {
            problems.iter().map(|p| format!("{}:{} {}", p.line - 3, p.column, p.message)).collect()
        }
    }
}

fn check(cases: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (sql, want) in cases {
        let got = problems(sql);
        if got != [(*want).to_owned()] {
            wrong.push(format!("{sql}\n  want: {want}\n  got:  {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn syntax_that_is_not_understood() {
    check(&[
        ("SELECT id FROM src;", "1:1 a query by itself is not supported: its rows would go nowhere"),
        ("DROP TABLE src;", "1:1 DROP statements are not supported"),
        ("CREATE FUNCTION f AS 'x';", "1:8 CREATE FUNCTION is not supported yet"),
        ("CREATE CATALOG c;", "1:8 CREATE CATALOG is not supported yet"),
        ("CREATE TEMPORARY FUNCTION f AS 'x';", "1:18 CREATE TEMPORARY FUNCTION is not supported yet"),
        ("CREATE OR REPLACE VIEW v AS SELECT 1;", "1:11 CREATE OR REPLACE is not supported"),
        ("SET x = 1;", "1:5 SET takes a key in quotes"),
        ("SET 'x' = 1;", "1:11 SET takes a value in quotes"),
        (
            "INSERT OVERWRITE out SELECT id, name FROM src;",
            "1:8 INSERT OVERWRITE is not supported: a stream has no end",
        ),
        ("INSERT INTO a.b SELECT 1;", "1:13 a.b names a catalog or database, which are not supported"),
        (
            "EXECUTE STATEMENT SET BEGIN INSERT INTO out SELECT id, name FROM src;",
            "1:1 this statement set has no END",
        ),
        ("END;", "1:1 END without a statement set"),
    ]);
}

#[test]
fn declarations_that_are_wrong() {
    check(&[
        ("CREATE TABLE t (a INT);", "1:14 the table `t` has no option 'connector'"),
        ("CREATE TABLE t (a INT) WITH ('connector' = 'blakhole');", "1:44 unknown connector 'blakhole'"),
        ("CREATE TABLE t (a INTT) WITH ('connector' = 'blackhole');", "1:19 unknown type INTT"),
        (
            "CREATE TABLE t (a MAP<INT, INT>) WITH ('connector' = 'blackhole');",
            "1:19 the type MAP is not supported yet",
        ),
        (
            "CREATE TABLE t (a DECIMAL(40, 2)) WITH ('connector' = 'blackhole');",
            "1:19 DECIMAL(40, 2) is not a type",
        ),
        (
            "CREATE TABLE t (a TIMESTAMP(4)) WITH ('connector' = 'blackhole');",
            "1:19 TIMESTAMP(4) is not supported yet",
        ),
        (
            "CREATE TABLE t (a INT, a INT) WITH ('connector' = 'blackhole');",
            "1:24 the table has two columns `a`",
        ),
        (
            "CREATE TABLE t (a INT METADATA) WITH ('connector' = 'blackhole');",
            "1:23 METADATA columns are not supported yet",
        ),
        (
            "CREATE TABLE t (a INT PRIMARY KEY) WITH ('connector' = 'blackhole');",
            "1:23 a primary key is not checked, and must say so",
        ),
        (
            "CREATE TABLE t (a INT, PRIMARY KEY (b) NOT ENFORCED) WITH ('connector' = 'blackhole');",
            "1:37 the table has no column `b`",
        ),
        (
            "CREATE TABLE t (a INT) PARTITIONED BY (b) WITH ('connector' = 'blackhole');",
            "1:40 the table has no column `b`",
        ),
        (
            "CREATE TABLE t (a INT) WITH ('connector' = 'blackhole', 'connector' = 'print');",
            "1:57 the option 'connector' is there twice",
        ),
        (
            "CREATE TABLE t (a INT, WATERMARK FOR b AS b) WITH ('connector' = 'blackhole');",
            "1:38 the table has no column `b`",
        ),
        (
            "CREATE TABLE t (a INT) WITH ('connector' = 'blackhole', 'scan.watermark.idle-timeout' = '1 s');",
            "1:57 option 'scan.watermark.idle-timeout': the table `t` has no WATERMARK",
        ),
        (
            "CREATE TABLE t (a TIMESTAMP(3), WATERMARK FOR a AS a) WITH ('connector' = 'blackhole', 'scan.watermark.idle-timeout' = '0 s');",
            "1:120 option 'scan.watermark.idle-timeout': it must be longer than 0",
        ),
        (
            "CREATE TABLE t (a INT, WATERMARK FOR a AS a) WITH ('connector' = 'blackhole');",
            "1:38 the event time `a` must be a TIMESTAMP(3) or TIMESTAMP_LTZ(3), not INT",
        ),
        ("CREATE TABLE t (a INT, b AS c + 1) WITH ('connector' = 'blackhole');", "1:29 unknown column `c`"),
        (
            "CREATE TABLE src (a INT) WITH ('connector' = 'blackhole');",
            "1:14 there is a table or view `src` already",
        ),
        ("CREATE TABLE t (a INT) LIKE src;", "1:24 CREATE TABLE … LIKE is not supported yet"),
        (
            "CREATE VIEW v (a, b) AS SELECT id FROM src;",
            "1:13 the view declares 2 columns, its query gives 1",
        ),
    ]);
}

#[test]
fn names_that_are_not_there() {
    check(&[
        ("INSERT INTO out SELECT id, nam FROM src;", "1:28 unknown column `nam`"),
        ("INSERT INTO out SELECT id, x.name FROM src;", "1:28 unknown column `x.name`"),
        (
            "INSERT INTO out SELECT id, r.c FROM src;",
            "1:28 the ROW has no field `c`: its fields are `a`, `b`",
        ),
        ("INSERT INTO out SELECT id, name FROM srk;", "1:38 unknown table `srk`"),
        ("INSERT INTO outt SELECT id, name FROM src;", "1:13 unknown table `outt`"),
        ("INSERT INTO out SELECT id, UPER(name) FROM src;", "1:28 unknown function UPER"),
        (
            "INSERT INTO out (id, nam) SELECT id, name FROM src;",
            "1:22 `out` has no column `nam` that can be written",
        ),
        ("INSERT INTO out SELECT id, name FROM src WHERE nam = 'x';", "1:48 unknown column `nam`"),
        ("INSERT INTO out SELECT ID, name FROM src;", "1:24 unknown column `ID`"),
    ]);
}

#[test]
fn constructs_that_are_not_there_yet() {
    check(&[
        (
            "INSERT INTO out SELECT a.id, a.name FROM src AS a JOIN src AS b ON a.id = b.id;",
            "1:56 a join is not supported yet",
        ),
        ("INSERT INTO out SELECT src.id, out.name FROM src, out;", "1:51 a join is not supported yet"),
        ("INSERT INTO out SELECT id, name FROM src ORDER BY id;", "1:51 ORDER BY is not supported yet"),
        ("INSERT INTO out SELECT id, name FROM src LIMIT 5;", "1:48 LIMIT is not supported yet"),
        ("INSERT INTO out SELECT DISTINCT id, name FROM src;", "1:17 SELECT DISTINCT is not supported yet"),
        (
            "INSERT INTO out SELECT id, name FROM src UNION SELECT id, name FROM src;",
            "1:48 UNION before this query is not supported yet",
        ),
        (
            "INSERT INTO out SELECT COUNT(DISTINCT id), name FROM src GROUP BY name;",
            "1:24 COUNT(DISTINCT …) is not supported yet",
        ),
        (
            "INSERT INTO out SELECT SUM(id) OVER (PARTITION BY name), name FROM src;",
            "1:24 SUM … OVER is not supported yet",
        ),
        (
            "INSERT INTO out SELECT id, name FROM src WHERE id IN (SELECT id FROM src);",
            "1:48 IN (SELECT …) is not supported yet",
        ),
        (
            "INSERT INTO out SELECT id, name FROM src GROUP BY ROLLUP (id, name);",
            "1:59 ROLLUP is not supported yet",
        ),
        (
            "INSERT INTO out SELECT COUNT(*), name FROM src GROUP BY name, TUMBLE(ts, INTERVAL '1' HOUR);",
            "1:63 TUMBLE in GROUP BY is not supported yet",
        ),
        (
            "INSERT INTO out SELECT id, name FROM TABLE(SESSION(TABLE src, DESCRIPTOR(ts), INTERVAL '1' HOUR));",
            "1:44 the window table function SESSION is not supported yet",
        ),
        (
            "INSERT INTO out SELECT id, name FROM TABLE(CUMULATE(TABLE src, DESCRIPTOR(ts), INTERVAL '1' HOUR, INTERVAL '1' DAY));",
            "1:44 the window table function CUMULATE is not supported yet",
        ),
        (
            "INSERT INTO out SELECT id, CAST(PROCTIME() AS STRING) FROM src;",
            "1:33 PROCTIME is not supported yet: processing time is not",
        ),
        ("INSERT INTO out VALUES (1, 'a');", "1:24 VALUES is not supported yet"),
    ]);
}

#[test]
fn types_that_do_not_fit() {
    check(&[
        (
            "INSERT INTO out SELECT name, name FROM src;",
            "1:13 the column `id` is of type BIGINT, but the query gives STRING (`name`)",
        ),
        ("INSERT INTO out SELECT id FROM src;", "1:13 the query gives 1 columns, `out` takes 2"),
        (
            "INSERT INTO out SELECT id, name FROM src WHERE id = 'x';",
            "1:48 BIGINT and STRING cannot be compared: CAST one of them",
        ),
        ("INSERT INTO out SELECT id + name, name FROM src;", "1:24 BIGINT + STRING is not possible"),
        ("INSERT INTO out SELECT id, UPPER(id) FROM src;", "1:28 UPPER takes a STRING, not BIGINT"),
        (
            "INSERT INTO out SELECT id, SUBSTRING(name) FROM src;",
            "1:38 SUBSTRING takes 2 to 3 arguments, not 1",
        ),
        (
            "INSERT INTO out SELECT SUM(name), name FROM src GROUP BY name;",
            "1:24 SUM cannot be computed over STRING: it takes numbers",
        ),
        (
            "INSERT INTO out SELECT CAST(ts AS BIGINT), name FROM src;",
            "1:29 TIMESTAMP(3) cannot be cast to BIGINT: use EXTRACT or TIMESTAMPDIFF",
        ),
        (
            "INSERT INTO out SELECT id, REGEXP_EXTRACT(name, '(?=x)') FROM src;",
            "1:28 the regular expression \"(?=x)\" is not supported: look-around, including look-ahead and look-behind, is not supported",
        ),
    ]);
}

#[test]
fn aggregations_and_windows_that_cannot_be_right() {
    check(&[
        (
            "INSERT INTO files SELECT id, COUNT(*) FROM src GROUP BY id;",
            "1:13 `files` takes new rows only, but the query updates rows that it gave before",
        ),
        (
            "INSERT INTO out SELECT COUNT(*), name FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(id), INTERVAL '1' HOUR)) GROUP BY name, window_start, window_end;",
            "1:79 `id` is not the event time of `src`",
        ),
        (
            "INSERT INTO out SELECT COUNT(*), name FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(tz), INTERVAL '1' HOUR)) GROUP BY name, window_start, window_end;",
            "1:79 `src` has no column `tz`",
        ),
        (
            "INSERT INTO out SELECT COUNT(*), name FROM TABLE(TUMBLE(TABLE sr, DESCRIPTOR(ts), INTERVAL '1' HOUR)) GROUP BY name, window_start, window_end;",
            "1:63 unknown table `sr`",
        ),
        (
            "INSERT INTO out SELECT COUNT(*), name FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '0' HOUR)) GROUP BY name, window_start, window_end;",
            "1:50 TUMBLE: the size must be from 1 millisecond to 1000 years, not 0 ms",
        ),
        (
            "INSERT INTO out SELECT COUNT(*), name FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '1' MONTH)) GROUP BY name, window_start, window_end;",
            "1:93 a window's size cannot be in months or years",
        ),
        (
            "INSERT INTO out SELECT id, name FROM src WHERE COUNT(*) > 1;",
            "1:48 the aggregate COUNT cannot stand here",
        ),
    ]);
}

#[test]
fn all_problems_are_told_at_once() {
    let found = problems(
        "INSERT INTO out SELECT id, nam FROM src;\nINSERT INTO nowhere SELECT id FROM src;\nCREATE TABLE t (a INTT) WITH ('connector' = 'x');",
    );
    let places: Vec<_> = found.iter().map(|p| p.split(' ').next().unwrap_or("")).collect();
    assert_eq!(places, ["1:28", "2:13", "3:19"], "{found:?}");
}

#[test]
fn a_view_with_a_problem_is_told_once() {
    let found = problems("CREATE VIEW v AS SELECT nope FROM src;\nINSERT INTO out SELECT id, name FROM v;");
    assert_eq!(found, ["1:25 unknown column `nope`"]);
}

#[test]
fn a_problem_is_shown_with_its_line() {
    let text = format!("{DDL}INSERT INTO out\nSELECT id, nam FROM src;");
    let shown = plan(&text, &PlanOptions::default()).err().map(|p| p[0].to_string()).unwrap_or_default();
    assert_eq!(
        shown,
        "error: line 5, column 12: unknown column `nam`\n  5 | SELECT id, nam FROM src;\n    |            ^^^\n  hint: did you mean `name`?"
    );
}

#[test]
fn settings_are_read_without_the_rest() {
    let found =
        settings("SET 'a' = 'b';\n-- ; SET\nSELECT nonsense;\n  SET 'c.d' = '1 s';").expect("settings");
    let all: Vec<_> = found.iter().map(|s| (s.key.as_str(), s.value.as_str(), s.line, s.column)).collect();
    assert_eq!(all, [("a", "b", 1, 5), ("c.d", "1 s", 4, 7)]);
}

#[test]
fn no_text_makes_it_panic() {
    for text in [
        "",
        ";",
        "'",
        "`",
        "(",
        "CREATE",
        "CREATE TABLE",
        "CREATE TABLE t (",
        "INSERT",
        "INSERT INTO",
        "SET",
        "BEGIN STATEMENT SET",
        "/*",
        "SELECT (((((",
        "CREATE VIEW v AS",
        "ü'",
        "\u{0}",
    ] {
        assert!(plan(text, &PlanOptions::default()).is_err(), "{text:?}");
    }
    let deep =
        format!("{DDL}INSERT INTO out SELECT {}id{}, name FROM src;", "(".repeat(500), ")".repeat(500));
    assert!(plan(&deep, &PlanOptions::default()).is_err());
}

#[test]
fn long_statements_are_planned_up_to_a_limit() {
    let long = |n: usize| {
        format!("INSERT INTO out SELECT id, name FROM src WHERE id > 0{};", " AND id + 1 > 2".repeat(n))
    };
    assert_eq!(problems(&long(300)), Vec::<String>::new(), "901 operators are not too many");
    assert_eq!(problems(&long(400)).len(), 1, "1,201 are");
}
