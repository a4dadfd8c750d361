//! `weir certificates`: makes a CA and certificates for the processes of a job.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use weir_protocol::JobUid;
use weir_protocol::units::parse_duration;
use weir_runtime::tls::{CertificateOptions, create_certificates};
use weir_runtime::{Clock, SystemClock};

use super::{Exit, print, print_error};

/// Makes a CA and certificates for the processes of a job, for use on one's own machines
///
/// Writes ca.pem and, for each process, NAME.pem and NAME.key. If the folder holds a CA with its key (ca.key),
/// that one signs: this is how certificates are renewed. Processes read changed files again by themselves.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir certificates --job hot-items --out certs\n  weir certificates --job hot-items --out certs --keep-ca-key --valid 90d coordinator worker-1 worker-2\n\nOn Kubernetes the operator does this."
)]
pub(crate) struct CertificatesArgs {
    /// The job by its uid (its name, unless metadata says otherwise): certificates are good for it alone
    #[arg(long, visible_alias = "uid", value_name = "UID", value_parser = uid)]
    job: JobUid,
    /// The folder; made if absent
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// For how long they are good
    #[arg(long, value_name = "DURATION", default_value = "365d", value_parser = parse_duration)]
    valid: Duration,
    /// Keeps the key of the CA in the folder, to sign for more processes later or to renew; whoever has it can
    /// join the job
    #[arg(long)]
    keep_ca_key: bool,
    /// Names of the processes
    #[arg(value_name = "NAME", default_values_t = ["coordinator".to_owned(), "worker".to_owned()])]
    processes: Vec<String>,
}

fn uid(text: &str) -> Result<JobUid, String> {
    JobUid::new(text).map_err(|error| error.to_string())
}

pub(super) fn main(args: &CertificatesArgs) -> Exit {
    let processes: Vec<&str> = args.processes.iter().map(String::as_str).collect();
    let options = CertificateOptions {
        job: args.job.as_str(),
        processes: &processes,
        now: SystemClock::default().now(),
        valid: args.valid,
        keep_ca_key: args.keep_ca_key,
    };
    match create_certificates(&args.out, &options) {
        Ok(files) => {
            for files in files {
                print(&format!(
                    "--tls-ca {} --tls-cert {} --tls-key {}\n",
                    files.ca.display(),
                    files.certificate.display(),
                    files.key.display()
                ));
            }
            Exit::Done
        }
        Err(error) => {
            print_error(&format!("error: certificates can't be made: {error}\n"));
            match error.kind() {
                std::io::ErrorKind::InvalidInput => Exit::Usage,
                _ => Exit::File,
            }
        }
    }
}
