//! The file: whose it is, of which version, and how connections to it are set.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::super::Cause;

/// The steps from an empty file to the version of today; a file's version is how many it has taken.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql"), "ALTER TABLE runs DROP COLUMN next"];

/// Tells files of ours from those of others: `Csmt`.
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"Csmt");

/// How long a connection waits for another process that writes.
const BUSY: Duration = Duration::from_secs(5);

/// More than there are statements.
const STATEMENTS: usize = 128;

/// Why a file cannot be opened as storage.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder or the file cannot be made.
    #[error("could not create `{}`", path.display())]
    Create {
        /// The folder or file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is a SQLite file, but of another application.
    #[error("`{}` belongs to another application: name a file that does not exist yet", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer release of Casemate made it, or migrated it.
    #[error(
        "`{}` has version {found}, and this release knows versions up to {known}: use the release that wrote it, or a \
         newer one", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that can be read.
        known: u32,
    },
    /// What is written there is not surely kept: SQLite did not take a setting that this needs.
    #[error("`{}` cannot be written durably: SQLite has `{setting}` at `{found}`, not `{needed}`", path.display())]
    NotDurable {
        /// The file.
        path: PathBuf,
        /// Which setting.
        setting: &'static str,
        /// What it is.
        found: String,
        /// What it has to be.
        needed: &'static str,
    },
    /// It cannot be read: it is damaged, no SQLite file, or somebody else locks it.
    #[error("`{}` cannot be opened as storage; if it is damaged, restore it from a backup", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: Cause,
    },
    /// The system gave no thread.
    #[error("could not start a thread for the storage")]
    Thread(#[source] io::Error),
}

/// Tries again for as long as others are waited for: where several make a new file at once, SQLite says so at once.
fn patiently(attempt: impl Fn() -> Result<(), OpenError>) -> Result<(), OpenError> {
    const PAUSE: Duration = Duration::from_millis(10);
    let began = Instant::now();
    loop {
        match attempt() {
            Err(OpenError::Unusable { source, .. }) if is_busy(&*source) && began.elapsed() < BUSY => {
                std::thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
}

/// Whether somebody else is at it.
fn is_busy(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code)
        == Some(ErrorCode::DatabaseBusy)
}

/// A file that is there.
pub(super) struct File {
    path: PathBuf,
}

impl File {
    /// Makes it where it does not exist, private to the user.
    pub(super) fn create(path: &Path) -> Result<Self, OpenError> {
        create_private(path)?;
        Ok(Self { path: path.to_owned() })
    }

    /// A connection that reads and writes, and to a file of the version of today: an older one is migrated.
    pub(super) fn open(&self) -> Result<Connection, OpenError> {
        let mut connection = self.connect().map_err(|error| self.unusable(error))?;
        self.check_owner(&connection)?;
        self.make_durable(&connection)?;
        self.migrate(&mut connection)?;
        Ok(connection)
    }

    /// A connection that only reads.
    pub(super) fn open_reader(&self) -> Result<Connection, OpenError> {
        let connection = self.connect().and_then(|connection| {
            connection.pragma_update(None, "query_only", true)?;
            Ok(connection)
        });
        connection.map_err(|error| self.unusable(error))
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(connection)
    }

    /// Refuses a file that somebody else made, before anything in it changes.
    fn check_owner(&self, connection: &Connection) -> Result<(), OpenError> {
        let tables = "SELECT count(*) FROM sqlite_schema";
        // Both as of one moment: another process may be making the file.
        let owner = connection.unchecked_transaction().and_then(|moment| {
            let owner = moment.pragma_query_value(None, "application_id", |row| row.get::<_, i32>(0))?;
            Ok((owner, moment.query_row(tables, [], |row| row.get::<_, i64>(0))?))
        });
        match owner.map_err(|error| self.unusable(error))? {
            (APPLICATION_ID, _) | (0, 0) => Ok(()),
            _ => Err(OpenError::Foreign { path: self.path.clone() }),
        }
    }

    fn make_durable(&self, connection: &Connection) -> Result<(), OpenError> {
        patiently(|| self.set(connection, "journal_mode", "wal", "wal"))?;
        self.set(connection, "synchronous", "FULL", "2")?;
        self.set(connection, "foreign_keys", "ON", "1")?;
        // Only macOS asks for this: elsewhere syncing a file is enough.
        self.set(connection, "fullfsync", "ON", "1")?;
        self.set(connection, "checkpoint_fullfsync", "ON", "1")
    }

    /// Sets and reads again: SQLite says nothing of what it does not take.
    fn set(
        &self,
        connection: &Connection,
        setting: &'static str,
        value: &'static str,
        needed: &'static str,
    ) -> Result<(), OpenError> {
        let read = connection
            .execute_batch(&format!("PRAGMA {setting} = {value}"))
            .and_then(|()| connection.pragma_query_value(None, setting, |row| row.get(0)));
        let found = match read.map_err(|error| self.unusable(error))? {
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other => format!("{other:?}"),
        };
        if found == needed {
            Ok(())
        } else {
            Err(OpenError::NotDurable { path: self.path.clone(), setting, found, needed })
        }
    }

    fn migrate(&self, connection: &mut Connection) -> Result<(), OpenError> {
        if self.steps_left(connection)?.is_empty() {
            return Ok(());
        }
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| self.unusable(error))?;
        // Another process may have been faster.
        let steps = self.steps_left(&transaction)?;
        let migrate = || {
            for step in steps {
                transaction.execute_batch(step)?;
            }
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", known())?;
            transaction.commit()
        };
        migrate().map_err(|error| self.unusable(error))
    }

    fn steps_left(&self, connection: &Connection) -> Result<&'static [&'static str], OpenError> {
        let found = connection.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0));
        let found = found.map_err(|error| self.unusable(error))?;
        let taken = usize::try_from(found).unwrap_or(usize::MAX);
        MIGRATIONS.get(taken..).ok_or(OpenError::Newer { path: self.path.clone(), found, known: known() })
    }

    fn unusable(&self, error: rusqlite::Error) -> OpenError {
        OpenError::Unusable { path: self.path.clone(), source: Box::new(error) }
    }
}

fn known() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

/// Makes the file and its folders, where they are not there, so that nobody else can read them. What SQLite puts beside
/// the file is as private as it.
fn create_private(path: &Path) -> Result<(), OpenError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder).map_err(|source| OpenError::Create { path: folder.to_owned(), source })?;
    }
    let mut options = OpenOptions::new();
    // A file that is there is not touched: closing it would end the locks that this process has on it for SQLite.
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(OpenError::Create { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
