//! `check` finds out what a backup needs to know, and tells what contradicts the data.

use serde_json::Value;

use crate::support::ark::{self, Repository, Run};
use crate::support::bed::Bed;
use crate::support::golden;
use crate::support::synthetic::{Synthetic, assert_tally, tally};
use crate::support::tsd::Tables;

fn check(gateway: &str, tables: &Tables, more: &[&str]) -> Run {
    let flags = ark::table_flags(tables);
    let mut words = vec!["check", "--json", "--gateway", gateway];
    words.extend(flags.iter().map(String::as_str));
    words.extend(more);
    ark::run(&words)
}

fn widths(report: &Value) -> [u64; 4] {
    let layout = &report["layout"];
    ["metric_width", "tagk_width", "tagv_width", "salt_width"].map(|field| layout[field].as_u64().unwrap())
}

#[test]
fn layouts_of_real_tables_are_found() {
    let bed = Bed::shared();
    for set in golden::SETS {
        let tables = golden::load(bed, set);
        let report = check(&bed.thrift2_address(), &tables, &[]).expect(0).json;
        let salt = u64::from(set == "salted");
        assert_eq!(widths(&report), [3, 3, 3, salt], "{set}: {report}");
        if set == "salted" {
            assert_eq!(report["layout"]["salt_buckets"], 8);
            let sure = report["sure"].to_string();
            assert!(sure.contains("1 salt byte(s), 8 buckets"), "{report}");
        }
        assert_eq!(report["layout_from"], "detected");
        let (sampled, fitting) = (report["keys_sampled"].as_u64().unwrap(), report["keys_fitting"].as_u64().unwrap());
        assert!(sampled > 0 && fitting * 10 >= sampled * 9, "{set}: {fitting} of {sampled} keys fit");
        assert!(report["gateways"][0].as_str().unwrap().to_lowercase().contains("thrift2"), "{report}");
        assert_eq!(report["would_be_lost"].as_array().unwrap().len(), 0);
        let names: Vec<&str> =
            report["tables"].as_array().unwrap().iter().map(|table| table["table"].as_str().unwrap()).collect();
        assert!(tables.names().iter().all(|name| names.contains(&name.as_str())), "{names:?}");
        // The configuration of that TSD agrees.
        let conf = golden::folder(set).join("opentsdb.conf");
        let told = check(&bed.thrift2_address(), &tables, &["--opentsdb-conf", conf.to_str().unwrap()]).expect(0).json;
        assert_eq!((widths(&told), told["layout_from"].as_str()), ([3, 3, 3, salt], Some("conf")), "{set}");
    }
}

#[test]
fn tables_that_nobody_named_are_pointed_out() {
    let bed = Bed::shared();
    let tables = golden::load(bed, "opentsdb-2.4.1");
    let names = tables.names();
    let gateway = bed.thrift2_address();
    let flags = ["--gateway", &gateway, "--data-table", &names[0], "--uid-table", &names[1]];
    let all = [&flags[..], &["--meta-table", &names[2], "--tree-table", &names[3]]].concat();
    let told = ark::run(&[&["check", "--json"], &all[..]].concat()).json["warnings"].to_string();
    let rollup = names.iter().find(|name| name.ends_with("tsdb-rollup-1h")).unwrap();
    assert!(told.contains("not in the backup") && told.contains(rollup.as_str()), "{told}");
    assert!(!told.contains(&format!("{}, ", names[2])), "{told}");
    let repository = Repository::default();
    let path = repository.path().to_str().unwrap().to_owned();
    let words = [&["backup", "--json", "--repository", &path, "--expect-raw-cells"], &all[..]].concat();
    assert!(ark::run(&words).json["warnings"].to_string().contains(rollup.as_str()));
    // With all of them named there is nothing to say.
    assert!(!check(&gateway, &tables, &[]).json["warnings"].to_string().contains("not in the backup"));
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("passwd");
    std::fs::write(&other, "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    let run = check(&gateway, &tables, &["--opentsdb-conf", other.to_str().unwrap()]).expect(2);
    assert!(run.err.contains("is not an OpenTSDB configuration"), "{}", run.err);
}

#[test]
fn a_configuration_that_contradicts_the_data_is_told() {
    let bed = Bed::shared();
    let salted = golden::load(bed, "salted");
    let folder = tempfile::tempdir().unwrap();
    let refused = |settings: &str, text: &str| {
        let path = folder.path().join("opentsdb.conf");
        std::fs::write(&path, settings).unwrap();
        let path = path.to_str().unwrap();
        for verb in ["check", "backup"] {
            let (gateway, repository) = (bed.thrift2_address(), folder.path().join("repository"));
            let mut words = vec![verb, "--json", "--gateway", &gateway, "--opentsdb-conf", path];
            if verb == "backup" {
                words.extend(["--repository", repository.to_str().unwrap()]);
            }
            let flags = ark::table_flags(&salted);
            words.extend(flags.iter().map(String::as_str));
            let run = ark::run(&words).expect(2);
            assert!(run.err.contains(text), "{text:?} is not in: {}", run.err);
            assert!(!repository.join("backups").exists());
        }
    };
    let salt = "tsd.storage.salt.width = 1\ntsd.storage.salt.buckets = 8\n";
    refused(
        &format!("{salt}tsd.storage.uid.width.metric = 4\n"),
        "UIDs of metrics have 4 bytes, tsdb-uid holds UIDs of 3",
    );
    refused(&format!("{salt}tsd.storage.uid.width.tagv = 2\n"), "UIDs of tagv have 2 bytes");
    // Salt that few keys have, or none, is obeyed with a warning: old rows stay when it changes.
    for settings in [
        "tsd.storage.enable_compaction = true\n",
        "tsd.storage.salt.width = 2\ntsd.storage.salt.buckets = 8\n",
        "tsd.storage.salt.width = 1\ntsd.storage.salt.buckets = 7\n",
    ] {
        let path = folder.path().join("opentsdb.conf");
        std::fs::write(&path, settings).unwrap();
        let told = check(&bed.thrift2_address(), &salted, &["--opentsdb-conf", path.to_str().unwrap()]).expect(0).json;
        let warnings = told["warnings"].to_string();
        assert!(warnings.contains("have the salt that was given"), "{settings}: {warnings}");
        assert!(warnings.contains("1 salt byte(s), 8 buckets"), "{settings}: {warnings}");
    }
    // The right one is taken.
    std::fs::write(folder.path().join("opentsdb.conf"), salt).unwrap();
    let conf = folder.path().join("opentsdb.conf");
    check(&bed.thrift2_address(), &salted, &["--opentsdb-conf", conf.to_str().unwrap()]).expect(0);
}

#[test]
fn absent_and_empty_tables_are_told() {
    let bed = Bed::shared();
    let tables = Synthetic::default().load(bed, &[]);
    let gateway = bed.thrift2_address();
    let (data, uid) = (tables.data(), format!("{}tsdb-uid", tables.prefix));
    let report = ark::run(&["check", "--json", "--gateway", &gateway, "--data-table", &data, "--uid-table", &uid]);
    let report = report.expect(0).json;
    let absent = report["absent_tables"].to_string();
    assert!(absent.contains("tsdb-meta") && absent.contains("tsdb-tree"), "{absent}");
    assert_eq!(report["tables"].as_array().unwrap().len(), 2);
    let gone = ark::run(&["check", "--json", "--gateway", &gateway, "--data-table", &data, "--uid-table", "gone"]);
    let gone = gone.expect(2);
    assert!(gone.err.contains("table gone does not exist") && gone.err.contains(&uid), "{}", gone.err);

    let empty = Tables::create(bed, false, &[]);
    let report = check(&gateway, &empty, &[]).expect(0).json;
    let guessed = report["guessed"].to_string();
    assert!(guessed.contains("holds no UID of metrics") && guessed.contains("no row key could be read"), "{guessed}");
}

/// What ends a backup with an error is no remark of a check that ends well.
#[test]
fn what_stops_a_backup_must_be_read() {
    let bed = Bed::shared();
    let tables = Synthetic::default().load(bed, &[]);
    let gateway = bed.thrift2_address();
    let meta = tables.names()[2].clone();
    bed.must(&format!("disable {meta}"));
    let run = check(&gateway, &tables, &[]).expect(3);
    let stops = run.json["stops_a_backup"].to_string();
    assert!(stops.contains(&meta) && stops.contains("disabled") && stops.contains("--skip-unreadable"), "{stops}");
    assert!(run.err.contains("a backup would fail") && run.err.contains(&meta), "{}", run.err);
    let flags = ark::table_flags(&tables);
    let words = ["check", "--gateway", &gateway].into_iter().chain(flags.iter().map(String::as_str));
    let text = ark::run(&words.collect::<Vec<_>>()).expect(3).out;
    assert!(text.contains(&format!("stops a backup: {meta}")), "{text}");
    assert_ne!(Repository::default().backup(bed, &tables, &[]).code, 0);
    bed.must(&format!("enable {meta}"));
    assert_eq!(check(&gateway, &tables, &[]).expect(0).json["stops_a_backup"], serde_json::json!([]));
}

/// A gateway of the old API where Thrift2 is asked for is no source, and as one it is said to show less.
#[test]
fn a_thrift1_gateway_is_told_apart() {
    let bed = Bed::shared();
    let tables = Synthetic::default().load(bed, &[]);
    let address = bed.thrift1_address();
    let run = check(&format!("thrift2://{address}"), &tables, &["--retry-for", "0s"]).expect(2);
    for text in [address.as_str(), "speaks Thrift1", "Thrift2 gateway"] {
        assert!(run.err.contains(text), "{text:?} is not in: {}", run.err);
    }
    for gateway in [address.clone(), format!("thrift1://{address}")] {
        let told = check(&gateway, &tables, &[]).expect(0).json["warnings"].to_string();
        assert!(told.contains("speaks Thrift1: only the latest version"), "{told}");
    }
}

#[test]
fn a_thrift1_gateway_among_others_is_passed_over() {
    let bed = Bed::shared();
    let tables = Synthetic::default().load(bed, &[]);
    let (old, new) = (bed.thrift1_address(), bed.thrift2_address());
    for (first, second) in [(&old, &new), (&new, &old)] {
        let report = check(first, &tables, &["--gateway", second]).expect(0).json;
        assert_eq!(report["gateways"].as_array().unwrap().len(), 2);
        let told = report["warnings"].to_string();
        assert!(told.contains(&format!("{old} speaks Thrift1 and is not used")), "{told}");
        let repository = Repository::default();
        let run = repository.backup(bed, &tables, &["--gateway", first, "--gateway", second]).expect(0);
        assert_tally(&run.json, &tables.data(), &tally(&Synthetic::default().data()));
    }
    // One that is down, in front of one that is well.
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let report = check(&dead, &tables, &["--gateway", &new]).expect(0).json;
    assert!(report["warnings"].to_string().contains(&dead), "{report}");
}
