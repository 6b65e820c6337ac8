//! What the configuration of a TSD says about its tables.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::codec::RollupConfig;
use crate::flow::FlowError;
use crate::flow::source::properties;
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
    /// Reads a file as Java's `Properties` does. The rollup configuration is `rollup_config` where that is given, else the
    /// file that `tsd.rollups.config` names; a relative name is looked for beside the file and in the working directory.
    ///
    /// # Errors
    /// [`FlowError::Input`] when a file cannot be read or the rollup configuration is not what a TSD takes.
    pub fn read(path: &Path, rollup_config: Option<&Path>) -> Result<Self, FlowError> {
        let conf = Self::read_keys(path)?;
        let named = conf.get("tsd.rollups.config").map(str::to_string);
        let text = match (rollup_config, named) {
            (Some(file), _) => Some(read_rollups(file)?),
            (None, Some(name)) if name.ends_with(".json") => Some(find_rollups(path, &name)?),
            (None, named) => named,
        };
        conf.with_rollups(text, &path.display().to_string())
    }

    /// Reads the file alone, not the rollup configuration that it names.
    ///
    /// # Errors
    /// [`FlowError::Input`] when the file cannot be read.
    pub fn read_keys(path: &Path) -> Result<Self, FlowError> {
        let bytes = std::fs::read(path)
            .map_err(|e| FlowError::input(format!("cannot read the OpenTSDB configuration {}: {e}", path.display())))?;
        let values = properties::parse(&bytes).map_err(|problem| {
            FlowError::input(format!("the OpenTSDB configuration {} is not usable: {problem}", path.display()))
        })?;
        if !values.keys().any(|key| key.starts_with("tsd.")) {
            return Err(FlowError::input(format!(
                "{} is not an OpenTSDB configuration: no key begins with tsd.",
                path.display()
            )));
        }
        Ok(Self { values, ..Self::default() })
    }

    /// A rollup configuration without the rest.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn of_rollups(file: &Path) -> Result<Self, FlowError> {
        Self::default().with_rollups(Some(read_rollups(file)?), &file.display().to_string())
    }

    /// What [`kept`](Self::kept) and [`rollup_text`](Self::rollup_text) gave an earlier run.
    ///
    /// # Errors
    /// [`FlowError::Input`] for a rollup configuration that an earlier run cannot have taken.
    pub fn recorded(values: BTreeMap<String, String>, rollup_text: Option<String>) -> Result<Self, FlowError> {
        Self { values, ..Self::default() }.with_rollups(rollup_text, "the plan of the backup")
    }

    fn with_rollups(mut self, text: Option<String>, place: &str) -> Result<Self, FlowError> {
        if let Some(text) = text {
            let config = RollupConfig::parse(&text);
            let config = config
                .map_err(|e| FlowError::input(format!("the rollup configuration in {place} is not usable: {e}")))?;
            self.rollups = Some(config);
            self.rollup_text = Some(text);
        }
        Ok(self)
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
                .map_err(|_| FlowError::input(format!("{key} = {text} in the OpenTSDB configuration is not a number")))
        })
    }
}

fn read_rollups(file: &Path) -> Result<String, FlowError> {
    std::fs::read_to_string(file)
        .map_err(|e| FlowError::input(format!("cannot read the rollup configuration {}: {e}", file.display())))
}

/// Reads the file that `tsd.rollups.config` names. A TSD takes a relative name from its working directory, which nothing
/// tells here.
fn find_rollups(conf: &Path, name: &str) -> Result<String, FlowError> {
    let beside = conf.parent().unwrap_or(Path::new(".")).join(name);
    let places = [beside, PathBuf::from(name)];
    let found = places.iter().find(|place| place.exists());
    found.map_or_else(
        || {
            Err(FlowError::input(format!(
                "{} names the rollup configuration {name}, which is neither at {} nor in the working directory; name it with \
                 --rollup-config FILE",
                conf.display(),
                places[0].display()
            )))
        },
        |place| read_rollups(place),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> OpentsdbConf {
        OpentsdbConf { values: properties::parse(text.as_bytes()).unwrap(), ..OpentsdbConf::default() }
    }

    #[test]
    fn a_rollup_configuration_is_found_beside_the_file_or_where_it_is_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let (path, json) = (folder.path().join("opentsdb.conf"), r#"{"aggregationIds": {"sum": 0}, "intervals": []}"#);
        std::fs::write(&path, "tsd.rollups.config = ./src/r.json\n").unwrap();
        let refused = OpentsdbConf::read(&path, None).unwrap_err().to_string();
        assert!(refused.contains("--rollup-config") && refused.contains("./src/r.json"), "{refused}");
        let elsewhere = folder.path().join("elsewhere.json");
        std::fs::write(&elsewhere, json).unwrap();
        assert_eq!(OpentsdbConf::read(&path, Some(&elsewhere)).unwrap().rollup_text(), Some(json));
        assert_eq!(OpentsdbConf::of_rollups(&elsewhere).unwrap().rollup_text(), Some(json));
        std::fs::create_dir(folder.path().join("src")).unwrap();
        std::fs::write(folder.path().join("src/r.json"), json).unwrap();
        let read = OpentsdbConf::read(&path, None).unwrap();
        assert_eq!(read.rollups().unwrap().aggregation_ids["sum"], 0);
        let again = OpentsdbConf::recorded(read.kept(), read.rollup_text().map(str::to_owned)).unwrap();
        assert_eq!((again.kept(), again.rollups()), (read.kept(), read.rollups()));
    }

    #[test]
    fn widths_come_from_the_file_and_are_checked() {
        let conf = conf("tsd.storage.uid.width.tagv=4\ntsd.storage.salt.width = 1\ntsd.storage.salt.buckets=8");
        let layout = conf.layout().unwrap();
        assert_eq!((layout.metric_width, layout.tagv_width, layout.salt_width, layout.salt_buckets), (3, 4, 1, 8));
        for bad in ["tsd.storage.uid.width.tagv=9", "tsd.storage.salt.width=x"] {
            assert!(super::tests::conf(bad).layout().is_err(), "{bad}");
        }
    }
}
