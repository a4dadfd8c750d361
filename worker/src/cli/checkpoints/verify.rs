//! `weir checkpoints verify`.

use weir_checkpoint::Completed;
use weir_checkpoint::manifest::verify_checkpoint;

use super::Opened;
use crate::cli::{Exit, Output, print, print_error, print_json};

pub(super) async fn verify(opened: &Opened, id: Option<u64>, output: Output) -> Exit {
    let wanted: Vec<Completed> = match id {
        Some(_) => match opened.one(id) {
            Ok(one) => vec![one],
            Err(exit) => return exit,
        },
        None => opened.view.checkpoints(),
    };
    let mut whole = true;
    let mut away = false;
    let mut answers = Vec::new();
    for checkpoint in wanted {
        let problems = verify_checkpoint(opened.store.as_ref(), &checkpoint.manifest).await;
        away |= problems.iter().any(weir_checkpoint::manifest::Problem::is_store);
        whole &= problems.is_empty();
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        if output == Output::Text {
            match problems.len() {
                0 => print(&format!("checkpoint {}: whole\n", checkpoint.id)),
                n => print(&format!("checkpoint {}: {n} problems\n", checkpoint.id)),
            }
            for problem in &problems {
                print_error(&format!("error: checkpoint {}: {problem}\n", checkpoint.id));
            }
        }
        answers.push(serde_json::json!({
            "id": checkpoint.id, "whole": problems.is_empty(), "problems": problems,
        }));
    }
    if output == Output::Json {
        let answer = serde_json::json!({"job": opened.uid, "whole": whole, "checkpoints": answers});
        if print_json(&answer) != Exit::Done {
            return Exit::Failed;
        }
    } else if answers.is_empty() {
        print("there are no completed checkpoints\n");
    }
    match (whole, away) {
        (true, _) => Exit::Done,
        (false, true) => Exit::Storage,
        (false, false) => Exit::State,
    }
}
