//! `opentsdb.conf` as Java reads it, and a backup that is resumed with the configuration that it was begun with.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::ark::{self, Repository};
use crate::support::bed::Bed;
use crate::support::faults::plan::{Fault, Plan};
use crate::support::faults::thrift::ThriftProxy;
use crate::support::golden;
use crate::support::sql;
use crate::{Case, names, rows};

#[test]
fn a_configuration_is_read_as_java_reads_it() {
    let case = Case::load(&rows(2, 0..3, |_| Vec::new()), &names(2));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("opentsdb.conf");
    let gateway = case.bed.thrift2_address();
    let read = |text: &[u8], more: &[&str], code: i32| {
        std::fs::write(&path, text).unwrap();
        let words = ["check", "--json", "--gateway", &gateway, "--opentsdb-conf", path.to_str().unwrap()];
        let mut command = ark::command();
        command.current_dir(folder.path()).args(words).args(more);
        ark::finished(command.output().unwrap()).expect(code)
    };
    let prefix = &case.tables.prefix;
    // A byte order mark before the first key, Latin-1 in a comment, an escape and a continued line in the names.
    let escaped: String = prefix.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect();
    let text = format!(
        "\u{feff}tsd.storage.hbase.data_table : {escaped}ts\\\n    db\ntsd.storage.hbase.uid_table={prefix}tsdb-uid\n# fr"
    );
    let text = [text.as_bytes(), b"\xfcher\ntsd.rollups.config = ./src/rollup_config.json\n"].concat();
    let refused = read(&text, &[], 2);
    assert!(
        refused.err.contains("src/rollup_config.json") && refused.err.contains("--rollup-config FILE"),
        "{}",
        refused.err
    );
    let config = json!({"aggregationIds": {"sum": 0}, "intervals": []}).to_string();
    std::fs::write(folder.path().join("elsewhere.json"), &config).unwrap();
    let elsewhere = folder.path().join("elsewhere.json");
    let report = read(&text, &["--rollup-config", elsewhere.to_str().unwrap()], 0).json;
    assert_eq!(report["tables"][0]["table"], case.tables.data());
    // The working directory, which is a TSD's way.
    let below = folder.path().join("conf");
    std::fs::create_dir(&below).unwrap();
    std::fs::create_dir(folder.path().join("src")).unwrap();
    std::fs::write(folder.path().join("src/rollup_config.json"), &config).unwrap();
    std::fs::write(below.join("opentsdb.conf"), &text).unwrap();
    let mut command = ark::command();
    command.current_dir(folder.path()).args(["check", "--json", "--gateway", &gateway]);
    ark::finished(command.args(["--opentsdb-conf", "conf/opentsdb.conf"]).output().unwrap()).expect(0);
}

const SET: &str = "opentsdb-2.4.1";

/// What a backup holds, apart from when and how it was made.
fn contents(repository: &Repository) -> (Value, Vec<Value>) {
    let shown = repository.run("show", &["latest"]).expect(0).json;
    let mut tables = shown["tables"].clone();
    for table in tables.as_array_mut().unwrap() {
        for volatile in ["shards", "files", "bytes_written"] {
            table.as_object_mut().unwrap().remove(volatile);
        }
    }
    let fields = ["layout", "older_layouts", "layout_from", "name_charset", "opentsdb_conf", "raw"];
    let facts: Vec<Value> = fields.iter().map(|field| shown[*field].clone()).collect();
    let queries = [
        "select * exclude (written) from rollups order by all",
        "select metric, count(*), sum(value) from points group by all order by all",
    ];
    (json!([tables, facts]), sql::query(repository, &queries))
}

/// The repository of a backup that was killed at this scan.
fn killed_at(bed: &Bed, conf: &str, flags: &[&str], scan: u64) -> Repository {
    let held = ThriftProxy::start(&bed.thrift2_address(), Plan::once("getScannerResults", scan, Fault::Hold));
    let through = held.address();
    let cut = Repository::default();
    let repository = cut.path();
    let mut command = ark::command();
    command.args(["backup", "--repository", repository.to_str().unwrap(), "--gateway", &through]);
    command.args(["--opentsdb-conf", conf]).args(flags).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    assert!(held.wait_for("getScannerResults", scan));
    child.kill().unwrap();
    child.wait().unwrap();
    cut
}

#[test]
fn a_resumed_backup_keeps_the_configuration_that_it_was_begun_with() {
    let bed = Bed::shared();
    let tables = golden::load(bed, SET);
    let mut conf = String::new();
    for (key, value) in tables.conf(bed) {
        conf.push_str(&format!("{key} = {value}\n"));
    }
    let path = bed.folder().join(format!("{}.conf", bed.unique("resumed")));
    std::fs::write(&path, conf + "tsd.storage.enable_compaction = false\n").unwrap();
    let path = path.to_str().unwrap();
    // Without the small reads of the back-off, which come by the clock, both runs make the same calls.
    let small = ["--page-size", "4KiB", "--connections", "1", "--back-off", "off", "--expect-raw-cells"];
    let whole = Repository::default();
    let proxy = ThriftProxy::start(&bed.thrift2_address(), Plan::default());
    let through = proxy.address();
    let with_conf = [&["--gateway", &through, "--opentsdb-conf", path], small.as_slice()].concat();
    whole.run("backup", &with_conf).expect(0);
    let scans = proxy.calls("getScannerResults");

    // Killed when data is recorded and other tables are not.
    let cut = (4..scans)
        .map(|left| killed_at(bed, path, &small, scans - scans / left))
        .find(|cut| cut.files().iter().any(|file| file.contains("/shards/")))
        .expect("no run was killed behind its first shard");

    // What contradicts the plan is refused, each with its reason.
    let gateway = bed.thrift2_address();
    let other = bed.folder().join(format!("{}.conf", bed.unique("other")));
    std::fs::write(&other, std::fs::read_to_string(path).unwrap().replace("compaction = false", "compaction = true"))
        .unwrap();
    let data = tables.data();
    let refusals: [(&[&str], &str); 7] = [
        (&["--opentsdb-conf", other.to_str().unwrap()], "tsd.storage.enable_compaction = false"),
        (&["--data-table", "other"], "its data tables are"),
        (&["--data-table", &data, "--table", "other"], "other is not among its tables"),
        (&["--salt-width", "1"], "it was started with UID widths 3/3/3 and no salt"),
        (&["--name-charset", "utf-8"], "--name-charset iso-8859-1"),
        (&["--no-uid-table"], "without --no-uid-table"),
        (&["--raw"], "without --raw"),
    ];
    for (more, reason) in refusals {
        let words = [&["--gateway", &gateway, "--resume"], more].concat();
        let refused = cut.run("backup", &words).expect(2);
        assert!(refused.err.contains(reason), "{reason:?} is not in: {}", refused.err);
    }
    // Without a word of configuration or tables.
    let run = cut.run("backup", &[&["--gateway", &gateway, "--resume"], small.as_slice()].concat()).expect(0);
    assert!(run.json["resumed"]["shards_kept"].as_u64().unwrap() > 0, "{}", run.json);
    assert!(run.json["resumed"]["shards_read"].as_u64().unwrap() > 0, "{}", run.json);
    assert_eq!(contents(&cut), contents(&whole));
    let manifest = |repository: &Repository| {
        let path = repository.files().into_iter().find(|path| path.ends_with("manifest.json")).unwrap();
        let text = std::fs::read_to_string(repository.path().join(path)).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["rollup_config"].clone()
    };
    assert_eq!(manifest(&cut), manifest(&whole));
    assert!(manifest(&cut).as_str().unwrap().contains("aggregationIds"));
}
