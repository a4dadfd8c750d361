//! Public data that the package `vega-datasets` ships: fetched once, kept outside the clone.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::process::Command;

const VERSION: &str = "2.9.0";

/// A file of the data set.
pub(crate) fn vega(name: &str) -> Vec<u8> {
    let path = folder().join("package/data").join(name);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn tools() -> PathBuf {
    match (std::env::var_os("WEIR_TOOLS"), std::env::var_os("HOME")) {
        (Some(folder), _) => PathBuf::from(folder),
        (None, Some(home)) => PathBuf::from(home).join(".cache/weir/tools"),
        (None, None) => panic!("HOME or WEIR_TOOLS says where tools are kept"),
    }
}

fn folder() -> PathBuf {
    let folder = tools().join(format!("vega-datasets-{VERSION}"));
    let ready = folder.join("package");
    if ready.exists() {
        return folder;
    }
    fs::create_dir_all(&folder).expect("the folder of tools can be made");
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(folder.join(".lock"));
    let lock = lock.expect("the folder of tools can be written");
    lock.lock().expect("the folder of tools can be locked");
    if !ready.exists() {
        // Unpacked beside and renamed, so that a fetch that was killed leaves no half of it.
        let beside = folder.join(".fetch");
        let _ = fs::remove_dir_all(&beside);
        fs::create_dir_all(&beside).expect("a folder to unpack in");
        let what = format!("vega-datasets@{VERSION}");
        run(Command::new("npm").args(["pack", "--silent", &what]).current_dir(&beside));
        let archive = format!("vega-datasets-{VERSION}.tgz");
        let data = "package/data";
        let files = [format!("{data}/flights-20k.json"), format!("{data}/seattle-weather.csv")];
        run(Command::new("tar").args(["xzf", &archive]).args(files).current_dir(&beside));
        fs::rename(beside.join("package"), &ready).expect("what was unpacked can be moved");
        let _ = fs::remove_dir_all(&beside);
    }
    folder
}

fn run(command: &mut Command) {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command.output().unwrap_or_else(|e| {
        panic!(
            "the golden jobs over public data need the package vega-datasets {VERSION}, fetched with npm (of \
             Node.js) and unpacked with tar: install them; {name} can't be run: {e}"
        )
    });
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}
