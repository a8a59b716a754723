//! The guests, loaded on both sides.

use casemate::{Access, Folder, Grants};
use tokio::sync::OnceCell;

use crate::Result;
use crate::bare::{self, Settings};

pub(crate) const TOOLBOX_FILES: &str = "casemate:toolbox/files@0.1.0";

/// The smallest guest: no memory, no imports, one instruction.
pub(crate) const ADD: &[u8] = br#"(component
    (core module $m (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))
    (core instance $i (instantiate $m))
    (func (export "add") (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $i "add"))))"#;

pub(crate) const CALLS: &str = "casemate:caller/calls@0.1.0";
pub(crate) const LEDGER: &str = "casemate:ledger/ledger@0.1.0";

/// Computes, spins and sleeps.
const WORKER: &str = include_str!("guest.wat");

/// Doubles a number so many times, each by a call of its import.
const DOUBLER: &str = include_str!("doubler.wat");

/// One component on both sides.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) ours: casemate::Component,
    pub(crate) bare: bare::Guest,
}

/// Both engines with the settings that Casemate chooses, and what was loaded on them so far.
pub(crate) struct Guests {
    ours: casemate::Engine,
    bare: bare::Engine,
    smallest: OnceCell<Pair>,
    toolbox: OnceCell<Pair>,
    worker: OnceCell<Pair>,
    caller: OnceCell<Pair>,
    ledger: OnceCell<Pair>,
    doubler: OnceCell<Pair>,
    fetcher: OnceCell<casemate::Component>,
    folder: tempfile::TempDir,
}

impl Guests {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            ours: casemate::Engine::new()?,
            bare: bare::Engine::new(Settings::CHOSEN)?,
            smallest: OnceCell::new(),
            toolbox: OnceCell::new(),
            worker: OnceCell::new(),
            caller: OnceCell::new(),
            ledger: OnceCell::new(),
            doubler: OnceCell::new(),
            fetcher: OnceCell::new(),
            folder: small_folder()?,
        })
    }

    pub(crate) fn engine(&self) -> &casemate::Engine {
        &self.ours
    }

    pub(crate) fn bare_engine(&self) -> &bare::Engine {
        &self.bare
    }

    pub(crate) async fn smallest(&self) -> Result<&Pair> {
        self.smallest.get_or_try_init(async || self.load(wat::parse_bytes(ADD)?.into_owned()).await).await
    }

    pub(crate) async fn toolbox(&self) -> Result<&Pair> {
        self.toolbox.get_or_try_init(|| self.load(casemate_guests::TOOLBOX)).await
    }

    pub(crate) async fn worker(&self) -> Result<&Pair> {
        self.worker.get_or_try_init(async || self.load(worker()?).await).await
    }

    pub(crate) async fn caller(&self) -> Result<&Pair> {
        self.caller.get_or_try_init(|| self.load(casemate_guests::CALLER)).await
    }

    pub(crate) async fn ledger(&self) -> Result<&Pair> {
        self.ledger.get_or_try_init(|| self.load(casemate_guests::LEDGER)).await
    }

    pub(crate) async fn doubler(&self) -> Result<&Pair> {
        self.doubler.get_or_try_init(async || self.load(wat::parse_str(DOUBLER)?).await).await
    }

    /// On our side only: what stands beside it is no guest.
    pub(crate) async fn fetcher(&self) -> Result<&casemate::Component> {
        self.fetcher.get_or_try_init(async || Ok(self.ours.load_bytes(casemate_guests::FETCHER).await?)).await
    }

    async fn load(&self, bytes: impl AsRef<[u8]> + Send + 'static) -> Result<Pair> {
        Ok(Pair { bare: self.bare.load(bytes.as_ref())?, ours: self.ours.load_bytes(bytes).await? })
    }

    /// Eight small files.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// The folder, to be read as `/data`.
    pub(crate) fn grants(&self) -> Result<Grants> {
        Ok(Grants::none().folder(Folder::new(self.folder(), "/data", Access::ReadOnly)?)?)
    }
}

/// The worker as a binary.
pub(crate) fn worker() -> Result<Vec<u8>> {
    Ok(wat::parse_str(WORKER)?)
}

fn small_folder() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    for number in 0..8 {
        std::fs::write(folder.path().join(format!("{number}.txt")), "a line of text\n".repeat(20))?;
    }
    Ok(folder)
}
