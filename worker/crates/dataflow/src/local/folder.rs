//! A folder of this process's own among those of others, living and dead.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";
const TRIES: u32 = 8;

/// Gone with its contents when dropped.
#[derive(Debug)]
pub(super) struct OwnFolder {
    path: PathBuf,
    lock: PathBuf,
    _locked: File,
}

impl OwnFolder {
    /// Makes a folder whose name begins with `name`, which nobody else uses, in `all`, and deletes what dead
    /// processes left there.
    pub(super) fn make(all: &Path, name: &str) -> io::Result<Self> {
        fs::create_dir_all(all)?;
        sweep(all);
        for number in 0..TRIES {
            let path = all.join(format!("{name}-{number}"));
            let lock = all.join(format!("{name}-{number}.{LOCK}"));
            let locked = File::create_new(&lock)?;
            locked.lock()?;
            let own = Self { path, lock, _locked: locked };
            // A process that swept just now may have taken the lock for one of the dead.
            if own.lock.exists() {
                fs::create_dir(&own.path)?;
                return Ok(own);
            }
        }
        Err(io::Error::other("the lock of the folder was taken away again and again"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OwnFolder {
    fn drop(&mut self) {
        // What stays is found by the next process.
        let _ = fs::remove_dir_all(&self.path);
        let _ = fs::remove_file(&self.lock);
    }
}

/// Deletes the folders whose lock nobody holds.
fn sweep(all: &Path) {
    let Ok(entries) = fs::read_dir(all) else { return };
    for lock in entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == LOCK)) {
        let Ok(file) = File::open(&lock) else { continue };
        match file.try_lock() {
            Ok(()) => {
                let _ = fs::remove_dir_all(lock.with_extension(""));
                let _ = fs::remove_file(&lock);
            }
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(all).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_dead_are_swept_and_the_living_are_not() {
        let temp = tempfile::tempdir().unwrap();
        let all = temp.path().join("job");
        let living = OwnFolder::make(&all, "living").unwrap();
        fs::write(living.path().join("1"), "copy").unwrap();
        // A process that was killed: its files stay, its lock does not.
        fs::create_dir(all.join("dead")).unwrap();
        fs::write(all.join("dead").join("1"), "copy").unwrap();
        fs::write(all.join("dead.lock"), "").unwrap();
        let next = OwnFolder::make(&all, "next").unwrap();
        assert_eq!(names(&all), ["living-0", "living-0.lock", "next-0", "next-0.lock"]);
        assert_eq!(names(living.path()), ["1"]);
        drop((living, next));
        assert_eq!(names(&all), [""; 0]);
    }
}
