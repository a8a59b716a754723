//! Compiled components on disk, so that each is compiled once, and what some said of their own tools.
//!
//! What lies here is native code, so it is trusted only where nobody else can write: owner and mode are checked on the
//! open folder and the open file, and everything below the folder is reached through its handle. Entries are named by the component's content and everything that changes the code. They are written
//! beside and renamed, so that two processes can race; replaced by rename, removed by unlink, and never truncated,
//! since another process may have them mapped. A damaged entry is compiled again.

mod text;

use std::collections::HashMap;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use cap_std::fs::{Dir, Metadata, OpenOptions};
use cap_tempfile::TempFile;

use crate::artifact::{self, ArtifactError, Seal};
use crate::component::ContentHash;
use crate::engine::DENSE_IMAGE_SIZE;

/// Of compiled components.
const EXTENSION: &str = "cwasm";
/// Of what components said of their own tools.
const TOOLS_EXTENSION: &str = "tools";

/// The cache of one engine.
pub(crate) struct Cache {
    folder: CacheFolder,
    /// The half of each entry's name that wasmtime's settings make; hashing them takes as long as mapping an entry.
    settings: OnceLock<String>,
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
        Self { folder: CacheFolder::new(folder), settings: OnceLock::new(), verified: Mutex::default() }
    }

    /// The entry for a component under these settings. What is wrong with an entry is said through `tracing`.
    pub(crate) fn find(&self, hash: &ContentHash, settings: &wasmtime::Engine) -> Option<Hit> {
        match self.open(&self.entry_name(hash, settings)) {
            Ok(hit) => Some(hit),
            Err(error) => {
                if !error.is_absence() {
                    tracing::warn!(%error, "cache entry not used");
                }
                None
            }
        }
    }

    /// Keeps an artifact. A cache that cannot be written is said through `tracing` and costs nothing but time.
    pub(crate) fn keep(&self, hash: &ContentHash, settings: &wasmtime::Engine, artifact: &[u8]) {
        if let Err(error) = self.folder.write(&self.entry_name(hash, settings), artifact) {
            tracing::warn!(%error, "compiled component not cached");
        }
    }

    /// What was kept of the component's tools, as JSON. What is wrong with it is said through `tracing`.
    pub(crate) fn find_tools(&self, hash: &ContentHash) -> Option<Vec<u8>> {
        match self.folder.read_text(&tools_name(hash)) {
            Ok(text) => Some(text),
            Err(error) => {
                if !error.is_absence() {
                    tracing::warn!(%error, "tools in the cache not used");
                }
                None
            }
        }
    }

    /// Keeps what a component said of its tools, as [`keep`](Self::keep) does.
    pub(crate) fn keep_tools(&self, hash: &ContentHash, tools: &[u8]) {
        if let Err(error) = self.folder.write(&tools_name(hash), &text::seal(tools)) {
            tracing::warn!(%error, "tools not cached");
        }
    }

    fn entry_name(&self, hash: &ContentHash, settings: &wasmtime::Engine) -> String {
        let settings = self.settings.get_or_init(|| settings_key(settings));
        format!("{hash}-{settings}.{EXTENSION}")
    }

    fn open(&self, name: &str) -> Result<Hit, CacheError> {
        let path = self.folder.path.join(name);
        let (mut file, len) = self.folder.open_private(name)?;
        let fault = |source| CacheError::Artifact { path: path.clone(), source };
        let seal = artifact::read_seal(&mut file, len).map_err(fault)?;
        let identity = FileIdentity::of(&file).map_err(|error| fault(error.into()))?;
        let known = self.verified().get(&path) == Some(&identity);
        if !known {
            artifact::verify(&mut file, &seal, len).map_err(fault)?;
            self.verified().insert(path.clone(), identity);
        }
        Ok(Hit { file, path, seal })
    }

    fn verified(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, FileIdentity>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tools_name(hash: &ContentHash) -> String {
    format!("{hash}.{TOOLS_EXTENSION}")
}

/// A folder with compiled components, for looking after it.
#[derive(Clone, Debug)]
pub struct CacheFolder {
    path: PathBuf,
}

/// One file in a cache: a compiled component, or what one said of its own tools (`.tools`).
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
    /// It would be made again.
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
        source: io::Error,
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

impl CacheError {
    /// Whether there just is no such entry.
    fn is_absence(&self) -> bool {
        match self {
            Self::Folder { source, .. } | Self::Artifact { source: ArtifactError::Read(source), .. } => {
                source.kind() == io::ErrorKind::NotFound
            }
            _ => false,
        }
    }
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
        let listing = match self.open().and_then(|folder| folder.entries()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listing => listing.map_err(|source| self.fault(source))?,
        };
        let mut entries = Vec::new();
        for item in listing {
            let item = item.map_err(|source| self.fault(source))?;
            let path = self.path.join(item.file_name());
            if path.extension().is_some_and(|extension| extension == EXTENSION || extension == TOOLS_EXTENSION) {
                let metadata = item.metadata().map_err(|source| self.fault(source))?;
                let written = metadata.modified().ok().map(cap_std::time::SystemTime::into_std);
                entries.push(CacheEntry { size: metadata.len(), written, path });
            }
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    /// Reads every entry as a whole and compares its checksum.
    pub fn verify(&self) -> Result<Vec<(CacheEntry, EntryHealth)>, CacheError> {
        let entries = self.entries()?;
        Ok(entries.into_iter().map(|entry| (entry.clone(), self.health(&entry))).collect())
    }

    /// Removes every entry and tells which. Sandboxes that run one go on.
    pub fn clear(&self) -> Result<Vec<CacheEntry>, CacheError> {
        let entries = self.entries()?;
        if !entries.is_empty() {
            let folder = self.open().map_err(|source| self.fault(source))?;
            for name in entries.iter().filter_map(|entry| entry.path.file_name()) {
                folder.remove_file(name).map_err(|source| self.fault(source))?;
            }
        }
        Ok(entries)
    }

    fn health(&self, entry: &CacheEntry) -> EntryHealth {
        let name = entry.path.file_name().unwrap_or_default().to_string_lossy();
        if entry.path.extension().is_some_and(|extension| extension == TOOLS_EXTENSION) {
            return self.read_text(&name).map_or_else(EntryHealth::Damaged, |_| EntryHealth::Sound);
        }
        let checked = self.open_private(&name).and_then(|(mut file, len)| {
            artifact::read_seal(&mut file, len)
                .and_then(|seal| artifact::verify(&mut file, &seal, len))
                .map_err(|source| CacheError::Artifact { path: entry.path.clone(), source })
        });
        match checked {
            Ok(()) => EntryHealth::Sound,
            Err(error) => EntryHealth::Damaged(error),
        }
    }

    fn read_text(&self, name: &str) -> Result<Vec<u8>, CacheError> {
        let (file, len) = self.open_private(name)?;
        text::open(file, len).map_err(|source| CacheError::Artifact { path: self.path.join(name), source })
    }

    fn write(&self, name: &str, artifact: &[u8]) -> Result<(), CacheError> {
        create_private(&self.path).map_err(|source| self.fault(source))?;
        let folder = self.open_own()?;
        let write = || {
            let mut file = TempFile::new(&folder)?;
            make_private(&file)?;
            file.write_all(artifact)?;
            file.as_file().sync_data()?;
            file.replace(name)
        };
        write().map_err(|source| self.fault(source))
    }

    /// Opens an entry, following no symlink, and checks the open file and its folder.
    fn open_private(&self, name: &str) -> Result<(File, u64), CacheError> {
        let folder = self.open_own()?;
        let path = self.path.join(name);
        let fault = |source: io::Error| CacheError::Artifact { path: path.clone(), source: source.into() };
        let file = folder.open_with(name, &read_no_follow()).map_err(fault)?;
        let metadata = file.metadata().map_err(fault)?;
        check_private(&path, &metadata)?;
        Ok((file.into_std(), metadata.len()))
    }

    /// The open folder, if nobody else can write to it.
    fn open_own(&self) -> Result<Dir, CacheError> {
        let folder = self.open().map_err(|source| self.fault(source))?;
        check_private(&self.path, &folder.dir_metadata().map_err(|source| self.fault(source))?)?;
        Ok(folder)
    }

    fn open(&self) -> io::Result<Dir> {
        Dir::open_ambient_dir(&self.path, cap_std::ambient_authority())
    }

    fn fault(&self, source: io::Error) -> CacheError {
        CacheError::Folder { path: self.path.clone(), source }
    }
}

/// All that changes the code but the component itself: wasmtime's own key, and the one setting it leaves out.
fn settings_key(settings: &wasmtime::Engine) -> String {
    let mut key = KeyHasher(blake3::Hasher::new());
    settings.precompile_compatibility_hash().hash(&mut key);
    DENSE_IMAGE_SIZE.hash(&mut key);
    key.0.finalize().to_hex().chars().take(16).collect()
}

fn read_no_follow() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    cap_std::fs::OpenOptionsExt::custom_flags(&mut options, rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    options
}

#[cfg(unix)]
fn check_private(path: &Path, metadata: &Metadata) -> Result<(), CacheError> {
    use cap_std::fs::MetadataExt as _;
    const OTHERS_MAY_WRITE: u32 = 0o022;
    let private = metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & OTHERS_MAY_WRITE == 0;
    if private { Ok(()) } else { Err(CacheError::NotPrivate { path: path.to_owned() }) }
}

/// Elsewhere the user's own folder is private by the system's defaults.
#[cfg(not(unix))]
fn check_private(_path: &Path, _metadata: &Metadata) -> Result<(), CacheError> {
    Ok(())
}

fn create_private(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(unix)]
fn make_private(file: &TempFile<'_>) -> io::Result<()> {
    use cap_std::fs::PermissionsExt as _;
    file.as_file().set_permissions(cap_std::fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn make_private(_file: &TempFile<'_>) -> io::Result<()> {
    Ok(())
}

/// What tells one file from another that took its name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileIdentity {
    len: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl FileIdentity {
    fn of(file: &File) -> io::Result<Self> {
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
