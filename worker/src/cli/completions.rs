//! `weir completions`: completions for a shell.

use clap::{Args, CommandFactory};

use super::{Cli, Exit, print};

/// Prints completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir completions bash > /etc/bash_completion.d/weir\n  weir completions fish > ~/.config/fish/completions/weir.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: clap_complete::Shell,
}

pub(super) fn main(args: &CompletionsArgs) -> Exit {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "weir", &mut out);
    print(&String::from_utf8_lossy(&out));
    Exit::Done
}
