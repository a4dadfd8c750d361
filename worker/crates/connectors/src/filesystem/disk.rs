//! Files of a sink on this machine's disks, under hidden names.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::writer::{Step, Target, WriteError};

/// The hidden name of a file while it is not committed. Readers pass over it.
pub(super) fn hidden(name: &str) -> String {
    format!(".{name}.inprogress")
}

/// Blocking access to a folder, one file open at a time.
pub(super) trait Disk: Send + 'static {
    /// Makes the folder if need be, and a new file in it.
    fn create(&mut self, name: &str) -> std::io::Result<()>;

    /// Writes bytes at an offset of the open file; what a failed try left behind it is cut off first.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()>;

    /// Makes the open file durable and closes it.
    fn sync(&mut self) -> std::io::Result<()>;

    /// Makes the names in the folder durable.
    fn sync_folder(&mut self) -> std::io::Result<()>;

    /// The folder, for messages.
    fn folder(&self) -> &Path;
}

/// Writes files to a disk.
pub(super) struct DiskTarget<D> {
    /// Away while a blocking call has it.
    disk: Option<D>,
}

impl<D: Disk> DiskTarget<D> {
    pub(super) fn new(disk: D) -> Self {
        Self { disk: Some(disk) }
    }

    async fn block(
        &mut self,
        wrong: fn(String) -> WriteError,
        work: impl FnOnce(&mut D) -> std::io::Result<()> + Send + 'static,
    ) -> Result<(), WriteError> {
        let stopped = || WriteError::Final("the writing of files was stopped".to_owned());
        let mut disk = self.disk.take().ok_or_else(stopped)?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&mut disk);
            (disk, result)
        });
        let (disk, result) = done.await.map_err(|_| stopped())?;
        let result = result.map_err(|e| wrong(format!("{} cannot be written: {e}", disk.folder().display())));
        self.disk = Some(disk);
        result
    }
}

impl<D: Disk> Target for DiskTarget<D> {
    type Finished = ();

    fn create<'a>(&'a mut self, name: &'a str) -> Step<'a, ()> {
        let name = hidden(name);
        Box::pin(self.block(WriteError::Passing, move |disk| disk.create(&name)))
    }

    fn write<'a>(&'a mut self, offset: u64, bytes: &'a Bytes) -> Step<'a, ()> {
        let bytes = bytes.clone();
        Box::pin(self.block(WriteError::Passing, move |disk| disk.write_at(offset, &bytes)))
    }

    /// A failed sync is final: nobody knows then what is on the disk.
    fn finish(&mut self) -> Step<'_, ()> {
        Box::pin(self.block(WriteError::Final, Disk::sync))
    }

    fn prepare(&mut self) -> Step<'_, ()> {
        Box::pin(self.block(WriteError::Final, Disk::sync_folder))
    }
}

/// A folder of this machine.
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

    fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}
