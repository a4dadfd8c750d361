//! Sinks and sources when the place they talk to is in trouble: full disks, S3 that is down.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use weir_checkpoint::store::s3::Credentials;
use weir_dataflow::{Sink, SinkFactory};
use weir_protocol::CheckpointId;
use weir_testing::{ACCESS_KEY, S3Server, SECRET_KEY};

use super::disk::{Disk, DiskTarget, LocalDisk, hidden};
use super::tests::ids;
use super::writer::Writer;
use super::*;
use crate::ColumnPath;
use crate::testing::sink_suite::{exactly_the_recorded_rows, rows, schema, write};
use crate::testing::{Io, drain, table};

/// A disk that takes half of what is written while it is full.
struct FullDisk {
    disk: LocalDisk,
    full: Arc<AtomicBool>,
}

impl Disk for FullDisk {
    fn create(&mut self, name: &str) -> std::io::Result<()> {
        self.disk.create(name)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        if !self.full.load(Ordering::Acquire) {
            return self.disk.write_at(offset, bytes);
        }
        self.disk.write_at(offset, &bytes[..bytes.len() / 2])?;
        Err(std::io::ErrorKind::StorageFull.into())
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.disk.sync()
    }

    fn sync_folder(&mut self) -> std::io::Result<()> {
        self.disk.sync_folder()
    }

    fn folder(&self) -> &Path {
        self.disk.folder()
    }
}

/// Waits until a condition holds.
fn until(condition: impl Fn() -> bool) {
    while !condition() {
        std::thread::park_timeout(std::time::Duration::from_millis(1));
    }
}

#[test]
fn a_full_disk_is_waited_out_and_no_byte_is_lost_or_repeated() {
    let (io, folder) = (Io::new(), tempfile::tempdir().unwrap());
    let full = Arc::new(AtomicBool::new(true));
    let disk = FullDisk { disk: LocalDisk::new(folder.path().into()), full: full.clone() };
    let context = io.open_sink(0, 1, 1);
    let writer =
        Writer::start(DiskTarget::new(disk), io.troubles.place("sink t/0"), context.waker, &io.handle());
    writer.create("x".into());
    let mut expected = Vec::new();
    for piece in 0..20_u8 {
        expected.extend_from_slice(&[piece; 1_000]);
        writer.write(vec![piece; 1_000]);
    }
    assert!(!writer.has_room(20_000));
    until(|| !io.troubles.list().is_empty());
    assert!(io.troubles.list()[0].message.starts_with("sink t/0: "), "{:?}", io.troubles.list());
    full.store(false, Ordering::Release);
    writer.finish();
    let done = io.wait(writer.prepare()).unwrap();
    assert_eq!((done[0].size, done[0].blake3.as_str()), (20_000, blake3::hash(&expected).to_hex().as_str()));
    assert_eq!(std::fs::read(folder.path().join(hidden("x"))).unwrap(), expected);
    assert!(io.troubles.list().is_empty() && writer.has_room(1));
}

#[test]
fn a_folder_that_cannot_be_made_is_waited_for() {
    let (io, folder) = (Io::new(), tempfile::tempdir().unwrap());
    let blocked = folder.path().join("file");
    std::fs::write(&blocked, "in the way").unwrap();
    let path = blocked.display().to_string();
    let factory =
        sink::sink(&table(schema(), &[("path", &path), ("format", "json")])).unwrap_or_else(|_| panic!());
    let mut sink = factory.open(io.open_sink(0, 1, 1)).unwrap();
    write(sink.as_mut(), rows(0..10));
    let prepared = sink.prepare_commit(CheckpointId(1)).unwrap();
    until(|| !io.troubles.list().is_empty());
    std::fs::remove_file(&blocked).unwrap();
    assert_eq!(io.wait(prepared).unwrap().len(), 1);
    assert!(io.troubles.list().is_empty());
}

/// Reading and writing of a folder on a server, without touching this process's environment.
struct OnS3 {
    source: Arc<dyn SourceFactory>,
    sink: Arc<dyn SinkFactory>,
}

fn on_s3(server: &S3Server, folder: &str, format: &str) -> OnS3 {
    let (path, endpoint) = (format!("s3://weir/{folder}"), server.endpoint());
    let options = [
        ("path", path.as_str()),
        ("format", format),
        ("s3.endpoint", &endpoint),
        ("s3.region", "us-east-1"),
        ("sink.rolling-policy.file-size", "16Ki"),
    ];
    let spec = table(schema(), &options);
    let mut reader = OptionReader::new(&spec, ALL_OPTIONS);
    let mut options = checked(&mut reader).unwrap();
    let Place::S3(place) = &mut options.place else { panic!("not on S3") };
    place.options.credentials =
        Some(Credentials { access_key: ACCESS_KEY.into(), secret_key: SECRET_KEY.into() });
    let sink =
        Arc::new(sink::FileSinkFactory { name: "t".into(), schema: schema(), options: options.clone() });
    let columns = vec![ColumnPath { column: 0, field: None }];
    let (source, _) = DeclaredFiles { spec, options }.scan(&Scan { columns, filters: vec![] });
    OnS3 { source, sink }
}

impl OnS3 {
    fn visible(&self, io: &Io) -> Vec<i64> {
        let mut source = self.source.open(io.open_source(0, 1, None)).unwrap();
        ids(&drain(source.as_mut()))
    }
}

#[test]
fn f28_on_s3_crashes_at_random_points_leave_exactly_the_recorded_rows() {
    let (io, server) = (Io::new(), S3Server::start());
    for (seed, format) in (0..6).zip(["json", "csv", "parquet"].into_iter().cycle()) {
        let on = on_s3(&server, &format!("out/{seed}"), format);
        exactly_the_recorded_rows(on.sink.as_ref(), &io, seed, 4, || on.visible(&io));
    }
}

#[test]
fn f28_an_upload_of_several_parts_is_whole_and_a_lost_one_is_told() {
    let (io, server) = (Io::new(), S3Server::start());
    let on = on_s3(&server, "large", "csv");
    let mut sink: Box<dyn Sink> = on.sink.open(io.open_sink(0, 1, 1)).unwrap();
    // One chunk is one file here: some 30 MB, four parts.
    write(sink.as_mut(), rows(0..900_000));
    let handles = io.wait(sink.prepare_commit(CheckpointId(1)).unwrap()).unwrap();
    let committer = on.sink.committer(io.handle()).unwrap();
    assert!(on.visible(&io).is_empty());
    for _ in 0..2 {
        io.wait(committer.commit(handles.clone())).unwrap();
        assert_eq!(on.visible(&io), (0..900_000).collect::<Vec<_>>());
    }
    io.wait(async {
        let s3 = server.s3().await;
        let keys: Vec<_> = s3.list("large/").await.unwrap().into_iter().map(|o| o.key).collect();
        s3.delete(&keys).await.unwrap();
    });
    let lost = io.wait(committer.commit(handles)).unwrap_err();
    assert_eq!(lost.kind, weir_protocol::FailureKind::SinkDataLost, "{lost}");
}

#[test]
fn s3_that_is_down_is_waited_out_when_reading_and_writing() {
    let (io, mut server) = (Io::new(), S3Server::start());
    let on = on_s3(&server, "down", "json");
    let mut sink = on.sink.open(io.open_sink(0, 1, 1)).unwrap();
    server.kill9();
    write(sink.as_mut(), rows(0..1_000));
    let prepared = sink.prepare_commit(CheckpointId(1)).unwrap();
    until(|| io.troubles.list().iter().any(|t| t.message.starts_with("sink t/0: ")));
    server.restart();
    let handles = io.wait(prepared).unwrap();
    io.wait(on.sink.committer(io.handle()).unwrap().commit(handles)).unwrap();
    server.kill9();
    let mut source = on.source.open(io.open_source(0, 1, None)).unwrap();
    until(|| io.troubles.list().iter().any(|t| t.message.starts_with("source t/0: ")));
    server.restart();
    assert_eq!(ids(&drain(source.as_mut())), (0..1_000).collect::<Vec<_>>());
    assert!(io.troubles.list().is_empty());
}
