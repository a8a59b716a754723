//! Compiled components on disk, so that each is compiled once.
//!
//! What lies here is native code, so it is trusted only where nobody else can write: owner and mode are checked on the
//! open file. Entries are named by the component's content and everything that changes the code. They are written
//! beside and renamed, so that two processes can race; replaced by rename, removed by unlink, and never truncated,
//! since another process may have them mapped. A damaged entry is compiled again.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::artifact::{self, ArtifactError, Seal};
use crate::component::ContentHash;
use crate::engine::DENSE_IMAGE_SIZE;

const EXTENSION: &str = "cwasm";

/// The cache of one engine.
pub(crate) struct Cache {
    folder: CacheFolder,
    /// Which file each verified entry was, so that one put in its place is verified again.
    verified: Mutex<HashMap<PathBuf, FileIdentity>>,
}

/// A checked entry, ready to be mapped.
pub(crate) struct Hit {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) seal: Seal,
}

impl Cache {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder: CacheFolder::new(folder), verified: Mutex::default() }
    }

    /// The entry for a component under these settings. What is wrong with an entry is said through `tracing`.
    pub(crate) fn find(&self, hash: &ContentHash, settings: &wasmtime::Engine) -> Option<Hit> {
        let path = self.folder.entry(hash, settings);
        match self.open(&path) {
            Ok(hit) => Some(hit),
            Err(CacheError::Artifact { source: ArtifactError::Read(error), .. })
                if error.kind() == std::io::ErrorKind::NotFound =>
            {
                None
            }
            Err(error) => {
                tracing::warn!(%error, "cache entry not used");
                None
            }
        }
    }

    /// Keeps an artifact. A cache that cannot be written is said through `tracing` and costs nothing but time.
    pub(crate) fn keep(&self, hash: &ContentHash, settings: &wasmtime::Engine, artifact: &[u8]) {
        let path = self.folder.entry(hash, settings);
        if let Err(error) = self.folder.write(&path, artifact) {
            tracing::warn!(%error, path = %path.display(), "compiled component not cached");
        }
    }

    fn open(&self, path: &Path) -> Result<Hit, CacheError> {
        let (mut file, len) = open_private(path)?;
        let fault = |source| CacheError::Artifact { path: path.to_owned(), source };
        let seal = artifact::read_seal(&mut file, len).map_err(fault)?;
        let identity = FileIdentity::of(&file).map_err(|error| fault(error.into()))?;
        let known = self.verified().get(path) == Some(&identity);
        if !known {
            artifact::verify(&mut file, &seal, len).map_err(fault)?;
            self.verified().insert(path.to_owned(), identity);
        }
        Ok(Hit { file, path: path.to_owned(), seal })
    }

    fn verified(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, FileIdentity>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A folder with compiled components, for looking after it.
#[derive(Clone, Debug)]
pub struct CacheFolder {
    path: PathBuf,
}

/// One compiled component on disk.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CacheEntry {
    /// The file.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// When it was written, where the system tells.
    pub written: Option<SystemTime>,
}

/// What checking an entry found.
#[derive(Debug)]
#[non_exhaustive]
pub enum EntryHealth {
    /// Header, length and checksum are right.
    Sound,
    /// It would be compiled again.
    Damaged(CacheError),
}

/// Why a cache folder or an entry of it cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The folder cannot be made, listed or written.
    #[error("cache folder `{}`: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Somebody else owns it or may write to it, and could put code there.
    #[error("`{}` is not private: it must belong to you and be writable by nobody else (`chmod go-w`)", path.display())]
    NotPrivate {
        /// The file or folder.
        path: PathBuf,
    },
    /// The file is not what was written.
    #[error("cache entry `{}` {source}", path.display())]
    Artifact {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ArtifactError,
    },
}

impl CacheFolder {
    /// The cache in `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All entries, by file name. A folder that does not exist has none.
    pub fn entries(&self) -> Result<Vec<CacheEntry>, CacheError> {
        let fault = |source| CacheError::Folder { path: self.path.clone(), source };
        let listing = match std::fs::read_dir(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            listing => listing.map_err(fault)?,
        };
        let mut entries = Vec::new();
        for item in listing {
            let path = item.map_err(fault)?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                let metadata = path.symlink_metadata().map_err(fault)?;
                entries.push(CacheEntry { size: metadata.len(), written: metadata.modified().ok(), path });
            }
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    /// Reads every entry as a whole and compares its checksum.
    pub fn verify(&self) -> Result<Vec<(CacheEntry, EntryHealth)>, CacheError> {
        let health = |entry: &CacheEntry| match verify_entry(&entry.path) {
            Ok(()) => EntryHealth::Sound,
            Err(error) => EntryHealth::Damaged(error),
        };
        Ok(self
            .entries()?
            .into_iter()
            .map(|entry| {
                let health = health(&entry);
                (entry, health)
            })
            .collect())
    }

    /// Removes every entry and tells which. Sandboxes that run one go on.
    pub fn clear(&self) -> Result<Vec<CacheEntry>, CacheError> {
        let entries = self.entries()?;
        for entry in &entries {
            std::fs::remove_file(&entry.path)
                .map_err(|source| CacheError::Folder { path: entry.path.clone(), source })?;
        }
        Ok(entries)
    }

    /// The name covers the content and all that changes the code: wasmtime's own key, and the one setting it leaves
    /// out.
    fn entry(&self, hash: &ContentHash, settings: &wasmtime::Engine) -> PathBuf {
        let mut key = KeyHasher(blake3::Hasher::new());
        settings.precompile_compatibility_hash().hash(&mut key);
        DENSE_IMAGE_SIZE.hash(&mut key);
        let settings = key.0.finalize().to_hex();
        self.path.join(format!("{hash}-{}.{EXTENSION}", &settings[..16]))
    }

    fn write(&self, path: &Path, artifact: &[u8]) -> Result<(), CacheError> {
        let fault = |source| CacheError::Folder { path: self.path.clone(), source };
        create_private(&self.path).map_err(fault)?;
        check_private(&self.path, &self.path.metadata().map_err(fault)?)?;
        // Temporary files are made with mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(&self.path).map_err(fault)?;
        file.write_all(artifact).and_then(|()| file.as_file().sync_data()).map_err(fault)?;
        file.persist(path).map_err(|error| fault(error.error))?;
        Ok(())
    }
}

fn verify_entry(path: &Path) -> Result<(), CacheError> {
    let (mut file, len) = open_private(path)?;
    artifact::read_seal(&mut file, len)
        .and_then(|seal| artifact::verify(&mut file, &seal, len))
        .map_err(|source| CacheError::Artifact { path: path.to_owned(), source })
}

/// Opens an entry, following no symlink, and checks the open file and its folder.
fn open_private(path: &Path) -> Result<(File, u64), CacheError> {
    let fault = |source: std::io::Error| CacheError::Artifact { path: path.to_owned(), source: source.into() };
    let file = open_no_follow(path).map_err(fault)?;
    let metadata = file.metadata().map_err(fault)?;
    check_private(path, &metadata)?;
    if let Some(folder) = path.parent() {
        check_private(folder, &folder.metadata().map_err(fault)?)?;
    }
    Ok((file, metadata.len()))
}

#[cfg(unix)]
fn open_no_follow(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = rustix::fs::OFlags::NOFOLLOW.bits();
    File::options().read(true).custom_flags(flags.cast_signed()).open(path)
}

#[cfg(not(unix))]
fn open_no_follow(path: &Path) -> std::io::Result<File> {
    File::open(path)
}

#[cfg(unix)]
fn check_private(path: &Path, metadata: &std::fs::Metadata) -> Result<(), CacheError> {
    use std::os::unix::fs::MetadataExt as _;
    const OTHERS_MAY_WRITE: u32 = 0o022;
    let private = metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & OTHERS_MAY_WRITE == 0;
    if private { Ok(()) } else { Err(CacheError::NotPrivate { path: path.to_owned() }) }
}

/// Elsewhere the user's own folder is private by the system's defaults.
#[cfg(not(unix))]
fn check_private(_path: &Path, _metadata: &std::fs::Metadata) -> Result<(), CacheError> {
    Ok(())
}

fn create_private(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// What tells one file from another that took its name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileIdentity {
    len: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl FileIdentity {
    fn of(file: &File) -> std::io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { len: metadata.len(), modified: metadata.modified().ok(), inode: inode(&metadata) })
    }
}

#[cfg(unix)]
fn inode(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_metadata: &std::fs::Metadata) -> u64 {
    0
}

struct KeyHasher(blake3::Hasher);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let hash = self.0.finalize();
        hash.as_bytes().first_chunk().map_or(0, |start| u64::from_le_bytes(*start))
    }
}
