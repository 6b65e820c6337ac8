//! `cluster`, `scan` and `put` against real gateways of every transport.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a broken gateway fails the test")]

#[path = "gateway/old_hbase.rs"]
mod old_hbase;
mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use support::bed::Bed;
use support::faults::plan::{CONNECT, Plan};
use support::faults::thrift::ThriftProxy;
use tsdb_ark::cluster::{
    Api, Client, ClusterError, Durability, Framing, GatewayAddress, GatewayOptions, Gateways, PageRequest, Pieces,
    Resolver, RetryPolicy, Transport,
};
use tsdb_ark::model::{
    Cell, CellBlock, CellHasher, DescriptorSource, FamilyDescriptor, KeyRange, OwnedCell, TableDescriptor, Tally, kind,
};
use tsdb_ark::put::{CellWriter, PutError, PutOptions, Refusal};
use tsdb_ark::scan::{ScanOptions, ShardScan};

/// One gateway of every transport, all before the same HBase.
fn flavours() -> &'static [(Transport, String)] {
    static FLAVOURS: OnceLock<Vec<(Transport, String)>> = OnceLock::new();
    FLAVOURS.get_or_init(|| {
        let bed = Bed::shared();
        let start = |flags: &str| bed.listener(&format!("gateway start {} 2 0 {flags}", bed.unique("flavour")));
        vec![
            (Transport::new(false, false), bed.thrift2_address()),
            (Transport::new(true, false), start("-f")),
            (Transport::new(false, true), start("-c")),
            (Transport::new(true, true), start("-f -c")),
            (Transport::new(true, false), start("-threadedselector")),
        ]
    })
}

fn options() -> GatewayOptions {
    let retry = RetryPolicy { attempts: 4, total: Duration::from_secs(20), ..RetryPolicy::default() };
    GatewayOptions { retry, ..GatewayOptions::default() }
}

fn gateways(addresses: &[&str]) -> Gateways {
    let addresses = addresses.iter().map(|address| GatewayAddress::parse(address).unwrap()).collect();
    Gateways::new(addresses, options(), Arc::new(AtomicBool::new(false))).unwrap()
}

fn client(address: &str) -> Client {
    gateways(&[address]).client()
}

fn plain() -> Client {
    client(&Bed::shared().thrift2_address())
}

fn family(name: &str, attributes: &[(&str, &str)]) -> FamilyDescriptor {
    let mut attributes: Vec<_> =
        attributes.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
    attributes.sort();
    FamilyDescriptor { name: name.as_bytes().to_vec(), attributes, configuration: Vec::new() }
}

fn create(client: &mut Client, name: &str, splits: &[Vec<u8>]) {
    let table = TableDescriptor {
        name: name.to_owned(),
        attributes: Vec::new(),
        families: vec![family("s", &[("VERSIONS", "5")]), family("t", &[("VERSIONS", "5")])],
    };
    client.create_table(&table, splits).unwrap();
}

fn cell(row: &[u8], family: &str, qualifier: &[u8], timestamp: i64, kind: u8, value: &[u8]) -> OwnedCell {
    OwnedCell {
        row: row.to_vec(),
        family: family.as_bytes().to_vec(),
        qualifier: qualifier.to_vec(),
        timestamp,
        kind,
        value: value.to_vec(),
    }
}

/// Odd rows, qualifiers and values, several versions, two families and all four markers; in HBase's order.
fn odd_cells() -> Vec<OwnedCell> {
    let mut cells = Vec::new();
    for row in [&b"\0"[..], b"\0\0", b"\0\xff", b"a", b"a\0", b"z\xff\xff", b"\xff", b"\xff\xff\xff"] {
        cells.push(cell(row, "s", b"", 3, kind::PUT, b"empty qualifier"));
        cells.push(cell(row, "t", b"", 7, kind::DELETE_FAMILY, b""));
        cells.push(cell(row, "t", b"", 5, kind::DELETE_FAMILY_VERSION, b""));
        cells.push(cell(row, "t", b"\0", i64::MAX - 1, kind::PUT, b"far away"));
        cells.push(cell(row, "t", b"\0", 0, kind::PUT, b""));
        cells.push(cell(row, "t", b"q", 9, kind::DELETE_COLUMN, b""));
        cells.push(cell(row, "t", b"q", 9, kind::PUT, &[0xff; 300]));
        cells.push(cell(row, "t", b"q", 8, kind::DELETE, b""));
        cells.push(cell(row, "t", b"q", 8, kind::PUT, b"\0"));
        cells.push(cell(row, "t", b"\xff\xff", 1, kind::PUT, b"last"));
    }
    cells
}

fn write(client: &mut Client, table: &str, cells: &[OwnedCell], options: PutOptions) -> Tally {
    let regions = client.regions(table).unwrap();
    let families = vec![b"s".to_vec(), b"t".to_vec()];
    let mut writer = CellWriter::new(client, table, families, &regions, options);
    for cell in cells {
        writer.write(&cell.as_cell()).unwrap();
    }
    writer.finish().unwrap()
}

fn read(client: &mut Client, table: &str, range: KeyRange, options: ScanOptions) -> (Vec<OwnedCell>, usize) {
    let mut scan = ShardScan::new(client, table, range, options);
    let (mut block, mut cells, mut pages) = (CellBlock::new(), Vec::new(), 0);
    while scan.next_page(&mut block).unwrap().is_some() {
        cells.extend(block.iter().map(|cell| cell.to_owned()));
        pages += 1;
    }
    (cells, pages)
}

fn raw() -> ScanOptions {
    ScanOptions { raw: true, max_versions: i32::MAX, ..ScanOptions::default() }
}

fn tally(cells: &[OwnedCell]) -> Tally {
    let (mut tally, mut hasher) = (Tally::default(), CellHasher::new());
    for cell in cells {
        let hash = hasher.whole(&cell.as_cell());
        tally.add_cell(&cell.as_cell(), hash);
    }
    tally
}

#[test]
fn every_transport_is_found() {
    for (transport, address) in flavours() {
        let info = client(address).gateway().unwrap();
        assert_eq!((info.api, info.transport), (Api::Thrift2, *transport), "{address}");
    }
}

#[test]
fn other_servers_are_named() {
    let bed = Bed::shared();
    let mut thrift1 = client(&bed.thrift1_address());
    assert_eq!(thrift1.gateway().unwrap().api, Api::Thrift1);
    let forced = client(&format!("thrift2://{}", bed.thrift1_address())).gateway();
    assert!(matches!(forced, Err(ClusterError::WrongApi { .. })), "{forced:?}");
    let http = bed.listener(&format!("gateway start {} 2 0 hbase.regionserver.thrift.http=true", bed.unique("http")));
    let found = client(&http).gateway();
    assert!(matches!(found, Err(ClusterError::Http { .. })), "{found:?}");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap().to_string();
    let quick = GatewayOptions {
        probe_timeout: Duration::from_millis(200),
        retry: RetryPolicy::never(),
        ..GatewayOptions::default()
    };
    let address = vec![GatewayAddress::parse(&silent).unwrap()];
    let found = Gateways::new(address, quick, Arc::default()).unwrap().client().gateway();
    assert!(matches!(found, Err(ClusterError::Silent { .. })), "{found:?}");
}

#[test]
fn odd_cells_come_back_over_every_transport() {
    let bed = Bed::shared();
    for (number, (transport, address)) in flavours().iter().enumerate() {
        let table = bed.unique(&format!("odd{number}"));
        create(&mut plain(), &table, &[b"\0\xff".to_vec(), b"b".to_vec(), b"\xff\xff".to_vec()]);
        let mut client = client(address);
        let cells = odd_cells();
        let sent = write(&mut client, &table, &cells, PutOptions::default());
        assert_eq!((sent.rows, sent.cells), (8, cells.len() as u64), "{transport}");
        assert!(sent.same_cells(&tally(&cells)), "{transport}");
        let (found, _) = read(&mut client, &table, KeyRange::all(), raw());
        assert_eq!(found, cells, "{transport}");
        let (latest, _) = read(&mut client, &table, KeyRange::all(), ScanOptions::default());
        let visible: Vec<&[u8]> = latest.iter().map(|cell| cell.qualifier.as_slice()).collect();
        assert_eq!(visible, [&b""[..], b"\0"].repeat(8), "{transport}: what no marker hides");
        let only = ScanOptions { families: vec![b"s".to_vec()], ..raw() };
        assert_eq!(read(&mut client, &table, KeyRange::all(), only).0.len(), 8, "{transport}");
        plain().drop_table(&table).unwrap();
    }
}

#[test]
fn pages_of_every_size_show_the_same_rows() {
    let bed = Bed::shared();
    let table = bed.unique("pages");
    let mut client = plain();
    create(&mut client, &table, &[vec![0, 100], vec![2], vec![3, 200]]);
    let cells: Vec<OwnedCell> =
        (0u16..1200).map(|n| cell(&n.to_be_bytes(), "t", b"q", 1, kind::PUT, &vec![7; usize::from(n) % 90])).collect();
    let small = PutOptions { batch_bytes: 5_000, pending_bytes: 12_000, batch_rows: 70, ..PutOptions::default() };
    assert_eq!(write(&mut client, &table, &cells, small).rows, 1200);
    for (first_rows, max_rows, page_bytes) in
        [(1, 7, 1 << 20), (100, 100, 1 << 20), (1200, 1200, 1 << 20), (1, 20_000, 3_000)]
    {
        let options = ScanOptions { first_rows, max_rows, page_bytes, ..ScanOptions::default() };
        let (found, pages) = read(&mut client, &table, KeyRange::all(), options);
        assert_eq!(found, cells, "{first_rows} {max_rows} {page_bytes}");
        assert!(pages >= 1200usize.div_ceil(max_rows as usize));
    }
    let part = read(&mut client, &table, KeyRange::new([1, 0], [1, 10]), ScanOptions::default()).0;
    assert_eq!(part, cells[256..266]);
    // HBase takes equal bounds for a get; an empty range must stay empty.
    assert!(read(&mut client, &table, KeyRange::new([1, 0], [1, 0]), ScanOptions::default()).0.is_empty());

    let mut scan = ShardScan::new(&mut client, &table, KeyRange::new([0, 10], [0, 12]), ScanOptions::default());
    let mut block = CellBlock::new();
    assert!(scan.next_page(&mut block).unwrap().is_some());
    assert_eq!(scan.position(), Some(&[0, 11, 0][..]));
    assert!(scan.next_page(&mut block).unwrap().is_none());
    client.drop_table(&table).unwrap();
}

#[test]
fn a_wide_row_comes_whole_or_in_pieces() {
    let bed = Bed::shared();
    let table = bed.unique("wide");
    let mut client = plain();
    create(&mut client, &table, &[]);
    let wide: Vec<OwnedCell> =
        (0u32..200_000).map(|n| cell(b"wide", "t", &n.to_be_bytes(), 1, kind::PUT, &n.to_le_bytes())).collect();
    let mut cells = vec![cell(b"a", "s", b"q", 1, kind::PUT, b"v"), cell(b"a", "t", b"q", 1, kind::PUT, b"v")];
    cells.extend(wide);
    cells.push(cell(b"x", "t", b"q", 1, kind::PUT, b"v"));
    let sent =
        write(&mut client, &table, &cells, PutOptions { durability: Durability::SkipWal, ..PutOptions::default() });
    assert_eq!((sent.rows, sent.cells), (3, 200_003));
    for (transport, address) in &flavours()[..4] {
        let mut client = self::client(address);
        assert!(read(&mut client, &table, KeyRange::all(), ScanOptions::default()).0 == cells, "{transport}");
        let mut request = PageRequest::new(&table, b"", b"", 10);
        request.pieces = Some(Pieces { cells: 10_000, count: 100 });
        let mut block = CellBlock::new();
        client.scan_page(&request, &mut block).unwrap();
        assert_eq!(block.row_count(), 3, "{transport}");
        assert!(block.iter().map(|cell| cell.to_owned()).eq(cells.iter().cloned()), "{transport}");
        request.pieces = Some(Pieces { cells: 10_000, count: 20 });
        client.scan_page(&request, &mut block).unwrap();
        assert_eq!(block.row_count(), 1, "{transport}: the row that was cut is left for the next page");
        request.start = b"b";
        let error = client.scan_page(&request, &mut block);
        assert!(matches!(error, Err(ClusterError::RowTooWide { .. }) | Ok(_)), "{transport}: {error:?}");
        request.pieces = Some(Pieces { cells: 10_000, count: 5 });
        let error = client.scan_page(&request, &mut block);
        assert!(matches!(error, Err(ClusterError::RowTooWide { cells: 50_000, .. })), "{transport}: {error:?}");
    }
    client.drop_table(&table).unwrap();
}

#[test]
fn descriptors_and_splits_make_the_same_table() {
    let bed = Bed::shared();
    let (from, to) = (bed.unique("from"), bed.unique("to"));
    let splits = ["00ff00", "40", "ff"];
    bed.must(&format!("create {from} t,u VERSIONS=3,TTL=86400,BLOOMFILTER=ROWCOL,COMPRESSION=GZ {}", splits.join(",")));
    let mut client = plain();
    let mut table = client.table_descriptor(&from).unwrap();
    assert_eq!((table.families.len(), table.families[0].versions()), (2, 3));
    assert_eq!(table.families[1].ttl_seconds(), Some(86_400));
    table.name = to.clone();
    let regions = client.regions(&from).unwrap();
    let keys: Vec<Vec<u8>> = regions.iter().skip(1).map(|region| region.range.start.clone()).collect();
    assert_eq!(keys, [vec![0, 255, 0], vec![0x40], vec![255]]);
    for (transport, address) in flavours().iter().filter(|(transport, _)| transport.framing == Framing::Framed) {
        let refused = self::client(address).create_table(&table, &keys);
        assert!(matches!(refused, Err(ClusterError::FramedCreate { .. })), "{transport}: {refused:?}");
        let why = self::client(address).cannot_create(&table, keys.len()).unwrap();
        assert!(why.as_ref().is_some_and(|why| why.contains("framed gateway")), "{transport}: {why:?}");
    }
    client.create_table(&table, &keys).unwrap();
    assert_eq!(client.table_descriptor(&to).unwrap(), table);
    let ranges =
        |regions: Vec<tsdb_ark::model::Region>| regions.into_iter().map(|region| region.range).collect::<Vec<_>>();
    assert_eq!(ranges(client.regions(&to).unwrap()), ranges(regions));
    assert!(matches!(client.create_table(&table, &keys), Err(ClusterError::TableExists { .. })));
    let names: BTreeSet<String> = client.table_names().unwrap().into_iter().collect();
    assert!(names.contains(&from) && names.contains(&to));
    client.drop_table(&from).unwrap();
    client.drop_table(&to).unwrap();
    assert!(!client.table_exists(&to).unwrap());
}

#[test]
fn namespaces_are_created_once() {
    let bed = Bed::shared();
    let namespace = bed.unique("ns").replace('-', "_");
    let mut client = plain();
    client.create_namespace(&namespace).unwrap();
    client.create_namespace(&namespace).unwrap();
    assert!(client.namespaces().unwrap().contains(&namespace));
    let table = format!("{namespace}:t");
    create(&mut client, &table, &[]);
    assert!(client.table_names().unwrap().contains(&table));
    assert_eq!(client.table_descriptor(&table).unwrap().name, table);
    write(&mut client, &table, &odd_cells(), PutOptions::default());
    assert_eq!(read(&mut client, &table, KeyRange::all(), raw()).0, odd_cells());
    client.drop_table(&table).unwrap();
    assert!(!client.cluster_id().unwrap().is_empty());
}

#[test]
fn errors_say_what_is_missing() {
    let bed = Bed::shared();
    let table = bed.unique("errors");
    for (transport, address) in flavours() {
        let mut client = client(address);
        let mut block = CellBlock::new();
        let gone = "no_such_table";
        let scan = client.scan_page(&PageRequest::new(gone, b"", b"", 10), &mut block);
        assert!(matches!(scan, Err(ClusterError::TableMissing { .. })), "{transport}: {scan:?}");
        assert!(matches!(client.regions(gone), Err(ClusterError::TableMissing { .. })), "{transport}");
        assert!(matches!(client.table_descriptor(gone), Err(ClusterError::TableMissing { .. })), "{transport}");
        block.push_row(b"r").unwrap();
        block.push_cell(b"t", b"q", 1, kind::PUT, b"v").unwrap();
        let put = client.put_multiple(gone, &block, Durability::default());
        assert!(matches!(put, Err(ClusterError::TableMissing { .. })), "{transport}: {put:?}");
        assert!(!client.table_exists(gone).unwrap(), "{transport}: the connection is still in step");
    }
    let mut client = plain();
    create(&mut client, &table, &[]);
    let mut block = CellBlock::new();
    let mut request = PageRequest::new(&table, b"", b"", 10);
    request.families = &[b"x"];
    let scan = client.scan_page(&request, &mut block);
    assert!(matches!(scan, Err(ClusterError::FamilyMissing { .. })), "{scan:?}");
    block.push_row(b"r").unwrap();
    block.push_cell(b"x", b"q", 1, kind::PUT, b"v").unwrap();
    let put = client.put_multiple(&table, &block, Durability::default());
    assert!(matches!(put, Err(ClusterError::FamilyMissing { .. })), "{put:?}");
    client.disable_table(&table).unwrap();
    assert!(!client.is_table_enabled(&table).unwrap());
    let scan = client.scan_page(&PageRequest::new(&table, b"", b"", 10), &mut block);
    assert!(matches!(scan, Err(ClusterError::TableDisabled { .. })), "{scan:?}");
    client.enable_table(&table).unwrap();
    client.drop_table(&table).unwrap();
}

#[test]
fn a_cell_that_damages_hbase_is_not_sent() {
    let mut client = plain();
    let mut writer = CellWriter::new(&mut client, "t", vec![b"t".to_vec()], &[], PutOptions::default());
    let bad = Cell { row: b"\x01", family: b"t", qualifier: b"q", timestamp: -1, kind: kind::PUT, value: b"" };
    match writer.write(&bad) {
        Err(PutError::Cell { row, qualifier, reason, .. }) => {
            assert_eq!((row.as_str(), qualifier.as_str(), reason), ("01", "71", Refusal::NegativeTimestamp));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(writer.finish().unwrap(), Tally::default(), "nothing was sent");
}

#[test]
fn a_dead_gateway_is_passed_over() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let gateways = gateways(&[&dead, &Bed::shared().thrift2_address()]);
    for _ in 0..4 {
        gateways.client().table_names().unwrap();
    }
    assert!(matches!(gateways.look_at(0), Err(ClusterError::Connect { .. })));
    assert!(gateways.look_at(1).is_ok());
}

/// A name with several addresses, of which one answers; then its gateways go and others come, as pods do.
#[test]
fn a_name_that_leads_elsewhere_is_followed() {
    let proxy = || ThriftProxy::start(&Bed::shared().thrift2_address(), Plan::default());
    let (old, new) = (proxy(), proxy());
    // An address of nobody makes the other one a gateway among several.
    let pods = |proxy: &ThriftProxy| vec![proxy.address().parse().unwrap(), "192.0.2.1:9".parse().unwrap()];
    let behind: Arc<Mutex<Vec<SocketAddr>>> = Arc::new(Mutex::new(pods(&old)));
    let asked = Arc::clone(&behind);
    let resolver = Resolver::new(move |host, _| match host {
        "pods.invalid" => Ok(asked.lock().unwrap().clone()),
        _ => Err(std::io::ErrorKind::NotFound.into()),
    });
    let options = GatewayOptions { resolver, connect_timeout: Duration::from_millis(200), ..options() };
    let address = vec![GatewayAddress::parse("pods.invalid:9090").unwrap()];
    let gateways = Gateways::new(address, options, Arc::default()).unwrap();
    assert_eq!(gateways.len(), 2);
    let mut client = gateways.client();
    client.table_names().unwrap();
    *behind.lock().unwrap() = pods(&new);
    assert_eq!(new.calls(CONNECT), 0);
    drop(old);
    client.table_names().unwrap();
    assert!(new.calls(CONNECT) > 0);
}

#[test]
fn every_gateway_says_which_cluster_it_serves() {
    let thrift1 = Bed::shared().thrift1_address();
    let mut addresses: Vec<&str> = flavours().iter().map(|(_, address)| address.as_str()).collect();
    addresses.push(&thrift1);
    let gateways = gateways(&addresses);
    let first = gateways.look_at(0).unwrap().cluster;
    let region = first.namespace_region.as_deref().unwrap_or_default();
    assert!(first.id.is_some() && region.starts_with("hbase:namespace,,"), "{first:?}");
    for (number, address) in addresses.iter().enumerate() {
        assert_eq!(gateways.look_at(number).unwrap().cluster, first, "{address}");
    }
}
