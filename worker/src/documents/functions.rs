//! Functions in `docs/sql.md`, and keys of `SET` in `docs/manifest.md`.

use super::{check_part, code, table};

#[test]
fn the_list_of_functions_is_that_of_the_planner() {
    let mut text = String::new();
    let mut groups: Vec<&str> = weir_plan::FUNCTIONS.iter().map(|f| f.group).collect();
    groups.dedup();
    for group in groups {
        let rows = weir_plan::FUNCTIONS.iter().filter(|f| f.group == group).map(|f| {
            let result = format!("{} {}", code(f.value), f.data_type);
            [code(f.form), f.meaning.to_owned(), code(f.example), result]
        });
        text += &format!("### {group}\n\n{}\n", table(["function", "meaning", "example", "gives"], rows));
    }
    check_part("docs/sql.md", "functions", &text);
}

#[test]
fn the_list_of_settings_is_that_of_the_crate() {
    let rows = weir_crds::setting_help().into_iter().map(|(key, meaning)| [code(&key), meaning]);
    check_part("docs/manifest.md", "settings", &table(["key", "meaning"], rows));
}
