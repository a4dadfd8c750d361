//! Files of a sink on this machine's disks.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::writer::Disk;

/// A folder that is written to.
pub(super) struct LocalDisk {
    folder: PathBuf,
    file: Option<File>,
}

impl LocalDisk {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, file: None }
    }

    fn file(&mut self) -> std::io::Result<&mut File> {
        self.file.as_mut().ok_or_else(|| std::io::Error::other("no file is open"))
    }
}

impl Disk for LocalDisk {
    fn create(&mut self, name: &str) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        // Not create_new: a try that failed half-way may have made it, and the name is ours alone.
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(self.folder.join(name))?;
        self.file = Some(file);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        let file = self.file()?;
        if file.metadata()?.len() != offset {
            file.set_len(offset)?;
        }
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.file()?.sync_all()?;
        self.file = None;
        Ok(())
    }

    fn sync_folder(&mut self) -> std::io::Result<()> {
        sync_folder(&self.folder)?;
        self.folder.parent().map_or(Ok(()), sync_folder)
    }

    fn place(&self) -> String {
        self.folder.display().to_string()
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}
