//! Flags that several verbs share, and what they mean.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use tsdb_ark::flow::{
    Checksum, Encryption, GatewaySettings, LayoutFlags, OpentsdbConf, RepositorySettings, Resources, StoreOptions,
    TableNames,
};
use tsdb_ark::model::{NameCharset, RawReason};

use crate::cli::exit::{Usage, usage};
use crate::cli::units;

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Plain text
    Text,
    /// One JSON object per line
    Json,
}

/// What is printed and where settings come from; every verb takes these.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output and settings")]
pub struct OutputArgs {
    /// Read settings from a TOML file whose keys are the names of the flags
    #[arg(long, global = true, value_name = "FILE", env = "TSDB_ARK_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print the report as one JSON object instead of text, without a progress line
    #[arg(long, global = true)]
    pub json: bool,
    /// Print neither progress nor report; backup prints the id of the backup
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Log more to stderr: -v for each step, -vv for details, -vvv for everything
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Format of the log on stderr
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// Where the cluster is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Gateway")]
pub struct GatewayArgs {
    /// Thrift gateway of the cluster; may be repeated. A thrift1:// or thrift2:// prefix forces the version, which is
    /// detected otherwise. In the environment variable, commas separate gateways
    #[arg(long, value_name = "HOST:PORT", env = "TSDB_ARK_GATEWAY", value_delimiter = ',')]
    pub gateway: Vec<String>,
    /// Use the framed transport (default: detected)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL",
        hide_possible_values = true)]
    pub framed: Option<bool>,
    /// Use the unframed (buffered) transport (default: detected)
    #[arg(long, conflicts_with = "framed")]
    pub unframed: bool,
    /// Use the compact protocol (default: detected)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL",
        hide_possible_values = true)]
    pub compact: Option<bool>,
    /// Use the binary protocol (default: detected)
    #[arg(long, conflicts_with = "compact")]
    pub binary: bool,
    /// Timeout for connecting to a gateway
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration,
        default_value = units::duration_flag(GatewaySettings::default().connect_timeout))]
    pub connect_timeout: Duration,
    /// Timeout for the reply to a read
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration,
        default_value = units::duration_flag(GatewaySettings::default().read_timeout))]
    pub read_timeout: Duration,
    /// Timeout for the reply to a put or to a change of tables
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration,
        default_value = units::duration_flag(GatewaySettings::default().put_timeout))]
    pub put_timeout: Duration,
    /// Timeout for sending a request
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration,
        default_value = units::duration_flag(GatewaySettings::default().write_timeout))]
    pub write_timeout: Duration,
    /// How long to retry a failing call before giving up; 0s disables retries
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration,
        default_value = units::duration_flag(GatewaySettings::default().retry_for))]
    pub retry_for: Duration,
}

impl GatewayArgs {
    /// True when a gateway is named.
    pub fn given(&self) -> bool {
        self.gateway.iter().any(|gateway| !gateway.trim().is_empty())
    }

    /// The settings.
    ///
    /// # Errors
    /// [`Usage`] when no gateway is named or a time-out is zero.
    pub fn settings(&self) -> Result<GatewaySettings, Usage> {
        let named = self.gateway.iter().map(|gateway| gateway.trim()).filter(|gateway| !gateway.is_empty());
        let gateways: Vec<String> = named.map(str::to_string).collect();
        if gateways.is_empty() {
            return Err(usage(
                "no gateway is given: name the Thrift gateway of the cluster with --gateway HOST:PORT, \
                 TSDB_ARK_GATEWAY or `gateway` in the configuration file",
            ));
        }
        let times = [
            ("connect", self.connect_timeout),
            ("read", self.read_timeout),
            ("put", self.put_timeout),
            ("write", self.write_timeout),
        ];
        if let Some((name, _)) = times.iter().find(|(_, time)| time.is_zero()) {
            return Err(usage(format!("--{name}-timeout must be longer than 0")));
        }
        Ok(GatewaySettings {
            gateways,
            framed: if self.unframed { Some(false) } else { self.framed },
            compact: if self.binary { Some(false) } else { self.compact },
            connect_timeout: self.connect_timeout,
            read_timeout: self.read_timeout,
            put_timeout: self.put_timeout,
            write_timeout: self.write_timeout,
            retry_for: self.retry_for,
        })
    }
}

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

/// What is known about the OpenTSDB that is read.
#[derive(Debug, Args)]
#[command(next_help_heading = "OpenTSDB")]
pub struct OpentsdbArgs {
    /// opentsdb.conf of the TSDs: names the tables, UID widths, salt and rollups
    #[arg(long, value_name = "FILE")]
    pub opentsdb_conf: Option<PathBuf>,
    /// Rollup configuration (default: what opentsdb.conf names)
    #[arg(long, value_name = "FILE")]
    pub rollup_config: Option<PathBuf>,
    /// Data table (default: from opentsdb.conf, else tsdb); may be repeated, the main one first
    #[arg(long, value_name = "TABLE", value_delimiter = ',')]
    pub data_table: Vec<String>,
    /// UID table (default: from opentsdb.conf, else tsdb-uid)
    #[arg(long, value_name = "TABLE")]
    pub uid_table: Option<String>,
    /// The UID table is lost: back up the rest, with UIDs in place of names
    #[arg(long, conflicts_with = "uid_table")]
    pub no_uid_table: bool,
    /// Character set of names: iso-8859-1, as OpenTSDB writes them, or utf-8, as patched builds do
    #[arg(long, value_name = "CHARSET", value_parser = parse_charset)]
    pub name_charset: Option<NameCharset>,
    /// Meta table (default: from opentsdb.conf, else tsdb-meta if it exists)
    #[arg(long, value_name = "TABLE")]
    pub meta_table: Option<String>,
    /// Tree table (default: from opentsdb.conf, else tsdb-tree if it exists)
    #[arg(long, value_name = "TABLE")]
    pub tree_table: Option<String>,
    /// Another table to include: rollups, pre-aggregates or any other; may be repeated
    #[arg(long, value_name = "TABLE", value_delimiter = ',')]
    pub table: Vec<String>,
    /// Output of `describe 'TABLE'` in the HBase shell, for one or more tables, for gateways before HBase 2.2 that do
    /// not report it; may be repeated
    #[arg(long, value_name = "FILE")]
    pub table_description: Vec<PathBuf>,
    /// Width of a metric UID (default: from opentsdb.conf, else detected)
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u8).range(1..=8))]
    pub uid_width_metric: Option<u8>,
    /// Width of a tag key UID (default: as above)
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u8).range(1..=8))]
    pub uid_width_tagk: Option<u8>,
    /// Width of a tag value UID (default: as above)
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u8).range(1..=8))]
    pub uid_width_tagv: Option<u8>,
    /// Width of the salt in front of a row key; 0 for unsalted tables (default: as above)
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u8).range(0..=8))]
    pub salt_width: Option<u8>,
    /// Number of salt buckets in use; after a comma, earlier numbers that old rows were written with
    #[arg(long, value_name = "COUNT", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    pub salt_buckets: Vec<u32>,
}

impl OpentsdbArgs {
    /// The TSD's configuration, read.
    ///
    /// # Errors
    /// The file cannot be read or used.
    pub fn conf(&self) -> anyhow::Result<Option<OpentsdbConf>> {
        let rollups = self.rollup_config.as_deref();
        Ok(match (self.opentsdb_conf.as_deref(), rollups) {
            (Some(path), rollups) => Some(OpentsdbConf::read(path, rollups)?),
            (None, Some(rollups)) => Some(OpentsdbConf::of_rollups(rollups)?),
            (None, None) => None,
        })
    }

    /// Table names.
    pub fn names(&self) -> TableNames {
        TableNames {
            data: self.data_table.clone(),
            uid: self.uid_table.clone(),
            no_uid: self.no_uid_table,
            meta: self.meta_table.clone(),
            tree: self.tree_table.clone(),
            extra: self.table.clone(),
        }
    }

    /// Widths and salt.
    pub fn layout(&self) -> LayoutFlags {
        LayoutFlags {
            metric_width: self.uid_width_metric,
            tagk_width: self.uid_width_tagk,
            tagv_width: self.uid_width_tagv,
            salt_width: self.salt_width,
            salt_buckets: self.salt_buckets.clone(),
        }
    }
}

fn parse_charset(text: &str) -> Result<NameCharset, String> {
    let all = [NameCharset::Latin1, NameCharset::Utf8];
    let found = all.into_iter().find(|charset| charset.name().eq_ignore_ascii_case(text));
    found.ok_or_else(|| format!("known are {}", all.map(NameCharset::name).join(" and ")))
}

/// Raw cells that are no news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedRaw {
    /// Whatever the reason.
    All,
    /// None of them.
    Nothing,
    /// Those of one reason.
    Reason(RawReason),
}

impl ExpectedRaw {
    /// Reads `all`, `none` or the name of a reason; a configuration file may say true and false.
    ///
    /// # Errors
    /// Anything else, with the names that there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "all" | "true" => Ok(Self::All),
            "none" | "false" => Ok(Self::Nothing),
            name => RawReason::from_name(name).map(Self::Reason).ok_or_else(|| {
                let names: Vec<&str> = RawReason::ALL.iter().map(|reason| reason.name()).collect();
                format!("no cell is kept raw for that reason; reasons are {}", names.join(", "))
            }),
        }
    }

    /// Whether a reason is among those that are expected.
    pub fn covers(expected: &[Self], reason: Option<RawReason>) -> bool {
        expected.iter().any(|one| match one {
            Self::All => true,
            Self::Nothing => false,
            Self::Reason(known) => Some(*known) == reason,
        })
    }
}

/// How much of the machine and of the cluster is used.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct ResourceArgs {
    /// Connections to the gateways; each runs one scan or put at a time
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024),
        default_value = Resources::default().connections.to_string())]
    pub connections: u16,
    /// Threads that decode and encode; 0 for one per core
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(0..=1024),
        default_value = Resources::default().cpu.to_string())]
    pub cpu: u16,
    /// Memory limit for pages, batches and open files together
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size,
        default_value = units::size_flag(Resources::default().max_memory))]
    pub max_memory: u64,
    /// Target size of a page of a scan
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size,
        default_value = units::size_flag(Resources::default().page_bytes))]
    pub page_size: u64,
}

impl ResourceArgs {
    /// The limits.
    ///
    /// # Errors
    /// [`Usage`] when pages are empty or the memory does not hold one page per connection.
    pub fn limits(&self) -> Result<Resources, Usage> {
        let pages = self.page_size.saturating_mul(u64::from(self.connections));
        if self.page_size < 4096 {
            return Err(usage("--page-size must be at least 4KiB"));
        }
        if self.max_memory < pages {
            return Err(usage(format!(
                "--max-memory {} does not hold one page of {} for each of {} connections; give it at least {}",
                units::size_flag(self.max_memory),
                units::size_flag(self.page_size),
                self.connections,
                units::size_flag(pages)
            )));
        }
        Ok(Resources {
            connections: usize::from(self.connections),
            cpu: usize::from(self.cpu),
            max_memory: self.max_memory,
            page_bytes: self.page_size,
        })
    }
}

/// Reads `OLD=NEW`.
pub fn parse_rename(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => Ok((old.to_string(), new.to_string())),
        _ => Err("expected OLD=NEW, the table's name in the backup and its name in the cluster".to_string()),
    }
}

/// Checks that renames are unambiguous.
///
/// # Errors
/// [`Usage`] when a table has two new names, or two tables have the same one and would be mixed.
pub fn check_renames(renames: &[(String, String)]) -> Result<(), Usage> {
    for (at, (old, new)) in renames.iter().enumerate() {
        for (other_old, other_new) in renames.iter().take(at) {
            if old == other_old && new != other_new {
                return Err(usage(format!("--rename-table gives {old} two names: {other_new} and {new}")));
            }
            if old != other_old && new == other_new {
                return Err(usage(format!("--rename-table would mix {other_old} and {old} in {new}")));
            }
        }
    }
    Ok(())
}
