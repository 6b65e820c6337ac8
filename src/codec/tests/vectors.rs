//! The vectors of the format reference (its section 15), by id.

use super::support::*;
use crate::codec::{qualifier, row_key, salt};
use crate::model::{FLAG_MILLISECONDS, FLAG_SUPERSEDED, KeyLayout, RawReason, RollupValue, TableKind};

/// (offset in ms, stored in ms, value)
type Shown = (i64, bool, Value);
/// (id, qualifier, value, what a TSD shows)
type Vector = (&'static str, &'static str, &'static str, &'static [Shown]);
/// (id, qualifier, value, why it is raw, what a TSD shows)
type Damaged = (&'static str, &'static str, &'static str, RawReason, &'static [Shown]);

const NO: &[Shown] = &[];

fn shown(qualifier: &str, value: &str) -> Vec<Shown> {
    let decoded = decode_one(qualifier, value);
    let mut points: Vec<_> = points(&decoded.out.points)
        .into_iter()
        .filter(|(_, _, flags, _)| flags & FLAG_SUPERSEDED == 0)
        .map(|(_, time, flags, value)| (time - BASE * 1000, flags & FLAG_MILLISECONDS != 0, value))
        .collect();
    points.sort_by_key(|point| point.0);
    points
}

use Value::{Float as F, Int as I};

#[test]
fn clean_cells_are_exact_and_read_as_the_reference_says() {
    let vectors: &[Vector] = &[
        ("D01", "0000", "2a", &[(0, false, I(42))]),
        ("D02", "07b7", "0000000100000000", &[(123_000, false, I(4_294_967_296))]),
        ("D03", "0010", "ff", &[(1000, false, I(-1))]),
        ("D04", "0021", "8000", &[(2000, false, I(-32768))]),
        ("D05", "0033", "80000000", &[(3000, false, I(-2_147_483_648))]),
        ("D06", "0047", "8000000000000000", &[(4000, false, I(i64::MIN))]),
        ("D07", "e0f0", "7f", &[(3_599_000, false, I(127))]),
        ("D08", "e0fb", "42280000", &[(3_599_000, false, F(42.0))]),
        ("D09", "005f", "3fb999999999999a", &[(5000, false, F(0.1))]),
        ("D10", "006b", "3dcccccd", &[(6000, false, F(0.100_000_001_490_116_12))]),
        ("D11", "f0000040", "05", &[(1, true, I(5))]),
        ("D12", "f0007d0b", "c2280000", &[(500, true, F(-42.0))]),
        ("D13", "fdbb9fcf", "7fefffffffffffff", &[(3_599_999, true, F(f64::MAX))]),
        ("D14", "0500", "2a", &[(80_000, false, I(42))]),
        ("D15", "055f", "4045000000000000", &[(85_000, false, F(42.0))]),
        ("D16", "0103", "000004d2", &[(16_000, false, I(1234))]),
        ("C01", "00000010", "040500", &[(0, false, I(4)), (1000, false, I(5))]),
        ("C02", "f0000000f0000040", "040500", &[(0, true, I(4)), (1, true, I(5))]),
        ("C03", "0000f0007d000010", "04050601", &[(0, false, I(4)), (500, true, I(5)), (1000, false, I(6))]),
        (
            "C04",
            "00010017002b003f",
            "fffe0000000100000000422800003ff800000000000000",
            &[(0, false, I(-2)), (1000, false, I(4_294_967_296)), (2000, false, F(42.0)), (3000, false, F(1.5))],
        ),
        ("C05", "00100000", "050400", &[(0, false, I(4)), (1000, false, I(5))]),
        ("C06", "00000010", "0405", &[(0, false, I(4)), (1000, false, I(5))]),
        ("C07", "05000510", "2a2b00", &[(80_000, false, I(42)), (81_000, false, I(43))]),
        ("A01", "050000", "000004001005", &[(0, false, I(4)), (1000, false, I(5))]),
        ("A02", "050000", "001005000004001006", &[(0, false, I(4)), (1000, false, I(6))]),
        ("A03", "050000", "000004f0007d010102", &[(0, false, I(4)), (500, true, I(258))]),
        ("3.0", "000005", "000004001005", &[(0, false, I(4)), (1000, false, I(5))]),
    ];
    for (id, qualifier, value, expected) in vectors {
        assert_eq!(shown(qualifier, value), *expected, "{id}");
        let decoded = decode_one(qualifier, value);
        assert!(decoded.out.raw.is_empty(), "{id}: {:?}", decoded.reasons());
        assert!(decoded.out.points.segments.iter().all(|segment| segment.exact), "{id}");
        decoded.assert_complete(&[put(&hex(KEY), &hex(qualifier), 1_400_000_000_000, &hex(value))]);
    }
}

#[test]
fn a_writer_makes_the_same_qualifiers() {
    for (offset, flags, expected) in [
        (0, 0x0, "0000"),
        (123_000, 0x7, "07b7"),
        (3_599_000, 0xB, "e0fb"),
        (1, 0x10, "f0000040"),
        (500, 0x1B, "f0007d0b"),
        (3_599_999, 0x1F, "fdbb9fcf"),
    ] {
        let (bytes, len) = qualifier::encode(offset, flags).unwrap();
        assert_eq!(bytes[..len].to_vec(), hex(expected));
    }
    assert_eq!(qualifier::encode(3_600_000, 0), None);
    assert_eq!(qualifier::encode(1, 0), None);
    assert_eq!(qualifier::encode(-1, 0x10), None);
}

#[test]
fn damaged_cells_are_raw_and_shown_only_when_readable() {
    let vectors: &[Damaged] = &[
        (
            "C08",
            "fdbb9fc0e0f0",
            "010200",
            RawReason::OddTrailingByte,
            &[(3_599_000, false, I(2)), (3_599_999, true, I(1))],
        ),
        ("C09", "00000010", "04050000", RawReason::BadCompacted, NO),
        ("C10", "00070017", "0000000000000004", RawReason::BadCompacted, NO),
        ("A04", "050000", "0000", RawReason::BadAppend, NO),
        ("A05", "050000", "00000400", RawReason::BadAppend, NO),
        ("A06", "050000", "", RawReason::BadAppend, NO),
        ("F01", "000b", "0000000042280000", RawReason::RepairedFlags, &[(0, false, F(42.0))]),
        ("F02", "001f", "42280000", RawReason::RepairedFlags, &[(1000, false, F(42.0))]),
        ("F03", "0010", "0000000000000005", RawReason::RepairedFlags, &[(1000, false, I(5))]),
        ("F04", "002b", "ffffffff43fa6666", RawReason::DirtyFloatPrefix, NO),
        ("F05", "002b", "fb02f40f43fa6666", RawReason::DirtyFloatPrefix, NO),
        ("F06", "0000", "", RawReason::EmptyValue, NO),
        ("F07", "0000", "040404", RawReason::BadValueLength, NO),
        ("kinds", "070000", "", RawReason::UnknownQualifier, NO),
        ("kinds", "05", "", RawReason::UnknownQualifier, NO),
        ("kinds", "0500000000", "", RawReason::UnknownQualifier, NO),
        ("high nibble F", "f000", "05", RawReason::UnknownQualifier, NO),
        ("flags 2", "0002", "040404", RawReason::ImpossibleFlags, NO),
        ("flags 9", "0009", "0404", RawReason::ImpossibleFlags, NO),
        ("compacted flags", "00020010", "0404040500", RawReason::ImpossibleFlags, NO),
        ("append flags", "050000", "0002040404", RawReason::ImpossibleFlags, NO),
        ("3600 s", "e100", "05", RawReason::OffsetOutsideHour, &[(3_600_000, false, I(5))]),
        ("rr", "f0000010", "05", RawReason::UnusedBits, &[(0, true, I(5))]),
        ("trailing FF", "00000010", "0405ff", RawReason::OddTrailingByte, &[(0, false, I(4)), (1000, false, I(5))]),
        ("ms length", "f0000000", "0505", RawReason::BadValueLength, NO),
        ("nanoseconds", "ff00000000000010", "05", RawReason::BadCompacted, NO),
        ("nine bytes", "0007", "000000000000000000", RawReason::BadValueLength, NO),
        ("4.4 first case", "0010", "0500", RawReason::RepairedFlags, &[(1000, false, I(1280))]),
        ("empty qualifier", "", "00", RawReason::EmptyQualifier, NO),
        ("annotation", "010010", "{", RawReason::BadJson, NO),
    ];
    for (id, qualifier, value, reason, expected) in vectors {
        let value = if *value == "{" { "7b7b7b" } else { value };
        let decoded = decode_one(qualifier, value);
        assert_eq!(decoded.reasons(), [*reason], "{id}");
        assert_eq!(shown(qualifier, value), *expected, "{id}");
        assert!(decoded.out.points.segments.iter().all(|segment| !segment.exact), "{id}");
        decoded.assert_complete(&[put(&hex(KEY), &hex(qualifier), 1_400_000_000_000, &hex(value))]);
    }
}

#[test]
fn a_signalling_nan_is_raw_and_a_quiet_one_is_exact() {
    assert_eq!(decode_one("000b", "7f800001").reasons(), [RawReason::NanPayload]);
    assert_eq!(decode_one("000b001b", "7f8000013f80000000").reasons(), [RawReason::NanPayload]);
    assert_eq!(decode_one("050000", "000b7f800001").reasons(), [RawReason::NanPayload]);
    for quiet in ["7fc00000", "ffc00001", "7fffffff"] {
        assert!(decode_one("000b", quiet).out.raw.is_empty(), "{quiet}");
        assert!(decode_one("000b001b", &format!("{quiet}3f80000000")).out.raw.is_empty(), "{quiet}");
    }
    assert!(decode_one("000f", "7ff0000000000001").out.raw.is_empty());
}

#[test]
fn o01_to_o04_annotations() {
    let json = r#"{"tsuid":"000001000001000001","startTime":1356998416,"endTime":0,"description":"d","notes":"","custom":null}"#;
    let decoded = decode(&[put(&hex(KEY), &hex("010010"), 7, json.as_bytes())]);
    let [annotation] = decoded.out.annotations.as_slice() else { panic!("{:?}", decoded.reasons()) };
    assert_eq!(annotation.tsuid.as_deref(), Some("000001000001000001"));
    assert_eq!((annotation.start_ms, annotation.end_ms), (Some(1_356_998_416_000), None));
    assert_eq!((annotation.description.as_deref(), annotation.notes.as_deref()), (Some("d"), Some("")));
    assert_eq!(annotation.custom, None);
    assert_eq!(annotation.cell.value, json.as_bytes());

    for (row, qualifier, start, start_ms) in [
        ("00000050E22700", "01000001F4", 1_356_998_400_500_i64, 1_356_998_400_500_i64),
        ("0000004F29C3F0", "010D0C", 1_328_140_000, 1_328_140_000_000),
        ("0000004F29C3F0", "010AF0", 1_328_140_000_000, 1_328_140_000_000),
    ] {
        let json = format!(r#"{{"startTime":{start},"endTime":{start},"custom":{{"b":1}}}}"#);
        let decoded = decode(&[put(&hex(row), &hex(qualifier), 7, json.as_bytes())]);
        let [annotation] = decoded.out.annotations.as_slice() else { panic!("{:?}", decoded.reasons()) };
        assert_eq!((annotation.tsuid.clone(), annotation.start_ms), (None, Some(start_ms)));
        assert_eq!((annotation.end_ms, annotation.custom.as_deref()), (Some(start_ms), Some(r#"{"b":1}"#)));
    }
}

#[test]
fn o05_and_o06_histograms() {
    let value = hex("000002 00000000 3FE00000 05 3FE00000 40600000 8201 01 02");
    for (qualifier, timestamp) in
        [("06000a", 1_356_998_410_000_i64), ("0600002904", 1_356_998_410_500), ("0600002710", 1_356_998_410_000)]
    {
        let decoded = decode(&[put(&hex(KEY), &hex(qualifier), 7, &value)]);
        let [histogram] = decoded.out.histograms.as_slice() else { panic!("{:?}", decoded.reasons()) };
        assert_eq!((histogram.timestamp, histogram.codec), (timestamp, Some(0)));
        let buckets: Vec<_> = histogram.buckets.iter().map(|b| (b.lower, b.upper, b.count)).collect();
        assert_eq!(buckets, [(0.0, 1.75, 5), (1.75, 3.5, 130)]);
        assert_eq!((histogram.underflow, histogram.overflow), (Some(1), Some(2)));
    }
    let other = decode_one("06000a", "09ffff");
    assert_eq!((other.out.histograms[0].codec, other.out.histograms[0].underflow), (Some(9), None));
}

#[test]
fn r01_to_r08_rollups() {
    let text = r#"{"aggregationIds":{"sum":0,"count":1,"min":2,"max":3},"intervals":[
        {"table":"d","preAggregationTable":"p","interval":"1h","rowSpan":"1d"},
        {"table":"m","preAggregationTable":"q","interval":"10m","rowSpan":"1n"},
        {"table":"y","preAggregationTable":"r","interval":"1d","rowSpan":"1y"},
        {"table":"h","preAggregationTable":"s","interval":"30m","rowSpan":"6h"}]}"#;
    let config = crate::codec::RollupConfig::parse(text).unwrap();
    assert_eq!(config.tables(), ["d", "h", "m", "p", "q", "r", "s", "y"]);
    assert!(crate::codec::RollupConfig::parse("{\"intervals\":[{\"interval\":\"1x\"}]}").is_err());
    assert!(crate::codec::RollupConfig::parse("[").is_err());
    let vectors = [
        ("R01", "d", "000050", "05", 0, 5, 1_357_016_400_i64, RollupValue::Int(5)),
        ("R02", "d", "010177", "0000000000000005", 1, 23, 1_357_081_200, RollupValue::Int(5)),
        ("R03", "d", "012e71", "0100", 1, 743, 1_359_673_200, RollupValue::Int(256)),
        ("R04", "m", "00fc00", "05", 0, 4032, 1_359_417_600, RollupValue::Int(5)),
        ("R05", "m", "000500", "05", 0, 80, 1_357_046_400, RollupValue::Int(5)),
        ("R06", "y", "0216cf", "3ff8000000000000", 2, 364, 1_388_448_000, RollupValue::Float(1.5)),
        ("R07", "h", "0300b0", "05", 3, 11, 1_357_018_200, RollupValue::Int(5)),
    ];
    for (id, table, qualifier, value, aggregator, number, start, expected) in vectors {
        let cells = [put(&hex(KEY), &hex(qualifier), 7, &hex(value))];
        let decoded = decode_with(&cells, TableKind::Rollup, KeyLayout::default(), config.table(table));
        let [rollup] = decoded.out.rollups.as_slice() else { panic!("{id} {:?}", decoded.reasons()) };
        assert_eq!((rollup.aggregator_id, rollup.interval_number), (Some(aggregator), number), "{id}");
        assert_eq!(rollup.aggregator.as_deref(), Some(["sum", "count", "min", "max"][usize::from(aggregator)]));
        assert_eq!((rollup.timestamp, rollup.value), (Some(start * 1000), Some(expected)), "{id}");
        decoded.assert_complete(&cells);
    }
    let cells = [put(&hex(KEY), &hex("73756D3A0050"), 7, &hex("05"))];
    let decoded = decode_with(&cells, TableKind::Rollup, KeyLayout::default(), None);
    let rollup = &decoded.out.rollups[0];
    assert_eq!((rollup.aggregator.as_deref(), rollup.aggregator_id), (Some("sum"), None));
    assert_eq!((rollup.timestamp, rollup.interval_number), (None, 5));
}

#[test]
fn s01_to_s09_and_o07_salts() {
    assert_eq!(salt::hash([&hex("000001"), &hex("000001000001")]), 691_019_968);
    assert_eq!(salt::hash([&hex("ffffff"), &hex("ffffffffffff")]), -1_048_956_514);
    assert_eq!(salt::hash([&hex("000001"), &hex("000001000001000002000004")]), -112_887_422);
    assert_eq!(salt::hash([&hex("0000000a"), &hex("00010000000007")]), 405_946_043);
    for (id, key, metric_width, salt_width, salt_buckets, expected) in [
        ("S02", KEY, 3, 1, 20, "08"),
        ("S03", "00000250e22700000001000001", 3, 1, 20, "09"),
        ("S04", "0b142050e22700000001000001", 3, 1, 20, "06"),
        ("S05", KEY, 3, 2, 300, "010c"),
        ("S06", "00000052c35a80", 3, 1, 20, "00"),
        ("S07", "ffffff50e22700ffffffffffff", 3, 1, 20, "0e"),
        ("S08", "00000150e22700000001000001000002000004", 3, 1, 20, "02"),
        ("S09", "0000000a50e2270000010000000007", 4, 1, 20, "03"),
        ("O07", "00000052C35A80", 3, 1, 20, "00"),
    ] {
        let layout = KeyLayout { metric_width, salt_width, salt_buckets, ..KeyLayout::default() };
        assert_eq!(salt::salt_of(&hex(key), &layout).as_slice(), hex(expected), "{id}");
    }
    let wide = KeyLayout { salt_width: 1, salt_buckets: 300, ..KeyLayout::default() };
    assert_eq!(salt::salt_of(&hex(KEY), &wide).as_slice(), hex("0c"), "the bucket is cut to its low byte");
}

#[test]
fn k01_to_k03_keys() {
    let row = |base: u32| {
        let mut key = Vec::new();
        assert!(row_key::build(&hex("000001000001000001"), base, &KeyLayout::default(), &mut key));
        key
    };
    let odd = decode(&[put(&row(1_410_062_608), &hex("faae5fc0"), 7, &[1])]);
    assert_eq!(odd.reasons(), [RawReason::OddBaseTime]);
    assert_eq!(points(&odd.out.points)[0].1, 1_410_062_608_000 + 2_800_000 - 1);
    for (base, qualifier, time) in
        [(4_294_800, "f0a36000", 4_294_967_296_i64), (4_294_965_600, "69f0", 4_294_967_295_000)]
    {
        let decoded = decode(&[put(&row(base), &hex(qualifier), 7, &[1])]);
        assert_eq!((decoded.out.raw.len(), points(&decoded.out.points)[0].1), (0, time));
    }
}

fn uid_cell(row: &str, family: &str, qualifier: &str, value: &[u8]) -> crate::model::OwnedCell {
    crate::model::OwnedCell { family: family.into(), ..put(&hex(row), qualifier.as_bytes(), 7, value) }
}

#[test]
fn u01_to_u05_uids() {
    let meta = br#"{"type":"METRIC","displayName":"","description":"","notes":"","created":1356998400,"custom":null}"#;
    let cells = [
        uid_cell("00", "id", "metrics", &hex("000000000000002a")),
        uid_cell("7379732E6370752E75736572", "id", "metrics", &hex("000001")),
        uid_cell("000001", "name", "metrics", b"sys.cpu.user"),
        uid_cell("000001", "name", "metric_meta", meta),
        uid_cell("000002", "name", "tagv", &hex("636166e9")),
        uid_cell("00", "id", "tagk", &hex("2a")),
        uid_cell("000003", "name", "metric_meta", b"no json"),
        uid_cell("000003", "name", "colour", b"red"),
        uid_cell("000003", "other", "metrics", b"red"),
        uid_cell("000003", "name", "", b"red"),
    ];
    let decoded = decode_with(&cells, TableKind::Uid, KeyLayout::default(), None);
    decoded.assert_complete(&cells);
    let uids = &decoded.out.uids;
    assert_eq!((uids[0].role, uids[0].counter), ("counter", Some(42)));
    assert_eq!((uids[1].role, uids[1].uid.as_deref()), ("forward", Some("000001")));
    assert_eq!((uids[2].role, uids[2].name.as_deref()), ("reverse", Some("sys.cpu.user")));
    assert_eq!((uids[3].role, uids[3].json.as_deref().map(str::len)), ("meta", Some(meta.len())));
    assert_eq!(uids[4].name.as_deref(), Some("café"));
    assert_eq!((uids[5].role, uids[5].counter), ("counter", None));
    let reasons = [RawReason::BadJson, RawReason::UnknownQualifier, RawReason::OtherFamily, RawReason::EmptyQualifier];
    assert_eq!(decoded.reasons(), reasons);
}

#[test]
fn m01_and_t01_t02_meta_and_tree() {
    let cells = [
        uid_cell("000001000001000001", "name", "ts_ctr", &hex("0000000000000005")),
        uid_cell("000001000001000001", "name", "ts_meta", b"{\"tsuid\":\"\"}"),
        uid_cell("0000010000", "name", "ts_ctr", &hex("0000000000000005")),
    ];
    let decoded = decode_with(&cells, TableKind::Meta, KeyLayout::default(), None);
    decoded.assert_complete(&cells);
    assert_eq!((decoded.out.meta[0].counter, decoded.out.meta[0].tsuid.as_str()), (Some(5), "000001000001000001"));
    assert_eq!((decoded.out.meta[1].role, decoded.reasons()), ("ts_meta", vec![RawReason::BadRowKey]));

    let cells = [
        put(&hex("0001"), b"tree", 7, b"{}"),
        put(&hex("0001"), b"tree_rule:0:0", 7, b"{}"),
        put(&hex("00010001838f"), b"branch", 7, b"{}"),
        put(&hex("00010001838f"), &hex("6c6561663a530152ec"), 7, b"{}"),
        put(&hex("000101"), b"tree_collision:\x00\x01", 7, b"000001"),
        put(&hex("000102"), b"tree_not_matched:\x00\x01", 7, b"no"),
        put(&hex("00010001838f"), b"twig", 7, b"{}"),
    ];
    let decoded = decode_with(&cells, TableKind::Tree, KeyLayout::default(), None);
    decoded.assert_complete(&cells);
    let roles: Vec<_> = decoded.out.tree.iter().map(|row| (row.tree, row.role)).collect();
    let expected = ["tree", "rule", "branch", "leaf", "collision", "not_matched"].map(|role| (Some(1), role));
    assert_eq!((roles, decoded.reasons()), (expected.to_vec(), vec![RawReason::UnknownQualifier]));
}
