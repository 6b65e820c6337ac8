//! Flags for the repository and its store.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tsdb_ark::flow::{Checksum, Encryption, RepositorySettings, StoreOptions};

use crate::cli::exit::{Usage, usage};
use crate::cli::units;

/// Where the backups are.
#[derive(Debug, Args)]
pub struct RepositoryArgs {
    /// Directory or S3 prefix that holds the backups: /path, file:///path, s3://bucket/prefix
    #[arg(long, value_name = "URL", env = "TSDB_ARK_REPOSITORY")]
    pub repository: Option<String>,
    /// How S3 is reached.
    #[command(flatten)]
    pub store: StoreArgs,
}

impl RepositoryArgs {
    /// True when a repository is named.
    pub fn given(&self) -> bool {
        self.repository.as_deref().is_some_and(|url| !url.trim().is_empty())
    }

    /// The repository's URL.
    ///
    /// # Errors
    /// [`Usage`] when none is given.
    pub fn url(&self) -> Result<String, Usage> {
        let given = self.repository.as_deref().map(str::trim).filter(|url| !url.is_empty());
        given.map(str::to_string).ok_or_else(|| {
            usage(
                "no repository is given: name a directory or S3 prefix with --repository URL, TSDB_ARK_REPOSITORY \
                 or `repository` in the configuration file",
            )
        })
    }

    /// The repository's URL and how to get there.
    ///
    /// # Errors
    /// [`Usage`] when no URL is given, or flags do not go together.
    pub fn settings(&self) -> Result<RepositorySettings, Usage> {
        Ok(RepositorySettings { url: self.url()?, options: self.store.options()? })
    }
}

/// How the server encrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sse {
    /// SSE-S3: with keys that the server manages
    Aes256,
    /// SSE-KMS: with a KMS key
    Kms,
    /// SSE-C: with your own key, from --s3-sse-key-file
    Customer,
}

/// The checksum of every put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ChecksumKind {
    /// SHA-256, which is computed for the signature anyway
    Sha256,
    /// CRC-64/NVME
    Crc64nvme,
    /// None, for servers that reject the header
    Off,
}

/// Set flag by flag: as a heading of the whole it would go on over the flags behind it.
const S3: &str = "S3 (keys: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role)";

/// How S3 is reached and how files lie there. Credentials are never flags: they would show in the list of processes.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// URL of the S3 server, without the bucket (default: AWS_ENDPOINT_URL, the profile's, else AWS)
    #[arg(long, help_heading = S3, value_name = "URL")]
    pub s3_endpoint: Option<String>,
    /// S3 region (default: AWS_REGION, the profile's, else us-east-1)
    #[arg(long, help_heading = S3, value_name = "NAME")]
    pub s3_region: Option<String>,
    /// Profile in ~/.aws; takes precedence over keys in the environment (default: AWS_PROFILE, else default)
    #[arg(long, help_heading = S3, value_name = "NAME")]
    pub s3_profile: Option<String>,
    /// Address the bucket by host name (BUCKET.HOST) instead of by path
    #[arg(long, help_heading = S3)]
    pub s3_virtual_hosted: bool,
    /// PEM file with the CA of the server's certificate (default: AWS_CA_BUNDLE and the system's CAs)
    #[arg(long, help_heading = S3, value_name = "FILE")]
    pub s3_ca: Option<PathBuf>,
    /// Server-side encryption
    #[arg(long, help_heading = S3, value_name = "KIND")]
    pub s3_sse: Option<Sse>,
    /// With --s3-sse kms: id or ARN of the KMS key (default: the account's key for S3)
    #[arg(long, help_heading = S3, value_name = "KEY")]
    pub s3_kms_key: Option<String>,
    /// With --s3-sse kms: use an S3 Bucket Key, which saves KMS requests
    #[arg(long, help_heading = S3)]
    pub s3_bucket_key: bool,
    /// With --s3-sse customer: file with the key, 32 bytes in base64; all later commands need it too
    #[arg(long, help_heading = S3, value_name = "FILE")]
    pub s3_sse_key_file: Option<PathBuf>,
    /// Checksum sent with every put; buckets with Object Lock require one [default: AWS_CHECKSUM_ALGORITHM, else sha256]
    #[arg(long, help_heading = S3, value_name = "KIND")]
    pub s3_checksum: Option<ChecksumKind>,
    /// Storage class of data files, such as STANDARD_IA; not an archive class
    #[arg(long, help_heading = S3, value_name = "CLASS")]
    pub s3_storage_class: Option<String>,
    /// How long to retry a failing S3 request before giving up, at most 10m; 0s disables retries
    #[arg(long, help_heading = S3, value_name = "TIME", value_parser = units::parse_duration,
        default_value = units::duration_flag(StoreOptions::default().retry_for))]
    pub store_retry_for: Duration,
    /// Timeout for one S3 request as a whole (default: AWS_TIMEOUT, else 3m)
    #[arg(long, help_heading = S3, value_name = "TIME", value_parser = units::parse_duration)]
    pub store_timeout: Option<Duration>,
}

impl StoreArgs {
    /// The options.
    ///
    /// # Errors
    /// [`Usage`] when flags do not go together or a time makes no sense.
    pub fn options(&self) -> Result<StoreOptions, Usage> {
        if self.store_retry_for > StoreOptions::LONGEST_RETRY {
            return Err(usage(
                "--store-retry-for must be at most 10m: a request is signed once, and S3 takes the signature \
                              for 15 minutes",
            ));
        }
        if self.store_timeout.is_some_and(|time| time.is_zero()) {
            return Err(usage("--store-timeout must be longer than 0"));
        }
        Ok(StoreOptions {
            endpoint: self.s3_endpoint.clone(),
            region: self.s3_region.clone(),
            profile: self.s3_profile.clone(),
            virtual_hosted: self.s3_virtual_hosted,
            ca: self.s3_ca.clone(),
            encryption: self.encryption()?,
            checksum: self.s3_checksum.map(|kind| match kind {
                ChecksumKind::Sha256 => Checksum::Sha256,
                ChecksumKind::Crc64nvme => Checksum::Crc64Nvme,
                ChecksumKind::Off => Checksum::Off,
            }),
            storage_class: self.s3_storage_class.clone(),
            retry_for: self.store_retry_for,
            timeout: self.store_timeout,
        })
    }

    fn encryption(&self) -> Result<Option<Encryption>, Usage> {
        let kms = self.s3_sse == Some(Sse::Kms);
        if !kms && (self.s3_kms_key.is_some() || self.s3_bucket_key) {
            return Err(usage("--s3-kms-key and --s3-bucket-key need --s3-sse kms"));
        }
        if self.s3_sse != Some(Sse::Customer) && self.s3_sse_key_file.is_some() {
            return Err(usage("--s3-sse-key-file needs --s3-sse customer"));
        }
        Ok(match self.s3_sse {
            None => None,
            Some(Sse::Aes256) => Some(Encryption::Server),
            Some(Sse::Kms) => Some(Encryption::Kms { key: self.s3_kms_key.clone(), bucket_key: self.s3_bucket_key }),
            Some(Sse::Customer) => {
                let missing = || usage("--s3-sse customer needs the key: --s3-sse-key-file FILE");
                Some(Encryption::Customer { key_file: self.s3_sse_key_file.clone().ok_or_else(missing)? })
            }
        })
    }
}
