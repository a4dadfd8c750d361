//! The program `weir`: one binary for people at a terminal and for the pods of a job.

mod cli;
#[cfg(test)]
mod documents;
mod manifest;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
