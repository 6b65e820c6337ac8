//! Repositories with committed and unfinished backups of any age, made without a cluster.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tsdb_ark::columnar::TableRows;
use tsdb_ark::manifest::{
    BackupPaths, BackupWriter, FileName, GapRecord, HashedFile, LockKind, LockRecord, Manifest, PlanRecord,
    ServerFacts, ShardRecord, TableRecord,
};
use tsdb_ark::model::{ColumnRanges, FileKind, FileRow, GapReason, ShardRow, TableKind, Tally};
use tsdb_ark::parquet_file::TableWriter;
use tsdb_ark::store::{Store, StoreOptions};

use crate::support::ark::{self, Repository, Run};

/// Milliseconds of a day.
pub const DAY: i64 = 86_400_000;
const TABLE: &str = "t";
/// The attempt at the only shard.
pub const ATTEMPT: &str = "0a0b0c0d0e0f";
/// The attempt that met a gap.
pub const GAP_ATTEMPT: &str = "0a0b0c0d0e10";

/// The time, ms UTC.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64
}

/// A repository that this test made.
pub struct Made {
    pub repository: Repository,
    inside: tsdb_ark::manifest::Repository,
    runtime: tokio::runtime::Runtime,
}

impl Default for Made {
    fn default() -> Self {
        let repository = Repository::default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let store =
            Store::open_or_create(&repository.path().to_str().unwrap().parse().unwrap(), &StoreOptions::default())
                .unwrap();
        let inside = runtime.block_on(tsdb_ark::manifest::Repository::init_or_open(store)).unwrap();
        Self { repository, inside, runtime }
    }
}

impl Made {
    /// The repository's folder.
    pub fn path(&self) -> String {
        self.repository.path().to_str().unwrap().to_owned()
    }

    /// The folder of a backup.
    pub fn folder(&self, id: &str) -> PathBuf {
        self.repository.path().join("backups").join(id)
    }

    /// Runs prune with `--json`.
    pub fn prune(&self, more: &[&str]) -> Run {
        self.repository.run("prune", more)
    }

    /// Ids of committed backups.
    pub fn committed(&self) -> Vec<String> {
        let all = std::fs::read_dir(self.repository.path().join("backups")).unwrap();
        let mut ids: Vec<_> = all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        ids.retain(|id| self.folder(id).join("manifest.json").exists());
        ids.sort();
        ids
    }

    /// Every file of a backup, relative to the repository.
    pub fn files_below(&self, id: &str) -> Vec<String> {
        let part = format!("backups/{id}/");
        self.repository.files().into_iter().filter(|file| file.starts_with(&part)).collect()
    }

    /// The files of a kind of a backup.
    pub fn files_of(&self, id: &str, kind: &str) -> Vec<PathBuf> {
        let part = format!("backups/{id}/{kind}/");
        self.files_below(id)
            .into_iter()
            .filter(|file| file.starts_with(&part))
            .map(|file| self.repository.path().join(file))
            .collect()
    }

    /// How many files there are while somebody deletes some.
    pub fn files_so_far(&self) -> usize {
        count(&self.repository.path())
    }

    /// Every committed backup is whole.
    pub fn all_verify(&self) {
        for id in self.committed() {
            let run = self.repository.run("verify", &[&id, "--level", "files"]).expect(0);
            assert_eq!(run.json["differences"], 0);
        }
    }

    fn begin(&self, started_ms: i64) -> BackupWriter {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let time = jiff::Timestamp::from_millisecond(started_ms).unwrap().strftime("%Y%m%dT%H%M%SZ");
        let id = format!("{time}-{:08x}", NEXT.fetch_add(1, Ordering::Relaxed));
        std::fs::create_dir_all(self.folder(&id)).unwrap();
        let writer = self.runtime.block_on(self.inside.resume_backup(&id)).unwrap();
        let plan = PlanRecord { started_ms, ..PlanRecord::default() };
        self.runtime.block_on(writer.put_plan(plan)).unwrap();
        writer
    }

    /// A committed backup with so many data files.
    pub fn backup(&self, started_ms: i64, parent: Option<&str>, files: u32) -> String {
        self.backup_with(started_ms, parent, files, Vec::new(), None)
    }

    /// A committed backup of this cluster.
    pub fn backup_of(&self, cluster: &str, started_ms: i64) -> String {
        self.backup_with(started_ms, None, 1, Vec::new(), Some(cluster.to_owned()))
    }

    /// A committed backup with a gap behind its data.
    pub fn backup_with_gap(&self, started_ms: i64) -> String {
        let gap = GapRecord {
            attempt: GAP_ATTEMPT.into(),
            start: b"\xf0".to_vec().into(),
            stop: Vec::new().into(),
            reason: GapReason::Unreadable,
            message: "made up".into(),
        };
        self.backup_with(started_ms, None, 1, vec![gap], None)
    }

    fn backup_with(
        &self,
        started_ms: i64,
        parent: Option<&str>,
        files: u32,
        gaps: Vec<GapRecord>,
        cluster_id: Option<String>,
    ) -> String {
        let writer = self.begin(started_ms);
        for gap in &gaps {
            let record = ShardRecord::of_gap(TABLE, gap.clone(), started_ms);
            self.runtime.block_on(writer.put_shard_record(record)).unwrap();
        }
        let (rows, shard) = self.shard(&writer, files);
        let (shards, tally) = ([shard.clone()], shard.tally);
        let paths = writer.paths();
        let catalogue = [
            self.stored(
                paths.catalogue(FileKind::Files, ATTEMPT, 0),
                &parquet(FileKind::Files, TableRows::Files(&rows)),
            ),
            self.stored(
                paths.catalogue(FileKind::Shards, ATTEMPT, 0),
                &parquet(FileKind::Shards, TableRows::Shards(&shards)),
            ),
            self.stored(
                paths.catalogue(FileKind::Metrics, ATTEMPT, 0),
                &parquet(FileKind::Metrics, TableRows::Metrics(&[])),
            ),
            self.stored(paths.views(), b"-- none"),
        ];
        let table = TableRecord {
            name: TABLE.into(),
            kind: TableKind::Data,
            order: 0,
            descriptor: Default::default(),
            described_by: Default::default(),
            split_keys: Vec::new(),
            versions: 1,
            shards: 1,
            tally,
            cells_by_layout: Default::default(),
            raw_cells: Default::default(),
            rows_by_kind: Default::default(),
            files: u64::from(files),
            bytes_written: 0,
            first_point_ms: None,
            last_point_ms: None,
            gaps,
        };
        let manifest = Manifest {
            started_ms,
            finished_ms: started_ms + 1000,
            parent: parent.map(str::to_owned),
            tables: vec![table],
            server: ServerFacts { cluster_id, ..ServerFacts::default() },
            catalogue: catalogue.into(),
            ..Manifest::default()
        };
        self.runtime.block_on(writer.commit(manifest)).unwrap();
        writer.id().to_owned()
    }

    /// One shard with its files and its record.
    fn shard(&self, writer: &BackupWriter, files: u32) -> (Vec<FileRow>, ShardRow) {
        let tally = Tally { rows: 1, cells: 1, points: 1, bytes: 10, checksum: 7 };
        let (mut rows, mut sum) = (Vec::new(), Tally::default());
        for number in 0..files {
            let name = FileName { table: TABLE.into(), attempt: ATTEMPT.into(), number };
            let file =
                self.stored(writer.paths().file(FileKind::Points, &name), format!("data of {number}").as_bytes());
            sum.add(&tally);
            rows.push(FileRow {
                path: file.path.clone(),
                table: TABLE.into(),
                kind: FileKind::Points,
                attempt: ATTEMPT.into(),
                rows: 1,
                size: file.size,
                blake3: file.blake3.clone(),
                footer_size: 1,
                footer_blake3: "ef".into(),
                tally,
                first_row: None,
                last_row: None,
                ranges: ColumnRanges::default(),
            });
        }
        let shard = ShardRow { attempt: ATTEMPT.into(), table: TABLE.into(), tally: sum, ..ShardRow::default() };
        let record = ShardRecord { shard: shard.clone(), files: rows.clone(), ..ShardRecord::default() };
        self.runtime.block_on(writer.put_shard_record(record)).unwrap();
        (rows, shard)
    }

    /// A backup that was begun, and whose newest file is so old.
    pub fn unfinished(&self, files: u32, age: Duration) -> String {
        let writer = self.begin(now_ms() - age.as_millis() as i64);
        self.shard(&writer, files);
        for file in self.files_below(writer.id()) {
            make_old(&self.repository.path().join(file), age);
        }
        writer.id().to_owned()
    }

    /// A file that is so old.
    pub fn stray(&self, path: &str, age: Duration) {
        self.stored(path.to_owned(), b"stray");
        make_old(&self.repository.path().join(path), age);
    }

    /// A lock that a process of another host has renewed so long ago.
    pub fn foreign_lock(&self, kind: LockKind, token: &str, backup: Option<&str>, age: Duration) {
        let record = LockRecord {
            format: 1,
            kind,
            token: token.into(),
            host: "elsewhere".into(),
            boot: "b".into(),
            pid_space: String::new(),
            pid: 4711,
            process_start: 1,
            command: "tsdb-ark".into(),
            backup: backup.map(str::to_owned),
            since_ms: now_ms() - age.as_millis() as i64,
            interval_ms: 30_000,
            tool_version: String::new(),
            self_blake3: String::new(),
        };
        self.runtime.block_on(self.inside.put_lock(&record, Some(3))).unwrap();
        make_old(&self.repository.path().join(format!("locks/{}-{token}-3.json", kind.name())), age);
    }

    /// The files in `locks`.
    pub fn locks(&self) -> Vec<String> {
        self.repository.files().into_iter().filter(|file| file.starts_with("locks/")).collect()
    }

    fn stored(&self, path: String, content: &[u8]) -> HashedFile {
        let at = self.repository.path().join(&path);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::write(at, content).unwrap();
        HashedFile { path, size: content.len() as u64, blake3: blake3::hash(content).to_hex().to_string() }
    }
}

fn parquet(kind: FileKind, rows: TableRows<'_>) -> Bytes {
    let mut writer = TableWriter::new(kind, Vec::new(), Vec::new()).unwrap();
    writer.write(rows).unwrap();
    writer.finish().unwrap().0.into()
}

/// Makes a file so old.
pub fn make_old(path: &Path, age: Duration) {
    std::fs::File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

fn count(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.flatten().map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
}

/// The paths of a backup.
pub fn paths(id: &str) -> BackupPaths {
    BackupPaths::new(id)
}

/// Starts prune in the background.
pub fn start_prune(path: &str, more: &[&str]) -> std::process::Child {
    let mut command = ark::command();
    command.args(["prune", "--repository", path, "--json"]).args(more);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
}
