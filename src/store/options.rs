//! What an operator can say about a store beside its URL.

use std::path::PathBuf;
use std::time::Duration;

/// How S3 is reached and how files lie there. A local directory and memory use none of it.
///
/// What is `None` comes from the environment, then from the profile, as [`super::Store::open`] says. No field holds a
/// secret: keys are read from the environment and from files when the store is opened, so that this value may be
/// printed and logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// URL of the server, `http://` or `https://`, without the bucket.
    pub endpoint: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// Profile of `~/.aws`; a profile named here wins over keys in the environment.
    pub profile: Option<String>,
    /// The bucket is part of the host name instead of the path.
    pub virtual_hosted: bool,
    /// PEM file with the certificates of further authorities.
    pub ca: Option<PathBuf>,
    /// How the server encrypts what it stores.
    pub encryption: Option<Encryption>,
    /// Checksum that goes with every put; `None`: `AWS_CHECKSUM_ALGORITHM`, else SHA-256.
    pub checksum: Option<Checksum>,
    /// Storage class of data files. The small JSON files keep the bucket's own, because every command reads them.
    pub storage_class: Option<String>,
    /// How long a request that fails is repeated; zero: never.
    pub retry_for: Duration,
    /// How long one request may take as a whole; `None`: `AWS_TIMEOUT`, else 180 s.
    pub timeout: Option<Duration>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            profile: None,
            virtual_hosted: false,
            ca: None,
            encryption: None,
            checksum: None,
            storage_class: None,
            retry_for: Duration::from_secs(180),
            timeout: None,
        }
    }
}

impl StoreOptions {
    /// The longest useful [`retry_for`](Self::retry_for): a repeated request carries its first signature, which S3 takes
    /// for 15 minutes.
    pub const LONGEST_RETRY: Duration = Duration::from_secs(600);
}

/// The checksum of a put, which the server compares. Buckets with Object Lock demand one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// `x-amz-checksum-sha256`. Costs nothing: the signature needs the same digest.
    Sha256,
    /// `x-amz-checksum-crc64nvme`.
    Crc64Nvme,
    /// None, for servers that refuse the header.
    Off,
}

/// Encryption on the server's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// SSE-S3: keys of the server (`AES256`).
    Server,
    /// SSE-KMS.
    Kms {
        /// Id or ARN of the key; `None`: the account's own key for S3.
        key: Option<String>,
        /// Use a bucket key, which saves calls to the KMS.
        bucket_key: bool,
    },
    /// SSE-C: a key of ours, sent with every request and needed for every read.
    Customer {
        /// File with the 32 bytes of the key in base64.
        key_file: PathBuf,
    },
}
