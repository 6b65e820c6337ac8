//! Salt buckets that were changed, and salting that was switched on later.

use serde_json::json;
use tsdb_ark::codec::salt;
use tsdb_ark::model::{KeyLayout, OwnedCell};

use crate::support::synthetic::{assert_tally, tally};
use crate::{Case, assert_says, hex, names, put, rows};

fn salted(buckets: u32) -> impl Fn(&[u8]) -> Vec<u8> {
    let layout = KeyLayout { salt_width: 1, salt_buckets: buckets, ..KeyLayout::default() };
    move |key| salt::salt_of(key, &layout).as_slice().to_vec()
}

fn unsalted(_: &[u8]) -> Vec<u8> {
    Vec::new()
}

const COUNT: &str = "select metric, count(*), sum(value), bool_and(exact) from points group by all";
const SALT_64: &str = "tsd.storage.salt.width = 1\ntsd.storage.salt.buckets = 64\n";
const SALT_20: &str = "tsd.storage.salt.width = 1\ntsd.storage.salt.buckets = 20\n";

/// Every point is shown, exact, under its name, and every cell comes back.
fn assert_whole(case: &Case, points: usize) {
    assert_eq!(case.sql(COUNT), json!([["sys.cpu", points, points as f64, true]]));
    case.assert_restores(&[case.tables.data(), format!("{}tsdb-uid", case.tables.prefix)]);
}

#[test]
fn buckets_changed_on_a_live_table() {
    // Twelve hosts, ten hours under 20 buckets; the configuration says 64 already.
    let old = rows(12, 0..10, salted(20));
    let mut case = Case::load(&old, &names(12));
    let run = case.with_conf("backup", SALT_64, &[]).expect(0);
    assert_says(&run, "warnings", &["only", "have the salt that was given", "1 salt byte(s), 20 buckets"]);
    assert_eq!(run.json["layout"]["salt_buckets"], 64);
    assert_whole(&case, 120);
    // Some hours under the new number.
    case.add("tsdb", &rows(12, 10..15, salted(64)));
    case.anew();
    let run = case.with_conf("backup", SALT_64, &[]).expect(0);
    let counted = &run.json["tables"][0]["cells_by_layout"];
    let old_cells = counted.as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum::<u64>();
    assert!(
        (100..=120).contains(&old_cells),
        "rows whose salt is the same under both numbers are in neither: {counted}"
    );
    assert_whole(&case, 180);
    let shown = case.repository.run("show", &["latest"]);
    assert_eq!(shown.json["older_layouts"][0]["salt_buckets"], 20, "{}", shown.out);
    // Without a configuration both numbers are found, and flags can say them.
    for more in [&[][..], &["--salt-width", "1", "--salt-buckets", "64,20"]] {
        case.anew();
        case.plain("backup", more).expect(0);
        assert_whole(&case, 180);
    }
    // A window finds its rows under either.
    case.anew();
    let times = ["--metric", "sys.*", "--from", "2020-09-13T20:00", "--to", "2020-09-14T00:00"];
    let run = case.with_conf("backup", SALT_64, &times).expect(0);
    let mut wanted = rows(12, 8..10, salted(20));
    wanted.extend(rows(12, 10..12, salted(64)));
    wanted.sort();
    assert_tally(&run.json, &case.tables.data(), &tally(&wanted));
    let check = case.plain("check", &[]).expect(0);
    assert_says(&check, "warnings", &["were written under another salt"]);
}

/// Two rows are too few to tell a number of buckets by, and one salt is no bucket's.
#[test]
fn a_salt_that_nothing_explains_is_a_point_all_the_same() {
    let mut cells = rows(12, 0..10, salted(20));
    let shifted = |by: u8| move |key: &[u8]| vec![(salted(20)(key)[0] + by) % 20];
    cells.extend(rows(1, 20..21, shifted(7)));
    cells.extend(rows(1, 21..22, shifted(3)));
    let mut case = Case::load(&cells, &names(12));
    let run = case.with_conf("backup", SALT_20, &[]).expect(0);
    assert_eq!(run.json["tables"][0]["raw_reasons"], json!({"other_salt": 2}));
    assert_says(&run, "warnings", &["2 cells of", "fits no number of buckets that is known", "--salt-buckets"]);
    let count = "select count(*), count(*) filter (not exact) from points where metric = 'sys.cpu'";
    assert_eq!(case.sql(count), json!([[122, 2]]));
    case.assert_restores(&[case.tables.data()]);
    // The salt of no bucket that any TSD asks for.
    case.add("tsdb", &rows(1, 22..23, |_| vec![0xee]));
    for (more, code) in [("--expect-raw-cells=bad_row_key", 3), ("--expect-raw-cells=wrong_salt,bad_row_key", 0)] {
        case.anew();
        let run = case.with_conf("backup", SALT_20, &[more]).expect(code);
        assert_eq!(run.json["tables"][0]["raw_reasons"], json!({"other_salt": 2, "wrong_salt": 1}));
    }
    assert_eq!(case.sql(count), json!([[123, 3]]));
}

#[test]
fn salting_switched_on_later() {
    // Old rows alone, under a configuration that speaks of the new ones.
    let mut case = Case::load(&rows(4, 0..50, unsalted), &names(4));
    let run = case.with_conf("backup", SALT_20, &[]).expect(0);
    assert_says(&run, "warnings", &["only 0 of", "have the salt that was given"]);
    assert_whole(&case, 200);
    case.add("tsdb", &rows(4, 50..55, salted(20)));
    for conf in [Some(SALT_20), None] {
        case.anew();
        let run = match conf {
            Some(lines) => case.with_conf("backup", lines, &[]),
            None => case.plain("backup", &[]),
        };
        assert_eq!(run.expect(0).json["tables"][0]["raw_cells"], 0);
        assert_whole(&case, 220);
    }
    // A configuration without a word of salt.
    case.anew();
    case.with_conf("backup", "", &[]).expect(0);
    assert_whole(&case, 220);
}

/// Rows that begin between two hours are points, and said to be odd.
#[test]
fn odd_base_times_are_points_too() {
    let mut odd: Vec<OwnedCell> = rows(4, 0..5, unsalted);
    for host in 1..=3u32 {
        let key = hex(&format!("000001 5f5e0a05 000001 {host:06x}"));
        odd.push(put(key, "t", hex("0010"), hex("01")));
    }
    let mut case = Case::load(&odd, &names(4));
    let run = case.with_conf("backup", "", &[]).expect(3);
    assert!(run.err.contains("odd_base_time 3; --expect-raw-cells=odd_base_time"), "{}", run.err);
    let count = "select count(*), min(epoch_ms(timestamp)) filter (not exact) from points where metric = 'sys.cpu'";
    assert_eq!(case.sql(count), json!([[23, 0x5f5e_0a05_i64 * 1000 + 1000]]));
    case.assert_restores(&[case.tables.data()]);
    case.anew();
    case.with_conf("backup", "", &["--expect-raw-cells=odd_base_time"]).expect(0);
    case.anew();
    case.with_conf("backup", "", &["--expect-raw-cells=wrong_salt"]).expect(3);
}
