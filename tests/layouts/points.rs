//! Points that other tools choke on: very long columns, many tags, wide UIDs, strange names, several data tables.

use serde_json::{Value, json};
use tsdb_ark::model::OwnedCell;

use crate::support::golden;
use crate::{BASE, Case, assert_says, hex, key, name, names, put, rows};

/// 60,000 milliseconds in one column: the qualifier alone is longer than a block of HBase's files.
#[test]
fn a_column_longer_than_a_block_comes_back_and_is_flushed() {
    let points = 60_000u32;
    let qualifier: Vec<u8> = (0..points).flat_map(|ms| (0xf000_0000 | ms << 6).to_be_bytes()).collect();
    let value: Vec<u8> = (0..points).map(|n| (n % 100) as u8).chain([0]).collect();
    let case = Case::load(&[put(key(1, 0), "t", qualifier, value)], &names(1));
    case.with_conf("backup", "", &[]).expect(0);
    let wanted = (0..points).map(|n| f64::from(n % 100)).sum::<f64>();
    let read = case.sql("select count(*), sum(value), count(distinct timestamp), bool_and(exact) from points");
    assert_eq!(read, json!([[points, wanted, points, true]]));
    let table = case.tables.data();
    case.assert_restores(std::slice::from_ref(&table));
    let restored = format!("{table}.flushed");
    case.run("restore", &["--table", &table, "--rename-table", &format!("{table}={restored}")]).expect(0);
    for command in ["flush", "major"] {
        case.bed.must(&format!("{command} {restored}"));
        assert!(golden::dump(case.bed, &restored, true) == golden::dump(case.bed, &table, true), "after {command}");
    }
}

/// A second data table, with every kind of cell that is a rollup in a rollup table, and a rollup configuration that names
/// the raw table itself.
#[test]
fn a_second_data_table_has_points_too() {
    let mut case = Case::load(&rows(2, 0..3, |_| Vec::new()), &names(2));
    let second = format!("{}tsdb2", case.tables.prefix);
    case.bed.must(&format!("create {second} t"));
    let row = key(1, 50);
    let histogram = hex("00 0001 3f800000 40000000 0000000000000002 0000000000000001 0000000000000000");
    case.add(
        "tsdb2",
        &[
            put(row.clone(), "t", hex("0010"), hex("05")),
            put(row.clone(), "t", hex("050000"), hex("0020 06")),
            put(row.clone(), "t", hex("060003"), histogram),
            put(row, "t", hex("010004"), "{\"startTime\":1600178404,\"description\":\"d\"}"),
        ],
    );
    let data = case.tables.data();
    let both = ["--data-table", &data, "--data-table", &second];
    let run = case.with_conf("backup", "", &[&both[..], &["--expect-raw-cells"]].concat()).expect(0);
    let kinds: Vec<Value> = run.json["tables"].as_array().unwrap().iter().map(|table| table["kind"].clone()).collect();
    assert_eq!(kinds[..2], [json!("data"), json!("data")]);
    assert_eq!(case.sql("select count(*), sum(value) from points"), json!([[8, 17.0]]));
    assert_eq!(case.sql("select count(*) from annotations"), json!([[1]]));
    let names: Vec<&str> = run.json["tables"].as_array().unwrap().iter().filter_map(|t| t["table"].as_str()).collect();
    let raw = &run.json["tables"][1]["raw_reasons"];
    assert_eq!(raw, &json!({}), "{names:?}");
    assert_eq!(case.sql("select count(*) from histograms"), json!([[1]]));
    case.assert_restores(&[data.clone(), second.clone()]);
    // The raw table as a rollup table, and an aggregator whose number looks like an append.
    let rollups = format!(
        "{{\"aggregationIds\": {{\"sum\": 0, \"avg\": 5}}, \"intervals\": [{{\"table\": \"{data}\", \
         \"preAggregationTable\": \"{data}\", \"interval\": \"1m\", \"rowSpan\": \"1h\", \"defaultInterval\": true}}]}}"
    );
    case.anew();
    let run = case.with_conf("backup", &format!("tsd.rollups.config = {rollups}\n"), &both).expect(0);
    assert_eq!(run.json["tables"][0]["kind"], "data");
    assert_eq!(case.sql("select count(*), sum(value) from points"), json!([[8, 17.0]]));
    case.assert_restores(&[data, second]);
}

const STRANGE: [&[u8]; 9] =
    [b" ", b"a\nb", b"\"q\"", b"it's", b"\0\0\0", b"a=b,c=d", &[b'x'; 5000], b"NULL", &[0xff, 0xfe]];

/// More tags than a stock TSD takes, UIDs of eight bytes, and names that nobody would think of.
#[test]
fn many_tags_wide_uids_and_strange_names() {
    let wide = |number: u64| format!("f{number:015x}");
    let mut uids: Vec<OwnedCell> = Vec::new();
    for tag in 1..=20u64 {
        uids.extend(name("tagk", &format!("{tag:06x}"), format!("key{tag:02}")));
        uids.extend(name("tagv", &wide(tag), format!("value{tag:02}")));
    }
    let mut data = Vec::new();
    for (metric, strange) in STRANGE.iter().enumerate() {
        uids.extend(name("metrics", &format!("{:06x}", metric + 1), strange));
        for tags in [1, 9, 16, 20] {
            let pairs: String = (1..=tags).map(|tag| format!("{tag:06x}{}", wide(tag))).collect();
            data.push(put(hex(&format!("{:06x}{BASE:08x}{pairs}", metric + 1)), "t", hex("0000"), hex("01")));
        }
    }
    let case = Case::load(&data, &uids);
    let run = case.plain("backup", &[]).expect(0);
    assert_eq!(run.json["layout"]["tagv_width"], 8);
    assert_says(&run, "warnings", &[]);
    let found = case.sql("select metric, count(*), max(cardinality(tag)), max(tag['key20']) from points group by 1");
    let mut found: Vec<Value> = found.as_array().unwrap().clone();
    let mut wanted: Vec<Value> = STRANGE
        .iter()
        .map(|name| json!([name.iter().map(|byte| char::from(*byte)).collect::<String>(), 4, 20, "value20"]))
        .collect();
    found.sort_by_key(Value::to_string);
    wanted.sort_by_key(Value::to_string);
    assert_eq!(found, wanted);
    case.assert_restores(&[case.tables.data(), format!("{}tsdb-uid", case.tables.prefix)]);
}
