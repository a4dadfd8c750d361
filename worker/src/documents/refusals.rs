//! What of Flink's SQL is refused, with the message, in `docs/sql.md`. What comes to work has to leave this list.

use weir_plan::PlanOptions;

use super::{check_part, code, table};

const TABLES: &str = "CREATE TABLE src (id BIGINT, name STRING, amount DECIMAL(10, 2), at TIMESTAMP(3),
  WATERMARK FOR at AS at - INTERVAL '1' SECOND) WITH ('connector' = 'datagen');
CREATE TABLE dst (id BIGINT, name STRING) WITH ('connector' = 'blackhole');
CREATE TABLE files (id BIGINT, n BIGINT) WITH ('connector' = 'filesystem', 'path' = '/tmp/out', 'format' = 'json');
";

/// Statements, each refused for one reason.
const REFUSED: &[&str] = &[
    "INSERT INTO dst SELECT a.id, a.name FROM src AS a JOIN src AS b ON a.id = b.id",
    "INSERT INTO dst SELECT DISTINCT id, name FROM src",
    "INSERT INTO dst SELECT id, name FROM src UNION SELECT id, name FROM src",
    "INSERT INTO dst SELECT id, name FROM src ORDER BY id",
    "INSERT INTO dst SELECT id, name FROM src LIMIT 5",
    "INSERT INTO dst VALUES (1, 'a')",
    "INSERT INTO dst SELECT COUNT(DISTINCT id), name FROM src GROUP BY name",
    "INSERT INTO dst SELECT SUM(id) OVER (PARTITION BY name), name FROM src",
    "INSERT INTO dst SELECT ROW_NUMBER(), name FROM src",
    "INSERT INTO dst SELECT COUNT(*), LISTAGG(name) FROM src GROUP BY id",
    "INSERT INTO dst SELECT id, name FROM src WHERE id IN (SELECT id FROM src)",
    "INSERT INTO dst SELECT id, name FROM src GROUP BY ROLLUP (id, name)",
    "INSERT INTO dst SELECT COUNT(*), name FROM src GROUP BY name, TUMBLE(at, INTERVAL '1' HOUR)",
    "INSERT INTO dst SELECT id, name FROM TABLE(SESSION(TABLE src, DESCRIPTOR(at), INTERVAL '1' HOUR))",
    "INSERT INTO dst SELECT id, name FROM TABLE(CUMULATE(TABLE src, DESCRIPTOR(at), INTERVAL '1' HOUR, INTERVAL '1' DAY))",
    "INSERT INTO dst SELECT id, CAST(PROCTIME() AS STRING) FROM src",
    "INSERT INTO dst SELECT id, CAST(CURRENT_TIMESTAMP AS STRING) FROM src",
    "INSERT INTO dst SELECT id, UUID() FROM src",
    "INSERT INTO dst SELECT id, JSON_VALUE(name, '$.a') FROM src",
    "INSERT INTO files SELECT id, COUNT(*) FROM src GROUP BY id",
    "INSERT INTO dst SELECT id, name FROM src WHERE id = '1'",
    "INSERT INTO dst SELECT CAST(at AS BIGINT), name FROM src",
    "INSERT OVERWRITE dst SELECT id, name FROM src",
    "SELECT id FROM src",
    "CREATE TABLE t (a MAP<INT, INT>) WITH ('connector' = 'blackhole')",
    "CREATE TABLE t (a INT METADATA) WITH ('connector' = 'blackhole')",
    "CREATE TABLE t (a INT) LIKE src",
    "CREATE FUNCTION f AS 'x'",
    "DROP TABLE src",
];

#[test]
fn what_is_refused_is_listed_with_its_message() {
    let rows = REFUSED.iter().map(|statement| {
        let said = match weir_plan::plan(&format!("{TABLES}{statement};"), &PlanOptions::default()) {
            Ok(_) => panic!("this works now, take it out of the list: {statement}"),
            Err(problems) => problems,
        };
        let said: Vec<_> = said
            .iter()
            .map(|p| {
                let hint = p.hint.as_ref().map_or(String::new(), |hint| format!(" (hint: {hint})"));
                format!("{}{hint}", p.message)
            })
            .collect();
        assert_eq!(said.len(), 1, "{statement}: {said:?}");
        [code(statement), said.concat()]
    });
    check_part("docs/sql.md", "refused", &table(["statement", "message"], rows));
}
