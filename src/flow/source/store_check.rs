//! The store's part of the preflight: what it can do, said before a backup relies on it.

use crate::flow::FlowError;
use crate::flow::engine::threads::Threads;
use crate::flow::source::section::Section;
use crate::manifest::layout::LOCKS;
use crate::store::{Probe, Store};

/// From this difference on the clocks are worth a word; S3 refuses signatures from 15 minutes on.
const CLOCK_MS: i64 = 60_000;

/// Puts a small file into `locks` twice and deletes it again: whether writing and deleting are allowed, whether create-only
/// puts hold, whether checksums are taken, and how far the clocks are apart. Four or five requests.
///
/// # Errors
/// What would stop a backup whatever its flags: writing is not allowed, the disk is full, credentials are wrong.
pub fn try_store(threads: &Threads, store: &Store) -> Result<Section, FlowError> {
    let mut section = Section::default();
    let probe = threads.wait(store.probe(LOCKS));
    threads.wait(store.tidy(LOCKS, 0))?;
    match probe? {
        Probe::CreateOnly => {
            section.facts.push("a test file was created and deleted, and could not be replaced".into());
        }
        Probe::Overwrites => section.stops.push(
            "the store overwrites files although it is asked to create them only (it ignores If-None-Match): backup needs \
             --weak-commit here"
                .into(),
        ),
        Probe::RefusesConditions => section
            .stops
            .push("the store has no create-only put (it refuses If-None-Match): backup needs --weak-commit here".into()),
    }
    let observed = store.observed();
    if observed.lacks_links {
        section.facts.push("the file system has no hard links; files are created without".into());
    }
    if observed.keeps_versions {
        section.facts.push(
            "the bucket keeps versions: what prune deletes takes space until the bucket's lifecycle rule removes it"
                .into(),
        );
    }
    section.warnings.extend(store_warnings(store));
    Ok(section)
}

/// What was seen of a store so far that somebody should read.
pub fn store_warnings(store: &Store) -> Vec<String> {
    let (observed, place) = (store.observed(), store.place());
    let mut warnings = Vec::new();
    if let Some(ahead) = observed.clock_ms.filter(|ahead| ahead.saturating_abs() >= CLOCK_MS) {
        let (seconds, direction) = (ahead.saturating_abs() / 1000, if ahead > 0 { "behind" } else { "ahead of" });
        warnings.push(format!(
            "the clock of this machine is {seconds} s {direction} that of {place}: set it (NTP); S3 refuses signatures from \
             15 minutes on"
        ));
    }
    if observed.lacks_directory_sync {
        warnings.push(format!(
            "the file system of {place} cannot sync directories: a crash of its server may undo files that were just created"
        ));
    }
    warnings
}
