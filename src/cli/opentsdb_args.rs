//! Flags that describe the OpenTSDB being read.

use std::path::PathBuf;

use clap::Args;
use tsdb_ark::flow::{LayoutFlags, OpentsdbConf, TableNames};
use tsdb_ark::model::NameCharset;

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
