//! `docs/cli.md`, and the commands that all documents show.

use clap::{Arg, Command, CommandFactory, Parser};

use super::markdown::{blocks, spans};
use super::{all, check_part, code, root, table};
use crate::cli::Cli;

/// The command line with everything that clap adds to it.
fn program() -> Command {
    let mut program = Cli::command();
    program.build();
    program
}

/// Arguments that every command takes, and that are explained once.
fn is_common(arg: &Arg) -> bool {
    arg.is_global_set() || ["help", "version"].contains(&arg.get_id().as_str())
}

fn form(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let values: Vec<_> = names.iter().map(|name| format!("<{name}>")).collect();
    let takes = if arg.get_action().takes_values() { values.join(" ") } else { String::new() };
    let flags = [arg.get_short().map(|c| format!("-{c}")), arg.get_long().map(|name| format!("--{name}"))];
    let flags: Vec<_> = flags.into_iter().flatten().collect();
    [flags.join(", "), takes].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn meaning(arg: &Arg) -> String {
    let mut text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let values: Vec<_> = arg.get_possible_values().iter().map(|v| code(v.get_name())).collect();
    if arg.get_action().takes_values() && !values.is_empty() {
        text += &format!(". One of {}", values.join(", "));
    }
    if let Some(variable) = arg.get_env() {
        text += &format!(". Environment: {}", code(&variable.to_string_lossy()));
    }
    let default: Vec<_> = arg.get_default_values().iter().map(|v| code(&v.to_string_lossy())).collect();
    if arg.get_action().takes_values() && !default.is_empty() {
        text += &format!(". Default: {}", default.join(", "));
    }
    text
}

fn arguments<'a>(args: impl Iterator<Item = &'a Arg>) -> String {
    let rows: Vec<_> =
        args.filter(|a| !a.is_hide_set()).map(|arg| [code(&form(arg)), meaning(arg)]).collect();
    if rows.is_empty() { String::new() } else { format!("{}\n", table(["argument", "meaning"], rows)) }
}

/// Lines that begin with spaces are commands.
fn after(text: &str) -> String {
    let mut out = String::new();
    let mut shown = false;
    for line in text.lines() {
        let command = line.starts_with("  ");
        match (shown, command) {
            (false, true) => out += "```sh\n",
            (true, false) => out += "```\n",
            _ => {}
        }
        shown = command;
        out += &format!("{}\n", line.trim());
        if !command && line.ends_with(':') {
            out += "\n";
        }
    }
    if shown { out + "```\n" } else { out }
}

fn describe(command: &Command, out: &mut String) {
    let name = command.get_bin_name().unwrap_or_default();
    if command.has_subcommands() && command.get_name() != "weir" {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        *out += &format!("## {name}\n\n{about}.\n\n");
    } else if !command.has_subcommands() {
        let about = command.get_long_about().or(command.get_about());
        let about = about.map(ToString::to_string).unwrap_or_default();
        let ended = |p: &str| if p.ends_with('.') { p.to_owned() } else { format!("{p}.") };
        let about = about.split("\n\n").map(ended).collect::<Vec<_>>().join("\n\n");
        let usage = command.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage:").trim();
        *out += &format!("## {name}\n\n{about}\n\n```text\n{usage}\n```\n\n");
        *out += &arguments(command.get_arguments().filter(|a| !is_common(a)));
    }
    if let Some(text) = command.get_after_help().filter(|_| command.get_name() != "weir") {
        *out += &format!("{}\n", after(&text.to_string()));
    }
    for command in command.get_subcommands().filter(|c| c.get_name() != "help" && !c.is_hide_set()) {
        describe(command, out);
    }
}

#[test]
fn every_command_is_explained() {
    let program = program();
    let mut text = String::from("## Arguments of every command\n\n");
    text += &arguments(program.get_arguments().filter(|a| is_common(a)));
    describe(&program, &mut text);
    check_part("docs/cli.md", "commands", &text);
}

/// The words of a line of a shell, as far as documents use one.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut begun, mut quote) = (String::new(), false, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => (quote, begun) = (Some(c), true),
            (None, c) if c.is_whitespace() => {
                if std::mem::take(&mut begun) {
                    words.push(std::mem::take(&mut word));
                }
            }
            (_, c) => {
                word.push(c);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

/// The commands of `weir` in lines of a shell: its arguments.
fn weir_commands(text: &str) -> Vec<Vec<String>> {
    let joined = text.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in joined.lines() {
        let line = line.split(" #").next().unwrap_or_default();
        let pieces = line.split(['|', ';', '>', '<']).flat_map(|piece| piece.split("&&"));
        for piece in pieces {
            let all = words(piece.trim_start_matches('$').trim_end_matches('&'));
            let is_setting = |w: &&String| {
                w.split_once('=')
                    .is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
            };
            let skipped = all.iter().take_while(is_setting).count();
            let command = &all[skipped..];
            match command.first().map(String::as_str) {
                Some("weir" | "target/release/weir") => found.push(command.to_vec()),
                Some("cargo") if command.iter().any(|w| w == "--") && command.iter().any(|w| w == "weir") => {
                    let at = command.iter().position(|w| w == "--").unwrap_or_default();
                    let args = command[at + 1..].iter().cloned();
                    found.push(std::iter::once("weir".to_owned()).chain(args).collect());
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn every_command_that_is_shown_is_understood() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (document, text) in all() {
        for block in blocks(&text).iter().filter(|b| b.info == "sh") {
            for command in weir_commands(&block.text) {
                seen += 1;
                let place = format!("{document}:{}: {}", block.line, command.join(" "));
                if let Err(error) = Cli::try_parse_from(&command)
                    && error.use_stderr()
                {
                    wrong.push(format!("{place}: {error}"));
                }
                let missing = |w: &&String| w.starts_with("examples/") && !root().join(w).exists();
                if let Some(file) = command.iter().find(missing) {
                    wrong.push(format!("{place}: there is no {file}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 25, "only {seen} commands were found");
}

#[test]
fn every_command_that_is_named_is_there() {
    let program = program();
    let mut wrong = Vec::new();
    for (document, text) in all() {
        for (line, span) in spans(&text) {
            let Some(rest) = span.strip_prefix("weir ") else { continue };
            let mut command = &program;
            for word in
                rest.split_whitespace().take_while(|w| w.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
            {
                let known = match word.strip_prefix("--") {
                    Some(flag) => command.get_arguments().any(|a| a.get_long() == Some(flag)),
                    None => match command.find_subcommand(word) {
                        Some(inner) => {
                            command = inner;
                            true
                        }
                        None => !command.has_subcommands(),
                    },
                };
                if !known {
                    wrong.push(format!("{document}:{line}: `{span}`: {word} is not known"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
