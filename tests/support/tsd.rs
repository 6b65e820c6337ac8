//! A real OpenTSDB: its tables, and TSDs on them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::bed::{Bed, tail};
use super::http::{self, Reply};

/// The family attributes with which OpenTSDB's own script creates its tables.
const DATA: &str = "VERSIONS=1,BLOOMFILTER=ROW,DATA_BLOCK_ENCODING=DIFF";
const NAMES: &str = "BLOOMFILTER=ROW,DATA_BLOCK_ENCODING=DIFF";
const ROLLUPS: [&str; 3] = ["tsdb-preagg", "tsdb-rollup-1h", "tsdb-rollup-preagg-1h"];

/// The tables of one OpenTSDB: `PREFIXtsdb`, `PREFIXtsdb-uid`, `PREFIXtsdb-meta`, `PREFIXtsdb-tree` and those of rollups.
#[derive(Debug, Clone)]
pub struct Tables {
    /// In front of each name.
    pub prefix: String,
    /// Whether there are rollup and pre-aggregate tables.
    pub rollups: bool,
}

impl Tables {
    /// Tables under this prefix, which may be there or not.
    pub fn named(prefix: &str, rollups: bool) -> Tables {
        Tables { prefix: prefix.to_owned(), rollups }
    }

    /// Creates empty tables under a prefix that nothing else has. `splits`: region boundaries of the data table.
    pub fn create(bed: &Bed, rollups: bool, splits: &[&str]) -> Tables {
        let tables = Tables::named(&format!("{}.", bed.unique("t")), rollups);
        tables.create_in(bed, splits);
        tables
    }

    /// Creates the tables, all at once because each takes the better part of a second.
    pub fn create_in(&self, bed: &Bed, splits: &[&str]) {
        let prefix = &self.prefix;
        let mut commands = vec![
            format!("create {prefix}tsdb t {DATA} {}", splits.join(",")),
            format!("create {prefix}tsdb-uid id,name {NAMES}"),
            format!("create {prefix}tsdb-meta name {NAMES}"),
            format!("create {prefix}tsdb-tree t {DATA}"),
        ];
        if self.rollups {
            commands.extend(ROLLUPS.iter().map(|table| format!("create {prefix}{table} t {DATA}")));
        }
        std::thread::scope(|scope| {
            for command in &commands {
                scope.spawn(move || bed.must(command));
            }
        });
    }

    /// Every table with its prefix, the data table first.
    pub fn names(&self) -> Vec<String> {
        let mut names = vec!["tsdb", "tsdb-uid", "tsdb-meta", "tsdb-tree"];
        if self.rollups {
            names.extend(ROLLUPS);
        }
        names.iter().map(|name| format!("{}{name}", self.prefix)).collect()
    }

    /// The data table.
    pub fn data(&self) -> String {
        format!("{}tsdb", self.prefix)
    }

    /// The settings that make a TSD use these tables.
    pub fn conf(&self, bed: &Bed) -> Vec<(String, String)> {
        let mut conf = Vec::new();
        for (key, table) in [("data", "tsdb"), ("uid", "tsdb-uid"), ("meta", "tsdb-meta"), ("tree", "tsdb-tree")] {
            conf.push((format!("tsd.storage.hbase.{key}_table"), format!("{}{table}", self.prefix)));
        }
        if self.rollups {
            conf.push(("tsd.rollups.enable".to_owned(), "true".to_owned()));
            conf.push(("tsd.rollups.config".to_owned(), self.rollup_config(bed).display().to_string()));
        }
        conf
    }

    /// Writes the rollup configuration that belongs to these tables and returns where it is.
    pub fn rollup_config(&self, bed: &Bed) -> PathBuf {
        let prefix = &self.prefix;
        let config = serde_json::json!({
            "aggregationIds": {"sum": 0, "count": 1, "min": 2, "max": 3},
            "intervals": [
                {"table": format!("{prefix}tsdb"), "preAggregationTable": format!("{prefix}tsdb-preagg"),
                 "interval": "1m", "rowSpan": "1h", "defaultInterval": true},
                {"table": format!("{prefix}tsdb-rollup-1h"),
                 "preAggregationTable": format!("{prefix}tsdb-rollup-preagg-1h"), "interval": "1h", "rowSpan": "1d"},
            ],
        });
        let path = bed.folder().join(format!("{prefix}rollup.json"));
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }
}

/// A running TSD. It is killed when dropped; [`stop`](Self::stop) lets it write what it holds.
#[derive(Debug)]
pub struct Tsd<'a> {
    bed: &'a Bed,
    name: String,
    address: String,
    conf_file: PathBuf,
    running: bool,
}

impl<'a> Tsd<'a> {
    /// Starts a TSD 2.4.1 with these settings on top of [the usual ones](Self::start_version).
    pub fn start<K: AsRef<str>, V: AsRef<str>>(bed: &'a Bed, conf: &[(K, V)]) -> Tsd<'a> {
        Tsd::start_version(bed, "2.4.1", conf)
    }

    /// Starts a TSD of this version. The usual settings: this bed's ZooKeeper, metrics created as they come, a short flush
    /// interval, and duplicates settled instead of refused.
    pub fn start_version<K: AsRef<str>, V: AsRef<str>>(bed: &'a Bed, version: &str, conf: &[(K, V)]) -> Tsd<'a> {
        let name = bed.unique("tsd");
        let folder = bed.folder().join(&name);
        std::fs::create_dir_all(folder.join("static")).unwrap();
        std::fs::create_dir_all(folder.join("cache")).unwrap();
        let mut lines = String::new();
        for (key, value) in [
            ("tsd.http.staticroot", folder.join("static").to_str().unwrap()),
            ("tsd.http.cachedir", folder.join("cache").to_str().unwrap()),
            ("tsd.http.request.enable_chunked", "true"),
            ("tsd.http.request.max_chunk", "67108864"),
            ("tsd.core.auto_create_metrics", "true"),
            ("tsd.storage.hbase.zk_quorum", &bed.zk_quorum()),
            ("tsd.storage.hbase.zk_basedir", "/hbase"),
            ("tsd.storage.fix_duplicates", "true"),
            ("tsd.storage.flush_interval", "20"),
        ] {
            lines.push_str(&property(key, value));
        }
        for (key, value) in conf {
            lines.push_str(&property(key.as_ref(), value.as_ref()));
        }
        let conf_file = folder.join("opentsdb.conf");
        std::fs::write(&conf_file, lines).unwrap();
        let command = format!("spawntsd {name} {} {version}", conf_file.display());
        let address = match bed.control(&command) {
            Ok(lines) => format!("127.0.0.1:{}", lines[0].trim_start_matches("port ")),
            Err(error) => panic!("no TSD: {error}\n{}", tail(&bed.folder().join(format!("{name}.log")))),
        };
        Tsd { bed, name, address, conf_file, running: true }
    }

    /// The settings it runs with, as a file that `--opentsdb-conf` takes.
    pub fn conf_file(&self) -> &std::path::Path {
        &self.conf_file
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// GET.
    pub fn get(&self, path: &str) -> Reply {
        http::call(&self.address, "GET", path, None).unwrap_or_else(|error| self.silent(path, &error))
    }

    /// POST of a JSON document.
    pub fn post(&self, path: &str, json: &Value) -> Reply {
        let body = json.to_string();
        http::call(&self.address, "POST", path, Some(&body)).unwrap_or_else(|error| self.silent(path, &error))
    }

    fn silent(&self, path: &str, error: &std::io::Error) -> ! {
        let log = tail(&self.bed.folder().join(format!("{}.log", self.name)));
        panic!("the TSD does not answer {path}: {error}; its log ends:\n{log}")
    }

    /// Ends it as an operator would; it compacts and writes first.
    pub fn stop(mut self) {
        self.running = false;
        self.bed.must(&format!("stop {}", self.name));
    }
}

impl Drop for Tsd<'_> {
    fn drop(&mut self) {
        if self.running {
            // It goes with the bed at the latest.
            let _ = self.bed.control(&format!("kill {}", self.name));
        }
    }
}

/// Runs `tsdb import` of OpenTSDB 2.4.1 with the settings of a TSD. New metrics get UIDs.
///
/// # Panics
/// When it fails.
pub fn import(conf_file: &Path, files: &[&Path]) {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testbed");
    let jars = Command::new("bash").arg(home.join("classpath.sh")).args(["tsdb", "2.4.1"]).output().unwrap();
    assert!(jars.status.success(), "{}", String::from_utf8_lossy(&jars.stderr));
    let jars = String::from_utf8(jars.stdout).unwrap();
    let ran = Command::new("java")
        .arg(format!("@{}", home.join("conf/jvm.args").display()))
        .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-Dfile.encoding=UTF-8", "-cp"])
        .arg(format!("{}:{}/*", home.join("tsdb/conf").display(), jars.trim()))
        .args(["net.opentsdb.tools.TextImporter", "--auto-metric"])
        .arg(format!("--config={}", conf_file.display()))
        .args(files)
        .output()
        .unwrap();
    let said = [ran.stdout, ran.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(ran.status.success(), "tsdb import: {}\n{said}", ran.status);
}

/// A line of a Java properties file, which is ASCII.
fn property(key: &str, value: &str) -> String {
    let mut line = format!("{key} = ");
    for unit in value.encode_utf16() {
        match char::from_u32(u32::from(unit)) {
            Some('\\') => line.push_str("\\\\"),
            Some(c) if c.is_ascii() => line.push(c),
            _ => line.push_str(&format!("\\u{unit:04x}")),
        }
    }
    line.push('\n');
    line
}
