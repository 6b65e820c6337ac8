//! The smallest machine: a root with the program and its libraries in it, read-only but for the repository, and nothing else.

use std::process::Command;

use super::{backup_words, print_line, tables};
use crate::support::ark::{self, Run};
use crate::support::bed::Bed;

/// Makes the root in `$DIR/root`: no `/etc/passwd`, no time zones, no locale, no `/proc`, no name service, a home that
/// cannot be written. Then runs the program there.
const SCRIPT: &str = r#"
program=$1; shift
root=$DIR/root
mkdir -p "$root/repository" "$root/home"
if [ ! -e "$root/tsdb-ark" ]; then
  cp "$program" "$root/tsdb-ark"
  ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
  done
fi
mount --bind "$root" "$root"
mount --bind "$DIR/repository" "$root/repository"
mount -o remount,bind,ro "$root"
cd "$root"
exec env -i LANG=tr_TR.UTF-8 LC_ALL=tr_TR.UTF-8 HOME=/home "$(command -v chroot)" --userspec=4711:4711 . /tsdb-ark "$@"
"#;

#[test]
fn a_newcomer_on_an_empty_machine_checks_backs_up_and_verifies() {
    let bed = Bed::shared();
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("repository");
    std::fs::create_dir(&repository).unwrap();
    for open in [folder.path(), &repository] {
        std::fs::set_permissions(open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    }
    let program = ark::command().get_program().to_owned();
    let run = |words: &[String]| -> Run {
        let mut command = Command::new("unshare");
        command.args(["--mount", "bash", "-euc", SCRIPT, "bash"]).arg(&program).args(words).env("DIR", folder.path());
        ark::finished(command.output().unwrap())
    };
    let words = |verb: &str, more: &[&str]| {
        let mut words = backup_words(bed, tables(bed), "/repository", more);
        words[0] = verb.to_owned();
        words
    };
    let check = run(&words("check", &[])).expect(0);
    assert!(check.json["store"].to_string().contains("created and deleted"), "{}", check.out);
    assert_eq!(std::fs::read_dir(&repository).unwrap().count(), 0, "check leaves nothing");
    // The time zone is one of the program's own.
    let zone = ["--ceiling", "00:00-24:00=1GiB", "--time-zone", "Europe/Berlin"];
    let done = run(&words("backup", &zone)).expect(0);
    let warnings = done.json["warnings"].as_array().unwrap();
    assert!(
        warnings.len() == 1 && warnings[0].as_str().unwrap().starts_with("created a new repository"),
        "{}",
        done.out
    );
    let verify = ["verify", "--json", "--level", "cells", "--repository", "/repository"].map(str::to_owned);
    assert_eq!(run(&verify).expect(0).json["differences"], 0);
    let prune =
        ["prune", "--json", "--keep-daily", "1", "--time-zone", "America/New_York", "--repository", "/repository"];
    run(&prune.map(str::to_owned)).expect(0);
    print_line("a machine with nothing but the program", "", &done);
}
