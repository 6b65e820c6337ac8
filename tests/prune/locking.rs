//! Prune beside others: live locks, dead ones, and races.

use std::time::{Duration, Instant};

use tsdb_ark::manifest::LockKind;

use crate::made::{DAY, Made, now_ms, paths, start_prune};
use crate::support::ark;

const MINUTE: Duration = Duration::from_secs(60);

fn two() -> (Made, Vec<String>) {
    let made = Made::default();
    let ids = [1, 0].map(|days| made.backup(now_ms() - days * DAY, None, 3)).into();
    (made, ids)
}

#[test]
fn prune_refuses_while_anybody_is_at_work() {
    for kind in [LockKind::Backup, LockKind::Worker, LockKind::Restore, LockKind::Verify] {
        let (made, ids) = two();
        made.foreign_lock(kind, "aa", Some("b7"), 4 * MINUTE);
        let before = made.repository.files();
        let run = made.prune(&["--keep-last", "1"]).expect(11);
        for part in [kind.name(), "b7", "elsewhere", "4711", "since 20", "expires at 20", "try again"] {
            assert!(run.err.contains(part), "{part} is not in {}", run.err);
        }
        assert_eq!(run.json["exit_code"], 11);
        assert_eq!(made.repository.files(), before, "its own lock is gone as well");
        let dry = made.prune(&["--keep-last", "1", "--dry-run"]).expect(0);
        assert!(dry.json["warnings"][0].as_str().unwrap().contains("prune would refuse"), "{}", dry.out);
        assert_eq!(made.committed(), ids);
    }
}

#[test]
fn a_lock_that_has_expired_does_not_bar_and_is_swept() {
    let (made, ids) = two();
    made.foreign_lock(LockKind::Backup, "aa", None, 6 * MINUTE);
    made.foreign_lock(LockKind::Prune, "bb", None, 600 * MINUTE);
    let run = made.prune(&["--keep-last", "1"]).expect(0);
    assert_eq!(run.json["lock_files_removed"], 2);
    assert_eq!(made.committed(), ids[1..]);
    assert_eq!(made.locks(), [""; 0]);
}

#[test]
fn a_released_lock_does_not_bar() {
    let (made, ids) = two();
    made.foreign_lock(LockKind::Backup, "aa", None, Duration::ZERO);
    let mark = made.repository.path().join("locks/backup-aa-released.json");
    std::fs::write(mark, "").unwrap();
    made.prune(&["--keep-last", "1"]).expect(0);
    assert_eq!((made.committed(), made.locks()), (ids[1..].to_vec(), Vec::new()));
}

#[test]
fn nobody_begins_while_prune_is_at_work() {
    let (made, _) = two();
    made.foreign_lock(LockKind::Prune, "aa", None, MINUTE);
    let begun = Instant::now();
    let run = made.repository.run("verify", &["--level", "files"]).expect(11);
    assert!(begun.elapsed() > Duration::from_secs(4), "it waits a little for the prune to end");
    assert!(run.err.contains("locked by prune on host elsewhere"), "{}", run.err);
    // Reading is no work: list and show need no lock.
    let list = made.repository.run("list", &[]).expect(0);
    assert!(list.json["locks"][0].as_str().unwrap().contains("prune on host elsewhere"), "{}", list.out);
    made.repository.run("show", &[]).expect(0);
    assert_eq!(made.locks().len(), 1);
}

#[test]
fn a_list_tells_who_is_at_work_on_an_unfinished_backup() {
    let (made, _) = two();
    let (running, given_up) = (made.unfinished(1, MINUTE), made.unfinished(1, MINUTE));
    let pruned = made.unfinished(1, MINUTE);
    made.stray(&paths(&pruned).pruning(), MINUTE);
    made.foreign_lock(LockKind::Backup, "aa", Some(&running), MINUTE);
    let run = made.repository.run("list", &[]).expect(0);
    assert_eq!(run.json["unfinished"].as_array().unwrap().len(), 3);
    let about = &run.json["unfinished_backups"];
    assert!(about[0]["locked_by"].as_str().unwrap().contains("elsewhere"), "{about}");
    assert!(about[1]["locked_by"].is_null() && about[2]["pruning"] == true, "{about}");
    let text = ark::run(&["list", "--repository", &made.path()]).expect(0).out;
    assert!(text.contains(&format!("unfinished: {running}, started 20")), "{text}");
    let resumable = text.lines().find(|line| line.contains(&given_up)).unwrap();
    assert!(resumable.contains("; resume it with backup --resume and the same flags"), "{text}");
    assert!(text.contains("locked by backup of"), "{text}");
    assert!(text.contains("the next prune removes it"), "{text}");
}

#[test]
fn an_unfinished_backup_whose_owner_is_alive_is_no_stray_of_a_dry_run() {
    let (made, _) = two();
    let running = made.unfinished(1, Duration::from_secs(99 * 3600));
    made.foreign_lock(LockKind::Backup, "aa", Some(&running), MINUTE);
    let run = made.prune(&["--only-unfinished", "--dry-run"]).expect(0);
    assert_eq!(run.json["unfinished_removed"], 0);
    assert!(run.out.contains("still running: backup of"), "{}", run.out);
}

#[test]
fn of_two_prunes_at_once_both_leave_a_whole_repository() {
    for _ in 0..6 {
        let made = Made::default();
        let ids: Vec<_> = (0..5).rev().map(|days| made.backup(now_ms() - days * DAY, None, 100)).collect();
        let path = made.path();
        let both = [(); 2].map(|()| start_prune(&path, &["--keep-last", "2"]));
        let codes = both.map(|child| ark::finished(child.wait_with_output().unwrap()));
        assert!(codes.iter().any(|run| run.code == 0), "{codes:?}");
        assert!(codes.iter().all(|run| [0, 11].contains(&run.code)), "{codes:?}");
        assert_eq!((made.committed(), made.locks()), (ids[3..].to_vec(), Vec::new()));
        made.all_verify();
    }
}

/// A verification begins while a prune runs: either waits for the other or is told so; what it read was whole.
#[test]
fn a_reader_against_a_prune() {
    let (mut round, mut met) = (0, 0);
    // Rounds in which one was over before the other began prove nothing.
    while round < 8 || met == 0 {
        assert!(round < 80, "in {round} rounds they never met");
        let made = Made::default();
        let ids: Vec<_> = (0..4).rev().map(|days| made.backup(now_ms() - days * DAY, None, 100)).collect();
        let path = made.path();
        let prune = start_prune(&path, &["--keep-last", "1"]);
        std::thread::sleep(Duration::from_millis(round % 8 * 7));
        round += 1;
        // The one that prune is about to remove.
        let verify = made.repository.run("verify", &[&ids[0], "--level", "files"]);
        let prune = ark::finished(prune.wait_with_output().unwrap());
        match (prune.code, verify.code) {
            // The prune yielded; or it was first: afterwards there is no such backup.
            (11, 0) | (0, 2) => met += 1,
            (0, 0) => {}
            other => panic!("{other:?}: {} {}", prune.err, verify.err),
        }
        assert_eq!(verify.json["differences"].as_u64().unwrap_or(0), 0, "{}", verify.out);
        assert_eq!(made.locks(), [""; 0]);
        made.all_verify();
    }
}
