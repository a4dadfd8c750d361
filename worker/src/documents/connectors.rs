//! The options of each connector in `docs/connectors.md`.

use weir_connectors::CONNECTORS;

use super::{check_part, code, table};

#[test]
fn the_options_of_connectors_are_those_of_the_code() {
    for connector in CONNECTORS {
        let use_of = match (connector.source.is_some(), connector.sink.is_some()) {
            (true, true) => "It is read and written.",
            (true, false) => "It is only read.",
            (false, true) => "It is only written.",
            (false, false) => panic!("{} is of no use", connector.name),
        };
        let rows = connector.options.iter().map(|(name, default, help)| {
            let default = default.map_or("required".to_owned(), code);
            [code(&name.replace('#', "COLUMN")), default, (*help).to_owned()]
        });
        let options = match connector.options {
            [] => "There are no options.".to_owned(),
            _ => table(["option", "default", "meaning"], rows),
        };
        check_part("docs/connectors.md", connector.name, &format!("{use_of}\n\n{options}"));
    }
}

#[test]
fn the_options_of_every_table_are_those_of_the_planner() {
    let rows = weir_plan::TABLE_OPTIONS.iter().map(|(name, default, help)| {
        [code(name), default.map_or("required".to_owned(), code), (*help).to_owned()]
    });
    check_part("docs/connectors.md", "every table", &table(["option", "default", "meaning"], rows));
}
