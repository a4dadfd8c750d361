//! Whatever lies in a store: no panic, and no more memory than a file may take.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../feed.rs"]
mod feed;

fuzz_target!(|bytes: &[u8]| {
    feed::feed(bytes);
});
