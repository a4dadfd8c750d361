//! `weir savepoint verify`.

use weir_checkpoint::savepoint::{SavepointError, SavepointFolder};

use crate::cli::{Exit, Output, print, print_error, print_json};

pub(super) async fn verify(folders: Vec<SavepointFolder>, output: Output) -> Exit {
    let (mut whole, mut away) = (true, false);
    let mut answers = Vec::new();
    for folder in folders {
        let place = folder.url();
        let problems: Vec<String> = match folder.verify().await {
            Ok((_, problems)) => {
                away |= problems.iter().any(weir_checkpoint::manifest::Problem::is_store);
                problems.iter().map(ToString::to_string).collect()
            }
            Err(error) => {
                away |= matches!(error, SavepointError::Store(_));
                vec![error.to_string()]
            }
        };
        whole &= problems.is_empty();
        if output == Output::Text {
            match problems.len() {
                0 => print(&format!("{place}: whole\n")),
                n => print(&format!("{place}: {n} problems\n")),
            }
            for problem in &problems {
                print_error(&format!("error: {place}: {problem}\n"));
            }
        }
        answers.push(serde_json::json!({
            "place": place, "whole": problems.is_empty(), "problems": problems,
        }));
    }
    if output == Output::Json {
        let answer = serde_json::json!({"whole": whole, "savepoints": answers});
        if print_json(&answer) != Exit::Done {
            return Exit::Failed;
        }
    } else if answers.is_empty() {
        print("there are no savepoints\n");
    }
    match (whole, away) {
        (true, _) => Exit::Done,
        (false, true) => Exit::Storage,
        (false, false) => Exit::State,
    }
}
