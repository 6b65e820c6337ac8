//! A directory as a store, on any file system.
//!
//! The library's own kind needs hard links for create-only files and a sync of directories for durable ones, which
//! network file systems (SMB), exFAT and FUSE mounts may lack, and it follows symbolic links wherever they lead. Reading
//! and large files stay with the library.
//!
//! - A file is staged as `name#1`, synced, and gets its name by a hard link, which fails where the name is taken. Without
//!   links it is renamed with `RENAME_NOREPLACE`; without that too, the name is taken by an exclusive create and the
//!   staged file renamed onto it at once: only a crash between the two leaves an empty file.
//! - A directory whose sync the file system does not know (EINVAL, ENOTSUP) is left to the file system.
//! - Symbolic links below the root are never followed: nothing is read, written, listed or deleted through one.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use rustix::fs::{Access, AtFlags, CWD, RenameFlags, accessat, renameat_with};
use rustix::io::Errno;
use walkdir::{DirEntry, WalkDir};

/// What the file system can do, as far as it was tried, and what was met there.
#[derive(Debug, Default)]
pub(super) struct Facts {
    no_links: AtomicBool,
    no_directory_sync: AtomicBool,
    /// Symbolic links that listings met, as paths below the root.
    symlinks: Mutex<BTreeSet<String>>,
}

impl Facts {
    /// True when a file was created without a hard link because there are none.
    pub fn lacks_links(&self) -> bool {
        self.no_links.load(Ordering::Relaxed)
    }

    /// True when a directory could not be synced because the file system does not know how.
    pub fn lacks_directory_sync(&self) -> bool {
        self.no_directory_sync.load(Ordering::Relaxed)
    }

    /// Symbolic links that listings met so far.
    pub fn symlinks(&self) -> Vec<String> {
        self.symlinks.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn sync_directory(&self, directory: &FsPath) -> io::Result<()> {
        let synced = File::open(directory)?.sync_all();
        match synced.as_ref().err().and_then(Errno::from_io_error) {
            Some(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) => {
                if !self.no_directory_sync.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        "the file system of the repository cannot sync directories: a crash of its server may undo files \
                         that were just created"
                    );
                }
                Ok(())
            }
            _ => synced,
        }
    }

    /// Creates the missing directories above a file, durably.
    fn create_parents(&self, file: &FsPath) -> io::Result<()> {
        let Some(parent) = file.parent() else { return Ok(()) };
        let missing: Vec<&FsPath> = parent.ancestors().take_while(|directory| !directory.exists()).collect();
        fs::create_dir_all(parent)?;
        missing.iter().filter_map(|directory| directory.parent()).try_for_each(|above| self.sync_directory(above))
    }

    fn sync_parent(&self, file: &FsPath) -> io::Result<()> {
        file.parent().map_or(Ok(()), |parent| self.sync_directory(parent))
    }

    /// Writes a file under a name of its own and gives it its name when it is whole and on disk.
    fn write(&self, file: &FsPath, payload: &PutPayload, create_only: bool) -> io::Result<()> {
        let mut tries = 3;
        let (mut staged, at) = loop {
            self.create_parents(file)?;
            match stage(file) {
                // Somebody who tidies has removed the empty folder meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound && tries > 1 => tries -= 1,
                other => break other?,
            }
        };
        let written = payload.iter().try_for_each(|piece| staged.write_all(piece));
        let written = written.and_then(|()| staged.sync_all());
        drop(staged);
        let published = written.and_then(|()| match create_only {
            true => self.publish_new(&at, file),
            false => fs::rename(&at, file),
        });
        if let Err(error) = published {
            // It may have its name already, and no more this one.
            let _ = fs::remove_file(&at);
            return Err(error);
        }
        self.sync_parent(file)
    }

    fn publish_new(&self, staged: &FsPath, file: &FsPath) -> io::Result<()> {
        if !self.lacks_links() {
            match fs::hard_link(staged, file) {
                Ok(()) => {
                    // Where it stays behind, tidying finds it.
                    let _ = fs::remove_file(staged);
                    return Ok(());
                }
                Err(error) if !is_unknown(&error) => return Err(error),
                Err(_) => self.no_links.store(true, Ordering::Relaxed),
            }
        }
        match renameat_with(CWD, staged, CWD, file, RenameFlags::NOREPLACE).map_err(io::Error::from) {
            Err(error) if is_unknown(&error) => {}
            other => return other,
        }
        OpenOptions::new().write(true).create_new(true).open(file)?;
        fs::rename(staged, file).inspect_err(|_| {
            // The name is this writer's, and empty.
            let _ = fs::remove_file(file);
        })
    }
}

/// Whether this process may create files in the directory.
pub(super) fn may_write(directory: &FsPath) -> io::Result<()> {
    Ok(accessat(CWD, directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
}

/// What file systems say of a request that they do not know: EPERM (vfat, exFAT), ENOTSUP (SMB), ENOSYS (FUSE), EINVAL (flags
/// of a rename), EMLINK (no link beside the first).
fn is_unknown(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| [Errno::PERM, Errno::NOTSUP, Errno::NOSYS, Errno::INVAL, Errno::MLINK].contains(&errno))
}

/// A new file beside the wanted one, `name#1` or the next number that is free.
fn stage(file: &FsPath) -> io::Result<(File, PathBuf)> {
    let mut number = 1_u32;
    loop {
        let mut name = file.as_os_str().to_owned();
        name.push(format!("#{number}"));
        let at = PathBuf::from(name);
        match OpenOptions::new().write(true).create_new(true).open(&at) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            other => return other.map(|staged| (staged, at)),
        }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct LocalFiles {
    library: Arc<LocalFileSystem>,
    root: PathBuf,
    facts: Arc<Facts>,
}

impl LocalFiles {
    /// A directory that exists.
    pub fn new(root: &FsPath) -> Result<Self> {
        let library = Arc::new(LocalFileSystem::new_with_prefix(root)?);
        Ok(Self { library, root: root.to_owned(), facts: Arc::default() })
    }

    /// What is known of the file system.
    pub fn facts(&self) -> Arc<Facts> {
        Arc::clone(&self.facts)
    }

    fn at(&self, location: &Path) -> PathBuf {
        self.root.join(location.as_ref())
    }

    /// Refuses a path that leads through a symbolic link.
    fn unlinked(&self, location: &Path) -> Result<()> {
        let mut at = self.root.clone();
        for part in location.parts() {
            at.push(part.as_ref());
            match fs::symlink_metadata(&at) {
                Ok(meta) if meta.is_symlink() => {
                    self.note_symlink(&at);
                    return Err(failed(symlink(&at), location));
                }
                Ok(_) => {}
                // What is not there is no link; whatever else is wrong the request itself will find.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    fn note_symlink(&self, at: &FsPath) {
        let below = at.strip_prefix(&self.root).unwrap_or(at);
        let mut links = self.facts.symlinks.lock().unwrap_or_else(PoisonError::into_inner);
        links.insert(below.to_string_lossy().into_owned());
    }

    /// Walks below a folder, links apart.
    fn walk(&self, prefix: Option<&Path>, depth: usize) -> Result<Vec<(DirEntry, Path)>> {
        let folder = prefix.cloned().unwrap_or_default();
        self.unlinked(&folder)?;
        let mut found = Vec::new();
        for entry in WalkDir::new(self.at(&folder)).min_depth(1).max_depth(depth).follow_links(false) {
            let entry = match entry {
                Err(error) if error.io_error().is_some_and(|e| e.kind() == ErrorKind::NotFound) => continue,
                Err(error) => return Err(failed(error.into(), &folder)),
                Ok(entry) => entry,
            };
            if entry.path_is_symlink() {
                self.note_symlink(entry.path());
                continue;
            }
            // A name that is no path of the store is none of ours.
            let below = entry.path().strip_prefix(&self.root).ok().and_then(FsPath::to_str);
            found.extend(below.and_then(|path| Path::parse(path).ok()).map(|path| (entry, path)));
        }
        Ok(found)
    }
}

/// A path leads through a link.
#[derive(Debug, thiserror::Error)]
#[error("{} is a symbolic link, and those are never followed inside a repository", .0.display())]
pub(super) struct Symlink(PathBuf);

/// The error of a path that leads through a link.
pub(super) fn symlink(at: &FsPath) -> io::Error {
    io::Error::other(Symlink(at.to_owned()))
}

fn failed(source: io::Error, location: &Path) -> Error {
    match source.kind() {
        ErrorKind::NotFound => Error::NotFound { path: location.to_string(), source: source.into() },
        ErrorKind::AlreadyExists => Error::AlreadyExists { path: location.to_string(), source: source.into() },
        _ => Error::Generic { store: "LocalFileSystem", source: source.into() },
    }
}

/// The description of a regular file that is not just being written; `None` for anything else, and when it has vanished.
fn described(entry: &DirEntry, location: Path) -> Option<Result<ObjectMeta>> {
    if !entry.file_type().is_file() || is_staged(&entry.file_name().to_string_lossy()) {
        return None;
    }
    let meta = match entry.metadata().map_err(io::Error::from).and_then(|meta| Ok((meta.modified()?, meta.len()))) {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        other => other,
    };
    let described = meta.map(|(modified, size)| ObjectMeta {
        location: location.clone(),
        last_modified: modified.into(),
        size,
        e_tag: None,
        version: None,
    });
    Some(described.map_err(|error| failed(error, &location)))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|source| Error::JoinError { source })?
}

impl std::fmt::Display for LocalFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.library.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for LocalFiles {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let create_only = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => return self.library.put_opts(location, payload, options).await,
        };
        let (this, location) = (self.clone(), location.clone());
        blocking(move || {
            this.unlinked(&location)?;
            let written = this.facts.write(&this.at(&location), &payload, create_only);
            written.map_err(|error| failed(error, &location))
        })
        .await?;
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.unlinked(location)?;
        let at = self.at(location);
        self.facts.create_parents(&at).map_err(|error| failed(error, location))?;
        let parts = self.library.put_multipart_opts(location, options).await?;
        Ok(Box::new(Upload { parts, facts: self.facts(), at, location: location.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.unlinked(location)?;
        self.library.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.unlinked(location)?;
        self.library.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let unlinked = locations.map(move |location| {
            let location = location?;
            this.unlinked(&location).map(|()| location)
        });
        self.library.delete_stream(unlinked.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, prefix) = (self.clone(), prefix.cloned());
        let walked = blocking(move || {
            let found = this.walk(prefix.as_ref(), usize::MAX)?;
            Ok(found.into_iter().filter_map(|(entry, path)| described(&entry, path)).collect::<Vec<_>>())
        });
        stream::once(walked).flat_map(|walked| stream::iter(walked.unwrap_or_else(|error| vec![Err(error)]))).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let (this, prefix) = (self.clone(), prefix.cloned());
        blocking(move || {
            let (folders, files): (Vec<_>, Vec<_>) =
                this.walk(prefix.as_ref(), 1)?.into_iter().partition(|(entry, _)| entry.file_type().is_dir());
            let files = files.into_iter().filter_map(|(entry, path)| described(&entry, path));
            Ok(ListResult {
                objects: files.collect::<Result<_>>()?,
                common_prefixes: folders.into_iter().map(|(_, path)| path).collect(),
                extensions: Default::default(),
            })
        })
        .await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.unlinked(from)?;
        self.unlinked(to)?;
        self.library.copy_opts(from, to, options).await
    }
}

/// A large file of the library's, made durable when it is complete. Its name is unique and nothing counts on it before.
#[derive(Debug)]
struct Upload {
    parts: Box<dyn MultipartUpload>,
    facts: Arc<Facts>,
    at: PathBuf,
    location: Path,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.parts.complete().await?;
        let (facts, at, location) = (Arc::clone(&self.facts), self.at.clone(), self.location.clone());
        blocking(move || {
            let synced = File::open(&at).and_then(|file| file.sync_all()).and_then(|()| facts.sync_parent(&at));
            synced.map_err(|error| failed(error, &location))
        })
        .await?;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.abort().await
    }
}

/// The store writes `name#1` and gives it its name when it is complete.
pub(super) fn is_staged(name: &str) -> bool {
    let number = name.rsplit_once('#').map_or("", |(_, number)| number);
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}
