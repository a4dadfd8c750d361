//! The certificates of jobs. All of them follow from one key of the operator's: the CA of a job and what it signs
//! are made again whenever they are needed, to the same bytes, and never read from the cluster. Two operators at
//! once make the same.
//!
//! A certificate lives for three epochs and is replaced after one; the CA of a job stays for the job's life.

use std::sync::Arc;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SerialNumber,
};
use time::OffsetDateTime;

/// Seconds of an epoch: 30 days.
const EPOCH: i64 = 30 * 86_400;
/// Epochs for which a certificate is good.
const LIFE: i64 = 3;
/// Certificates are good from so long before their epoch: clocks differ. Seconds.
const SKEW: i64 = 86_400;
/// From when and until when a CA is good: 2025 to 2125. Seconds since 1970.
const CA_LIFE: (i64, i64) = (1_735_689_600, 4_891_363_200);
/// What stands before the 32 bytes of an Ed25519 key in PKCS#8.
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// PEM files of one process.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificates {
    /// The job's CA.
    pub ca: String,
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

/// The operator's key, and what follows from it. Never shown.
#[derive(Clone)]
pub struct Authority(Arc<[u8; 32]>);

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    /// The authority of a key.
    pub fn new(root: [u8; 32]) -> Self {
        Self(Arc::new(root))
    }

    /// What the processes of a job share.
    pub fn job(&self, uid: &str, epoch: u64) -> Certificates {
        self.issue(uid, epoch, "process")
    }

    /// What the operator shows to a job.
    pub fn operator(&self, uid: &str, epoch: u64) -> Certificates {
        self.issue(uid, epoch, "operator")
    }

    fn issue(&self, uid: &str, epoch: u64, role: &str) -> Certificates {
        self.try_issue(uid, epoch, role)
            .expect("keys and times made here are in order, and uids are DNS labels")
    }

    fn try_issue(&self, uid: &str, epoch: u64, role: &str) -> Result<Certificates, rcgen::Error> {
        let ca_key = self.key(&["ca", uid])?;
        let mut ca = params("weir", CA_LIFE, self.serial(&["ca", uid]));
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_pem = ca.self_signed(&ca_key)?.pem();

        let epoch_text = epoch.to_string();
        let key = self.key(&["leaf", uid, role, &epoch_text])?;
        let start = start(uid, epoch);
        let serial = self.serial(&["leaf", uid, role, &epoch_text]);
        let mut leaf = params(&format!("weir {role}"), (start - SKEW, start + LIFE * EPOCH), serial);
        leaf.subject_alt_names = CertificateParams::new(vec![job_name(uid)])?.subject_alt_names;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        leaf.use_authority_key_identifier_extension = true;
        let certificate = leaf.signed_by(&key, &Issuer::new(ca, ca_key))?.pem();
        Ok(Certificates { ca: ca_pem, certificate, key: key.serialize_pem() })
    }

    fn key(&self, purpose: &[&str]) -> Result<KeyPair, rcgen::Error> {
        let mut der = PKCS8.to_vec();
        der.extend_from_slice(self.derive("key", purpose).as_bytes());
        KeyPair::try_from(der)
    }

    fn serial(&self, purpose: &[&str]) -> SerialNumber {
        let mut bytes = self.derive("serial", purpose).as_bytes()[..16].to_vec();
        // Positive, and as long as it looks.
        bytes[0] = (bytes[0] & 0x7f) | 0x40;
        SerialNumber::from_slice(&bytes)
    }

    fn derive(&self, what: &str, purpose: &[&str]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in std::iter::once(&what).chain(purpose) {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        hasher.finalize()
    }
}

/// The DNS name in the certificates of a job.
pub fn job_name(uid: &str) -> String {
    format!("{uid}.job.weir")
}

/// The epoch of a job at a time. Jobs change at different times.
pub fn epoch(uid: &str, now: Timestamp) -> u64 {
    u64::try_from((now.as_second() - offset(uid)).div_euclid(EPOCH)).unwrap_or(0)
}

fn start(uid: &str, epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(0).saturating_mul(EPOCH) + offset(uid)
}

fn offset(uid: &str) -> i64 {
    let hash = blake3::hash(uid.as_bytes());
    let bytes = hash.as_bytes();
    i64::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])) % EPOCH
}

fn params(name: &str, (from, until): (i64, i64), serial: SerialNumber) -> CertificateParams {
    let instant =
        |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = instant(from);
    params.not_after = instant(until);
    params.serial_number = Some(serial);
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_follows_from_the_key_the_job_and_the_epoch() {
        let authority = Authority::new([7; 32]);
        let made = authority.job("uid-1", 680);
        assert_eq!(made, authority.job("uid-1", 680), "the same bytes again");
        let next = authority.job("uid-1", 681);
        assert_eq!(made.ca, next.ca, "the CA stays, so that both are good at once");
        assert_ne!(made.key, next.key);
        assert_ne!(made.certificate, next.certificate);
        assert_ne!(made.ca, authority.job("uid-2", 680).ca);
        assert_ne!(made.ca, Authority::new([8; 32]).job("uid-1", 680).ca);
        assert!(!format!("{authority:?} {made:?}").contains("PRIVATE"), "never shown (F44)");
    }

    #[test]
    fn an_epoch_lasts_as_long_for_every_job_and_begins_at_its_own_time() {
        let now: Timestamp = "2026-11-29T10:00:00Z".parse().expect("a time");
        for uid in ["a", "b", "c"] {
            let this = epoch(uid, now);
            assert!(start(uid, this) <= now.as_second() && now.as_second() < start(uid, this + 1));
        }
    }
}
