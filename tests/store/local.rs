//! Local directories that are not like ext4: file systems without hard links, symbolic links where files should be.

use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use tsdb_ark::store::{Probe, Store, StoreError, StoreOptions};

use super::contract;

/// An exFAT in a file of its own, mounted by FUSE: no hard links, no rename that refuses to replace.
struct ExFat {
    folder: tempfile::TempDir,
    device: String,
}

fn run(program: &str, words: &[&str]) -> String {
    let output = Command::new(program)
        .args(words)
        .output()
        .unwrap_or_else(|error| panic!("{program} is missing ({error}): run scripts/install.sh"));
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl ExFat {
    fn mount() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(256 << 20).unwrap();
        let image = image.to_str().unwrap();
        run("mkfs.exfat", &[image]);
        let device = run("losetup", &["-f", "--show", image]);
        let mounted = Self { folder, device };
        std::fs::create_dir(mounted.root()).unwrap();
        run("mount.exfat-fuse", &[&mounted.device, mounted.root().to_str().unwrap()]);
        mounted
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }
}

impl Drop for ExFat {
    fn drop(&mut self) {
        // A test that failed may have left neither behind.
        let _ = Command::new("umount").arg(self.root()).output();
        let _ = Command::new("losetup").args(["-d", &self.device]).output();
    }
}

fn open(root: &Path) -> Store {
    Store::open(&root.to_str().unwrap().parse().unwrap(), &StoreOptions::default()).unwrap()
}

/// F40.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_system_without_hard_links_keeps_the_contract() {
    let exfat = ExFat::mount();
    let root = exfat.root();
    std::fs::write(root.join("a"), "x").unwrap();
    assert!(std::fs::hard_link(root.join("a"), root.join("b")).is_err(), "this file system has links after all");
    std::fs::remove_file(root.join("a")).unwrap();
    let store = open(&root);
    contract(&store).await;
    assert!(store.observed().lacks_links);
    assert_eq!(store.probe("locks").await.unwrap(), Probe::CreateOnly);
    assert_eq!(store.list("locks").await.unwrap(), []);
    // Nothing half-written stays behind.
    let staged = run("find", &[root.to_str().unwrap(), "-name", "*#[0-9]*", "-not", "-path", "*/abort/*"]);
    assert_eq!(staged, "");
}

#[tokio::test]
async fn symbolic_links_are_never_followed() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::create_dir(outside.path().join("sub")).unwrap();
    for name in ["secret", "sub/1#1", "sub/x"] {
        std::fs::write(outside.path().join(name), "secret").unwrap();
    }
    let store = open(folder.path());
    store.put_new("backups/a/x", Bytes::from_static(b"x")).await.unwrap();
    let link = |from: &str, to: &str| {
        std::os::unix::fs::symlink(outside.path().join(from), folder.path().join(to)).unwrap();
    };
    link("sub", "backups/b");
    link("secret", "backups/a/manifest.json");
    let links = ["backups/a/manifest.json", "backups/b"];
    let paths: Vec<String> = store.list("").await.unwrap().into_iter().map(|entry| entry.path).collect();
    assert_eq!(paths, ["backups/a/x"]);
    assert_eq!(store.folders("backups").await.unwrap(), ["a"]);
    assert_eq!(store.observed().symlinks, links);
    for path in ["backups/a/manifest.json", "backups/b/x"] {
        let refused = [
            store.get(path).await.map(drop).unwrap_err(),
            store.get_range(path, 0..1).await.map(drop).unwrap_err(),
            store.size(path).await.map(drop).unwrap_err(),
            store.put_new(path, Bytes::new()).await.unwrap_err(),
            store.delete(path).await.unwrap_err(),
        ];
        for error in refused {
            assert!(matches!(error, StoreError::Symlink { .. }), "{path}: {error:?}");
            assert!(std::error::Error::source(&error).unwrap().to_string().contains("symbolic link"), "{error}");
        }
    }
    let mut sink = store.create_file("backups/b/large").unwrap();
    assert!(sink.write(Bytes::from(vec![0; 9 << 20])).await.is_err());
    assert!(store.list("backups/b").await.is_err());
    assert!(store.tidy("backups/b", i64::MAX / 2).await.is_err());
    store.tidy("backups", i64::MAX / 2).await.unwrap();
    for name in ["secret", "sub/1#1", "sub/x"] {
        assert_eq!(std::fs::read_to_string(outside.path().join(name)).unwrap(), "secret", "{name}");
    }
    assert_eq!(std::fs::read_dir(outside.path().join("sub")).unwrap().count(), 2);
}

/// Names in records may be anything.
#[tokio::test]
async fn a_path_that_climbs_out_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(folder.path().join("secret"), "secret").unwrap();
    let store = open(&root);
    for path in ["../secret", "backups/../../secret", "backups/./x", "backups//x"] {
        let error = store.get(path).await.unwrap_err();
        assert!(matches!(error, StoreError::Other { .. }), "{path}: {error:?}");
    }
    let absolute = folder.path().join("secret");
    assert!(
        store.get(absolute.to_str().unwrap()).await.unwrap_err().is_not_found(),
        "it begins at the root of the store"
    );
}

#[tokio::test]
async fn a_file_that_is_too_large_is_not_read() {
    let store = Store::in_memory();
    store.put_new("x", Bytes::from(vec![1; 100])).await.unwrap();
    assert_eq!(store.get_at_most("x", 100).await.unwrap().len(), 100);
    assert!(matches!(store.get_at_most("x", 99).await, Err(StoreError::TooLarge { size: 100, limit: 99, .. })));
}
