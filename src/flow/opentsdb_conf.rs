//! What the configuration of a TSD says about its tables.

use std::collections::BTreeMap;
use std::path::Path;

use crate::codec::RollupConfig;
use crate::flow::FlowError;
use crate::model::KeyLayout;

/// Keys whose values change bytes in HBase; they are kept in the manifest, because nothing in HBase records them.
const KEPT: &[&str] = &[
    "tsd.storage.hbase.data_table",
    "tsd.storage.hbase.uid_table",
    "tsd.storage.hbase.meta_table",
    "tsd.storage.hbase.tree_table",
    "tsd.storage.uid.width.metric",
    "tsd.storage.uid.width.tagk",
    "tsd.storage.uid.width.tagv",
    "tsd.storage.salt.width",
    "tsd.storage.salt.buckets",
    "tsd.storage.max_tags",
    "tsd.core.uid.random_metrics",
    "tsd.storage.enable_compaction",
    "tsd.storage.enable_appends",
    "tsd.storage.repair_appends",
    "tsd.storage.fix_duplicates",
    "tsd.storage.use_otsdb_timestamp",
    "tsd.storage.use_max_value",
    "tsd.storage.get_date_tiered_compaction_start",
    "tsd.core.meta.enable_realtime_ts",
    "tsd.core.meta.enable_realtime_uid",
    "tsd.core.meta.enable_tsuid_incrementing",
    "tsd.core.meta.enable_tsuid_tracking",
    "tsd.core.tree.enable_processing",
    "tsd.core.histograms.config",
    "tsd.core.tag.allow_specialchars",
    "tsd.rollups.enable",
    "tsd.rollups.config",
    "tsd.rollups.tag_raw",
    "tsd.rollups.agg_tag_key",
    "tsd.rollups.raw_agg_tag_value",
];

/// The parts of an `opentsdb.conf` that matter here.
#[derive(Debug, Clone, Default)]
pub struct OpentsdbConf {
    values: BTreeMap<String, String>,
    rollup_text: Option<String>,
    rollups: Option<RollupConfig>,
}

impl OpentsdbConf {
    /// Reads a file in the format of Java properties; a rollup configuration that it names is read too, relative to it.
    ///
    /// # Errors
    /// [`FlowError::Input`] when a file cannot be read or the rollup configuration is not what a TSD takes.
    pub fn read(path: &Path) -> Result<Self, FlowError> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| FlowError::input(format!("cannot read the OpenTSDB configuration {}: {e}", path.display())))?;
        let mut conf = Self { values: properties(&text), ..Self::default() };
        if let Some(value) = conf.values.get("tsd.rollups.config").cloned() {
            let text = if value.trim_end().ends_with(".json") {
                let file = path.parent().unwrap_or(Path::new(".")).join(value.trim());
                std::fs::read_to_string(&file).map_err(|e| {
                    FlowError::input(format!(
                        "cannot read the rollup configuration {} named by tsd.rollups.config: {e}",
                        file.display()
                    ))
                })?
            } else {
                value
            };
            let config = RollupConfig::parse(&text).map_err(|e| {
                FlowError::input(format!("tsd.rollups.config in {} is not usable: {e}", path.display()))
            })?;
            conf.rollups = Some(config);
            conf.rollup_text = Some(text);
        }
        Ok(conf)
    }

    /// A value that is present and not blank.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|v| v.trim()).filter(|v| !v.is_empty())
    }

    /// The rollup configuration.
    pub fn rollups(&self) -> Option<&RollupConfig> {
        self.rollups.as_ref()
    }

    /// The rollup configuration as it was written.
    pub fn rollup_text(&self) -> Option<&str> {
        self.rollup_text.as_deref()
    }

    /// The keys that change bytes in HBase, for the manifest.
    pub fn kept(&self) -> BTreeMap<String, String> {
        KEPT.iter().filter_map(|key| Some((key.to_string(), self.get(key)?.to_string()))).collect()
    }

    /// UID widths and salt: OpenTSDB's defaults where the file says nothing.
    ///
    /// # Errors
    /// [`FlowError::Input`] for a value that is no number or out of range.
    pub fn layout(&self) -> Result<KeyLayout, FlowError> {
        let default = KeyLayout::default();
        KeyLayout {
            metric_width: self.number("tsd.storage.uid.width.metric", default.metric_width)?,
            tagk_width: self.number("tsd.storage.uid.width.tagk", default.tagk_width)?,
            tagv_width: self.number("tsd.storage.uid.width.tagv", default.tagv_width)?,
            salt_width: self.number("tsd.storage.salt.width", default.salt_width)?,
            salt_buckets: self.number("tsd.storage.salt.buckets", default.salt_buckets)?,
        }
        .checked()
        .map_err(|e| FlowError::input(format!("the OpenTSDB configuration is not usable: {e}")))
    }

    fn number<T: std::str::FromStr>(&self, key: &str, default: T) -> Result<T, FlowError> {
        self.get(key).map_or(Ok(default), |text| {
            text.parse()
                .map_err(|_| FlowError::input(format!("{key} = {text} in the OpenTSDB configuration is no number")))
        })
    }
}

/// `key = value`, `key: value` and `key value` lines; `#` and `!` begin comments; a final backslash continues a line.
fn properties(text: &str) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let mut joined = String::new();
    for line in text.lines() {
        let line = line.trim_start();
        if joined.is_empty() && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        joined.push_str(line);
        let slashes = joined.len() - joined.trim_end_matches('\\').len();
        if slashes % 2 == 1 {
            joined.pop();
            continue;
        }
        let line = std::mem::take(&mut joined);
        let at = line.find(['=', ':', ' ', '\t']).unwrap_or(line.len());
        let (key, rest) = line.split_at(at);
        let rest = rest.trim_start();
        let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
        values.insert(key.to_string(), rest.trim().to_string());
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_read_as_java_does() {
        let read = properties("# c\n a=1 \nb : 2\nc 3\nd = x\\\n  y\n! no\n\ne=\n");
        let pairs: Vec<_> = read.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("a", "1"), ("b", "2"), ("c", "3"), ("d", "xy"), ("e", "")]);
    }

    #[test]
    fn widths_come_from_the_file_and_are_checked() {
        let conf = OpentsdbConf {
            values: properties("tsd.storage.uid.width.tagv=4\ntsd.storage.salt.width = 1\ntsd.storage.salt.buckets=8"),
            ..OpentsdbConf::default()
        };
        let layout = conf.layout().unwrap();
        assert_eq!((layout.metric_width, layout.tagv_width, layout.salt_width, layout.salt_buckets), (3, 4, 1, 8));
        for bad in ["tsd.storage.uid.width.tagv=9", "tsd.storage.salt.width=x"] {
            let conf = OpentsdbConf { values: properties(bad), ..OpentsdbConf::default() };
            assert!(conf.layout().is_err(), "{bad}");
        }
    }
}
