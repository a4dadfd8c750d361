//! The certificates that the operator makes, in the hands of the code that a job's processes use: they open the
//! way to the job they are of, and to no other.

use std::net::IpAddr;
use std::path::Path;

use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use weir_operator::certificates::{Authority, epoch};
use weir_operator::coordinators::{Address, Ask, AskError, Coordinators, LiveCoordinators};
use weir_operator::names::{ADMIN_PORT, HTTP_PORT};
use weir_runtime::tls::{Tls, TlsFiles, Transport};

const JOB: &str = "0b4f3c1e-0000-4000-8000-000000000001";
const OTHER: &str = "0b4f3c1e-0000-4000-8000-000000000002";

/// A process of a job, with the files of the job's Secret.
fn process(folder: &Path, authority: &Authority, job: &str, epoch: u64) -> Transport {
    let made = authority.job(job, epoch);
    let files = TlsFiles {
        ca: folder.join("ca.pem"),
        certificate: folder.join("process.pem"),
        key: folder.join("process.key"),
    };
    for (path, text) in
        [(&files.ca, &made.ca), (&files.certificate, &made.certificate), (&files.key, &made.key)]
    {
        std::fs::write(path, text).expect("a folder of the test");
    }
    Transport::Tls(Tls::load(files, job).expect("certificates of the job"))
}

/// Answers one request after the other with this answer, and gives back what was asked.
async fn serve(
    address: (IpAddr, u16),
    transport: Option<Transport>,
    answer: &'static str,
) -> JoinHandle<Vec<String>> {
    let listener = TcpListener::bind(address).await.expect("a loopback address");
    tokio::spawn(async move {
        let mut asked = Vec::new();
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut bytes = vec![0; 4096];
        match transport {
            Some(transport) => {
                let Ok(mut stream) = transport.accept(stream).await else { return asked };
                let length = stream.read(&mut bytes).await.unwrap_or(0);
                asked.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
                stream.write_all(answer.as_bytes()).await.expect("an answer");
                stream.flush().await.expect("an answer");
                drop(stream.read(&mut bytes).await);
            }
            None => {
                let mut stream = stream;
                let length = stream.read(&mut bytes).await.unwrap_or(0);
                asked.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
                stream.write_all(answer.as_bytes()).await.expect("an answer");
                drop(stream.read(&mut bytes).await);
            }
        }
        asked
    })
}

fn address(job: &str, last: u8) -> Address {
    // Each test has an address of its own: the ports are fixed.
    Address { job: job.to_owned(), pod: IpAddr::from([127, 77, 0, last]) }
}

#[tokio::test]
async fn the_operator_asks_a_job_under_its_own_certificates() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new([5; 32]);
    let now = epoch(JOB, Timestamp::now());
    let address = address(JOB, 1);
    let accepted = "HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    let transport = process(folder.path(), &authority, JOB, now);
    let served = serve((address.pod, ADMIN_PORT), Some(transport), accepted).await;
    let coordinators = LiveCoordinators::new(authority);
    coordinators.ask(&address, &Ask::Rescale { parallelism: 4 }).await.expect("an answer");
    drop(coordinators);
    let asked = served.await.expect("served");
    assert!(asked[0].starts_with("POST /v1/job/rescale HTTP/1.1"), "{asked:?}");
    assert!(asked[0].ends_with(r#"{"parallelism":4}"#), "{asked:?}");
}

#[tokio::test]
async fn a_process_of_another_job_and_an_operator_with_another_key_are_refused() {
    let now = epoch(JOB, Timestamp::now());
    for (last, theirs, ours) in [
        // A process of another job sits at the address.
        (2, (Authority::new([5; 32]), OTHER), Authority::new([5; 32])),
        // The operator's key is not the one that the job's certificates follow from.
        (3, (Authority::new([5; 32]), JOB), Authority::new([6; 32])),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let address = address(JOB, last);
        let transport = process(folder.path(), &theirs.0, theirs.1, now);
        let served = serve((address.pod, ADMIN_PORT), Some(transport), "").await;
        let asked = LiveCoordinators::new(ours).ask(&address, &Ask::Stop { now: false }).await;
        assert!(matches!(asked, Err(AskError::Unreachable(_))), "{asked:?}");
        assert!(served.await.expect("served").is_empty(), "not a byte of it was heard");
    }
}

#[tokio::test]
async fn certificates_of_two_epochs_are_good_for_each_other() {
    let authority = Authority::new([5; 32]);
    let now = epoch(JOB, Timestamp::now());
    let (old, new) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let before = process(old.path(), &authority, JOB, now.saturating_sub(1));
    let after = process(new.path(), &authority, JOB, now);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
    let place = listener.local_addr().expect("an address");
    let accepting = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        before.accept(stream).await.map(drop)
    });
    let stream = tokio::net::TcpStream::connect(place).await.expect("a connection");
    let shaken = after.connect(stream).await;
    accepting.await.expect("accepted").expect("the new one is good for the old one");
    shaken.expect("the old one is good for the new one");
}

#[tokio::test]
async fn a_status_is_believed_only_of_the_job_that_was_asked_for() {
    for (last, job, good) in [(4, JOB, true), (5, OTHER, false)] {
        let address = address(JOB, last);
        let body = match job {
            JOB => r#"{"job":"0b4f3c1e-0000-4000-8000-000000000001","state":"Running","attempt":3}"#,
            _ => r#"{"job":"0b4f3c1e-0000-4000-8000-000000000002","state":"Running","attempt":3}"#,
        };
        let answer: &'static str =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).leak();
        let served = serve((address.pod, HTTP_PORT), None, answer).await;
        let coordinators = LiveCoordinators::new(Authority::new([5; 32]));
        let report = coordinators.status(&address).await;
        assert_eq!(report.is_ok(), good, "{report:?}");
        drop(served.await);
    }
}
