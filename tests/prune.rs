//! Pruning: what goes, what stays, in which order, and that neither an interruption nor somebody else at work turns it
//! into harm. The repositories are small and made without a cluster.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it")]

mod support;

#[path = "prune/locking.rs"]
mod locking;
#[path = "prune/made.rs"]
mod made;

use std::collections::BTreeSet;
use std::time::Duration;

use made::{DAY, Made, now_ms, start_prune};
use serde_json::Value;
use support::ark;
use support::synthetic::{Dice, sealed};

fn decisions(json: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let folders = json["folders"].as_array().unwrap().iter();
    folders
        .map(|folder| {
            let why = folder["reasons"].as_array().unwrap().iter().map(text).collect::<Vec<_>>().join(", ");
            (text(&folder["backup"]), text(&folder["decision"]), why)
        })
        .collect()
}

fn reason_of(json: &Value, id: &str) -> (String, String) {
    let found = decisions(json).into_iter().find(|(backup, _, _)| backup == id);
    let (_, decision, why) = found.unwrap();
    (decision, why)
}

/// One backup a day, the newest of today.
fn daily(count: i64) -> (Made, Vec<String>) {
    let made = Made::default();
    let ids = (0..count).rev().map(|days| made.backup(now_ms() - days * DAY - 60_000, None, 4)).collect();
    (made, ids)
}

#[test]
fn without_a_rule_it_is_wrong_usage() {
    let (made, ids) = daily(2);
    for more in [&[][..], &["--dry-run"], &["--grace", "1h"]] {
        let run = made.prune(more).expect(2);
        assert!(run.err.contains("--keep-daily") && run.err.contains("--only-unfinished"), "{}", run.err);
    }
    made.prune(&["--keep-last", "0"]).expect(2);
    made.prune(&["--keep-last", "1", "--time-zone", "Mars/Base"]).expect(2);
    assert_eq!(made.committed(), ids);
}

#[test]
fn a_repository_that_is_not_there_is_exit_10() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent");
    ark::run(&["prune", "--keep-last", "1", "--repository", absent.to_str().unwrap()]).expect(10);
    assert!(!absent.exists());
}

#[test]
fn a_dry_run_tells_what_goes_and_why_and_changes_nothing() {
    let (made, ids) = daily(5);
    let dead = made.unfinished(3, Duration::from_secs(30 * 3600));
    let before = made.repository.files();
    let rules = ["--keep-daily", "2", "--keep-last", "1", "--time-zone", "UTC"];
    let foretold = made.prune(&[&rules[..], &["--dry-run"]].concat()).expect(0).json;
    assert_eq!(made.repository.files(), before);
    assert_eq!(
        (&foretold["removed"], &foretold["kept"], &foretold["unfinished_removed"]),
        (&3.into(), &2.into(), &1.into())
    );
    let (decision, why) = reason_of(&foretold, &ids[4]);
    assert!(decision == "keep" && why.starts_with("last 1, daily 20") && why.ends_with("newest restorable"), "{why}");
    assert_eq!(reason_of(&foretold, &ids[0]), ("remove".into(), "no rule keeps it".into()));
    let (decision, why) = reason_of(&foretold, &dead);
    assert!(decision == "remove" && why.contains("untouched for longer than 1d"), "{why}");

    let path = made.path();
    let text = ark::run(&[&["prune", "--repository", &path, "--dry-run"], &rules[..]].concat()).expect(0).out;
    for part in [
        "dry run",
        "decision",
        "why",
        &ids[4],
        "daily 20",
        "newest restorable",
        "would remove 3 backups, 1 unfinished backup",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }

    let done = made.prune(&rules).expect(0).json;
    for field in ["removed", "kept", "files_removed", "bytes_freed", "unfinished_removed", "folders"] {
        if field != "folders" {
            assert_eq!(done[field], foretold[field], "{field}");
        }
    }
    assert_eq!(decisions(&done), decisions(&foretold));
    assert_eq!(made.committed(), ids[3..]);
    let left: BTreeSet<_> = made.repository.files().into_iter().collect();
    let gone = before.len() - left.len();
    assert_eq!(done["files_removed"], gone);
    assert!(!made.repository.path().join("backups").join(&ids[0]).exists(), "empty folders go too");
    made.all_verify();

    let again = made.prune(&rules).expect(0);
    assert_eq!(again.json["files_removed"], 0);
    let text = ark::run(&[&["prune", "--repository", &path], &rules[..]].concat()).expect(0).out;
    assert!(text.contains("nothing to prune; 2 backups kept"), "{text}");
}

/// One repository may hold the backups of several clusters: each keeps its own newest ones.
#[test]
fn rules_count_the_backups_of_each_cluster_apart() {
    let made = Made::default();
    let at = |days: i64| now_ms() - days * DAY;
    let ours: Vec<String> = (1..=3).map(|days| made.backup_of("ours", at(10 * days))).collect();
    let theirs: Vec<String> = (1..=3).map(|days| made.backup_of("theirs", at(days))).collect();
    let path = made.path();
    let words = ["prune", "--repository", &path, "--keep-last", "2", "--dry-run"];
    let text = ark::run(&words).expect(0).out;
    for part in ["cluster ours, tables t:\n", "cluster theirs, tables t:\n", "would remove 2 backups"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let report = made.prune(&["--keep-last", "2", "--dry-run"]).expect(0).json;
    assert_eq!(report["folders"][0]["group"], serde_json::json!({"cluster_id": "ours", "tables": ["t"]}), "{report}");
    assert_eq!((reason_of(&report, &ours[2]).0, reason_of(&report, &theirs[2]).0), ("remove".into(), "remove".into()));
    let all = made.prune(&["--keep-last", "2", "--dry-run", "--group-by", "none"]).expect(0).json;
    assert_eq!((&all["removed"], &all["kept"]), (&4.into(), &2.into()), "{all}");
    made.prune(&["--keep-last", "2"]).expect(0);
    let mut kept = [&ours[..2], &theirs[..2]].concat();
    kept.sort();
    assert_eq!(made.committed(), kept);
}

/// The rule is there, and another flag makes it count for nothing.
#[test]
fn with_only_unfinished_backups_stay_whatever_the_rules() {
    let (made, ids) = daily(3);
    let report = made.prune(&["--only-unfinished", "--keep-last", "1", "--dry-run"]).expect(0).json;
    for id in &ids {
        let (decision, why) = reason_of(&report, id);
        assert!(decision == "keep" && why.contains("--only-unfinished removes no committed backup"), "{why}");
        assert!(!why.contains("no rule"), "{why}");
    }
}

#[test]
fn settings_come_from_the_file_too() {
    let (made, ids) = daily(3);
    let config = made.repository.path().parent().unwrap().join("ark.toml");
    std::fs::write(&config, format!("repository = {:?}\n[prune]\nkeep-last = 1\ntime-zone = \"UTC\"\n", made.path()))
        .unwrap();
    ark::run(&["prune", "--config", config.to_str().unwrap()]).expect(0);
    assert_eq!(made.committed(), ids[2..]);
}

#[test]
fn what_a_kept_backup_adds_to_stays() {
    let made = Made::default();
    let at = |days: i64| now_ms() - days * DAY;
    let root = made.backup(at(9), None, 2);
    let child = made.backup(at(8), Some(&root), 2);
    let other = made.backup(at(7), None, 2);
    let grandchild = made.backup(at(6), Some(&child), 2);
    let run = made.prune(&["--keep-last", "1"]).expect(0);
    assert_eq!(made.committed(), [root.clone(), child.clone(), grandchild.clone()]);
    assert_eq!(reason_of(&run.json, &root).1, format!("parent of {child}"));
    assert_eq!(reason_of(&run.json, &child).1, format!("parent of {grandchild}"));
    assert_eq!(reason_of(&run.json, &other).0, "remove");
    made.all_verify();
}

#[test]
fn the_last_restorable_backup_stays_whatever_the_rules_say() {
    let (made, ids) = daily(4);
    // The two newest have lost a file, or have one that is cut.
    let points = |id: &str| made.files_of(id, "points").remove(0);
    std::fs::remove_file(points(&ids[3])).unwrap();
    std::fs::write(points(&ids[2]), "cut").unwrap();
    let run = made.prune(&["--keep-last", "1"]).expect(3);
    assert_eq!(made.committed(), ids[1..]);
    assert_eq!(reason_of(&run.json, &ids[1]).1, "last 1, newest restorable");
    let problems = run.json["problems"].as_array().unwrap();
    assert!(problems.len() == 2 && problems[1].as_str().unwrap().contains("is missing"), "{}", run.out);
    // Nothing can be restored any more: nothing goes, and somebody must read it.
    std::fs::remove_file(points(&ids[1])).unwrap();
    for flags in [&["--keep-last", "1"] as &[&str], &["--keep-last", "1", "--remove-broken"]] {
        let run = made.prune(flags).expect(3);
        assert_eq!(made.committed(), ids[1..]);
        assert!(run.json["warnings"][0].as_str().unwrap().contains("no backup of this repository can be restored"));
    }
}

/// Two backups of one day: the newer one has lost a file, or its manifest is damaged. The day's healthy one stays.
#[test]
fn a_broken_backup_does_not_take_the_place_of_the_healthy_one_of_its_day() {
    let damage: [fn(&Made, &str); 3] = [
        |made, id| std::fs::remove_file(made.files_of(id, "points").remove(0)).unwrap(),
        |made, id| std::fs::write(made.files_of(id, "points").remove(0), "cut").unwrap(),
        |made, id| std::fs::write(made.folder(id).join("manifest.json"), "{").unwrap(),
    ];
    for damage in damage {
        let made = Made::default();
        let noon = now_ms() / DAY * DAY - DAY / 2;
        let old = made.backup(noon - 3 * DAY, None, 2);
        let healthy = made.backup(noon - DAY, None, 2);
        let broken = made.backup(noon - DAY + 3_600_000, None, 2);
        let newest = made.backup(noon, None, 2);
        damage(&made, &broken);
        let run = made.prune(&["--keep-daily", "2", "--time-zone", "UTC"]).expect(3);
        assert_eq!(made.committed(), [healthy.clone(), broken.clone(), newest.clone()], "{}", run.out);
        assert_eq!(reason_of(&run.json, &old).0, "remove");
        assert!(reason_of(&run.json, &broken).1.contains("no rule removes it"), "{}", run.out);
        assert_eq!((run.json["kept"].as_u64(), run.json["broken_kept"].as_u64()), (Some(2), Some(1)));
        let words = ["prune", "--repository", &made.path(), "--keep-daily", "2", "--time-zone", "UTC"];
        let text = ark::run(&words).expect(3).out;
        let (_, apart) = text.split_once("cannot be restored (no rule applies to them)").unwrap();
        assert!(apart.contains(&broken) && !apart.contains(&format!("{healthy} ")), "{text}");
        // On demand it goes, as a newer one can be restored.
        made.prune(&["--keep-daily", "2", "--time-zone", "UTC", "--remove-broken"]).expect(3);
        assert_eq!(made.committed(), [healthy, newest]);
    }
}

#[test]
fn a_damaged_manifest_is_reported_and_stays() {
    let (made, ids) = daily(3);
    let manifest = made.repository.path().join("backups").join(&ids[0]).join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap().replacen("\"raw\": false", "\"raw\": true", 1);
    std::fs::write(&manifest, text).unwrap();
    let run = made.prune(&["--keep-last", "1"]).expect(3);
    assert!(run.json["problems"][0].as_str().unwrap().contains("changed after it was written"), "{}", run.out);
    assert!(manifest.exists() && !made.folder(&ids[1]).exists() && made.folder(&ids[2]).exists());
}

#[test]
fn unfinished_backups_strays_and_progress_of_restores_go_after_the_grace() {
    let (made, ids) = daily(2);
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let (old, young) = (made.unfinished(5, hours(25)), made.unfinished(5, hours(23)));
    for (name, age) in
        [("points/t-00009-aa-0.parquet", 25), ("shards/t-00009.json", 25), ("cells/t-00008-aa-0.parquet", 23)]
    {
        made.stray(&format!("backups/{}/{name}", ids[0]), hours(age));
    }
    made.stray(&format!("backups/{}/notes.txt", ids[0]), hours(99));
    made.stray("restores/r1/plan.json", hours(25));
    made.stray("restores/r2/plan.json", hours(25));
    made.stray("restores/r2/files/x.json", hours(1));
    // A writer that was killed: no listing shows the file that it had begun.
    made.stray(&format!("backups/{}/points/t-00007-aa-0.parquet#1", ids[1]), hours(25));
    made.stray(&format!("backups/{}/points/t-00007-bb-0.parquet#1", ids[1]), hours(1));
    let run = made.prune(&["--only-unfinished"]).expect(0);
    assert_eq!(made.committed(), ids);
    assert!(!made.folder(&old).exists() && made.folder(&young).exists());
    assert_eq!(run.json["strays_removed"], 2);
    assert_eq!((&run.json["restores_removed"], &run.json["unfinished_removed"]), (&1.into(), &1.into()));
    let files = made.repository.files();
    let left = |name: &str| files.iter().any(|file| file.ends_with(name));
    assert!(left("cells/t-00008-aa-0.parquet") && left("notes.txt") && left("restores/r2/plan.json"), "{files:?}");
    assert!(!left("t-00009-aa-0.parquet") && !left("t-00009.json") && !left("restores/r1/plan.json"), "{files:?}");
    assert!(left("t-00007-bb-0.parquet#1") && !left("t-00007-aa-0.parquet#1"), "{files:?}");
    made.prune(&["--only-unfinished", "--grace", "22h"]).expect(0);
    assert!(!made.folder(&young).exists());
    // An empty folder of a killed writer is no unfinished backup for ever.
    std::fs::create_dir_all(made.folder("20200101T000000Z-00000000").join("points")).unwrap();
    made.prune(&["--only-unfinished"]).expect(0);
    let list = made.repository.run("list", &[]).expect(0).json;
    assert_eq!(list["unfinished"].as_array().unwrap().len(), 0, "{list}");
}

/// The order of deletion shows in what is left at any moment.
fn assert_order(made: &Made, id: &str, whole: &BTreeSet<String>) {
    let folder = made.folder(id);
    let there: BTreeSet<String> =
        made.repository.files().into_iter().filter(|file| file.starts_with(&format!("backups/{id}/"))).collect();
    let has = |name: &str| folder.join(name).exists();
    let missing: Vec<&String> = whole.difference(&there).collect();
    if has("manifest.json") {
        let only_plan = missing.iter().all(|file| file.ends_with("/plan.json"));
        assert!(only_plan, "the manifest of {id} is there, but not {missing:?}");
    }
    if !missing.is_empty() && !there.is_empty() {
        assert!(has("pruning"), "{id} lost {missing:?} without a mark");
        assert!(!has("plan.json"), "{id} lost {missing:?} before its plan");
    }
}

#[test]
fn a_killed_prune_leaves_what_the_next_one_ends() {
    let expected = {
        let (made, ids) = daily(6);
        made.prune(&["--keep-last", "2", "--time-zone", "UTC"]).expect(0);
        made.repository.files().len() - ids[4..].iter().map(|id| made.files_below(id).len()).sum::<usize>()
    };
    let (mut seed, mut killed) = (0, 0);
    // A prune that was faster than this test proves nothing.
    while seed < 12 || killed < 6 {
        seed += 1;
        assert!(seed < 60, "only {killed} of {seed} prunes were killed while they ran");
        let mut dice = Dice(seed);
        let made = Made::default();
        let ids: Vec<_> = (0..6).rev().map(|days| made.backup(now_ms() - days * DAY, None, 60)).collect();
        let whole: Vec<BTreeSet<String>> = ids.iter().map(|id| made.files_below(id).into_iter().collect()).collect();
        let count = || made.files_so_far();
        let before = count();
        // After so many deletions: within the first one, between two, within the last.
        let wanted = before - dice.below(4 * whole[0].len()).min(before);
        let path = made.path();
        let mut child = start_prune(&path, &["--keep-last", "2"]);
        while count() > wanted && child.try_wait().unwrap().is_none() {}
        std::thread::sleep(Duration::from_micros(dice.below(3000) as u64));
        child.kill().unwrap();
        killed += u32::from(child.wait().unwrap().code().is_none());

        let gone: usize = ids[..4]
            .iter()
            .zip(&whole)
            .map(|(id, whole)| {
                assert_order(&made, id, whole);
                usize::from(!made.folder(id).join("manifest.json").exists())
            })
            .sum();
        assert_eq!(made.committed(), ids[gone..], "seed {seed}: the oldest go first");
        for (id, whole) in ids[4..].iter().zip(&whole[4..]) {
            assert_eq!(made.files_below(id).into_iter().collect::<BTreeSet<_>>(), *whole);
        }
        // The lock of the dead process does not bar the next one.
        made.prune(&["--keep-last", "2"]).expect(0);
        assert_eq!(made.committed(), ids[4..], "seed {seed}");
        let others =
            made.repository.files().len() - ids[4..].iter().map(|id| made.files_below(id).len()).sum::<usize>();
        assert_eq!(others, expected, "seed {seed}: {:?}", made.repository.files());
        made.all_verify();
    }
}

/// The record of a gap is part of the backup: no stray for a prune, and missed by a verification.
#[test]
fn the_record_of_a_gap_stays_and_is_verified() {
    let made = Made::default();
    let id = made.backup_with_gap(now_ms() - 3 * DAY);
    for file in made.files_below(&id) {
        made::make_old(&made.repository.path().join(file), Duration::from_secs(48 * 3600));
    }
    let before = made.repository.files();
    let verify = || made.repository.run("verify", &[&id, "--level", "files"]).expect(3).json;
    assert_eq!((&verify()["differences"], &verify()["gaps"]), (&0.into(), &1.into()), "{}", verify());
    let run = made.prune(&["--keep-last", "1"]).expect(0);
    assert_eq!((&run.json["strays_removed"], made.repository.files()), (&0.into(), before));
    assert_eq!(verify()["differences"], 0, "{}", verify());

    let record_of = |attempt: &str| made.folder(&id).join(format!("shards/t-{attempt}.json"));
    let (shard, gap) = (record_of(made::ATTEMPT), record_of(made::GAP_ATTEMPT));
    let record = std::fs::read(&gap).unwrap();
    let assert_told = |problem: &str| {
        let report = verify();
        let told = &report["problems"][0];
        assert!(told["path"].as_str().unwrap().ends_with(&format!("shards/t-{}.json", made::GAP_ATTEMPT)), "{report}");
        assert!(told["problem"].as_str().unwrap().contains(problem) && report["differences"] == 1, "{report}");
    };
    // The same gap with another reason, sealed as the format wants it.
    let mut other: Value = serde_json::from_slice(&record).unwrap();
    other["gap"]["message"] = "another".into();
    std::fs::write(&gap, sealed(&other)).unwrap();
    assert_told("does not say what the manifest says");
    std::fs::write(&gap, std::fs::read(&shard).unwrap()).unwrap();
    assert_told(&format!("it is the record of attempt {}", made::ATTEMPT));
    std::fs::remove_file(&gap).unwrap();
    assert_told("is missing");
}

/// A prune was stopped when the plan was gone and the manifest was not; the next one keeps the backup.
#[test]
fn a_kept_backup_gets_back_what_a_stopped_prune_took() {
    let (made, ids) = daily(2);
    let [plan, mark] = ["plan.json", "pruning"].map(|name| made.folder(&ids[0]).join(name));
    let before = std::fs::read(&plan).unwrap();
    std::fs::rename(&plan, &mark).unwrap();
    let told = made.repository.run("verify", &[&ids[0], "--level", "files"]).expect(3).json;
    assert!(told["problems"].to_string().contains("a prune may have started"), "{told}");
    let run = made.prune(&["--keep-last", "2"]).expect(0);
    assert_eq!((&run.json["removed"], std::fs::read(&plan).unwrap(), mark.exists()), (&0.into(), before, false));
    made.all_verify();
    // A mark that holds nothing, as older versions left it, puts nothing there.
    std::fs::remove_file(&plan).unwrap();
    std::fs::write(&mark, "").unwrap();
    made.prune(&["--keep-last", "2"]).expect(0);
    assert!(!plan.exists() && !mark.exists());
}

#[test]
fn ctrl_c_stops_a_prune_and_takes_its_lock_back() {
    let mut interrupted = false;
    for _ in 0..30 {
        let made = Made::default();
        for days in (0..4).rev() {
            made.backup(now_ms() - days * DAY, None, 800);
        }
        let before = made.files_so_far();
        let mut child = start_prune(&made.path(), &["--keep-last", "1"]);
        while made.files_so_far() + 20 > before && child.try_wait().unwrap().is_none() {}
        let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        let run = ark::finished(child.wait_with_output().unwrap());
        // A prune that was faster than the signal proves nothing.
        interrupted |= sent.success() && run.code == 130;
        assert!([0, 130].contains(&run.code), "{}: {}", run.code, run.err);
        assert_eq!(made.locks(), [""; 0]);
        made.prune(&["--keep-last", "1"]).expect(0);
        assert_eq!(made.committed().len(), 1);
        made.all_verify();
        if interrupted {
            break;
        }
    }
    assert!(interrupted, "no prune was interrupted");
}

/// A folder or a file that is a symbolic link: nothing behind it is read or deleted, and whoever looks is told.
#[test]
fn prune_never_follows_a_symbolic_link() {
    let (made, ids) = daily(4);
    let outside = tempfile::tempdir().unwrap();
    // A whole backup lies elsewhere, and one file of another.
    let elsewhere = outside.path().join("backup");
    std::fs::rename(made.folder(&ids[0]), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, made.folder(&ids[0])).unwrap();
    let (manifest, moved) = (made.folder(&ids[1]).join("manifest.json"), outside.path().join("manifest.json"));
    std::fs::rename(&manifest, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &manifest).unwrap();
    let count = || {
        let mut files = 0;
        let mut folders = vec![outside.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files += 1 }
            }
        }
        files
    };
    let (before, files) = (count(), made.files_below(&ids[1]).len());
    let run = made.prune(&["--keep-last", "1", "--grace", "0s", "--remove-broken"]).expect(0);
    assert_eq!(count(), before);
    assert_eq!(made.files_below(&ids[1]).len(), files);
    assert!(!made.folder(&ids[2]).exists() && made.folder(&ids[3]).exists());
    let warnings = run.json["warnings"].to_string();
    for link in [format!("backups/{}", ids[0]), format!("backups/{}/manifest.json", ids[1])] {
        assert!(warnings.contains(&format!("{link} is a symbolic link")), "{warnings}");
    }
    assert!(reason_of(&run.json, &ids[1]).1.contains("holds a symbolic link"), "{}", run.out);
    let list = made.repository.run("list", &[]).expect(0);
    assert_eq!(list.json["symlinks"][0], format!("backups/{}", ids[0]), "{}", list.out);
    // A data file that is a link is damage, and named.
    let data = made.files_of(&ids[3], "points").remove(0);
    std::fs::rename(&data, outside.path().join("data")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("data"), &data).unwrap();
    let verify = made.repository.run("verify", &["--level", "files"]).expect(3);
    assert!(verify.json["problems"][0]["problem"].as_str().unwrap().contains("symbolic link"), "{}", verify.out);
}

/// Files that nobody's program made do no harm: other names among shards and locks, JSON of any size, numbers of any size.
#[test]
fn a_hostile_repository_is_read_with_care() {
    let (made, ids) = daily(3);
    let root = made.repository.path();
    let write = |path: String, text: &[u8]| std::fs::write(root.join(path), text).unwrap();
    // Names that are none.
    std::fs::create_dir_all(root.join("locks")).unwrap();
    write(format!("backups/{}/shards/notes.json", ids[2]), b"{}");
    write(format!("backups/{}/shards/t-99999999999.json", ids[2]), b"{}");
    write("locks/backup-x.json".into(), b"{}");
    write("locks/prune-a-b-c-d.json".into(), b"{}");
    write("locks/probe-0000.json".into(), b"{}");
    made.prune(&["--keep-last", "3"]).expect(0);
    made.all_verify();
    // Nobody reads a manifest of a terabyte. The file is sparse.
    let huge = made.folder(&ids[0]).join("manifest.json");
    std::fs::File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    let run = made.prune(&["--keep-last", "3"]).expect(3);
    assert!(run.json["problems"][0].as_str().unwrap().contains("1099511627776 bytes"), "{}", run.out);
    let run = made.repository.run("show", &[&ids[0]]).expect(1);
    assert!(run.err.contains("it was not read"), "{}", run.err);
    // Nor a data file that is larger than recorded.
    let data = made.files_of(&ids[1], "points").remove(0);
    std::fs::File::options().write(true).open(&data).unwrap().set_len(1 << 40).unwrap();
    let run = made.repository.run("verify", &[&ids[1], "--level", "files"]).expect(3);
    assert!(
        run.json["problems"][0]["problem"].as_str().unwrap().contains("1099511627776 bytes instead of"),
        "{}",
        run.out
    );
    // Sums of recorded numbers end at the largest number.
    let sealed = |text: &str| {
        let (head, _) = text.split_once("\"self_blake3\": \"").unwrap();
        let (before, behind) = (format!("{head}\"self_blake3\": \""), "\"\n}\n");
        let hash = blake3::hash(format!("{before}{behind}").as_bytes()).to_hex().to_string();
        format!("{before}{hash}{behind}")
    };
    let manifest = made.folder(&ids[2]).join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    // As text, because the order of the fields counts.
    let with = |text: &str, name: &str, number: &str| {
        let (before, rest) = text.split_once(&format!("\"{name}\": ")).unwrap();
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
        format!("{before}\"{name}\": {number}{rest}")
    };
    let open = text.find("\"tables\": [").unwrap() + text[text.find("\"tables\": [").unwrap()..].find('{').unwrap();
    let close = open + text[open..].find("\n    }\n  ]").unwrap() + "\n    }".len();
    let numbers = ["cells", "rows", "points", "bytes", "files", "bytes_written"];
    let table = numbers.iter().fold(text[open..close].to_owned(), |t, name| with(&t, name, &u64::MAX.to_string()));
    let text = format!("{}{table},\n    {table}{}", &text[..open], &text[close..]);
    let text = with(&with(&text, "started_ms", &i64::MIN.to_string()), "finished_ms", &i64::MAX.to_string());
    std::fs::remove_file(&huge).unwrap();
    std::fs::write(&manifest, sealed(&text)).unwrap();
    let list = made.repository.run("list", &[]).expect(0);
    let last = list.json["backups"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (last["backup"].as_str(), last["cells"].as_u64()),
        (Some(ids[2].as_str()), Some(u64::MAX)),
        "{}",
        list.out
    );
    for (verb, words) in
        [("show", vec![]), ("verify", vec!["--level", "files"]), ("prune", vec!["--keep-last", "1", "--dry-run"])]
    {
        let run = made.repository.run(verb, &words);
        assert!(![101, -1].contains(&run.code), "{verb}: {} {}", run.code, run.err);
    }
}

/// Every run says how much memory it held, and none may hold more than it should, however many backups there are.
#[test]
fn thousands_of_backups_take_no_more_memory() {
    const BACKUPS: usize = 5_000;
    let (made, ids) = daily(1);
    let folder = made.folder(&ids[0]);
    let texts = ["plan.json", "manifest.json"].map(|name| (name, std::fs::read(folder.join(name)).unwrap()));
    for number in 1..BACKUPS {
        let id = format!(
            "2020{:02}{:02}T{:02}{:02}00Z-{number:08x}",
            number % 12 + 1,
            number % 28 + 1,
            number % 24,
            number % 60
        );
        let of_it = made.folder(&id);
        std::fs::create_dir(&of_it).unwrap();
        for (name, text) in &texts {
            let text = String::from_utf8(text.clone()).unwrap().replace(&ids[0], &id);
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            std::fs::write(of_it.join(name), sealed(&value)).unwrap();
        }
    }
    let list = made.repository.run("list", &[]).expect(0).json;
    assert_eq!(list["backups"].as_array().unwrap().len(), BACKUPS);
    let prune = made.prune(&["--keep-last", "10", "--dry-run"]).json;
    assert_eq!(prune["folders"].as_array().unwrap().len(), BACKUPS);
    let peak = prune["peak_rss_bytes"].as_u64().unwrap();
    assert!(peak > 0 && peak < 256 << 20, "prune held {peak} bytes");
}
