//! Values in files, one each.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use casemate_policy::is_secret_name;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::{LONGEST, SecretFuture, SecretNameError, SecretReadError, SecretSource, fault};

/// The content of a file, without a line break at its end.
#[derive(Clone, Debug)]
pub struct FileSecret {
    path: PathBuf,
}

impl FileSecret {
    /// By the path of the file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl SecretSource for FileSecret {
    fn read(&self) -> SecretFuture<'_> {
        let path = self.path.clone();
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || read(&path)).await;
            read.unwrap_or_else(|_| Err(SecretReadError::new("reading it was broken off")))
        })
    }

    fn place(&self) -> String {
        format!("the file `{}`", self.path.display())
    }
}

fn read(path: &Path) -> Result<Option<SecretString>, SecretReadError> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SecretReadError::new(error.to_string())),
    };
    // Of its final size from the start, since a vector that grows leaves copies behind; a line break may follow.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 3));
    file.take(LONGEST as u64 + 3).read_to_end(&mut bytes).map_err(|error| SecretReadError::new(error.to_string()))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| SecretReadError::new("it is not UTF-8"))?;
    Ok(Some(SecretString::from(text.trim_end_matches(['\r', '\n']))))
}

/// A folder of values that is private to the user: one file for each, by the secret's name, with mode 0600.
#[derive(Clone, Debug)]
pub struct SecretFolder {
    path: PathBuf,
}

/// Why a value could not be kept or removed. It holds nothing of the value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretFolderError {
    /// Not a name for a secret.
    #[error(transparent)]
    Name(#[from] SecretNameError),
    /// A value that could not be used.
    #[error("the value of the secret `{name}` is refused: {why}")]
    Value {
        /// The name of the secret.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The folder or a file in it.
    #[error("`{}` cannot be used", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl SecretFolder {
    /// By its path; it is made when the first value is kept.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The value of that name, as a source. It need not be there yet.
    pub fn secret(&self, name: &str) -> Result<FileSecret, SecretNameError> {
        checked(name).map(|name| FileSecret::new(self.path.join(name)))
    }

    /// Keeps a value, in the place of the one there is. Either the old or the new one is there at any moment.
    pub fn set(&self, name: &str, value: &SecretString) -> Result<(), SecretFolderError> {
        let name = checked(name)?;
        if let Some(why) = fault(value.expose_secret()) {
            return Err(SecretFolderError::Value { name: name.to_owned(), why });
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| SecretFolderError::Io { path, source }
        };
        self.make().map_err(failed(&self.path))?;
        // A name with a dot is no secret's, so it is in nobody's way.
        let new = self.path.join(format!("{name}.new-{}", uuid::Uuid::now_v7()));
        let written =
            write_private(&new, value.expose_secret().as_bytes()).and_then(|()| fs::rename(&new, self.path.join(name)));
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written.map_err(failed(&new))
    }

    /// Removes a value. Says whether it was there.
    pub fn remove(&self, name: &str) -> Result<bool, SecretFolderError> {
        let path = self.path.join(checked(name)?);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(SecretFolderError::Io { path, source }),
        }
    }

    /// The names that have a value, sorted.
    pub fn names(&self) -> Result<Vec<String>, SecretFolderError> {
        let failed = |source| SecretFolderError::Io { path: self.path.clone(), source };
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let names: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.file_name())).collect();
        let names = names.map_err(failed)?.into_iter().filter_map(|name| name.into_string().ok());
        let mut names: Vec<_> = names.filter(|name| is_secret_name(name)).collect();
        names.sort_unstable();
        Ok(names)
    }

    #[cfg(unix)]
    fn make(&self) -> io::Result<()> {
        use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o700))
    }

    #[cfg(not(unix))]
    fn make(&self) -> io::Result<()> {
        fs::create_dir_all(&self.path)
    }
}

fn checked(name: &str) -> Result<&str, SecretNameError> {
    if is_secret_name(name) { Ok(name) } else { Err(SecretNameError { name: name.to_owned() }) }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
