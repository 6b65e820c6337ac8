//! A backup against a prune, and what a lock leaves behind.

use std::process::Child;
use std::time::Duration;

use crate::endless_backup;
use crate::support::ark::Repository;
use crate::support::bed::Bed;
use crate::support::synthetic::Synthetic;

/// Waits until a backup other than this one has begun, and returns its id.
fn begun(repository: &Repository, child: &mut Child, other: &str) -> String {
    loop {
        assert!(child.try_wait().unwrap().is_none());
        let entries = std::fs::read_dir(repository.path().join("backups")).unwrap().flatten();
        let names = entries.filter(|entry| entry.path().join("plan.json").exists()).map(|entry| entry.file_name());
        if let Some(id) = names.map(|name| name.into_string().unwrap()).find(|id| id != other) {
            return id;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn locks(repository: &Repository) -> Vec<String> {
    repository.files().into_iter().filter(|file| file.starts_with("locks/")).collect()
}

#[test]
fn prune_yields_to_a_backup_and_not_to_a_dead_one() {
    let bed = Bed::shared();
    let repository = Repository::default();
    let small = Synthetic::default().load(bed, &[]);
    let whole = repository.backup(bed, &small, &[]).expect(0).json["backup"].as_str().unwrap().to_owned();
    let (mut child, _proxy) = endless_backup(bed, &repository);
    let id = begun(&repository, &mut child, &whole);
    let run = repository.run("prune", &["--only-unfinished", "--grace", "0s"]).expect(11);
    assert!(run.err.contains(&format!("backup of {id}")) && run.err.contains(&child.id().to_string()), "{}", run.err);
    let list = repository.run("list", &[]).expect(0).json;
    assert!(list["unfinished_backups"][0]["locked_by"].as_str().unwrap().contains(&id), "{list}");
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None, "the backup was faster than this test");
    // Its lock counts no more; the grace keeps what it has done so far.
    let run = repository.run("prune", &["--only-unfinished"]).expect(0);
    assert_eq!(run.json["unfinished_removed"], 0);
    assert_eq!(locks(&repository), [""; 0]);
    let run = repository.run("prune", &["--only-unfinished", "--grace", "0s"]).expect(0);
    assert_eq!(run.json["unfinished_removed"], 1);
    assert!(!repository.path().join("backups").join(&id).exists());
    repository.verify("cells", &[]).expect(0);
}

#[test]
fn a_prune_that_begins_at_any_moment_of_a_backup_harms_nothing() {
    let bed = Bed::shared();
    let small = Synthetic::default().load(bed, &[]);
    let repository = Repository::default();
    repository.backup(bed, &small, &[]).expect(0);
    for round in 0..8 {
        let prune = std::thread::scope(|scope| {
            let prune = scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(round * 25));
                repository.run("prune", &["--keep-last", "1", "--grace", "0s"])
            });
            // It waits for the prune or the prune yields to it; either way it ends well.
            repository.backup(bed, &small, &[]).expect(0);
            prune.join().unwrap()
        });
        assert!([0, 11].contains(&prune.code), "{}", prune.err);
        repository.verify("cells", &[]).expect(0);
        assert_eq!(locks(&repository), [""; 0]);
    }
}

#[test]
fn an_append_only_backup_deletes_nothing() {
    let bed = Bed::shared();
    let small = Synthetic::default().load(bed, &[]);
    let repository = Repository::default();
    for _ in 0..2 {
        repository.backup(bed, &small, &["--append-only"]).expect(0);
    }
    let left = locks(&repository);
    // Two beats of each, and the mark of its end.
    assert_eq!((left.len(), left.iter().filter(|file| file.ends_with("-released.json")).count()), (6, 2), "{left:?}");
    let run = repository.run("prune", &["--keep-last", "1"]).expect(0);
    assert_eq!((&run.json["lock_files_removed"], &run.json["removed"]), (&6.into(), &1.into()));
    assert_eq!(locks(&repository), [""; 0]);
    repository.verify("cells", &[]).expect(0);
}
