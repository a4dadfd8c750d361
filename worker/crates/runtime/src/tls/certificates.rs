//! Makes a CA and certificates for the processes of one job.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::OffsetDateTime;

use super::{TlsFiles, job_name};
use crate::Timestamp;

/// Certificates are valid from this long before they are made: clocks differ.
const SKEW: Duration = Duration::from_secs(3600);
/// Modes of files: keys are for their owner alone.
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// Which certificates are wanted.
#[derive(Debug, Clone)]
pub struct CertificateOptions<'a> {
    /// The job's uid.
    pub job: &'a str,
    /// Names of the processes, each 1 to 63 characters of `a-z0-9-`: `coordinator`, `worker-1`, …
    pub processes: &'a [&'a str],
    /// Now.
    pub now: Timestamp,
    /// For how long from now the certificates are good.
    pub valid: Duration,
    /// Whether the CA's key stays in the folder, to sign for more processes later. Without it nobody can.
    pub keep_ca_key: bool,
}

/// Writes `ca.pem` and, per process, `<name>.pem` and `<name>.key` into the folder, which is made if absent;
/// gives the files of each process in the order asked for. Keys have mode 0600. If the folder holds a CA with
/// its key (`ca.key`), that one signs: this is how certificates are renewed. Every file is replaced as a whole.
///
/// # Errors
/// A name outside its alphabet; a CA in the folder whose key was not kept; whatever writing says.
pub fn create_certificates(folder: &Path, options: &CertificateOptions<'_>) -> io::Result<Vec<TlsFiles>> {
    for name in options.processes {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.is_empty() || name.len() > 63 || !name.bytes().all(good) || *name == "ca" {
            let text = format!(
                "the name of a process is 1 to 63 characters of a-z, 0-9 and '-', and not \"ca\"; got {name:?}"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
    }
    fs::create_dir_all(folder)?;
    let authority = authority(folder, options)?;
    options
        .processes
        .iter()
        .map(|name| {
            let files = TlsFiles::in_folder(folder, name);
            let key = KeyPair::generate().map_err(io::Error::other)?;
            let certificate =
                process(options, name)?.signed_by(&key, &authority).map_err(io::Error::other)?;
            write(&files.key, key.serialize_pem().as_bytes(), PRIVATE)?;
            write(&files.certificate, certificate.pem().as_bytes(), PUBLIC)?;
            Ok(files)
        })
        .collect()
}

fn authority(folder: &Path, options: &CertificateOptions<'_>) -> io::Result<Issuer<'static, KeyPair>> {
    let (certificate, key) = (folder.join("ca.pem"), folder.join("ca.key"));
    // One CA may sign for several jobs: what tells them apart is in the certificates of processes.
    let mut params = params(options, "weir")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    if key.exists() && certificate.exists() {
        let pem = fs::read_to_string(&key)?;
        let key = KeyPair::from_pem(&pem).map_err(|e| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: not a private key: {e}", key.display()))
        })?;
        return Ok(Issuer::new(params, key));
    }
    if certificate.exists() {
        let text = format!(
            "{} is there but its key was not kept, so it cannot sign any more; choose another folder, or remove it \
             and give the new certificates to all processes",
            certificate.display()
        );
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    let made = KeyPair::generate().map_err(io::Error::other)?;
    let signed = params.self_signed(&made).map_err(io::Error::other)?;
    if options.keep_ca_key {
        write(&key, made.serialize_pem().as_bytes(), PRIVATE)?;
    }
    write(&certificate, signed.pem().as_bytes(), PUBLIC)?;
    Ok(Issuer::new(params, made))
}

fn process(options: &CertificateOptions<'_>, name: &str) -> io::Result<CertificateParams> {
    let mut params = params(options, &format!("weir {name}"))?;
    params.subject_alt_names = CertificateParams::new(vec![job_name(options.job)])
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, format!("job uid {:?}: {e}", options.job)))?
        .subject_alt_names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn params(options: &CertificateOptions<'_>, name: &str) -> io::Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = Duration::from_micros(options.now.0);
    params.not_before = instant(now.saturating_sub(SKEW))?;
    params.not_after = instant(now.saturating_add(options.valid))?;
    Ok(params)
}

/// A point of time, given as the time since the Unix epoch.
fn instant(since_epoch: Duration) -> io::Result<OffsetDateTime> {
    let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|e| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("the certificates' time of validity: {e}"))
    })
}

/// Replaces a file as a whole: whoever reads it sees the old or the new one.
fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let temporary = path.with_extension("new");
    // Left behind by a crash, perhaps with another mode.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(content)?;
    drop(file);
    fs::rename(&temporary, path)
}
