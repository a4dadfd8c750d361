//! The program `weir`: one binary for people at a terminal and for the pods of a job.

mod cli;
#[cfg(test)]
mod documents;
mod manifest;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long memory that was given back waits to be asked for again before the system gets it, in milliseconds. A
/// checkpoint asks for as much as the one before: with less than the usual interval, the system would clear all of it
/// anew for each, which takes several times as long as to copy the rows into it. The allocator gives back all that it
/// has at that moment, whatever was in use just before, so this is also how often a checkpoint has to wait for that.
const PURGE_DELAY_MS: std::ffi::c_long = 60_000;
/// `mi_option_purge_delay` of mimalloc.h.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

fn main() -> ExitCode {
    set_purge_delay();
    cli::main()
}

/// `MIMALLOC_PURGE_DELAY` takes precedence.
#[allow(unsafe_code, reason = "the allocator's options have no safe form")]
fn set_purge_delay() {
    // SAFETY: nothing but this thread runs yet, which is all that it asks for.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MS) };
}
