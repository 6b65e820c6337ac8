//! From flags to a request, from a report to text and exit code.

use clap::FromArgMatches;
use tsdb_ark::model::Tally;

use tsdb_ark::model::KeyLayout;

use super::*;
use crate::cli::command::{self, Cli, Verb};
use crate::cli::exit::Usage;

fn parsed(flags: &str) -> BackupArgs {
    let words = ["tsdb-ark", "backup"].into_iter().chain(flags.split_whitespace());
    let cli = Cli::from_arg_matches(&command::command().try_get_matches_from(words).unwrap()).unwrap();
    match cli.verb {
        Verb::Backup(args) => *args,
        other => panic!("{other:?}"),
    }
}

fn refused(flags: &str) -> String {
    let error = parsed(flags).request().err().unwrap();
    error.downcast_ref::<Usage>().unwrap().to_string()
}

const NEEDED: &str = "--gateway gw:9090 --repository /b";

/// What clap says of flags that do not go together.
fn conflict(flags: &str) -> String {
    let words = format!("tsdb-ark backup {NEEDED} {flags}");
    command::command().try_get_matches_from(words.split_whitespace()).err().map_or(String::new(), |e| e.to_string())
}

#[test]
fn a_catch_up_pass_follows_a_full_backup_alone() {
    for other in [
        "--incremental",
        "--raw",
        "--skip-unreadable",
        "--plan-only",
        "--metric x",
        "--since 10m",
        "--parent ID",
        "--by time",
    ] {
        assert!(!conflict(&format!("--catch-up {other}")).is_empty(), "{other}");
    }
    assert!(conflict("--overlap 1m").contains("--incremental") && conflict("--overlap 1m").contains("--catch-up"));
    let asked = |flags: &str| parsed(&format!("{NEEDED} {flags}")).request().unwrap().catch_up;
    assert_eq!(asked("--incremental --by time"), None);
    let (overlap, horizon) = (Duration::from_secs(60), IncrementPlan::HORIZON);
    assert_eq!(asked("--catch-up --overlap 1m"), Some(CatchUpPlan { overlap, horizon }));
}

#[test]
fn both_reports_of_a_catch_up_say_what_must_be_read() {
    let pass = BackupReport {
        backup: Some("PASS".into()),
        kind: "incremental".into(),
        ..report(TableKind::Data, &[("bad_append", 2)])
    };
    let both = BackupReport { catch_up: Some(Box::new(pass)), ..report(TableKind::Data, &[]) };
    let both = outcome(&both, "/b", &[]);
    assert_eq!((both.code, both.quiet_text.lines().last()), (3, Some("PASS")));
    assert!(both.why.unwrap().starts_with("catch-up: the backup is complete, but cells that do not decode"));
    assert!(both.text.contains("\ncatch-up: backup PASS in /b"), "{}", both.text);
}

#[test]
fn flags_become_a_request() {
    let request = parsed(
        "--gateway a:1 --gateway thrift1://b:2,c:3 --repository s3://b/p --data-table d --data-table d2 --uid-table u --meta-table m \
         --tree-table t --table r1 --table r2 --raw --max-versions 5 --connections 7 --cpu 2 --max-memory 1GiB \
         --page-size 1MiB --uid-width-metric 4 --uid-width-tagk 3 --uid-width-tagv 5 --salt-width 1 --salt-buckets 8,20 \
         --name-charset utf-8 --framed --binary --connect-timeout 1s --read-timeout 1m --write-timeout 250ms --retry-for 0s --dry-run",
    )
    .request()
    .unwrap();
    assert_eq!(request.repository.url, "s3://b/p");
    let gateways = request.gateways;
    assert_eq!(gateways.gateways, ["a:1", "thrift1://b:2", "c:3"]);
    assert_eq!((gateways.framed, gateways.compact), (Some(true), Some(false)));
    let times = [gateways.connect_timeout, gateways.read_timeout, gateways.write_timeout, gateways.retry_for];
    assert_eq!(times.map(|t| t.as_millis()), [1000, 60_000, 250, 0]);
    let name = |text: &str| Some(text.to_string());
    let names = TableNames {
        data: vec!["d".into(), "d2".into()],
        uid: name("u"),
        no_uid: false,
        meta: name("m"),
        tree: name("t"),
        extra: vec!["r1".into(), "r2".into()],
    };
    assert_eq!(request.names, names);
    let layout = LayoutFlags {
        metric_width: Some(4),
        tagk_width: Some(3),
        tagv_width: Some(5),
        salt_width: Some(1),
        salt_buckets: vec![8, 20],
    };
    assert_eq!((request.layout, request.charset), (layout, Some(NameCharset::Utf8)));
    let resources = Resources { connections: 7, cpu: 2, max_memory: 1 << 30, page_bytes: 1 << 20 };
    assert_eq!(request.resources, resources);
    assert_eq!((request.raw, request.max_versions, request.dry_run), (true, 5, true));
}

#[test]
fn without_flags_the_defaults_of_the_flow_hold() {
    let request = parsed(NEEDED).request().unwrap();
    assert_eq!(request.resources, Resources::default());
    let defaults = GatewaySettings::default();
    assert_eq!(request.gateways.read_timeout, defaults.read_timeout);
    assert_eq!(request.gateways.retry_for, defaults.retry_for);
    assert_eq!((request.gateways.framed, request.gateways.compact), (None, None));
    assert_eq!(request.names, TableNames::default());
    assert_eq!(request.layout, LayoutFlags::default());
    assert_eq!((request.raw, request.max_versions, request.dry_run), (false, i32::MAX, false));
    assert!(request.conf.is_none());
}

#[test]
fn what_makes_no_sense_is_refused_with_a_hint() {
    assert!(refused("--gateway gw:9090").contains("--repository URL, TSDB_ARK_REPOSITORY"));
    assert!(refused("--repository /b").contains("--gateway HOST:PORT, TSDB_ARK_GATEWAY"));
    assert!(refused(&format!("{NEEDED} --max-versions 3")).contains("--raw"));
    assert!(refused(&format!("{NEEDED} --max-memory 8MiB --page-size 4MiB --connections 4")).contains("16MiB"));
    assert!(refused(&format!("{NEEDED} --page-size 1")).contains("4KiB"));
    assert!(refused(&format!("{NEEDED} --read-timeout 0")).contains("--read-timeout"));
}

#[test]
fn what_clap_refuses_is_usage() {
    for wrong in [
        "--uid-width-metric 9",
        "--salt-buckets 0",
        "--connections 0",
        "--framed --unframed",
        "--no-uid-table --uid-table u",
        "--name-charset latin-9",
        "--expect-raw-cells=wrong",
        "--compact --binary",
        "--into-existing",
        "--page-size 1XB",
    ] {
        let words = ["tsdb-ark", "backup"].into_iter().chain(wrong.split_whitespace());
        let error = command::command().try_get_matches_from(words).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{wrong}");
    }
}

#[test]
fn the_command_line_is_consistent() {
    command::command().debug_assert();
}

fn report(kind: TableKind, reasons: &[(&str, u64)]) -> BackupReport {
    let layouts = reasons.iter().any(|(name, _)| *name == "old_version");
    BackupReport {
        resumed: None,
        kind: "full".into(),
        window: None,
        backup: Some("20260102T030405Z-abc".into()),
        tables: vec![TableReport {
            gaps: Vec::new(),
            table: "tsdb".into(),
            kind,
            regions: 1,
            versions: 1,
            tally: Tally { rows: 2, cells: 1234, points: 5, bytes: 2048, checksum: 0xab },
            raw_cells: reasons.iter().map(|(_, n)| n).sum(),
            raw_reasons: reasons.iter().map(|(name, n)| (name.to_string(), *n)).collect(),
            cells_by_layout: [(1, 7)].into_iter().filter(|_| layouts).collect(),
            shards: 1,
            files: 1,
            bytes_written: 1024,
        }],
        absent_tables: vec!["tsdb-tree".into()],
        layout: KeyLayout::default(),
        older_layouts: vec![KeyLayout { salt_width: 1, ..KeyLayout::default() }],
        layout_from: "detected".into(),
        not_held: vec![],
        warnings: vec!["careful".into()],
        catch_up: None,
        catch_up_planned: false,
        seconds: 1.25,
        bytes_read: 4096,
        bytes_written: 1024,
        files_read_back: 1,
        peak_rss_bytes: 1 << 20,
        back_off_seconds: 0.0,
    }
}

#[test]
fn raw_cells_that_nobody_asked_for_must_be_read() {
    let coded = |kind, reasons: &[(&str, u64)], expected: &str| {
        let expected = parsed(&format!("{NEEDED} {expected}")).expect_raw_cells;
        outcome(&report(kind, reasons), "/b", &expected).code
    };
    let code = |kind, reasons: &[(&str, u64)], all| coded(kind, reasons, if all { "--expect-raw-cells" } else { "" });
    let asked = [("old_version", 3), ("deleted", 1), ("delete_marker", 1)];
    assert_eq!(code(TableKind::Data, &[], false), 0);
    assert_eq!(code(TableKind::Data, &asked, false), 0);
    assert_eq!(code(TableKind::Other, &[("foreign_table", 9), ("other_family", 1)], false), 0);
    assert_eq!(code(TableKind::Data, &[("other_family", 1)], false), 3);
    assert_eq!(code(TableKind::Data, &[("bad_compacted", 1)], false), 3);
    assert_eq!(code(TableKind::Data, &[("a_reason_of_a_later_version", 1)], false), 3);
    assert_eq!(code(TableKind::Data, &[("bad_compacted", 1), ("other_family", 1)], true), 0);
    assert_eq!(code(TableKind::Data, &[("bad_compacted", 0)], false), 0);
    let why = outcome(&report(TableKind::Data, &[("bad_compacted", 1200)]), "/b", &[]).why.unwrap();
    assert!(why.contains("bad_compacted 1,200") && why.contains("--expect-raw-cells=bad_compacted"), "{why}");
    // With reasons only those are no news.
    let two = [("bad_compacted", 1), ("wrong_salt", 1)];
    assert_eq!(coded(TableKind::Data, &two, "--expect-raw-cells=wrong_salt,bad_compacted"), 0);
    assert_eq!(coded(TableKind::Data, &two, "--expect-raw-cells=wrong_salt --expect-raw-cells=bad_compacted"), 0);
    assert_eq!(coded(TableKind::Data, &two, "--expect-raw-cells=wrong_salt"), 3);
    assert_eq!(coded(TableKind::Data, &two, "--expect-raw-cells=false"), 3);
    // Buckets whose number was changed are no damage.
    assert_eq!(code(TableKind::Data, &[("other_salt", 1)], false), 0);
}

#[test]
fn a_report_reads_well() {
    let outcome = outcome(&report(TableKind::Data, &[("old_version", 3)]), "/b", &[]);
    let expected = "\
backup 20260102T030405Z-abc in /b, 1.2 s

table  kind  shards  rows  cells  points  raw cells    bytes  written  checksum
tsdb   data       1     2  1,234       5          3  2.0 KiB  1.0 KiB  00000000000000ab
all               1     2  1,234       5          3  2.0 KiB  1.0 KiB

read 4.0 KiB from the cluster, wrote 1.0 KiB, read 1 file back, peak memory 1.0 MiB
row keys: metric 3, tagk 3, tagv 3 bytes, no salt (detected)
7 cells of tsdb in rows with salt 1 with 20 buckets
raw cells of tsdb: old_version 3
not found: tsdb-tree
warning: careful
";
    assert_eq!(outcome.text, expected);
    assert_eq!(outcome.quiet_text, "20260102T030405Z-abc\n");
    assert!(outcome.json.contains("\"checksum\":\"00000000000000ab\""), "{}", outcome.json);
}

#[test]
fn an_empty_backup_must_be_read() {
    let mut report = report(TableKind::Data, &[]);
    assert_eq!(outcome(&report, "/b", &[ExpectedRaw::All]).code, 0);
    report.tables[0].tally = Tally::default();
    let ended = outcome(&report, "/b", &[ExpectedRaw::All]);
    assert!(ended.code == 3 && ended.why.unwrap().contains("no cell"));
}

#[test]
fn versions_that_the_backup_does_not_hold_must_be_read() {
    let lacking = BackupReport { not_held: vec!["older versions of tsdb".into()], ..report(TableKind::Data, &[]) };
    let found = outcome(&lacking, "/b", &[]);
    assert_eq!(found.code, 3);
    assert!(found.text.contains("not held: older versions of tsdb\n"), "{}", found.text);
    assert!(found.why.unwrap().contains("the backup does not hold older versions of tsdb"));
    // It is not complete, whatever else there is to say.
    let raw = BackupReport { not_held: lacking.not_held, ..report(TableKind::Data, &[("wrong_salt", 1)]) };
    assert!(!outcome(&raw, "/b", &[]).why.unwrap().contains("is complete"));
}
