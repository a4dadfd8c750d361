//! The examples run as they are, only shorter, and give what a computation of its own gives.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;
use support::nexmark::{BIDS, Bid, EVENTS};
use support::place::copy_folder;
use support::rows::{Rows, differences, fold, read, row, rows};
use support::time::{DAY, SECOND, format, format_as, parse, windows};
use tempfile::TempDir;
use weir_testing::S3Server;

/// A folder that looks like the root of the repository.
struct Root {
    folder: TempDir,
    environment: Vec<(&'static str, &'static str)>,
}

impl Root {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("weir-").tempdir().expect("a folder");
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        copy_folder(&examples, &folder.path().join("examples"));
        Self { folder, environment: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Changes texts of a manifest.
    fn change(&self, manifest: &str, changes: &[(&str, &str)]) {
        let path = self.path(manifest);
        let mut text = fs::read_to_string(&path).expect("the manifest");
        for (from, to) in changes {
            assert!(text.contains(from), "{manifest} has no {from}");
            text = text.replace(from, to);
        }
        fs::write(path, text).expect("the manifest can be written");
    }

    /// Runs a manifest to its end; what it printed.
    fn run(&self, manifest: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(["run", "--listen", "off", "--progress", "plain", "--set", "checkpoint.interval=100ms"]);
        command.arg(manifest).current_dir(self.folder.path()).stdin(Stdio::null());
        command.envs(self.environment.iter().copied());
        let done = command.output().expect("the binary runs");
        assert!(done.status.success(), "{manifest}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("it prints text")
    }
}

fn same(found: &Rows, expected: &Rows) {
    if let Some(differences) = differences(found, expected) {
        panic!("{differences}");
    }
}

/// Bids per auction in windows of ten seconds; `start` is how the window's start is called.
fn hot_items(start: &str) -> Rows {
    let mut groups = BTreeMap::<(i64, i64), Vec<&Bid>>::new();
    for bid in BIDS.iter() {
        let window = windows(bid.at, 10 * SECOND, 10 * SECOND).next().unwrap();
        groups.entry((window, bid.auction)).or_default().push(bid);
    }
    rows(groups.into_iter().map(|((window, auction), bids)| {
        row([
            (start, json!(format(window))),
            ("auction", json!(auction)),
            ("bids", json!(bids.len())),
            ("highest", json!(bids.iter().map(|b| b.price).max())),
        ])
    }))
}

/// Changes a manifest so that its events are those that [`BIDS`] were among.
fn shorter(root: &Root, manifest: &str, events: &str, others: &[(&str, &str)]) {
    let (from, to) = (format!("'events.num' = '{events}'"), format!("'events.num' = '{EVENTS}'"));
    root.change(manifest, &[(from.as_str(), to.as_str())]);
    root.change(manifest, others);
}

#[test]
fn hot_items_are_counted_in_windows() {
    let root = Root::new();
    let rate = ("'first-event.rate' = '500000'", "'first-event.rate' = '1000'");
    shorter(&root, "examples/01-hot-items/job.yaml", "15000000", &[rate]);
    root.run("examples/01-hot-items/job.yaml");
    same(&read(&root.path("out/hot-items")), &hot_items("window_start"));
}

#[test]
fn log_levels_are_printed_as_a_changelog() {
    let root = Root::new();
    let fast = ("'rows-per-second' = '20'", "'rows-per-second' = '0'");
    root.change("examples/02-log-levels/job.yaml", &[fast]);
    let printed = root.run("examples/02-log-levels/job.yaml");
    let mut table = BTreeMap::<&str, i64>::new();
    for line in printed.lines() {
        let (kind, values) = line.split_at(2);
        let by = if ["+I", "+U"].contains(&kind) { 1 } else { -1 };
        *table.entry(values).or_default() += by;
    }
    table.retain(|_, n| *n != 0);
    assert!(table.values().all(|n| *n == 1), "{table:?}");
    let requests = |values: &str| values.split(", ").nth(2).unwrap().parse::<i64>().unwrap();
    assert_eq!(table.keys().map(|values| requests(values)).sum::<i64>(), 600, "{printed}");
}

/// The lines of all files of a folder, without their headers.
fn lines_below_headers(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()) {
        if !entry.file_name().unwrap().to_string_lossy().starts_with('.') {
            let text = fs::read_to_string(&entry).expect("a file");
            lines.extend(text.lines().skip(1).map(str::to_owned));
        }
    }
    lines
}

#[test]
fn nexmark_q1_and_q2_share_a_source() {
    let root = Root::new();
    shorter(&root, "examples/03-nexmark-q1-q2/job.yaml", "500000", &[]);
    // Its events are 10,000 a second of event time, those of the reference 1,000.
    root.run("examples/03-nexmark-q1-q2/job.yaml");
    let begin = BIDS[0].at - 4;
    let euro = |price: i64| format!("{}.{:03}", price * 908 / 1000, price * 908 % 1000);
    let expected = BIDS.iter().map(|b| {
        let at = format(begin + (b.at - begin) / 10);
        format!("{},{},{},{at}", b.auction, b.bidder, euro(b.price))
    });
    same(&rows(lines_below_headers(&root.path("out/q1"))), &rows(expected));
    let expected = BIDS.iter().filter(|b| b.auction % 123 == 0);
    let expected = expected.map(|b| row([("auction", json!(b.auction)), ("price", json!(b.price))]));
    same(&read(&root.path("out/q2")), &rows(expected));
}

#[test]
fn weather_goes_from_csv_to_parquet_and_is_printed() {
    let root = Root::new();
    root.run("examples/04-weather/job.yaml");
    let files: Vec<_> =
        fs::read_dir(root.path("out/weather")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(files.iter().any(|f| f.to_string_lossy().ends_with(".parquet")), "{files:?}");
    let printed = root.run("examples/04-weather/show.yaml");

    let tenths = |text: &str| (text.parse::<f64>().unwrap() * 10.0).round() as i64;
    let text = fs::read_to_string(root.path("examples/04-weather/seattle-weather.csv")).unwrap();
    let mut weeks = BTreeMap::<(i64, String), (i64, i64, i64)>::new();
    for line in text.lines().skip(1) {
        let fields: Vec<_> = line.split(',').collect();
        // Monday, 1970-01-05, begins a week.
        let day = parse(&format!("{} 00:00:00", fields[0]));
        let week = (day - 4 * DAY).div_euclid(7 * DAY) * 7 * DAY + 4 * DAY;
        let sums = weeks.entry((week, fields[5].to_owned())).or_insert((0, 0, i64::MIN));
        *sums = (sums.0 + 1, sums.1 + tenths(fields[1]), sums.2.max(tenths(fields[2])));
    }
    let decimal = |n: i64| format!("{}{}.{}", if n < 0 { "-" } else { "" }, n.abs() / 10, n.abs() % 10);
    let expected = weeks.into_iter().map(|((week, weather), (days, fell, warmest))| {
        let week = format_as("%Y-%m-%d", week);
        format!("+I[{week}, {weather}, {days}, {}, {}]", decimal(fell), decimal(warmest))
    });
    same(&rows(printed.lines().map(str::to_owned)), &rows(expected));
}

#[test]
fn bidders_make_a_changelog_in_files() {
    let root = Root::new();
    shorter(&root, "examples/05-bidders/job.yaml", "250000", &[]);
    root.run("examples/05-bidders/job.yaml");
    let mut totals = BTreeMap::<i64, (i64, i64)>::new();
    for bid in BIDS.iter() {
        let total = totals.entry(bid.bidder).or_default();
        *total = (total.0 + 1, total.1 + bid.price);
    }
    let expected = totals.into_iter().map(|(bidder, (bids, total))| {
        row([("bidder", json!(bidder)), ("bids", json!(bids)), ("total", json!(total))])
    });
    let (found, taken) = fold(&root.path("out/bidders"));
    same(&found, &rows(expected));
    assert!(taken > 0, "nothing was ever changed");
}

#[test]
fn everything_is_kept_on_s3() {
    let server = S3Server::start();
    let mut root = Root::new();
    root.environment = server.environment().into();
    let endpoint = server.endpoint();
    shorter(&root, "examples/06-s3/job.yaml", "100000", &[("http://127.0.0.1:7070", endpoint.as_str())]);
    root.run("examples/06-s3/job.yaml");
    same(&read(&server.bucket_folder().join("hot-items")), &hot_items("from_time"));
    assert!(server.bucket_folder().join("jobs/s3/journal").is_dir());
    assert!(!root.path(".weir").exists(), "something was kept on this machine");
}
