//! Flags that several verbs share, and what they mean.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use tsdb_ark::flow::{GatewaySettings, Resources};

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
