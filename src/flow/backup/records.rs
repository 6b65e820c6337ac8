//! What of a backup is recorded, as the store tells it.
//!
//! The store alone is trusted. A record counts when it carries its own hash, stands under its own name, and every file
//! that it names is there with its size. Several attempts at the same keys may be recorded, by a job that was done twice
//! or a run that was killed and resumed: [`Records::state`] chooses those that cover each table once.
//!
//! UIDs come last. A shard of the UID table therefore carries its basis: the shards of all other tables that were
//! recorded when the read began. It counts beside these shards only.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::flow::FlowError;
use crate::flow::encode::first_number;
use crate::flow::engine::threads::Threads;
use crate::flow::source::window_uids::UidSet;
use crate::flow::stored::backup_files::Listing;
use crate::manifest::{BackupWriter, BasisRecord, PlanRecord, PlannedTable, Repository, ShardRecord};
use crate::model::{KeyRange, TableKind};
use crate::shard::{Piece, tile, uncovered};

/// The records of one backup. They are written once, so each is read once.
#[derive(Default)]
pub struct Records {
    /// Those that count, by attempt.
    sound: BTreeMap<String, ShardRecord>,
    bases: BTreeMap<String, BasisRecord>,
    /// Paths that were read.
    read: BTreeSet<String>,
    /// Records that do not count, with the reason.
    pub problems: Vec<String>,
}

/// What is there of a table, and what is missing.
#[derive(Default)]
pub struct TableState<'a> {
    /// Records that cover it without overlaps, in key order.
    pub chosen: Vec<&'a ShardRecord>,
    /// Keys without a record, in order.
    pub holes: Vec<KeyRange>,
}

impl TableState<'_> {
    /// Keys that were not read: the holes and the gaps.
    pub fn unread(&self) -> Vec<KeyRange> {
        let read = self.chosen.iter().filter(|record| record.gap.is_none());
        uncovered(&read.map(|record| record.shard.range()).collect::<Vec<_>>())
    }
}

/// What is there of a backup.
pub struct State<'a> {
    /// By table, in the order of the plan.
    pub tables: Vec<TableState<'a>>,
    /// What the chosen shards of the UID table are based on.
    pub basis: Option<String>,
}

impl Records {
    /// Reads what was recorded since the last time, and looks whether all files are there.
    ///
    /// # Errors
    /// The store's. What is damaged is no error.
    pub fn refresh(
        &mut self,
        threads: &Threads,
        repository: &Repository,
        writer: &BackupWriter,
    ) -> Result<(), FlowError> {
        let (backup, paths) = (writer.id(), writer.paths());
        let entries = threads.wait(repository.store().list(paths.folder()))?;
        let fresh = entries.iter().map(|entry| &entry.path).filter(|path| !self.read.contains(*path));
        let fresh: Vec<String> = fresh.cloned().collect();
        for (path, record) in threads.wait(repository.check_records(backup, fresh.iter().cloned()))? {
            match record {
                Ok(record) => drop(self.sound.insert(record.shard.attempt.clone(), record)),
                Err(problem) => self.problems.push(format!("{path}: {problem}")),
            }
        }
        for id in fresh.iter().filter_map(|path| paths.parse_basis(path)) {
            match threads.wait(repository.basis(backup, id))? {
                Some(basis) => drop(self.bases.insert(id.to_owned(), basis)),
                None => self.problems.push(format!("{}: is damaged", paths.basis(id))),
            }
        }
        self.read.extend(fresh);
        let listed = Listing::new(&entries);
        let mut series: HashMap<i64, &str> = HashMap::new();
        let mut problems = Vec::new();
        for record in self.sound.values() {
            let attempt = &record.shard.attempt;
            let metrics = record.all_metrics.iter().map(|file| (&file.path, file.size));
            let mut files = record.files.iter().map(|file| (&file.path, file.size)).chain(metrics);
            let fault = files.find_map(|(path, size)| listed.fault(path, size));
            let taken = first_number(attempt).and_then(|first| series.insert(first, attempt));
            let twice = taken.map(|other| format!("it has the same series numbers as attempt {other}"));
            problems.extend(fault.or(twice).map(|problem| (attempt.clone(), problem)));
        }
        problems.into_iter().for_each(|(attempt, problem)| self.distrust(&attempt, &problem));
        Ok(())
    }

    /// The records that count.
    pub fn sound(&self) -> impl Iterator<Item = &ShardRecord> {
        self.sound.values()
    }

    /// Lets a record count no more.
    pub fn distrust(&mut self, attempt: &str, problem: &str) {
        if let Some(record) = self.sound.remove(attempt) {
            self.problems.push(format!("shard {} of {}: {problem}", record.shard.range(), record.shard.table));
        }
    }

    /// What is there and what is missing. The UID table is complete only beside shards of the other tables that were
    /// recorded before it was read.
    pub fn state(&self, plan: &PlanRecord) -> State<'_> {
        let mut best = State { tables: self.others(plan, &|_| true), basis: None };
        let Some(uid_table) = plan.uid_table() else { return best };
        let complete = best.is_complete();
        let (gaps, mut uids) = (gap_ranges(&best.tables), None::<TableState<'_>>);
        for basis in self.bases.values().filter(|_| complete) {
            let within: BTreeSet<&str> = basis.shards.iter().map(String::as_str).collect();
            let tables = self.others(plan, &|record| within.contains(record.shard.attempt.as_str()));
            let state = State { tables, basis: Some(basis.basis.clone()) };
            let found = self.table(uid_table, &|record| record.basis.as_deref() == Some(&basis.basis));
            let better = uids.as_ref().is_none_or(|best| found.holes.len() < best.holes.len());
            if better && state.is_complete() && gap_ranges(&state.tables) == gaps {
                (best, uids) = (state, Some(found));
            }
        }
        let unread = || TableState { chosen: Vec::new(), holes: vec![KeyRange::all()] };
        best.place_uids(plan, uids.unwrap_or_else(unread));
        best
    }

    /// All tables, the UID table as if it were nothing.
    fn others(&self, plan: &PlanRecord, counts: &dyn Fn(&ShardRecord) -> bool) -> Vec<TableState<'_>> {
        let other = |table: &PlannedTable| match table.kind {
            TableKind::Uid => TableState::default(),
            _ => self.table(table, counts),
        };
        plan.tables.iter().map(other).collect()
    }

    fn table(&self, table: &PlannedTable, counts: &dyn Fn(&ShardRecord) -> bool) -> TableState<'_> {
        let of_table = |record: &&ShardRecord| record.shard.table == table.name && counts(record);
        let records: Vec<&ShardRecord> = self.sound.values().filter(of_table).collect();
        let piece = |record: &&ShardRecord| Piece { range: record.shard.range(), gap: record.gap.is_some() };
        let tiling = tile(&records.iter().map(piece).collect::<Vec<_>>());
        let chosen = tiling.chosen.into_iter().filter_map(|at| records.get(at).copied()).collect();
        TableState { chosen, holes: tiling.holes }
    }
}

impl<'a> State<'a> {
    fn place_uids(&mut self, plan: &PlanRecord, uids: TableState<'a>) {
        let at = plan.tables.iter().position(|table| table.kind == TableKind::Uid);
        if let Some(place) = at.and_then(|at| self.tables.get_mut(at)) {
            *place = uids;
        }
    }

    /// True without holes.
    pub fn is_complete(&self) -> bool {
        self.tables.iter().all(|table| table.holes.is_empty())
    }

    /// What the rows of all tables but the UID table name, where it was noted.
    pub fn named_uids(&self, plan: &PlanRecord) -> UidSet {
        let mut uids = UidSet::default();
        let others = self.tables.iter().zip(&plan.tables).filter(|(_, table)| table.kind != TableKind::Uid);
        let noted = others.flat_map(|(state, _)| &state.chosen).filter_map(|record| record.uids.as_ref());
        noted.for_each(|record| uids.add_record(record, &plan.layout));
        uids
    }

    /// The attempts of all tables but the UID table, sorted.
    pub fn attempts(&self, plan: &PlanRecord) -> Vec<String> {
        let others = self.tables.iter().zip(&plan.tables).filter(|(_, table)| table.kind != TableKind::Uid);
        let mut attempts: Vec<String> =
            others.flat_map(|(state, _)| &state.chosen).map(|record| record.shard.attempt.clone()).collect();
        attempts.sort_unstable();
        attempts
    }
}

/// The keys that are in gaps, table by table, neighbours as one.
fn gap_ranges(tables: &[TableState<'_>]) -> Vec<Vec<KeyRange>> {
    let ranges = |table: &TableState<'_>| {
        let mut ranges: Vec<KeyRange> = Vec::new();
        for range in table.chosen.iter().filter(|record| record.gap.is_some()).map(|record| record.shard.range()) {
            match ranges.last_mut() {
                Some(last) if !last.stop.is_empty() && last.stop == range.start => last.stop = range.stop,
                _ => ranges.push(range),
            }
        }
        ranges
    };
    tables.iter().map(ranges).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{GapRecord, PlannedJob};
    use crate::model::{GapReason, ShardRow};

    fn plan() -> PlanRecord {
        let table = |name: &str, kind| PlannedTable {
            name: name.into(),
            kind,
            versions: 1,
            descriptor: Default::default(),
            described_by: Default::default(),
            split_keys: Vec::new(),
            since_ms: None,
            jobs: vec![PlannedJob::from(&KeyRange::all())],
        };
        PlanRecord { tables: vec![table("t", TableKind::Data), table("u", TableKind::Uid)], ..PlanRecord::default() }
    }

    fn add(records: &mut Records, table: &str, attempt: &str, range: (&str, &str), basis: Option<&str>, gap: bool) {
        let shard = ShardRow {
            table: table.into(),
            attempt: attempt.into(),
            start: range.0.into(),
            stop: range.1.into(),
            ..ShardRow::default()
        };
        let gap = gap.then(|| GapRecord {
            attempt: attempt.into(),
            start: shard.start.clone().into(),
            stop: shard.stop.clone().into(),
            reason: GapReason::Unreadable,
            message: String::new(),
        });
        let record = ShardRecord { shard, gap, basis: basis.map(str::to_owned), ..ShardRecord::default() };
        records.sound.insert(attempt.into(), record);
    }

    fn base(records: &mut Records, shards: &[&str]) -> String {
        let shards: Vec<String> = shards.iter().map(ToString::to_string).collect();
        let id = BasisRecord::id_of(&shards);
        records.bases.insert(id.clone(), BasisRecord { basis: id.clone(), shards, ..BasisRecord::default() });
        id
    }

    fn attempts(state: &TableState<'_>) -> Vec<String> {
        state.chosen.iter().map(|record| record.shard.attempt.clone()).collect()
    }

    #[test]
    fn uids_count_beside_the_shards_that_were_there_before() {
        let (plan, mut records) = (plan(), Records::default());
        add(&mut records, "t", "a", ("", "m"), None, false);
        let basis = base(&mut records, &["a", "b"]);
        add(&mut records, "u", "u", ("", ""), Some(&basis), false);
        // A shard of the basis is lost: what is read in its place may name UIDs that were not there.
        let state = records.state(&plan);
        assert_eq!(
            (&state.tables[0].holes, &state.tables[1].holes),
            (&vec![KeyRange::new("m", "")], &vec![KeyRange::all()])
        );
        add(&mut records, "t", "c", ("m", ""), None, false);
        assert_eq!(records.state(&plan).tables[1].holes, [KeyRange::all()]);
        assert_eq!(records.state(&plan).attempts(&plan), ["a", "c"]);
        // With it back, the attempt that came later does not count.
        add(&mut records, "t", "b", ("m", ""), None, false);
        let state = records.state(&plan);
        assert_eq!(
            (attempts(&state.tables[0]), attempts(&state.tables[1])),
            (vec!["a".into(), "b".into()], vec!["u".into()])
        );
        assert_eq!(state.basis, Some(basis));
    }

    #[test]
    fn uids_read_beside_a_gap_do_not_count_once_it_is_filled() {
        let (plan, mut records) = (plan(), Records::default());
        add(&mut records, "t", "a", ("", "m"), None, false);
        add(&mut records, "t", "g", ("m", ""), None, true);
        let basis = base(&mut records, &["a", "g"]);
        add(&mut records, "u", "u", ("", ""), Some(&basis), false);
        assert!(records.state(&plan).is_complete());
        assert_eq!(records.state(&plan).tables[0].unread(), [KeyRange::new("m", "")]);
        // Another try that fails changes nothing.
        add(&mut records, "t", "h", ("m", ""), None, true);
        assert!(records.state(&plan).is_complete());
        add(&mut records, "t", "b", ("m", ""), None, false);
        let state = records.state(&plan);
        assert_eq!(
            (attempts(&state.tables[0]), &state.tables[1].holes),
            (vec!["a".into(), "b".into()], &vec![KeyRange::all()])
        );
    }
}
