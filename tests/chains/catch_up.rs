//! A full backup with a catch-up pass holds what was written while it ran.

use super::*;

/// The words of a backup with a catch-up pass whose calls can be counted: one after the other, and nothing measured.
fn words<'a>(repository: &'a str, gateway: &'a str, flags: &'a [String]) -> Vec<&'a str> {
    let of_catch_up = ["--catch-up", "--connections", "1", "--page-size", "4KiB", "--back-off", "off"];
    let flags = flags.iter().map(String::as_str);
    ["backup", "--json", "--expect-raw-cells", "--repository", repository, "--gateway", gateway]
        .into_iter()
        .chain(of_catch_up)
        .chain(flags)
        .collect()
}

const SCAN: &str = "getScannerResults";

#[test]
fn a_catch_up_pass_holds_what_was_written_meanwhile() {
    let bed = Bed::shared();
    let layout = KeyLayout { salt_width: 1, ..KeyLayout::default() };
    let shape = Synthetic { metrics: 3, series: 5, hours: 60, points: 10, layout };
    let tables = shape.load(bed, &["07", "0e"]);
    let odd = views::odd_cells(&shape);
    load(bed, &tables.data(), &odd);
    let repository = Repository::default();
    let mut writer = Writer { bed, tables: &tables, shape, dice: Dice(5) };
    writer.points(0, 60);
    let path = repository.path();
    let (path, flags) = (path.to_str().unwrap(), ark::table_flags(&tables));
    let calls_of = |more: &[&str]| {
        let counted = ThriftProxy::start(&bed.thrift2_address(), Plan::default());
        let (scratch, gateway) = (Repository::default(), counted.address());
        let scratch = scratch.path();
        let words = words(scratch.to_str().unwrap(), &gateway, &flags);
        let words: Vec<&str> =
            words.into_iter().filter(|word| *word != "--catch-up").chain(more.iter().copied()).collect();
        (ark::run(&words).expect(0).json, counted.calls(SCAN))
    };
    let (dry, before) = calls_of(&["--catch-up", "--dry-run"]);
    assert_eq!(dry["catch_up"], true, "{dry}");
    let reading = calls_of(&[]).1 - calls_of(&["--dry-run"]).1;

    // It is held while it reads; the writer writes to regions that were read, too.
    let call = before + reading * 3 / 4;
    let proxy = ThriftProxy::start(&bed.thrift2_address(), Plan::once(SCAN, call, Fault::Hold));
    let child = ark::command()
        .args(words(path, &proxy.address(), &flags))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while proxy.calls(SCAN) < call {
        std::thread::sleep(Duration::from_millis(1));
    }
    let is_record = |file: &&String| file.contains("/shards/") && file.ends_with(".json");
    assert!(repository.files().iter().filter(is_record).count() > 0, "no shard was read yet: {:?}", repository.files());
    (0..3).for_each(|metric| writer.points(metric, 40));
    writer.ordinary(3);
    proxy.release();
    let report = ark::finished(child.wait_with_output().unwrap()).expect(0).json;
    let (full, pass) = (report["backup"].as_str().unwrap(), &report["catch_up"]);
    assert_eq!((report["kind"].as_str(), pass["kind"].as_str()), (Some("full"), Some("incremental")));
    let source = golden::dump(bed, &tables.data(), false).len() as u64;
    assert_ne!(table_of(&report, &tables.data())["cells"], source, "the full backup alone does not hold it");
    assert!(table_of(pass, &tables.data())["cells"].as_u64() > Some(0), "{pass}");
    assert_restored(bed, &repository, &tables, &[]);
    let shown = repository.run("show", &[]).expect(0).json;
    assert_eq!((&shown["backup"], &shown["parent"]), (&pass["backup"], &full.into()));
    assert_eq!(shown["layout"]["salt_buckets"], layout.salt_buckets, "{shown}");

    // A third member, and the views of the chain.
    load(bed, &tables.data(), &views::odd_changes(&writer.shape, &odd));
    writer.everything(2);
    let last = increment(bed, &repository, &tables, "compare")["backup"].as_str().unwrap().to_owned();
    let merged = repository.run("merge", &[]).expect(0).json["backup"].as_str().unwrap().to_owned();
    let (points, superseded) = views::assert_agree(&repository, &last, &merged);
    assert!(points > 8000 && superseded > 4, "{points} points, {superseded} superseded");

    // Killed in the pass: the full backup is there, and the pass is resumed by the same words.
    writer.ordinary(1);
    let plans = || repository.files().iter().filter(|file| file.ends_with("/plan.json")).count();
    let (plans_before, gateway) = (plans(), bed.thrift2_address());
    let mut child =
        ark::command().args(words(path, &gateway, &flags)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while plans() < plans_before + 2 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let list = repository.run("list", &[]).expect(0).json;
    let last = list["backups"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["kind"], list["unfinished"].as_array().unwrap().len()), (&"full".into(), 1), "{list}");
    let full = last["backup"].as_str().unwrap().to_owned();
    let resumed = repository.backup(bed, &tables, &["--catch-up", "--resume"]).expect(0).json;
    assert_eq!((&resumed["kind"], &resumed["catch_up"]), (&"incremental".into(), &Value::Null), "{resumed}");
    assert_restored(bed, &repository, &tables, &[]);
    // Killed between the two, there is nothing to resume; what to do instead is in the message of a pass that fails.
    let nothing = repository.backup(bed, &tables, &["--catch-up", "--resume"]).expect(2);
    assert!(nothing.err.contains("no unfinished backup") && nothing.err.contains("--incremental"), "{}", nothing.err);
    repository.backup(bed, &tables, &["--incremental", "--parent", &full, "--by", "time"]).expect(0);
    let failed = repository.backup(bed, &tables, &["--catch-up", "--horizon", "0s"]).expect(1);
    let list = repository.run("list", &[]).expect(0).json;
    let last = list["backups"].as_array().unwrap().last().unwrap();
    // By time was refused: the message names the other way.
    let advice = format!("backup --incremental --parent {} --by compare", last["backup"].as_str().unwrap());
    assert!(last["kind"] == "full" && failed.err.contains(&advice), "{}", failed.err);
}
