//! A real S3 server on a free port of 127.0.0.1, with a folder of its own, ended with its handle.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use weir_checkpoint::store::S3Store;
use weir_checkpoint::store::s3::{Credentials, S3, S3Options};
use weir_protocol::StorageConfig;

use crate::tools::GoTool;

/// The name of the keys that every server here takes.
pub const ACCESS_KEY: &str = "weirtest";
/// Their secret.
pub const SECRET_KEY: &str = "weirtestsecret";
/// The bucket that is there from the start.
pub const BUCKET: &str = "weir";

const READY: Duration = Duration::from_secs(30);

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum S3Kind {
    /// versitygw 1.8.0 over a folder: what tests use.
    Versitygw,
    /// MinIO of February 2026: a second opinion. It takes five minutes to build.
    Minio,
    /// gofakes3 1.2.0, whose multipart completions are not conditional: the probe must refuse it.
    Gofakes3,
}

impl S3Kind {
    fn tool(self) -> GoTool {
        match self {
            Self::Versitygw => GoTool {
                name: "versitygw",
                package: "github.com/versity/versitygw/cmd/versitygw",
                version: "v1.8.0",
            },
            Self::Minio => GoTool {
                name: "minio",
                package: "github.com/minio/minio",
                version: "v0.0.0-20260212201848-7aac2a2c5b7c",
            },
            Self::Gofakes3 => GoTool {
                name: "gofakes3",
                package: "github.com/johannesboyne/gofakes3/cmd/gofakes3",
                version: "v1.2.0",
            },
        }
    }
}

/// A running server. Dropping it ends it and removes its data.
#[derive(Debug)]
pub struct S3Server {
    kind: S3Kind,
    binary: PathBuf,
    port: u16,
    data: TempDir,
    child: Option<Child>,
}

impl S3Server {
    /// Starts versitygw with the bucket [`BUCKET`]; builds it first if need be.
    pub fn start() -> Self {
        Self::start_kind(S3Kind::Versitygw)
    }

    /// Starts a server of this kind with the bucket [`BUCKET`].
    pub fn start_kind(kind: S3Kind) -> Self {
        let binary = kind.tool().path();
        // Another process may take the port in between: then the server ends at once, and another port is tried.
        for _ in 0..10 {
            let data = TempDir::new().expect("a folder for the server's data");
            fs::create_dir_all(data.path().join("data").join(BUCKET)).expect("a folder for the bucket");
            let mut server = Self { kind, binary: binary.clone(), port: free_port(), data, child: None };
            if server.launch() {
                return server;
            }
        }
        panic!("{kind:?} did not start; its log: {}", binary.display());
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        let data = self.data.path().join("data");
        let address = format!("127.0.0.1:{}", self.port);
        match self.kind {
            S3Kind::Versitygw => command
                .args(["--port", &address, "--quiet", "posix"])
                .arg(data)
                .env("ROOT_ACCESS_KEY", ACCESS_KEY)
                .env("ROOT_SECRET_KEY", SECRET_KEY),
            S3Kind::Minio => command
                .args(["server", "--quiet", "--address", &address])
                .arg(data)
                .env("MINIO_ROOT_USER", ACCESS_KEY)
                .env("MINIO_ROOT_PASSWORD", SECRET_KEY)
                .env("MINIO_BROWSER", "off")
                .env("MINIO_UPDATE", "off"),
            S3Kind::Gofakes3 => {
                command.args(["-backend", "mem", "-initialbucket", BUCKET, "-host", &address])
            }
        };
        command
    }

    /// Starts the process and waits until it answers; false if it ended before that.
    fn launch(&mut self) -> bool {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.data.path().join("log"));
        let log = log.expect("a log file");
        let mut child = self
            .command()
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .current_dir(self.data.path())
            .spawn()
            .expect("the server's binary runs");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let until = Instant::now() + READY;
        while Instant::now() < until {
            if child.try_wait().expect("the child can be asked").is_some() {
                return false;
            }
            if TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok() {
                self.child = Some(child);
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
        false
    }

    /// Kills it as `kill -9` does.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on the same port and data.
    pub fn restart(&mut self) {
        self.kill9();
        assert!(self.launch(), "{:?} did not start again", self.kind);
    }

    /// The process, to stop and resume it by signals.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Its address.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the objects of the bucket are as files (versitygw), to damage them.
    pub fn bucket_folder(&self) -> PathBuf {
        self.data.path().join("data").join(BUCKET)
    }

    /// The bucket with a prefix, as a job's configuration has it. Credentials: see [`Self::environment`].
    pub fn storage(&self, prefix: &str) -> StorageConfig {
        StorageConfig {
            url: format!("s3://{BUCKET}/{prefix}"),
            endpoint: Some(self.endpoint()),
            region: Some("us-east-1".to_owned()),
            path_style: true,
        }
    }

    /// What a process needs in its environment to have access.
    pub fn environment(&self) -> [(&'static str, &'static str); 2] {
        [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)]
    }

    /// Access to the bucket for this process, without touching its environment.
    pub async fn s3(&self) -> S3 {
        self.s3_with(SECRET_KEY).await
    }

    /// The same with another secret.
    pub async fn s3_with(&self, secret: &str) -> S3 {
        S3::connect(S3Options {
            bucket: BUCKET.to_owned(),
            endpoint: Some(self.endpoint()),
            region: Some("us-east-1".to_owned()),
            path_style: true,
            credentials: Some(Credentials {
                access_key: ACCESS_KEY.to_owned(),
                secret_key: secret.to_owned(),
            }),
        })
        .await
    }

    /// A store over a folder of the bucket.
    pub async fn store(&self, folder: &str) -> S3Store {
        S3Store::new(self.s3().await, folder)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.kill9();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("127.0.0.1 has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}
