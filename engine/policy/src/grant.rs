use std::path::Path;

use crate::{DocumentError, Folder, document};

/// What one sandbox can reach at all. Nothing, until it is granted.
///
/// Cheap to clone is not promised; share it behind an `Arc` where it is large.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    folders: Vec<Folder>,
    env: Vec<(String, String)>,
    args: Vec<String>,
    stdin: Vec<u8>,
}

impl Grants {
    /// The empty table: no folder, no variable, no argument, an empty standard input.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads the TOML form:
    ///
    /// ```toml
    /// args = ["--verbose"]
    /// stdin = "text for the guest"
    ///
    /// [env]
    /// LANG = "C"
    ///
    /// [[folders]]
    /// host = "./data"
    /// guest = "/data"
    /// access = "read-write"   # without it: "read-only"
    /// ```
    ///
    /// Unknown keys, wrong types and impossible paths are errors that carry line and column.
    pub fn from_toml(text: &str) -> Result<Self, DocumentError> {
        document::parse(text)
    }

    /// Adds a folder. Fails when another folder has the same guest path.
    pub fn folder(mut self, folder: Folder) -> Result<Self, GrantError> {
        if self.folders.iter().any(|other| other.guest() == folder.guest()) {
            return Err(GrantError::DuplicateFolder { guest: folder.guest().to_owned() });
        }
        self.folders.push(folder);
        Ok(self)
    }

    /// Sets an environment variable; the last value given for a name counts.
    ///
    /// Fails when the name is empty or holds `=` or NUL, or when the value holds NUL.
    pub fn env(mut self, name: &str, value: &str) -> Result<Self, GrantError> {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(GrantError::Variable { name: name.to_owned() });
        }
        match self.env.iter_mut().find(|(known, _)| known == name) {
            Some(variable) => value.clone_into(&mut variable.1),
            None => self.env.push((name.to_owned(), value.to_owned())),
        }
        Ok(self)
    }

    /// Appends a command-line argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.args.push(argument.into());
        self
    }

    /// Sets all that the guest will read from standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Takes relative host paths as relative to `base`, as for a document that names paths beside itself.
    #[must_use]
    pub fn relative_to(mut self, base: &Path) -> Self {
        for folder in &mut self.folders {
            folder.rebase(base);
        }
        self
    }

    /// The granted folders, in the order they were added.
    pub fn folders(&self) -> &[Folder] {
        &self.folders
    }

    /// The environment as name and value.
    pub fn variables(&self) -> &[(String, String)] {
        &self.env
    }

    /// The command-line arguments.
    pub fn arguments(&self) -> &[String] {
        &self.args
    }

    /// The bytes of standard input.
    pub fn input(&self) -> &[u8] {
        &self.stdin
    }
}

/// Why a grant could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// Not `HOST::GUEST[:ro|:rw]`.
    #[error("`{text}` is not of the form HOST::GUEST[:ro|:rw]")]
    FolderForm {
        /// What was given.
        text: String,
    },
    /// Neither `ro` nor `rw`.
    #[error("`{mode}` is not an access mode: use `ro` or `rw`")]
    Mode {
        /// What was given.
        mode: String,
    },
    /// The host side of a folder is missing.
    #[error("the host path of a folder is empty")]
    EmptyHostPath,
    /// The guest side of a folder is not a clean absolute path.
    #[error("guest path `{path}` must be absolute, without `.`, `..` or empty parts")]
    GuestPath {
        /// What was given.
        path: String,
    },
    /// Two folders under one guest path.
    #[error("guest path `{guest}` is granted twice")]
    DuplicateFolder {
        /// The guest path.
        guest: String,
    },
    /// A variable that no environment can hold.
    #[error(
        "`{name}` cannot be an environment variable: its name is empty or holds `=` or NUL, or its value holds NUL"
    )]
    Variable {
        /// The variable's name.
        name: String,
    },
}
