//! Tables are made as they were as far as the target can, and whatever they get otherwise is said before a cell is sent.

use std::time::{SystemTime, UNIX_EPOCH};

use tsdb_ark::cluster::{Durability, GatewayAddress, GatewayOptions, Gateways};
use tsdb_ark::model::{CellBlock, OwnedCell, kind};

use crate::support::ark::{Repository, Run};
use crate::support::bed::Bed;
use crate::support::faults::plan::{Fault, Plan};
use crate::support::faults::thrift::ThriftProxy;
use crate::support::golden;
use crate::support::synthetic::{Synthetic, load, table_of};
use crate::support::tsd::Tables;

fn exists(bed: &Bed, table: &str) -> bool {
    bed.must("tables").iter().any(|name| name == table)
}

fn cells(bed: &Bed, table: &str) -> Vec<OwnedCell> {
    let mut cells = golden::dump(bed, table, false);
    cells.sort();
    cells
}

/// An attribute of a table (`-`) or family, through HBase's own client.
fn attribute(bed: &Bed, table: &str, family: &str, name: &str) -> Option<String> {
    let start = format!("{family} {name} ");
    bed.must(&format!("describe {table}")).iter().find_map(|line| line.strip_prefix(&start).map(str::to_owned))
}

/// A restore of the data table alone.
fn restore(bed: &Bed, repository: &Repository, from: &Tables, to: &str, more: &[&str]) -> Run {
    restore_through(&bed.thrift2_address(), repository, from, to, more)
}

fn restore_through(gateway: &str, repository: &Repository, from: &Tables, to: &str, more: &[&str]) -> Run {
    let (table, rename) = (from.data(), format!("{}={to}", from.data()));
    let words = [&["--gateway", gateway, "--table", &table, "--rename-table", &rename], more].concat();
    repository.run("restore", &words)
}

#[track_caller]
fn says(run: &Run, texts: &[&str]) {
    let told = format!("{}{}", run.out, run.err);
    for text in texts {
        assert!(told.contains(text), "{text:?} is not in: {told}");
    }
}

/// Dry run and run end the same way, and neither makes anything.
#[track_caller]
fn refused(bed: &Bed, repository: &Repository, from: &Tables, to: &str, more: &[&str], texts: &[&str]) {
    let there = exists(bed, to);
    for dry_run in [&["--dry-run"][..], &[]] {
        let run = restore(bed, repository, from, to, &[more, dry_run].concat()).expect(1);
        says(&run, texts);
        assert_eq!(exists(bed, to), there);
    }
}

#[test]
fn namespaces_are_created_and_renamed() {
    let bed = Bed::shared();
    let (old, new) = (bed.unique("mon").replace('-', "_"), bed.unique("new").replace('-', "_"));
    bed.must(&format!("namespace create {old}"));
    let tables = Tables::named(&format!("{old}:"), false);
    tables.create_in(bed, &["000002"]);
    let small = Synthetic::default();
    load(bed, &tables.data(), &small.data());
    load(bed, &format!("{old}:tsdb-uid"), &small.uids());
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    let gateway = bed.thrift2_address();
    let rename = format!("{old}={new}");
    let restore = |more: &[&str]| repository.run("restore", &[&["--gateway", &gateway], more].concat());
    let dry = restore(&["--rename-namespace", &rename, "--dry-run"]).expect(0);
    says(&dry, &[&format!("namespace {new} does not exist and is to be created")]);
    assert!(!bed.must("namespace list").contains(&new), "a dry run makes nothing");
    restore(&["--rename-namespace", &rename]).expect(0);
    for name in tables.names() {
        let copy = name.replacen(&old, &new, 1);
        assert_eq!(cells(bed, &name), cells(bed, &copy), "{copy}");
    }
    // A Thrift1 gateway neither sees nor creates one: said before, and once more when the table is refused.
    let first = bed.thrift1_address();
    let rename = format!("{old}=absent");
    let through = |table: &str, more: &[&str]| {
        let table = format!("{old}:{table}");
        let words = ["--gateway", &first, "--rename-namespace", &rename, "--table", &table];
        repository.run("restore", &[&words[..], more].concat())
    };
    let shell = "create_namespace 'absent'";
    let plain = ["--drop-attribute", "DATA_BLOCK_ENCODING"];
    says(&through("tsdb-meta", &[&plain[..], &["--dry-run"]].concat()).expect(3), &[shell]);
    let refused = through("tsdb-meta", &plain).expect(1);
    says(&refused, &["NamespaceNotFoundException", shell, "--rename-namespace absent=OTHER"]);
    for more in [&["--dry-run"][..], &[]] {
        says(&through("tsdb", more).expect(2), &[shell, "create 'absent:tsdb'"]);
    }
    // Out of the namespace, and a name that is not there.
    let plain = format!("{old}=default");
    let table = tables.data();
    assert!(!exists(bed, "tsdb-tree"));
    says(&restore(&["--rename-namespace", &plain, "--table", &table, "--dry-run"]).expect(0), &[]);
    let nowhere = format!("{new}=x");
    says(&restore(&["--rename-namespace", &nowhere, "--dry-run"]).expect(2), &[&old]);
    let bad = format!("{table}=bad/name");
    says(
        &restore(&["--table", &table, "--rename-table", &bad, "--dry-run"]).expect(2),
        &["bad/name", "is no name of a table"],
    );
    for name in tables.names() {
        bed.must(&format!("drop {name}"));
        bed.must(&format!("drop {}", name.replacen(&old, &new, 1)));
    }
    bed.must(&format!("namespace drop {old}"));
    bed.must(&format!("namespace drop {new}"));
}

/// Everything that means something at home only, a table that was made read-only before it was moved, replicas.
#[test]
fn attributes_of_the_old_cluster_stay_behind() {
    let bed = Bed::shared();
    let small = Synthetic::default();
    let tables = small.load(bed, &["000002"]);
    let data = tables.data();
    let own = "coprocessor$1=|org.apache.hadoop.hbase.constraint.ConstraintProcessor|1073741823|,hbase.rsgroup.name=other,\
               hbase.store.file-tracker.impl=FILE,MAX_FILESIZE=9999999999,REGION_REPLICATION=2";
    bed.must(&format!("drop {data}"));
    bed.must(&format!("create {data} t REPLICATION_SCOPE=1,VERSIONS=3 000002 {own}"));
    load(bed, &data, &small.data());
    bed.must(&format!("alter {data} - READONLY=true"));
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);

    let copy = bed.unique("copy");
    let expected = [
        "coprocessor$1=",
        "hbase.rsgroup.name=other is left out",
        "hbase.store.file-tracker.impl=FILE is left out",
        "READONLY is set when its cells are there",
        "REPLICATION_SCOPE of family t is 0 instead of 1",
    ];
    let dry = restore(bed, &repository, &tables, &copy, &["--dry-run"]).expect(0);
    says(&dry, &expected);
    let run = restore(bed, &repository, &tables, &copy, &[]).expect(0);
    says(&run, &expected);
    assert_eq!(table_of(&run.json, &data)["target_agrees"], true);
    assert_eq!(cells(bed, &copy), cells(bed, &data));
    let of_table = |name: &str| attribute(bed, &copy, "-", name);
    assert_eq!([of_table("coprocessor$1"), of_table("hbase.rsgroup.name")], [None, None]);
    assert_eq!(of_table("hbase.store.file-tracker.impl").as_deref(), Some("DEFAULT"));
    assert_eq!(of_table("MAX_FILESIZE").as_deref(), Some("9999999999"));
    assert_eq!(of_table("REGION_REPLICATION").as_deref(), Some("2"));
    assert_eq!(of_table("READONLY").as_deref(), Some("true"));
    assert_eq!(attribute(bed, &copy, "t", "REPLICATION_SCOPE").as_deref(), Some("0"));
    assert_eq!(attribute(bed, &copy, "t", "VERSIONS").as_deref(), Some("3"));

    // The table is there and keeps writers out.
    refused(bed, &repository, &tables, &copy, &["--into-existing"], &["READONLY", "READONLY => 'false'"]);

    // What the user says counts.
    let other = bed.unique("other");
    let words = [
        "--attribute",
        "t:REPLICATION_SCOPE=1",
        "--drop-attribute",
        "READONLY",
        "--attribute",
        "MAX_FILESIZE=8888888888",
    ];
    restore(bed, &repository, &tables, &other, &words).expect(0);
    assert_eq!(attribute(bed, &other, "t", "REPLICATION_SCOPE").as_deref(), Some("1"));
    assert_eq!(attribute(bed, &other, "-", "READONLY"), None);
    assert_eq!(attribute(bed, &other, "-", "MAX_FILESIZE").as_deref(), Some("8888888888"));

    // Under its own name what is restored is replicated, and that is said.
    bed.must(&format!("drop {data}"));
    let gateway = bed.thrift2_address();
    let run = repository.run("restore", &["--gateway", &gateway, "--table", &data]).expect(0);
    says(&run, &["REPLICATION_SCOPE of family t stays 1"]);
    assert_eq!(attribute(bed, &data, "t", "REPLICATION_SCOPE").as_deref(), Some("1"));
}

#[test]
fn a_refused_table_names_the_attribute_and_a_way_on() {
    let bed = Bed::shared();
    let small = Synthetic::default();
    let tables = small.load(bed, &[]);
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    let data = tables.data();
    let copy = bed.unique("codec");
    let lzo = ["--attribute", "COMPRESSION=LZO"];
    // No table here proves it, so a dry run does not say that all is well.
    let dry = restore(bed, &repository, &tables, &copy, &[&lzo[..], &["--dry-run"]].concat()).expect(3);
    says(&dry, &["COMPRESSION=LZO", &format!("--attribute '{data}:t:COMPRESSION=VALUE'")]);
    let run = restore(bed, &repository, &tables, &copy, &lzo).expect(1);
    let advice = format!("--drop-attribute '{data}:t:COMPRESSION'");
    says(&run, &["t:COMPRESSION=LZO", &format!("--attribute '{data}:t:COMPRESSION=VALUE'"), &advice]);
    assert!(!exists(bed, &copy), "nothing was made");
    // The advice works, and resumes the restore.
    restore(bed, &repository, &tables, &copy, &["--resume", "--attribute", &format!("{data}:t:COMPRESSION=GZ")])
        .expect(0);
    assert_eq!(attribute(bed, &copy, "t", "COMPRESSION").as_deref(), Some("GZ"));
    assert_eq!(cells(bed, &copy), cells(bed, &data));

    let class = bed.unique("class");
    let words = ["--attribute", "coprocessor$1=|org.example.Missing|1001|"];
    let run = restore(bed, &repository, &tables, &class, &words).expect(1);
    says(&run, &["coprocessor$1", "org.example.Missing", &format!("--drop-attribute '{data}:coprocessor$1'")]);
    for (words, hint) in [
        (["--attribute", "TTL=soon"], "FOREVER or whole seconds"),
        (["--attribute", "DATA_BLOCK_ENCODING=PREFIX_TREE"], "HBase knows NONE"),
        (["--attribute", "DURABILITY=NOPE"], "HBase knows USE_DEFAULT"),
        (["--attribute", "x:TTL=9"], "not a table or family"),
        (["--drop-attribute", "NO_SUCH"], "no table of the backup has"),
    ] {
        says(&restore(bed, &repository, &tables, &class, &words).expect(2), &[hint]);
    }
    // HBase's own limits: what a dry run expects is what happens.
    for (value, place) in
        [("MAX_FILESIZE=10", "MAX_FILESIZE"), ("BLOCKSIZE=0", "t:BLOCKSIZE"), ("MIN_VERSIONS=5", "t:MIN_VERSIONS")]
    {
        let words = ["--attribute", value];
        let dry = restore(bed, &repository, &tables, &class, &[&words[..], &["--dry-run"]].concat()).expect(3);
        says(&dry, &[&format!("most likely refuses {place}=")]);
        says(&restore(bed, &repository, &tables, &class, &words).expect(1), &[place]);
    }
    assert!(!exists(bed, &class));
}

#[test]
fn cells_that_would_expire_are_not_restored_without_a_word() {
    let bed = Bed::shared();
    let small = Synthetic::default();
    let tables = small.load(bed, &[]);
    let data = tables.data();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let before = cells(bed, &data);
    // A raw backup has what has expired, as a backup has that was made in time.
    bed.must(&format!("alter {data} t TTL=3600"));
    let repository = Repository::default();
    repository.backup(bed, &tables, &["--raw"]).expect(0);
    let copy = bed.unique("ttl");
    let told = ["expire at once", "TTL of 3600 s", "--ttl none", "--ttl keep"];
    refused(bed, &repository, &tables, &copy, &[], &told);
    restore(bed, &repository, &tables, &copy, &["--ttl", "none"]).expect(0);
    assert_eq!(attribute(bed, &copy, "t", "TTL").as_deref(), Some("2147483647"));
    assert_eq!(cells(bed, &copy), before);
    let long = bed.unique("ttl");
    restore(bed, &repository, &tables, &long, &["--attribute", "t:TTL=2000000000"]).expect(0);
    assert_eq!(cells(bed, &long), before);

    // A table that is there, with a time to live of its own.
    let there = bed.unique("ttl");
    bed.must(&format!("create {there} t TTL=7200"));
    let told = [&format!("alter '{there}', NAME => 't', TTL => 'FOREVER'"), "--ttl keep"];
    refused(bed, &repository, &tables, &there, &[], &told);
    refused(bed, &repository, &tables, &there, &["--ttl", "none"], &told);
    restore(bed, &repository, &tables, &there, &["--ttl", "keep", "--dry-run"]).expect(0);
    assert_eq!(cells(bed, &there), []);
    // Versions that outlive the time to live: nothing expires.
    bed.must(&format!("alter {there} t VERSIONS=2,MIN_VERSIONS=1"));
    restore(bed, &repository, &tables, &there, &[]).expect(0);
    assert_eq!(cells(bed, &there), before);
    assert!(before.iter().all(|cell| cell.timestamp < now - 7_200_000));
}

/// A delete hides what was written before it, by no clock that a gateway shows.
#[test]
fn new_version_behavior_is_refused_where_deletes_count() {
    let bed = Bed::shared();
    let small = Synthetic::default();
    let tables = small.load(bed, &[]);
    let data = tables.data();
    let raw = Repository::default();
    raw.backup(bed, &tables, &["--raw"]).expect(0);
    let plain = Repository::default();
    plain.backup(bed, &tables, &[]).expect(0);
    let there = bed.unique("nvb");
    bed.must(&format!("create {there} t NEW_VERSION_BEHAVIOR=true"));
    refused(bed, &raw, &tables, &there, &[], &["NEW_VERSION_BEHAVIOR", "--rename-table"]);
    restore(bed, &plain, &tables, &there, &[]).expect(0);
    assert_eq!(cells(bed, &there), cells(bed, &data));
    // Nor is such a backup made.
    bed.must(&format!("alter {data} t NEW_VERSION_BEHAVIOR=true"));
    says(&Repository::default().backup(bed, &tables, &["--raw"]).expect(2), &["NEW_VERSION_BEHAVIOR", &data, "--raw"]);
    let saved = Repository::default();
    saved.backup(bed, &tables, &[]).expect(0);
    let copy = bed.unique("nvb");
    restore(bed, &saved, &tables, &copy, &[]).expect(0);
    assert_eq!(attribute(bed, &copy, "t", "NEW_VERSION_BEHAVIOR").as_deref(), Some("true"));
    assert_eq!(cells(bed, &copy), cells(bed, &data));
}

/// What a table does not keep is said before.
#[test]
fn an_existing_table_that_keeps_less_is_said() {
    let bed = Bed::shared();
    let small = Synthetic::default();
    let tables = small.load(bed, &[]);
    bed.must(&format!("alter {} t VERSIONS=3,KEEP_DELETED_CELLS=TRUE", tables.data()));
    let repository = Repository::default();
    repository.backup(bed, &tables, &["--raw"]).expect(0);
    let there = bed.unique("less");
    bed.must(&format!("create {there} t"));
    // Whether the backup has older versions shows when its cells are there.
    for (dry_run, code) in [(&["--dry-run"][..], 3), (&[], 0)] {
        let run = restore(bed, &repository, &tables, &there, dry_run).expect(code);
        says(&run, &["keeps 1 versions, the saved one kept 3", "KEEP_DELETED_CELLS=FALSE"]);
    }
    let changed =
        restore(bed, &repository, &tables, &there, &["--into-existing", "--dry-run", "--attribute", "VERSIONS=3"]);
    says(&changed.expect(3), &["exists and keeps its attributes"]);
}

/// The answer to createTable is lost, and somebody else makes a table of that name before it is asked again.
#[test]
fn a_strangers_table_is_not_adopted() {
    let bed = Bed::shared();
    let small = Synthetic::default();
    let tables = small.load(bed, &["000002"]);
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    let foreign = Synthetic { series: 1, ..Synthetic::default() }.data();
    let create = |copy: &str, plan: Plan, held: u64, schema: &str, rows: &[OwnedCell]| {
        let proxy = ThriftProxy::start(&bed.thrift2_address(), plan);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert!(proxy.wait_for("createTable", held));
                bed.must(&format!("create {copy} {schema}"));
                load(bed, copy, rows);
                proxy.release();
            });
            let run = restore_through(&proxy.address(), &repository, &tables, copy, &[]);
            proxy.finish();
            run
        })
    };
    let lost = || {
        let mut plan = Plan::once("createTable", 2, Fault::Hold);
        plan.scripted.extend(Plan::once("createTable", 1, Fault::CutRequest).scripted);
        plan
    };
    for (schema, rows, reason) in [
        ("t - 000001", &[][..], "boundaries"),
        ("t VERSIONS=7 000002", &[][..], "VERSIONS of family t is 7"),
        ("t VERSIONS=1,DATA_BLOCK_ENCODING=DIFF 000002", &foreign[..], "holds rows"),
        ("other - 000002", &[][..], "families"),
    ] {
        let copy = bed.unique("stranger");
        let run = create(&copy, lost(), 2, schema, rows).expect(1);
        says(&run, &[&copy, "not the one that was asked for", reason, "--rename-table"]);
        assert!(!run.err.contains("restore --resume"), "{}", run.err);
        assert_eq!(cells(bed, &copy).len(), rows.len(), "nothing was written into it");
        // Nor does a resumed restore take it for its own.
        let run = restore_through(&bed.thrift2_address(), &repository, &tables, &copy, &["--resume"]).expect(1);
        says(&run, &[&copy, "not the one that was asked for", reason]);
        assert_eq!(cells(bed, &copy).len(), rows.len(), "nothing was written into it");
    }
    let copy = bed.unique("stranger");
    let run = create(&copy, Plan::once("createTable", 1, Fault::Hold), 1, "t", &[]).expect(1);
    says(&run, &[&copy, "created by somebody else"]);
    assert_eq!(cells(bed, &copy), []);
    let run = restore_through(&bed.thrift2_address(), &repository, &tables, &copy, &["--resume"]).expect(1);
    says(&run, &[&copy, "not the one that was asked for"]);
    assert_eq!(cells(bed, &copy), []);
    // Once it is gone, the restore can be resumed.
    bed.must(&format!("drop {copy}"));
    let run = restore_through(&bed.thrift2_address(), &repository, &tables, &copy, &["--resume"]).expect(0);
    assert_eq!(table_of(&run.json, &tables.data())["target_agrees"], true);
}

/// Gateways of HBase 1.x answer createTable without doing anything.
#[test]
fn a_table_that_was_not_created_is_noticed() {
    let bed = Bed::shared();
    let small = Synthetic::default();
    let tables = small.load(bed, &[]);
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    let proxy = ThriftProxy::start(&bed.thrift2_address(), Plan::once("createTable", 1, Fault::Body(&[0])));
    let copy = bed.unique("nothing");
    let run = restore_through(&proxy.address(), &repository, &tables, &copy, &[]).expect(1);
    proxy.finish();
    says(&run, &[&copy, "does not exist", "HBase shell"]);
    assert!(!exists(bed, &copy));
}

/// A cell above the limits of a default cluster goes where the limits were raised; elsewhere it is named, and everything
/// else is restored.
#[test]
fn a_cell_above_the_default_limits_is_sent_or_named() {
    let bed = Bed::shared();
    let small = Synthetic::default();
    let tables = small.load(bed, &[]);
    let uids = format!("{}tsdb-uid", tables.prefix);
    let schema = |table: &str| bed.must(&format!("create {table} id,name - - hbase.server.keyvalue.maxsize=0"));
    bed.must(&format!("drop {uids}"));
    schema(&uids);
    load(bed, &uids, &small.uids());
    let unlimited = "hbase.client.keyvalue.maxsize=0";
    let raised = bed.listener(&format!("gateway start {} 2 0 {unlimited}", bed.unique("raised")));
    let mut note = CellBlock::new();
    note.push_row(&[0, 0, 1]).unwrap();
    let text = format!("{{\"notes\":\"{}\"}}", "x".repeat(12 << 20));
    note.push_cell(b"name", b"metric_meta", 1_600_000_000_000, kind::PUT, text.as_bytes()).unwrap();
    let gateways = vec![GatewayAddress::parse(&raised).unwrap()];
    let mut client = Gateways::new(gateways, GatewayOptions::default(), Default::default()).unwrap().client();
    client.put_multiple(&uids, &note, Durability::SyncWal).unwrap();
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    let count = |table: &str| bed.must(&format!("count {table}"));
    let restore = |gateway: &str, to: &Tables, more: &[&str]| {
        let renames: Vec<String> =
            tables.names().iter().zip(to.names()).map(|(old, new)| format!("{old}={new}")).collect();
        let renames = renames.join(",");
        repository.run("restore", &[&["--gateway", gateway, "--rename-table", &renames], more].concat())
    };
    // The gateway's own limit: an internal error without a word.
    let copy = Tables::named(&format!("{}.", bed.unique("large")), false);
    let copied = format!("{}tsdb-uid", copy.prefix);
    let read_only = format!("{uids}:READONLY=true");
    let run = restore(&bed.thrift2_address(), &copy, &["--attribute", &read_only]).expect(3);
    says(
        &run,
        &[
            "1 cell was refused",
            "000001",
            "bytes, more than this cluster takes",
            "hbase.client.keyvalue.maxsize",
            "--resume",
        ],
    );
    assert_eq!(table_of(&run.json, &uids)["cells_refused"], 1);
    assert_eq!(
        (run.json["differences"].as_u64(), table_of(&run.json, &uids)["sent_agrees"].as_bool()),
        (Some(0), Some(true))
    );
    assert_eq!(cells(bed, &tables.data()), cells(bed, &copy.data()), "the other tables are restored");
    assert_eq!(cells(bed, &copied).len(), small.uids().len(), "and the other cells");
    assert_eq!(attribute(bed, &copied, "-", "READONLY"), None, "the rest is still to come");
    let run = restore(&raised, &copy, &["--resume", "--attribute", &read_only]).expect(0);
    assert_eq!(attribute(bed, &copied, "-", "READONLY").as_deref(), Some("true"));
    assert_eq!(table_of(&run.json, &uids)["target_agrees"], true);
    assert_eq!(count(&copied), count(&uids));

    // The limit of a framed gateway, and of a region server.
    let uid_alone = |gateway: &str, to: &str| {
        let rename = format!("{uids}={to}");
        repository.run("restore", &["--gateway", gateway, "--table", &uids, "--rename-table", &rename])
    };
    let (framed, server) = (bed.unique("framed"), bed.unique("server"));
    schema(&framed);
    bed.must(&format!("create {server} id,name"));
    let narrow = bed.listener(&format!("gateway start {} 2 0 -f {unlimited}", bed.unique("narrow")));
    says(&uid_alone(&narrow, &framed).expect(3), &["bytes, more than this cluster takes", "max_frame_size_in_mb"]);
    says(
        &uid_alone(&raised, &server).expect(3),
        &["bytes, more than this cluster takes", "hbase.server.keyvalue.maxsize"],
    );
    assert_eq!(cells(bed, &framed), cells(bed, &server));
    bed.must(&format!("truncate {framed}"));
    let frames = "hbase.regionserver.thrift.framed.max_frame_size_in_mb=32";
    let wide = bed.listener(&format!("gateway start {} 2 0 -f {unlimited} {frames}", bed.unique("wide")));
    uid_alone(&wide, &framed).expect(0);
    assert_eq!(count(&framed), count(&uids));

    // Below a delete marker, where it would get a new timestamp.
    let of_row = |cell: &OwnedCell| cell.row == [0, 0, 1] && cell.family == b"name";
    let covered = small.uids().into_iter().filter(of_row).count();
    let marker = OwnedCell {
        row: vec![0, 0, 1],
        family: b"name".to_vec(),
        qualifier: Vec::new(),
        timestamp: 1_700_000_000_000,
        kind: kind::DELETE_FAMILY,
        value: Vec::new(),
    };
    load(bed, &framed, &[marker]);
    let rename = format!("{uids}={framed}");
    let words = ["--gateway", &bed.thrift2_address(), "--table", &uids, "--rename-table", &rename];
    let run = repository.run("restore", &[&words[..], &["--into-existing", "--new-timestamps"]].concat()).expect(3);
    let table = table_of(&run.json, &uids);
    assert_eq!((table["cells_refused"].as_u64(), table["new_timestamps"].as_u64()), (Some(1), Some(covered as u64)));
    assert_eq!((&table["sent_agrees"], &table["target_agrees"]), (&true.into(), &true.into()), "{table}");
    assert_eq!(cells(bed, &framed).len(), small.uids().len());
}
