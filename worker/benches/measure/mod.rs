//! What the benches of whole jobs share.

use nix::sys::resource::{UsageWho, getrusage};

/// CPU seconds of all children that have ended, user and system.
pub(crate) fn children_cpu() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the system counts");
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|t| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6)
        .sum()
}

/// The upper one of the two in the middle; NaN of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// `[FILTER] [--runs N]`: what the names of cases must contain, and how often each is run (5).
pub(crate) fn arguments() -> (String, usize) {
    let (mut filter, mut runs) = (String::new(), 5);
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
    while let Some(arg) = args.next() {
        if arg == "--runs" {
            runs = args.next().and_then(|n| n.parse().ok()).expect("--runs takes a number");
        } else {
            filter = arg;
        }
    }
    (filter, runs)
}
