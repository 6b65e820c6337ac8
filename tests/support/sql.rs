//! SQL on a backup, by DuckDB.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::ark::Repository;

const PROGRAM: &str = "
import duckdb, json, os, sys
os.chdir(sys.argv[1])
db = duckdb.connect()
# A slow machine would show a bar among the rows.
db.execute('set enable_progress_bar = false')
db.execute(open('views.sql').read())
print(json.dumps([db.execute(query).fetchall() for query in sys.argv[2:]], default=str))
";

/// The rows of each query over the views of the newest backup.
pub fn query(repository: &Repository, queries: &[&str]) -> Vec<Value> {
    let list = repository.run("list", &[]).expect(0).json;
    let id = list["backups"].as_array().unwrap().iter().map(|backup| backup["backup"].as_str().unwrap()).max();
    run(&repository.path().join("backups").join(id.expect("a backup")), queries)
}

/// The same over the views that `show --views` prints of a backup.
pub fn query_views(repository: &Repository, backup: &str, queries: &[&str]) -> Vec<Value> {
    let shown = repository.run("show", &[backup, "--views"]).expect(0).json;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("views.sql"), shown["views"].as_str().unwrap()).unwrap();
    run(folder.path(), queries)
}

fn run(folder: &Path, queries: &[&str]) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = Command::new("sh").arg(root.join("scripts/readers.sh")).output().unwrap();
    assert!(made.status.success(), "the readers cannot be installed: {}", String::from_utf8_lossy(&made.stderr));
    let python = root.join(String::from_utf8(made.stdout).unwrap().trim());
    let read = Command::new(python).args(["-c", PROGRAM]).arg(folder).args(queries).output().unwrap();
    assert!(read.status.success(), "{queries:?}: {}", String::from_utf8_lossy(&read.stderr));
    serde_json::from_slice(&read.stdout).unwrap()
}
