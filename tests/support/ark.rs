//! The program under test, run as a user runs it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::bed::Bed;
use super::tsd::Tables;

/// What a run of the program said.
#[derive(Debug)]
pub struct Run {
    /// Exit code.
    pub code: i32,
    /// The last line of standard output as JSON; null without one.
    pub json: Value,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// The program: the one that was built with the tests, or the one that `TSDB_ARK_PROGRAM` names.
pub fn command() -> Command {
    let program = std::env::var_os("TSDB_ARK_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_tsdb-ark").into());
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).env_remove("TSDB_ARK_REPOSITORY").env_remove("TSDB_ARK_GATEWAY");
    command
}

/// Runs the program.
pub fn run<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Run {
    finished(command().args(arguments).output().expect("the program starts"))
}

/// The most memory that any run may hold, with the default `--max-memory`.
const MEMORY: u64 = 512 << 20;

/// What a finished process said. Every report is held to the memory bound.
pub fn finished(output: Output) -> Run {
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let json = out.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or(Value::Null);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    let peak = json["peak_rss_bytes"].as_u64().unwrap_or_default();
    assert!(peak <= MEMORY, "a run held {peak} bytes of memory: {json}");
    Run { code: output.status.code().unwrap_or(-1), json, out, err }
}

impl Run {
    /// Asserts the exit code.
    pub fn expect(self, code: i32) -> Run {
        assert_eq!(self.code, code, "exit code; standard output:\n{}\nstandard error:\n{}", self.out, self.err);
        self
    }
}

/// A repository in a folder that goes with it.
#[derive(Debug)]
pub struct Repository {
    folder: tempfile::TempDir,
}

impl Default for Repository {
    fn default() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }
}

impl Repository {
    /// The folder.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    /// Runs `verb --repository THIS --json` with more arguments.
    pub fn run(&self, verb: &str, more: &[&str]) -> Run {
        let path = self.path();
        let mut arguments = vec![verb, "--repository", path.to_str().unwrap(), "--json"];
        arguments.extend(more);
        run(&arguments)
    }

    /// Backs up these tables; what is raw in them is expected.
    pub fn backup(&self, bed: &Bed, tables: &Tables, more: &[&str]) -> Run {
        let gateway = bed.thrift2_address();
        let mut arguments = vec!["--gateway".to_string(), gateway, "--expect-raw-cells".into()];
        arguments.extend(table_flags(tables));
        arguments.extend(more.iter().map(|text| (*text).to_string()));
        self.run("backup", &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Restores the latest backup of these tables under another prefix.
    pub fn restore(&self, bed: &Bed, from: &Tables, to: &Tables, more: &[&str]) -> Run {
        let gateway = bed.thrift2_address();
        let mut arguments = vec!["--gateway".to_string(), gateway];
        for (old, new) in from.names().iter().zip(to.names()) {
            arguments.extend(["--rename-table".into(), format!("{old}={new}")]);
        }
        arguments.extend(more.iter().map(|text| (*text).to_string()));
        self.run("restore", &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Verifies the latest backup.
    pub fn verify(&self, level: &str, more: &[&str]) -> Run {
        let mut arguments = vec!["--level", level];
        arguments.extend(more);
        self.run("verify", &arguments)
    }

    /// Every file, relative to the repository, sorted.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.path(), &self.path(), &mut found);
        found.sort();
        found
    }

    /// The only backup's files of a kind, as full paths.
    pub fn files_of(&self, kind: &str) -> Vec<PathBuf> {
        let inside = |path: &String| {
            let parts: Vec<&str> = path.split('/').collect();
            matches!(parts.as_slice(), ["backups", _, folder, _] if *folder == kind)
        };
        self.files().into_iter().filter(inside).map(|path| self.path().join(path)).collect()
    }
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, found);
        } else {
            found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}

/// The flags that name the tables of one OpenTSDB.
pub fn table_flags(tables: &Tables) -> Vec<String> {
    let names = tables.names();
    let mut flags = Vec::new();
    for (flag, name) in ["--data-table", "--uid-table", "--meta-table", "--tree-table"].iter().zip(&names) {
        flags.extend([(*flag).to_string(), name.clone()]);
    }
    for extra in names.iter().skip(4) {
        flags.extend(["--table".to_string(), extra.clone()]);
    }
    flags
}
