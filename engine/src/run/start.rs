//! Starting a run: everything that its agent could notice later is read and kept here.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use casemate_policy::{Access, Folder};

use super::request::{Mount, Spec};
use super::summary::Detail;
use super::{Agent, Inner, Run, RunRequest, RunSummary, Runs};
use crate::component::ContentHash;
use crate::event::{Event, EventKind, Versions};
use crate::journal::{ContextFile, Entry, Trace, to_micros};
use crate::life::{RunId, RunStatus};
use crate::limits::millis;
use crate::storage::{NewRun, StorageError};
use crate::workspace::WORKSPACE;

/// Why a run cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No agent has that name.
    #[error("there is no agent `{name}`")]
    UnknownAgent {
        /// The name.
        name: String,
    },
    /// The agent's component exports no handler.
    #[error("the component of the agent `{name}` is no agent: it does not export `casemate:agent/handler`")]
    NoHandler {
        /// The agent.
        name: String,
    },
    /// A file that the agent is to be shown cannot be read.
    #[error("the file `{path}` cannot be read: {source}")]
    File {
        /// Its path in the workspace.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Files are to be shown, and there is no workspace that they could be in.
    #[error("the run has no workspace that `{path}` could be in")]
    NoWorkspace {
        /// The first of them.
        path: String,
    },
    /// The workspace cannot be made or opened.
    #[error("the workspace `{}` cannot be used: {source}", folder.display())]
    Workspace {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Runs {
    /// Starts a run of the agent of that name. It is kept when this answers, and goes on whatever becomes of whoever
    /// started it.
    pub async fn start(&self, agent: &str, request: RunRequest) -> Result<Run, StartError> {
        let key = request.idempotency_key.clone();
        let (id, spec) = self.inner.spec(agent, request).await?;
        let id = self.inner.create(id, &spec, key).await?;
        Ok(self.run(id))
    }
}

impl Inner {
    /// Has the storage keep a run that begins.
    pub(super) async fn create(&self, id: RunId, spec: &Spec, key: Option<String>) -> Result<RunId, StorageError> {
        let created = to_micros(self.clock.now());
        let first = first_entry(spec, created);
        let new = NewRun {
            id,
            agent: spec.agent.clone(),
            created,
            // It is data without keys that are no text.
            spec: serde_json::to_string(spec).unwrap_or_default().into(),
            state: Detail::default().state(RunStatus::Queued),
            entries: Entry::stored(&[first]),
            blobs: vec![spec.component],
            idempotency_key: key,
        };
        let id = self.storage.create(new).await?;
        self.adopt(id);
        Ok(id)
    }
}

pub(super) fn first_entry(spec: &Spec, at: SystemTime) -> Entry {
    let kind = EventKind::Created {
        agent: spec.agent.clone(),
        component: spec.component.to_string(),
        message: spec.message.clone(),
        versions: Versions::current(),
        forked_from: spec.forked_from,
    };
    Entry { event: Event { sequence: 1, kind, at }, trace: Trace::default() }
}

impl Inner {
    async fn spec(&self, name: &str, request: RunRequest) -> Result<(RunId, Spec), StartError> {
        let id = RunId::new();
        let now = to_micros(self.clock.now());
        let asked = RunSummary::unborn(id, name, now, &request.attachment);
        let agent = self.agents.find(asked).await;
        let agent = agent.ok_or_else(|| StartError::UnknownAgent { name: name.to_owned() })?;
        if agent.inner.component.handler().is_none() {
            return Err(StartError::NoHandler { name: name.to_owned() });
        }
        let workspace = self.workspace(id, request.workspace).await?;
        let files = read_files(workspace.as_deref(), request.files).await?;
        let mounts = request.mounts.iter().map(|folder| Mount {
            host: folder.host().to_owned(),
            guest: folder.guest().to_owned(),
            writable: folder.access() == Access::ReadWrite,
        });
        let (turns, tokens, cost) = agent.inner.budget.told();
        let spec = Spec {
            format: Spec::FORMAT,
            agent: name.to_owned(),
            component: agent.inner.component.hash(),
            message: request.message,
            seed: seed(),
            system_prompt: agent.inner.system_prompt.clone(),
            model: agent.inner.models.default_name().map(str::to_owned),
            files,
            history: request.history,
            turns: Some(turns),
            tokens: Some(tokens),
            cost: Some(cost),
            variables: agent.environment(self.engine.gate()),
            workspace,
            mounts: mounts.collect(),
            limits: agent.inner.limits,
            fan_out: agent.inner.budget.max_fan_out(),
            timeout_ms: request.timeout.map(millis),
            retries: request.retries,
            forked_from: None,
            attachment: request.attachment,
        };
        self.keep_blob(&agent.inner.bytes).await?;
        Ok((id, spec))
    }

    /// Has the storage keep these bytes, unless it was just told to.
    async fn keep_blob(&self, bytes: &Bytes) -> Result<ContentHash, StorageError> {
        const FOR: Duration = Duration::from_mins(10);
        let hash = ContentHash::of(bytes);
        let is_fresh = |kept: Instant| kept.elapsed() < FOR;
        if !self.kept_blobs().get(&hash).copied().is_some_and(is_fresh) {
            self.storage.put_blob(bytes.clone()).await?;
            let mut kept = self.kept_blobs();
            kept.retain(|_, kept| is_fresh(*kept));
            kept.insert(hash, Instant::now());
        }
        Ok(hash)
    }

    async fn workspace(&self, id: RunId, asked: Option<PathBuf>) -> Result<Option<PathBuf>, StartError> {
        let folder = match (asked, &self.workspaces) {
            (Some(folder), _) => folder,
            (None, Some(all)) => all.join(id.to_string()),
            (None, None) => return Ok(None),
        };
        let made = folder.clone();
        let absolute = off_executor(move || {
            std::fs::create_dir_all(&made)?;
            made.canonicalize()
        });
        absolute.await.map(Some).map_err(|source| StartError::Workspace { folder, source })
    }
}

async fn read_files(workspace: Option<&Path>, paths: Vec<String>) -> Result<Vec<ContextFile>, StartError> {
    let mut files = Vec::new();
    for path in paths {
        let Some(workspace) = workspace else { return Err(StartError::NoWorkspace { path }) };
        let (workspace, inside) = (workspace.to_owned(), within_workspace(&path).to_owned());
        let read = off_executor(move || {
            let folder = cap_std::fs::Dir::open_ambient_dir(workspace, cap_std::ambient_authority())?;
            let bytes = read_bounded(&folder, &inside, LARGEST_FILE)?;
            String::from_utf8(bytes).map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
        });
        let text = read.await.map_err(|source| StartError::File { path: path.clone(), source })?;
        files.push(ContextFile { path: format!("{WORKSPACE}/{}", within_workspace(&path)), text });
    }
    Ok(files)
}

/// Bytes of a file that an agent is shown.
const LARGEST_FILE: u64 = 1 << 20;

/// All of a file that is no larger than that.
pub(super) fn read_bounded(folder: &cap_std::fs::Dir, path: &str, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    folder.open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let reason = format!("it has more than {most} bytes");
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, reason));
    }
    Ok(bytes)
}

/// The path of a file within the workspace.
pub(super) fn within_workspace(path: &str) -> &str {
    let inside = path.strip_prefix(WORKSPACE).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    inside.unwrap_or(path).trim_start_matches('/')
}

pub(super) async fn off_executor<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|failed| Err(std::io::Error::other(failed)))
}

impl Agent {
    /// What a run's tools may use of folders, beside what the agent is granted.
    pub(super) fn folders(spec: &Spec) -> Result<Vec<Folder>, casemate_policy::GrantError> {
        let own = spec.workspace.iter().map(|host| Folder::new(host, WORKSPACE, Access::ReadWrite));
        let mounts = spec.mounts.iter().map(|mount| {
            let access = if mount.writable { Access::ReadWrite } else { Access::ReadOnly };
            Folder::new(&mount.host, &mount.guest, access)
        });
        own.chain(mounts).collect()
    }
}

/// What nobody can guess: ids hold 74 bits of the system's randomness each.
pub(super) fn seed() -> String {
    let [one, two, three, four] = std::array::from_fn(|_| uuid::Uuid::now_v7());
    format!("{one}{two}{three}{four}")
}
