//! kill -9 of everything that makes or reads a chain.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use super::{Writer, assert_restored, cells, names};
use crate::support::ark::{self, Repository};
use crate::support::bed::Bed;
use crate::support::faults::plan::{Fault, Plan};
use crate::support::faults::thrift::ThriftProxy;
use crate::support::synthetic::{Dice, Synthetic};
use crate::support::tsd::Tables;

/// Starts a command, and kills it when the proxy has seen so many calls of a method; true when it had not ended.
fn killed_at(bed: &Bed, method: &'static str, call: u64, words: &[&str]) -> bool {
    let proxy = ThriftProxy::start(&bed.thrift2_address(), Plan::once(method, call, Fault::Hold));
    let gateway = proxy.address();
    let words: Vec<&str> = words.iter().map(|word| if *word == "GATEWAY" { gateway.as_str() } else { word }).collect();
    let mut child = ark::command().args(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while proxy.calls(method) < call && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let running = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    running
}

/// Kills restores of the newest chain, or of a part of it, when so many quarters of their puts are done, and resumes them.
/// Gives the files that were skipped.
fn killed_restores(bed: &Bed, repository: &Repository, tables: &Tables, part: &[&str], quarters: &[u64]) -> u64 {
    let path = repository.path();
    let here = ["--repository", path.to_str().unwrap(), "--json", "--connections", "1"];
    let words = |gateway: &str, copy: &Tables| -> Vec<String> {
        let mut words = vec!["--gateway".to_owned(), gateway.to_owned()];
        for (old, new) in names(tables).iter().zip(names(copy)) {
            words.extend([format!("--table={old}"), format!("--rename-table={old}={new}")]);
        }
        let fixed = ["restore"].iter().chain(&here).chain(part).map(|word| (*word).to_owned());
        fixed.chain(words).collect()
    };
    let run = |gateway: &str, copy: &Tables, more: &[&str]| {
        let mut words = words(gateway, copy);
        words.extend(more.iter().map(|word| (*word).to_owned()));
        ark::run(&words).expect(0).json
    };
    let copy = || Tables::named(&format!("{}.", bed.unique("killed")), false);
    let proxy = ThriftProxy::start(&bed.thrift2_address(), Plan::default());
    let whole = copy();
    run(&proxy.address(), &whole, &[]);
    let calls = proxy.calls("putMultiple");
    let wanted = names(&whole).map(|table| cells(bed, &table));
    let [data, uids] = names(tables).map(|table| cells(bed, &table));
    match part {
        [] => assert!(wanted == [data, uids]),
        _ => assert!(wanted[0] == data.into_iter().filter(|cell| cell.row[2] <= 3).collect::<Vec<_>>()),
    }
    let mut skipped = 0;
    for quarter in quarters {
        let (copy, call) = (copy(), (calls * quarter / 4).max(1));
        let begun = words("GATEWAY", &copy);
        let begun: Vec<&str> = begun.iter().map(|word| word.as_str()).collect();
        assert!(killed_at(bed, "putMultiple", call, &begun), "the restore ended before put {call} of {calls}");
        let resumed = run(&bed.thrift2_address(), &copy, &["--resume"]);
        let done = resumed["tables"].as_array().unwrap().iter().map(|table| table["files_skipped"].as_u64().unwrap());
        skipped += done.sum::<u64>();
        assert!(names(&copy).map(|table| cells(bed, &table)) == wanted, "{part:?}, put {call} of {calls}");
    }
    skipped
}

/// kill -9 at any moment of an increment, of a restore of its chain and of a merge: each goes on where it was.
#[test]
fn what_was_killed_is_resumed() {
    let bed = Bed::shared();
    let shape = Synthetic { metrics: 4, series: 5, hours: 30, points: 10, ..Synthetic::default() };
    let tables = shape.load(bed, &["000002", "000003", "000004"]);
    let repository = Repository::default();
    let mut writer = Writer { bed, tables: &tables, shape, dice: Dice(3) };
    writer.points(0, 100);
    repository.backup(bed, &tables, &["--page-size", "8KiB"]).expect(0);
    let path = repository.path();
    let here = ["--repository", path.to_str().unwrap(), "--json", "--gateway", "GATEWAY"];
    let flags = ark::table_flags(&tables);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let words = |by: &'static str| {
        let increment =
            ["--incremental", "--by", by, "--page-size", "8KiB", "--connections", "2", "--expect-raw-cells"];
        [&["backup"], &here[..], &flags, &increment].concat()
    };
    let counted = |by: &'static str| {
        let proxy = ThriftProxy::start(&bed.thrift2_address(), Plan::default());
        let gateway = proxy.address();
        let words = words(by).into_iter().map(|word| if word == "GATEWAY" { gateway.as_str() } else { word });
        ark::run(&words.collect::<Vec<_>>()).expect(0);
        proxy.calls("getScannerResults")
    };
    let (mut kept, mut members) = (0, 1);
    for by in ["time", "compare"] {
        writer.points(1, 60);
        let calls = counted(by);
        members += 1;
        for part in [2, 4] {
            writer.points(2, 60);
            let call = calls * part / 5;
            assert!(killed_at(bed, "getScannerResults", call, &words(by)), "{by} ended before call {call} of {calls}");
            let resumed = repository.backup(bed, &tables, &["--resume"]);
            let run = match resumed.code {
                // It was killed before it had begun.
                2 => repository.backup(bed, &tables, &["--incremental", "--by", by]).expect(0),
                _ => resumed.expect(0),
            };
            members += 1;
            kept += run.json["resumed"]["shards_kept"].as_u64().unwrap_or_default();
            eprintln!("{by}, call {call} of {calls}: {kept} shards kept so far");
        }
        assert_restored(bed, &repository, &tables, &[]);
    }
    assert!(kept > 0, "nothing was ever resumed");

    // A restore of the chain, and of a part of it.
    let skipped = killed_restores(bed, &repository, &tables, &[], &[1, 3, 4])
        + killed_restores(bed, &repository, &tables, &["--metric", "metric.[123]"], &[2, 4]);
    assert!(skipped > 0, "nothing was ever skipped");

    // A merge, when its plan is there; now and then it is quicker.
    let begun = || {
        let folders = std::fs::read_dir(path.join("backups")).unwrap().map(|entry| entry.unwrap().path());
        let is_begun = |folder: PathBuf| folder.join("plan.json").exists() && !folder.join("manifest.json").exists();
        folders.into_iter().any(is_begun)
    };
    let mut unfinished = 0;
    for _ in 0..10 {
        let words = ["merge", "--repository", path.to_str().unwrap(), "--connections", "1"];
        let mut child = ark::command().args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while !begun() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if begun() {
            repository.run("merge", &["--resume"]).expect(0);
            unfinished += 1;
            break;
        }
    }
    assert_eq!(unfinished, 1, "every merge ended before it was killed");
    assert_eq!(repository.verify("cells", &[]).expect(0).json["differences"], 0);
    let last = repository.run("show", &[]).expect(0).json;
    assert_eq!((last["kind"].as_str(), last["merged"].as_array().unwrap().len()), (Some("full"), members));
    assert_restored(bed, &repository, &tables, &[]);
}
