use bytes::Bytes;

use super::*;
use crate::model::{
    ColumnRanges, FamilyDescriptor, FileKind, FileRow, KeyLayout, Retry, ShardRow, TableDescriptor, TableKind, Tally,
};
use crate::store::{Store, StoreError};

async fn repository() -> Repository {
    Repository::init_or_open(Store::in_memory()).await.unwrap()
}

fn tally(cells: u64) -> Tally {
    Tally { rows: 1, cells, points: 2, bytes: 3, checksum: 0xfedc_ba98_7654_3210 }
}

fn descriptor() -> TableDescriptor {
    TableDescriptor {
        name: "ns:tsdb".into(),
        attributes: vec![(vec![0, 255, b'\\'], vec![1, 2]), (b"IS_META".to_vec(), b"false".to_vec())],
        families: vec![FamilyDescriptor {
            name: b"t".to_vec(),
            attributes: vec![(b"VERSIONS".to_vec(), b"1".to_vec())],
            configuration: vec![("a".into(), "b".into())],
        }],
    }
}

fn manifest() -> Manifest {
    let table = TableRecord {
        name: "ns:tsdb".into(),
        kind: TableKind::Data,
        order: 0,
        descriptor: DescriptorRecord::from(&descriptor()),
        described_by: Default::default(),
        split_keys: vec![HexBytes(vec![0, 0, 1]), HexBytes(vec![0, 1])],
        versions: 1,
        shards: 3,
        tally: tally(7),
        cells_by_layout: [(1, 2)].into(),
        raw_cells: [("old_version".to_owned(), 2)].into(),
        rows_by_kind: [(FileKind::Points, 2), (FileKind::Cells, 2)].into(),
        files: 4,
        bytes_written: 1000,
        first_point_ms: Some(1_735_786_800_678),
        last_point_ms: None,
        gaps: vec![GapRecord {
            attempt: "0a1b2c3d4e5f".into(),
            start: HexBytes(vec![0, 0, 1]),
            stop: HexBytes(Vec::new()),
            reason: crate::model::GapReason::NoRegion,
            message: "none for these keys".into(),
        }],
    };
    Manifest {
        started_ms: 1_735_786_800_678,
        finished_ms: 1_735_786_801_000,
        exactness: "every cell".into(),
        layout: KeyLayout { metric_width: 4, ..KeyLayout::default() },
        layout_source: LayoutSource::Conf,
        server: ServerFacts { api: "thrift2".into(), addresses: vec!["h:9090".into()], ..ServerFacts::default() },
        rollup_config: Some("{\"a\": 1}".into()),
        tables: vec![table],
        catalogue: vec![HashedFile {
            path: "backups/x/catalogue/files/a-0.parquet".into(),
            size: 5,
            blake3: "ab".into(),
        }],
        totals: Totals { seconds: 1.5, ..Totals::default() },
        ..Manifest::default()
    }
}

fn shard(attempt: &str) -> ShardRecord {
    ShardRecord {
        shard: ShardRow {
            attempt: attempt.into(),
            table: "ns:tsdb".into(),
            start: vec![1],
            tally: tally(7),
            ..ShardRow::default()
        },
        files: vec![FileRow {
            path: "backups/x/points/a".into(),
            table: "ns:tsdb".into(),
            attempt: attempt.into(),
            kind: FileKind::Points,
            size: 1,
            blake3: "cd".into(),
            footer_size: 1,
            footer_blake3: "ef".into(),
            rows: 2,
            tally: tally(7),
            first_row: Some(vec![1, 2]),
            last_row: None,
            ranges: ColumnRanges { first_ms: Some(1), last_ms: Some(2), ..ColumnRanges::default() },
        }],
        ..ShardRecord::default()
    }
}

#[tokio::test]
async fn a_repository_is_created_once() {
    let store = Store::in_memory();
    let first = Repository::init_or_open(store.clone()).await.unwrap();
    let again = Repository::init_or_open(store.clone()).await.unwrap();
    let read = Repository::open(store).await.unwrap();
    assert!(first.id().len() == 32 && first.id() == again.id() && first.id() == read.id());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_creators_agree_on_the_repository() {
    let store = Store::in_memory();
    let racers: Vec<_> = (0..16).map(|_| tokio::spawn(Repository::init_or_open(store.clone()))).collect();
    let mut ids = std::collections::HashSet::new();
    for racer in racers {
        ids.insert(racer.await.unwrap().unwrap().id().to_owned());
    }
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn what_is_not_ours_is_refused() {
    let error = Repository::open(Store::in_memory()).await.unwrap_err();
    assert_eq!(error.kind(), RepositoryErrorKind::NotOurs, "{error}");
    for text in ["", "[]", "{\"format\": 1}", "{\"format\": 1, \"what\": \"restic\"}"] {
        let store = Store::in_memory();
        store.put_new(layout::REPOSITORY, Bytes::from(text)).await.unwrap();
        let error = Repository::init_or_open(store).await.unwrap_err();
        assert!(matches!(error, RepositoryError::NotARepository { .. }), "{text}: {error}");
    }
    let store = Store::in_memory();
    store.put_new("backups/x/manifest.json", Bytes::from_static(b"{}")).await.unwrap();
    let error = Repository::init_or_open(store).await.unwrap_err();
    assert!(matches!(error, RepositoryError::NotARepository { .. }), "{error}");
}

#[tokio::test]
async fn a_repository_of_another_format_is_refused_and_a_later_field_is_not() {
    for (format, opens) in [(FORMAT, true), (FORMAT + 1, false), (FORMAT - 1, false)] {
        let store = Store::in_memory();
        #[derive(serde::Serialize)]
        struct Later {
            format: u32,
            what: &'static str,
            id: &'static str,
            created: &'static str,
            created_ms: i64,
            tool_version: &'static str,
            sealing: &'static str,
            later: bool,
            self_blake3: &'static str,
        }
        let record = Later {
            format,
            what: WHAT,
            id: "x",
            created: "",
            created_ms: 0,
            tool_version: "9",
            sealing: "none",
            later: true,
            self_blake3: "",
        };
        let text = super::sealed::seal(&record, layout::REPOSITORY).unwrap();
        store.put_new(layout::REPOSITORY, text).await.unwrap();
        match Repository::open(store).await {
            Ok(_) => assert!(opens),
            Err(error) => {
                let fits = match format < FORMAT {
                    true => matches!(error, RepositoryError::OlderFormat { .. }),
                    false => matches!(error, RepositoryError::NewerFormat { .. }),
                };
                assert!(!opens && fits, "{error}");
                assert_eq!(error.kind(), RepositoryErrorKind::NotOurs);
            }
        }
    }
}

#[tokio::test]
async fn a_manifest_comes_back_as_it_was() {
    let repository = repository().await;
    let writer = repository.begin_backup();
    let written = writer.commit(manifest()).await.unwrap();
    assert_eq!(written.started, "2025-01-02T03:00:00.678Z");
    for wanted in ["latest", writer.id(), &writer.id()[..10]] {
        assert_eq!(repository.load(wanted).await.unwrap(), written);
    }
    let read = &written.tables[0];
    assert_eq!(read.descriptor.descriptor(&read.name).unwrap(), descriptor());
    let expected = Manifest { self_blake3: String::new(), ..written.clone() };
    let mut given = manifest();
    given.format = FORMAT;
    given.repository = repository.id().into();
    given.backup = writer.id().into();
    given.attempt = writer.attempt().into();
    given.tool_version = TOOL_VERSION.into();
    given.kind = BackupKind::Full;
    (given.started, given.finished) = (written.started.clone(), written.finished.clone());
    assert_eq!(expected, given);
}

#[tokio::test]
async fn an_edited_manifest_is_noticed() {
    let repository = repository().await;
    let writer = repository.begin_backup();
    writer.commit(manifest()).await.unwrap();
    let path = writer.paths().manifest();
    let text = String::from_utf8(repository.store().get(&path).await.unwrap().to_vec()).unwrap();
    let edits = [
        text.replace("\"cells\": 7", "\"cells\": 8"),
        text.replace("\"raw\": false", "\"raw\": false, \"more\": 1"),
        text.replace("  ", " "),
        text.trim_end().to_owned(),
    ];
    for edited in edits {
        assert_ne!(edited, text);
        repository.store().delete(&path).await.unwrap();
        repository.store().put_new(&path, Bytes::from(edited)).await.unwrap();
        let error = repository.load("latest").await.unwrap_err();
        assert!(matches!(error, RepositoryError::Edited { .. }), "{error}");
    }
    // A whole manifest in the wrong folder is noticed too.
    let other = BackupPaths::new("20000101T000000Z-00000000").manifest();
    repository.store().put_new(&other, Bytes::from(text)).await.unwrap();
    let error = repository.load("20000101").await.unwrap_err();
    assert!(matches!(error, RepositoryError::Damaged { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_racing_commits_exactly_one_succeeds() {
    let repository = repository().await;
    let first = repository.begin_backup();
    first.put_shard_record(shard("00000000000a")).await.unwrap();
    // All begin before the first one commits: who resumes a committed backup is refused.
    let mut writers = Vec::new();
    for _ in 0..16 {
        writers.push(repository.resume_backup(first.id()).await.unwrap());
    }
    let commit = |writer: BackupWriter| async move { (writer.attempt().to_owned(), writer.commit(manifest()).await) };
    let racers: Vec<_> = writers.into_iter().map(|writer| tokio::spawn(commit(writer))).collect();
    let mut winners = Vec::new();
    for racer in racers {
        match racer.await.unwrap() {
            (attempt, Ok(manifest)) => {
                assert_eq!(attempt, manifest.attempt);
                winners.push(attempt);
            }
            (_, Err(error)) => assert!(matches!(error, RepositoryError::AlreadyCommitted { .. }), "{error}"),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(repository.load(first.id()).await.unwrap().attempt, winners[0]);
    let error = repository.resume_backup(first.id()).await.unwrap_err();
    assert!(matches!(error, RepositoryError::AlreadyCommitted { .. }), "{error}");
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_can_be_repeated() {
    let repository = repository().await;
    let writer = repository.begin_backup();
    let first = writer.commit(manifest()).await.unwrap();
    assert_eq!(writer.commit(manifest()).await.unwrap(), first);
}

#[tokio::test]
async fn unfinished_backups_are_not_listed() {
    let repository = repository().await;
    let (done, open) = (repository.begin_backup(), repository.begin_backup());
    assert_eq!(repository.list().await.unwrap().0, []);
    for writer in [&done, &open] {
        writer.put_shard_record(shard("00000000000a")).await.unwrap();
    }
    done.commit(manifest()).await.unwrap();
    let listed = repository.list().await.unwrap().0;
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].backup.as_str(), listed[0].raw_cells, listed[0].files), (done.id(), 2, 4));
    assert_eq!(repository.unfinished().await.unwrap(), [open.id()]);
    let error = repository.load(open.id()).await.unwrap_err();
    assert!(matches!(error, RepositoryError::NotCommitted { .. }) && error.to_string().contains(open.id()), "{error}");
    let error = repository.resume_backup("nothing").await.unwrap_err();
    assert_eq!(error.kind(), RepositoryErrorKind::NoBackup, "{error}");
}

#[tokio::test]
async fn a_beginning_must_be_unique() {
    let repository = repository().await;
    for _ in 0..2 {
        repository.begin_backup().commit(manifest()).await.unwrap();
    }
    let error = repository.load("2").await.unwrap_err();
    assert!(matches!(error, RepositoryError::Ambiguous { count: 2, .. }), "{error}");
    assert!(matches!(repository.load("").await.unwrap_err(), RepositoryError::NoBackup { .. }));
}

#[tokio::test]
async fn attempts_are_recorded_beside_each_other() {
    let repository = repository().await;
    let writer = repository.begin_backup();
    let (a, b) = (shard("00000000000a"), shard("00000000000b"));
    // An answer was lost: the same record again is no error.
    for record in [&a, &a, &b] {
        writer.put_shard_record(record.clone()).await.unwrap();
    }
    let records = repository.shard_records(writer.id()).await.unwrap();
    let given = |record: &ShardRecord| ShardRecord {
        format: 0,
        backup: String::new(),
        self_blake3: String::new(),
        ..record.clone()
    };
    assert_eq!(records.iter().map(given).collect::<Vec<_>>(), [a, b]);
    // A record under the name of another one is none.
    let (paths, store) = (writer.paths(), repository.store());
    let text = store.get(&paths.shard("ns:tsdb", "00000000000a")).await.unwrap();
    store.put_new(&paths.shard("ns:tsdb", "00000000000c"), text).await.unwrap();
    let checked = repository.check_shard_records(writer.id()).await.unwrap();
    let wrong: Vec<_> = checked.iter().filter_map(|(_, record)| record.as_ref().err()).collect();
    assert_eq!(wrong, ["it is the record of attempt 00000000000a at table ns:tsdb"]);
}

#[tokio::test]
async fn several_processes_write_the_same_basis() {
    let repository = repository().await;
    let writer = repository.begin_backup();
    let shards = vec!["00000000000a".to_owned(), "00000000000b".to_owned()];
    let id = writer.put_basis(shards.clone()).await.unwrap();
    assert_eq!(writer.put_basis(shards.clone()).await.unwrap(), id);
    let basis = repository.basis(writer.id(), &id).await.unwrap().unwrap();
    assert_eq!((basis.shards, &basis.basis), (shards, &id));
    assert_ne!(writer.put_basis(vec!["00000000000a".to_owned()]).await.unwrap(), id);
    assert_eq!(repository.basis(writer.id(), "none").await.unwrap(), None);
}

#[test]
fn metrics_of_a_record_are_bounded() {
    let count = |at: u64| MetricCount {
        metric: Some(format!("m{at:05}")),
        uid: (at as u32).to_be_bytes().to_vec().into(),
        points: at,
        first_ms: 0,
        last_ms: 0,
    };
    let mut record = ShardRecord::default();
    record.set_metrics((0..1500).map(count).collect());
    assert_eq!((record.metrics.len(), record.metrics_left_out), (METRICS_PER_RECORD, 1400));
    assert_eq!(record.metrics[0].metric.as_deref(), Some("m01400"));
}

#[test]
fn errors_say_what_end_they_are() {
    let (place, path) = ("/x".to_owned(), String::new());
    let absent = RepositoryError::from(StoreError::NotFound { place: place.clone(), path });
    assert_eq!(absent.kind(), RepositoryErrorKind::NotOurs);
    let busy = StoreError::Throttled { operation: "read", place, path: "a".into(), source: "503".into() };
    let busy = RepositoryError::from(busy);
    assert_eq!((busy.kind(), busy.retry()), (RepositoryErrorKind::Temporary, Retry::Throttled));
}
