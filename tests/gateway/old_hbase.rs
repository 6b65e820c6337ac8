//! HBase 1.x: what its gateways do not tell is found elsewhere, and what they cannot carry is refused.

use super::support::ark::{Repository, Run, run, table_flags};
use super::support::bed::Bed;
use super::support::faults::plan::{Fault, Plan, Scripted};
use super::support::faults::thrift::ThriftProxy;
use super::support::golden;
use super::support::tsd::Tables;
use super::*;
use tsdb_ark::cluster::parse_descriptions;

fn old() -> Client {
    client(&Bed::old().thrift2_address())
}

fn table(name: &str, families: &str, splits: &str) -> String {
    let bed = Bed::old();
    let name = bed.unique(name);
    bed.must(&format!("create {name} {families} VERSIONS=3 {splits}"));
    name
}

fn block(cells: &[OwnedCell]) -> CellBlock {
    let mut block = CellBlock::new();
    for run in cells.chunk_by(|a, b| a.row == b.row) {
        block.push_row(&run[0].row).unwrap();
        for cell in run {
            block.push_cell(&cell.family, &cell.qualifier, cell.timestamp, cell.kind, &cell.value).unwrap();
        }
    }
    block
}

#[test]
fn services_are_found_without_a_prefix() {
    let bed = Bed::old();
    let start = |api: u8, flags: &str| bed.listener(&format!("gateway start {} {api} 0 {flags}", bed.unique("g")));
    let found = |address: &str| gateways(&[address]).client().gateway().map(|info| (info.api, info.transport));
    for (flags, framed, compact) in [("", false, false), ("-f", true, false), ("-c", false, true)] {
        let transport = Transport::new(framed, compact);
        assert_eq!(found(&start(2, flags)).unwrap(), (Api::Thrift2, transport));
        assert_eq!(found(&start(1, flags)).unwrap(), (Api::Thrift1, transport));
    }
    // A prefix is an assertion.
    let (one, two) = (bed.thrift1_address(), bed.thrift2_address());
    assert_eq!(found(&format!("thrift1://{one}")).unwrap().0, Api::Thrift1);
    assert_eq!(found(&format!("thrift2://{two}")).unwrap().0, Api::Thrift2);
    for wrong in [format!("thrift2://{one}"), format!("thrift1://{two}")] {
        assert!(matches!(found(&wrong), Err(ClusterError::WrongApi { .. })), "{wrong}");
    }
}

#[test]
fn tables_and_regions_are_read_from_the_list_of_regions() {
    let bed = Bed::old();
    // Boundaries that hold what separates the parts of a region's name.
    let name = table("listed", "t", "000003,2c,2d00,ff");
    let neighbour = format!("{name}-uid");
    bed.must(&format!("create {neighbour} t"));
    bed.must("split {} 0005".replace("{}", &name).as_str());
    let mut client = old();
    let names = client.table_names().unwrap();
    assert!(names.contains(&name) && names.contains(&neighbour), "{names:?}");
    assert!(names.iter().all(|name| !name.starts_with("hbase:")), "{names:?}");
    assert!(client.table_exists(&name).unwrap() && !client.table_exists(&format!("{name}-")).unwrap());
    let text =
        |key: &[u8]| if key.is_empty() { "-".to_owned() } else { key.iter().map(|b| format!("{b:02x}")).collect() };
    let ours: Vec<String> = client
        .regions(&name)
        .unwrap()
        .iter()
        .map(|r| format!("{} {} {},{},{}", text(&r.range.start), text(&r.range.stop), r.host, r.port, r.start_code))
        .collect();
    let theirs: Vec<String> = bed
        .must(&format!("regions {name}"))
        .iter()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            [words[0], words[1], words[3]].join(" ")
        })
        .collect();
    assert_eq!(theirs.len(), 6, "{theirs:?}");
    assert_eq!(ours, theirs);
    assert_eq!(client.namespaces().unwrap(), ["default", "hbase"]);
}

#[test]
fn a_missing_or_disabled_table_is_named() {
    let (mut client, mut found) = (old(), CellBlock::new());
    let missing = Bed::old().unique("missing");
    let one = block(&[cell(b"r", "t", b"q", 1, kind::PUT, b"v")]);
    let is_missing = |error: ClusterError| assert!(matches!(error, ClusterError::TableMissing { .. }), "{error}");
    is_missing(client.scan_page(&PageRequest::new(&missing, b"", b"", 9), &mut found).unwrap_err());
    is_missing(client.put_multiple(&missing, &one, Durability::SyncWal).unwrap_err());
    is_missing(client.regions(&missing).unwrap_err());
    is_missing(client.is_table_enabled(&missing).unwrap_err());
    let name = table("disabled", "t", "");
    assert!(client.is_table_enabled(&name).unwrap());
    assert!(client.has_family(&name, b"t").unwrap() && !client.has_family(&name, b"x").unwrap());
    Bed::old().must(&format!("disable {name}"));
    assert!(!client.is_table_enabled(&name).unwrap());
    let error = client.scan_page(&PageRequest::new(&name, b"", b"", 9), &mut found).unwrap_err();
    assert!(matches!(error, ClusterError::TableDisabled { .. }), "{error}");
    // HBase tries for minutes to write there; whoever gives up asks why.
    let impatient = GatewayOptions { put_timeout: Duration::from_secs(2), ..options() };
    let address = GatewayAddress::parse(&Bed::old().thrift2_address()).unwrap();
    let gateways = Gateways::new(vec![address], impatient, Arc::new(AtomicBool::new(false))).unwrap();
    let error = gateways.client().put_multiple(&name, &one, Durability::SyncWal).unwrap_err();
    assert!(matches!(error, ClusterError::TableDisabled { .. }), "{error}");
}

#[test]
fn cells_and_markers_are_written_as_far_as_they_can_be() {
    let bed = Bed::old();
    let name = table("written", "t", "80");
    let mut client = old();
    let put = |row: &[u8], qualifier: &[u8], at: i64| cell(row, "t", qualifier, at, kind::PUT, b"v");
    let cells =
        vec![put(b"a", b"", 9), put(b"a", b"\0\xff", i64::MAX - 1), put(b"\x80", b"q", 5), put(b"\x80", b"q", 3)];
    client.put_multiple(&name, &block(&cells), Durability::AsyncWal).unwrap();
    let mut page = CellBlock::new();
    let all = PageRequest { max_versions: i32::MAX, ..PageRequest::new(&name, b"", b"", 100) };
    client.scan_page(&all, &mut page).unwrap();
    assert_eq!(page.iter().map(|cell| cell.to_owned()).collect::<Vec<_>>(), cells);
    // Markers would be taken for cells with empty values.
    let raw = client.scan_page(&PageRequest { raw: true, ..all }, &mut page).unwrap_err();
    assert!(matches!(raw, ClusterError::Untyped { .. }), "{raw}");
    assert!(raw.to_string().contains("back up without --raw") && page.is_empty(), "{raw}");
    let marker = |row: &[u8], qualifier: &[u8], at, kind| cell(row, "t", qualifier, at, kind, b"");
    let fits = [
        marker(b"m1", b"q", 5, kind::DELETE),
        marker(b"m2", b"q", 6, kind::DELETE_COLUMN),
        marker(b"m3", b"", 7, kind::DELETE_FAMILY),
    ];
    client.delete_multiple(&name, &block(&fits), Durability::SyncWal).unwrap();
    let version = [fits[0].clone(), marker(b"m4", b"", 8, kind::DELETE_FAMILY_VERSION)];
    let refused = client.delete_multiple(&name, &block(&version), Durability::SyncWal).unwrap_err();
    assert!(matches!(refused, ClusterError::NotBefore22 { .. }), "{refused}");
    assert!(!refused.to_string().contains("attempts"), "at once: {refused}");
    let mut own = golden::dump(bed, &name, true);
    own.retain(|cell| cell.kind != kind::PUT);
    assert_eq!(own, fits, "HBase's own client");
}

/// The bed's own list of a table's attributes: family or `-`, name, value.
fn described(bed: &Bed, name: &str) -> Vec<String> {
    let lines = bed.must(&format!("describe {name}"));
    lines.into_iter().filter(|line| !line.starts_with("- IS_META")).collect()
}

fn lines_of(descriptor: &TableDescriptor) -> Vec<String> {
    let pair = |of: &str, (name, value): &(Vec<u8>, Vec<u8>)| {
        format!("{of} {} {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
    };
    let mut lines: Vec<String> = descriptor.attributes.iter().map(|attribute| pair("-", attribute)).collect();
    for family in &descriptor.families {
        let of = String::from_utf8_lossy(&family.name);
        lines.extend(family.attributes.iter().map(|attribute| pair(&of, attribute)));
    }
    lines.retain(|line| !line.starts_with("- IS_META"));
    lines.sort();
    lines
}

#[test]
fn descriptors_come_out_of_an_error_with_all_their_attributes() {
    let bed = Bed::old();
    let name = bed.unique("described");
    let families = "VERSIONS=3,TTL=86400,COMPRESSION=GZ,DATA_BLOCK_ENCODING=DIFF,KEEP_DELETED_CELLS=TRUE,OWNER=me";
    bed.must(&format!("create {name} s,t {families} 80 MAX_FILESIZE=1073741824,note=x"));
    let plain = table("described", "t", "");
    for address in [bed.thrift2_address(), bed.thrift1_address()] {
        let mut client = client(&address);
        assert!(!client.manages_tables().unwrap());
        for name in [&name, &plain] {
            let (descriptor, source) = client.describe(name).unwrap().unwrap();
            assert_eq!((descriptor.name.as_str(), source), (name.as_str(), DescriptorSource::Region));
            let mut own = described(bed, name);
            own.sort();
            assert_eq!(lines_of(&descriptor), own, "{address}");
        }
        let missing = client.describe(&bed.unique("missing"));
        assert!(matches!(missing, Err(ClusterError::TableMissing { .. })), "{missing:?}");
    }
    // The shell's description is the same.
    let shell = parse_descriptions(&bed.must(&format!("shell-describe {name}")).join("\n")).unwrap();
    assert_eq!(shell[0], old().describe(&name).unwrap().unwrap().0);
    let mut client = old();
    let error = client.table_descriptor(&name).unwrap_err();
    assert!(matches!(error, ClusterError::NotBefore22 { .. }), "{error}");
    let fresh = TableDescriptor { name: bed.unique("fresh"), attributes: Vec::new(), families: vec![family("t", &[])] };
    let error = client.create_table(&fresh, &[]).unwrap_err();
    assert!(matches!(error, ClusterError::NotBefore22 { .. }), "{error}");
    assert!(client.cannot_create(&fresh, 0).unwrap().is_some_and(|why| why.contains("before 2.2")));
}

#[test]
fn cells_go_through_thrift2_where_both_services_are_given() {
    let bed = Bed::old();
    let (one, two) = (bed.thrift1_address(), bed.thrift2_address());
    for order in [[&one, &two], [&two, &one]] {
        let mut client = gateways(&[order[0], order[1]]).client();
        assert!(client.table_names().is_ok());
        assert_eq!(client.gateway().unwrap().api, Api::Thrift2);
    }
}

/// The statements for the shell in a refused restore, run on the bed.
fn create_as_told(bed: &Bed, error: &str) -> usize {
    let (_, statements) = error.trim().split_once("run the same restore again: ").expect("statements");
    let statements: Vec<&str> = statements.split("; ").collect();
    for statement in &statements {
        let name = between(statement, "create '", "'");
        let clauses: Vec<&str> = statement.split('{').skip(1).map(|clause| clause.split('}').next().unwrap()).collect();
        let families: Vec<&str> = clauses.iter().map(|clause| between(clause, "NAME => '", "'")).collect();
        let rest: Vec<&str> = clauses.iter().map(|clause| clause.split_once(", ").unwrap().1).collect();
        assert!(rest.iter().all(|clause| *clause == rest[0]), "the bed gives all families the same: {statement}");
        let attributes = rest[0].replace(" => ", "=").replace('\'', "").replace(", ", ",");
        let keys = statement.split_once("SPLITS => [").map_or("-".to_owned(), |(_, keys)| {
            let key = |text: &str| {
                let bytes = text.trim_matches(['\'', ']']).split("\\x").skip(1);
                bytes.map(|byte| byte.to_lowercase()).collect::<String>()
            };
            keys.split(", ").map(key).collect::<Vec<_>>().join(",")
        });
        bed.must(&format!("create {name} {} {attributes} {keys}", families.join(",")));
    }
    statements.len()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{before} in {text}"));
    rest.split_once(after).unwrap().0
}

/// A golden set in tables with region boundaries.
fn golden_tables(set: &str) -> Tables {
    let bed = Bed::old();
    let tables = golden::tables(set);
    let rollups = tables.iter().any(|table| table.contains("rollup"));
    let target = Tables::create(bed, rollups, &["000001ff", "00000280", "ff"]);
    for table in tables {
        let file = golden::folder(set).join(format!("{table}.cells.tsv.gz"));
        bed.must(&format!("load {}{table} {}", target.prefix, file.display()));
    }
    target
}

fn backup(repository: &Repository, gateway: &str, tables: &Tables, more: &[&str]) -> Run {
    let flags = table_flags(tables);
    let mut arguments = vec!["--gateway", gateway, "--expect-raw-cells"];
    arguments.extend(flags.iter().map(String::as_str));
    arguments.extend(more);
    repository.run("backup", &arguments)
}

fn restore(repository: &Repository, gateway: &str, from: &Tables, to: &Tables, more: &[&str]) -> Run {
    let renames: Vec<String> = from.names().iter().zip(to.names()).map(|(old, new)| format!("{old}={new}")).collect();
    let mut arguments = vec!["--gateway", gateway];
    renames.iter().for_each(|rename| arguments.extend(["--rename-table", rename]));
    arguments.extend(more);
    repository.run("restore", &arguments)
}

fn manifest(repository: &Repository) -> serde_json::Value {
    let path = repository.files().into_iter().find(|path| path.ends_with("manifest.json")).unwrap();
    serde_json::from_slice(&std::fs::read(repository.path().join(path)).unwrap()).unwrap()
}

fn text(values: &serde_json::Value) -> String {
    values.as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Both sides as HBase's own client reads them, boundaries and attributes included.
fn assert_same(bed: &Bed, from: &Tables, to: &Tables) {
    let ranges = |name: &str| -> Vec<String> {
        let regions = bed.must(&format!("regions {name}"));
        regions.iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
    };
    for (old, new) in from.names().iter().zip(to.names()) {
        let (mut before, mut after) = (golden::dump(bed, old, false), golden::dump(bed, &new, false));
        before.sort();
        after.sort();
        assert!(before == after, "{old}: {} cells, {new}: {}", before.len(), after.len());
        assert_eq!(ranges(old), ranges(&new));
        assert_eq!(described(bed, old), described(bed, &new));
    }
}

#[test]
fn golden_cells_come_back_on_an_old_cluster() {
    let bed = Bed::old();
    let gateway = bed.thrift2_address();
    let source = golden_tables("opentsdb-2.4.1");
    let repository = Repository::default();
    let mut arguments = vec!["check".to_owned(), "--json".to_owned(), "--gateway".to_owned(), gateway.clone()];
    arguments.extend(table_flags(&source));
    let checked = run(&arguments).expect(0).json;
    assert!(text(&checked["warnings"]).contains("a restore does not create tables"), "{checked}");
    let report = backup(&repository, &gateway, &source, &[]).expect(0).json;
    for table in report["tables"].as_array().unwrap() {
        let shown = golden::dump(bed, table["table"].as_str().unwrap(), false).len() as u64;
        assert_eq!(table["cells"], shown, "{table}");
    }
    for table in manifest(&repository)["tables"].as_array().unwrap() {
        assert_eq!(table["described_by"], "region");
        assert_eq!(table["descriptor"]["families"][0]["attributes"]["DATA_BLOCK_ENCODING"], "DIFF");
    }
    let live = repository.verify("source", &["--gateway", &gateway]).expect(0).json;
    assert_eq!(live["differences"], 0);
    let target = Tables::named(&format!("{}.", bed.unique("r")), source.rollups);
    for more in [&["--dry-run"][..], &[]] {
        let refused = restore(&repository, &gateway, &source, &target, more).expect(2);
        assert!(
            refused.err.contains("cannot create tables (HBase before 2.2); nothing was written"),
            "{}",
            refused.err
        );
    }
    let refused = restore(&repository, &gateway, &source, &target, &[]).expect(2);
    assert_eq!(create_as_told(bed, &refused.err), source.names().len());
    let restored = restore(&repository, &gateway, &source, &target, &[]).expect(0).json;
    assert_eq!(restored["differences"], 0);
    assert!(restored["tables"].as_array().unwrap().iter().all(|table| table["target_agrees"] == true), "{restored}");
    assert_same(bed, &source, &target);
}

#[test]
fn an_old_cluster_with_thrift1_alone_comes_back_too() {
    let bed = Bed::old();
    let gateway = bed.thrift1_address();
    let source = golden_tables("append");
    let repository = Repository::default();
    backup(&repository, &gateway, &source, &[]).expect(0);
    assert!(manifest(&repository)["tables"].as_array().unwrap().iter().all(|table| table["described_by"] == "region"));
    let target = Tables::named(&format!("{}.", bed.unique("r")), source.rollups);
    let refused = restore(&repository, &gateway, &source, &target, &[]).expect(2);
    assert!(refused.err.contains("DATA_BLOCK_ENCODING=DIFF of family t"), "{}", refused.err);
    assert_eq!(create_as_told(bed, &refused.err), source.names().len());
    assert_eq!(restore(&repository, &gateway, &source, &target, &[]).expect(0).json["differences"], 0);
    assert_same(bed, &source, &target);
}

#[test]
fn a_description_by_hand_is_taken_when_it_fits() {
    let bed = Bed::old();
    let gateway = bed.thrift2_address();
    let source = Tables::create(bed, false, &[]);
    let file = bed.folder().join(bed.unique("described.txt"));
    let shell = bed.must(&format!("shell-describe {}", source.data())).join("\n");
    std::fs::write(&file, shell.replace("TTL => 'FOREVER'", "TTL => '86400 SECONDS (1 DAY)'")).unwrap();
    let flag = ["--table-description", file.to_str().unwrap()];
    let repository = Repository::default();
    backup(&repository, &gateway, &source, &flag).expect(3);
    let tables = manifest(&repository)["tables"].clone();
    for table in tables.as_array().unwrap() {
        let by_hand = table["name"] == source.data().as_str();
        assert_eq!(table["described_by"], if by_hand { "file" } else { "region" });
        let ttl = &table["descriptor"]["families"][0]["attributes"]["TTL"];
        assert_eq!(ttl, if by_hand { "86400" } else { "2147483647" });
    }
    std::fs::write(&file, shell.replace("NAME => 't'", "NAME => 'u'")).unwrap();
    let refused = backup(&Repository::default(), &gateway, &source, &flag).expect(2);
    assert!(refused.err.contains("has no family u, which --table-description gives it"), "{}", refused.err);
}

#[test]
fn raw_backups_are_refused_before_anything_is_written() {
    let source = golden_tables("append");
    let repository = Repository::default();
    let refused = backup(&repository, &Bed::old().thrift2_address(), &source, &["--raw"]).expect(1);
    assert!(refused.err.contains("does not distinguish delete markers from cells"), "{}", refused.err);
    assert!(repository.files().is_empty(), "{:?}", repository.files());
}

/// A raw backup, made on a new cluster, of a data table with a put and these markers.
fn raw_backup(markers: &[OwnedCell]) -> (Repository, Tables) {
    let new = Bed::shared();
    let source = Tables::create(new, false, &[]);
    let mut client = plain();
    let put = cell(b"kept", "t", b"q", 5, kind::PUT, b"v");
    client.put_multiple(&source.data(), &block(&[put]), Durability::SyncWal).unwrap();
    client.delete_multiple(&source.data(), &block(markers), Durability::SyncWal).unwrap();
    let repository = Repository::default();
    backup(&repository, &new.thrift2_address(), &source, &["--raw"]).expect(0);
    (repository, source)
}

#[test]
fn markers_that_would_change_are_refused_before_anything_is_written() {
    let (bed, new) = (Bed::old(), Bed::shared());
    let marker = |row: &[u8], qualifier: &[u8], kind| cell(row, "t", qualifier, 5, kind, b"");
    let fits = [
        marker(b"m1", b"q", kind::DELETE),
        marker(b"m2", b"q", kind::DELETE_COLUMN),
        marker(b"m3", b"", kind::DELETE_FAMILY),
    ];
    let (repository, source) = raw_backup(&fits);
    let target = Tables::create(bed, false, &[]);
    let report = restore(&repository, &bed.thrift2_address(), &source, &target, &[]).expect(0).json;
    let table = &report["tables"].as_array().unwrap().iter().find(|t| t["table"] == source.data().as_str()).unwrap();
    assert_eq!((&table["target_agrees"], &table["also_there"]), (&true.into(), &0.into()), "{report}");
    assert!(text(&report["warnings"]).contains("what readers see was read back"), "{report}");
    let (mut wanted, mut found) = (golden::dump(new, &source.data(), true), golden::dump(bed, &target.data(), true));
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted);
    // A batch that is acknowledged and lost: what readers see is compared all the same.
    let target = Tables::create(bed, false, &[]);
    let done = Plan::once("putMultiple", 1, Fault::Body(&[0]));
    let proxy = ThriftProxy::start(&bed.thrift2_address(), done);
    let report = restore(&repository, &proxy.address(), &source, &target, &[]).expect(3).json;
    assert_eq!((&report["differences"], &report["cells_named"][0]["difference"]), (&1.into(), &"missing".into()));
    let (repository, source) = raw_backup(&[marker(b"m4", b"", kind::DELETE_FAMILY_VERSION)]);
    let target = Tables::create(bed, false, &[]);
    let refused = restore(&repository, &bed.thrift2_address(), &source, &target, &[]).expect(1);
    assert!(refused.err.contains("restore through a gateway of HBase 2.2 or later"), "{}", refused.err);
    assert!(target.names().iter().all(|name| golden::dump(bed, name, true).is_empty()));
}

/// HBase 1.7 answers the calls for tables with nothing and does nothing.
#[test]
fn a_gateway_that_only_says_that_it_did_is_not_believed() {
    const NOTHING: Fault = Fault::Body(&[0]);
    let new = Bed::shared();
    let scripted = |method| Scripted { method, calls: 1..u64::MAX, fault: NOTHING };
    let plan = |methods: &[&'static str]| Plan {
        scripted: methods.iter().map(|method| scripted(method)).collect(),
        ..Plan::default()
    };
    let liar = ThriftProxy::start(&new.thrift2_address(), plan(&["createTable", "getTableDescriptor"]));
    let gateway = liar.address();
    let source = golden::load(new, "append");
    let repository = Repository::default();
    backup(&repository, &gateway, &source, &[]).expect(0);
    let mut told = plain().describe(&source.data()).unwrap().unwrap();
    assert_eq!(told.1, DescriptorSource::Gateway);
    let record = manifest(&repository)["tables"][0].clone();
    assert_eq!((&record["name"], &record["described_by"]), (&source.data().into(), &"region".into()));
    let (out_of_error, _) = client(&gateway).describe(&source.data()).unwrap().unwrap();
    told.0.attributes.clear();
    assert_eq!(lines_of(&TableDescriptor { attributes: Vec::new(), ..out_of_error }), lines_of(&told.0));
    let target = Tables::named(&format!("{}.", new.unique("r")), false);
    let refused = restore(&repository, &gateway, &source, &target, &[]).expect(2);
    assert!(refused.err.contains("nothing was written. Create the missing tables"), "{}", refused.err);
    target.create_in(new, &[]);
    assert_eq!(restore(&repository, &gateway, &source, &target, &[]).expect(0).json["differences"], 0);
}

/// Before HBase 1.3 nothing spares the block cache; a gateway of a new cluster plays one that knows no more than those.
#[test]
fn reads_that_fill_the_block_cache_are_said_and_limited() {
    let new = Bed::shared();
    let methods =
        ["getTableNamesByPattern", "tableExists", "isTableEnabled", "getTableDescriptor", "getAllRegionLocations"];
    let unknown = |method| Scripted { method, calls: 1..u64::MAX, fault: Fault::UnknownMethod };
    let plan = |more: &[&'static str]| Plan {
        scripted: methods.iter().chain(more).map(|method| unknown(method)).collect(),
        ..Plan::default()
    };
    let gateway = ThriftProxy::start(&new.thrift2_address(), plan(&["checkAndMutate"]));
    let source = golden::load(new, "append");
    let warnings = |more: &[&str]| {
        let report = backup(&Repository::default(), &gateway.address(), &source, more).expect(0).json;
        text(&report["warnings"])
    };
    let said = warnings(&[]);
    assert!(said.contains("fills the block cache") && said.contains("limited to 20 MiB/s"), "{said}");
    let said = warnings(&["--rate", "5MiB"]);
    assert!(said.contains("fills the block cache") && said.contains("--rate is the limit that you gave"), "{said}");
    // The same rows come from `hbase:meta` of a new cluster.
    let mut client = client(&gateway.address());
    let (ours, theirs) = (client.regions(&source.data()).unwrap(), plain().regions(&source.data()).unwrap());
    assert_eq!(ours, theirs);
    assert_eq!(client.table_names().unwrap(), plain().table_names().unwrap());
    gateway.set_plan(plan(&[]));
    assert!(!warnings(&[]).contains("block cache"), "since 1.3");
}
