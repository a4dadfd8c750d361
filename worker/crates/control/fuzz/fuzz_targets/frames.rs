//! Whatever comes over the control link, at either end: no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = weir_control::decode_frame(bytes);
});
