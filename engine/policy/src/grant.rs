use std::path::Path;

use crate::{Access, DocumentError, Folder, HostGrant, RequestLine, document};

/// What one sandbox can reach at all. Nothing, until it is granted.
///
/// Cheap to clone is not promised; share it behind an `Arc` where it is large.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    folders: Vec<Folder>,
    tools: Vec<ToolGrant>,
    models: Vec<ModelGrant>,
    hosts: Vec<HostGrant>,
    secrets: Vec<SecretGrant>,
    env: Vec<(String, String)>,
    args: Vec<String>,
    stdin: Vec<u8>,
}

impl Grants {
    /// The empty table: no folder, no tool, no model, no host, no secret, no variable, no argument, an empty standard input.
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
    ///
    /// [[tools]]
    /// name = "lookup"
    ///
    /// [[tools]]
    /// name = "refund"
    /// ask = "Refund this order?"   # without it nobody is asked
    ///
    /// [[models]]
    /// name = "fast"
    /// ask = "Ask the model?"
    ///
    /// [[hosts]]
    /// url = "https://*.example.com/v1"   # as `HostGrant` is written
    /// methods = ["GET"]                  # without it: all
    /// addresses = ["private"]            # beside public ones
    ///
    /// [[secrets]]
    /// name = "EXAMPLE_KEY"
    /// ask = "Use the key?"
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

    /// Lets the tool with that own name be called. Fails when it is granted already, or when the name is empty.
    pub fn tool(self, name: impl Into<String>) -> Result<Self, GrantError> {
        self.add_tool(ToolGrant { name: name.into(), question: None })
    }

    /// Lets the tool with that own name be called each time that a person says yes to `question`. Fails as
    /// [`tool`](Self::tool) does.
    pub fn tool_after_asking(self, name: impl Into<String>, question: impl Into<String>) -> Result<Self, GrantError> {
        self.add_tool(ToolGrant { name: name.into(), question: Some(question.into()) })
    }

    fn add_tool(mut self, tool: ToolGrant) -> Result<Self, GrantError> {
        if tool.name.is_empty() {
            return Err(GrantError::EmptyToolName);
        }
        if self.find_tool(&tool.name).is_some() {
            return Err(GrantError::DuplicateTool { name: tool.name });
        }
        self.tools.push(tool);
        Ok(self)
    }

    /// Lets the model of that name be asked. Fails when it is granted already, or when the name is empty.
    pub fn model(self, name: impl Into<String>) -> Result<Self, GrantError> {
        self.add_model(ModelGrant { name: name.into(), question: None })
    }

    /// Lets the model of that name be asked each time that a person says yes to `question`. Fails as
    /// [`model`](Self::model) does.
    pub fn model_after_asking(self, name: impl Into<String>, question: impl Into<String>) -> Result<Self, GrantError> {
        self.add_model(ModelGrant { name: name.into(), question: Some(question.into()) })
    }

    fn add_model(mut self, model: ModelGrant) -> Result<Self, GrantError> {
        if model.name.is_empty() {
            return Err(GrantError::EmptyModelName);
        }
        if self.find_model(&model.name).is_some() {
            return Err(GrantError::DuplicateModel { name: model.name });
        }
        self.models.push(model);
        Ok(self)
    }

    /// Lets these HTTP requests leave.
    #[must_use]
    pub fn host(mut self, host: HostGrant) -> Self {
        self.hosts.push(host);
        self
    }

    /// Lets the secret of that name be put into requests. Fails when it is granted already, and for what is no name of
    /// a secret: see [`is_secret_name`].
    pub fn secret(self, name: impl Into<String>) -> Result<Self, GrantError> {
        self.add_secret(SecretGrant { name: name.into(), question: None })
    }

    /// Lets the secret of that name be put into a request each time that a person says yes to `question`. Fails as
    /// [`secret`](Self::secret) does.
    pub fn secret_after_asking(self, name: impl Into<String>, question: impl Into<String>) -> Result<Self, GrantError> {
        self.add_secret(SecretGrant { name: name.into(), question: Some(question.into()) })
    }

    fn add_secret(mut self, secret: SecretGrant) -> Result<Self, GrantError> {
        if !is_secret_name(&secret.name) {
            return Err(GrantError::SecretName { name: secret.name });
        }
        if self.find_secret(&secret.name).is_some() {
            return Err(GrantError::DuplicateSecret { name: secret.name });
        }
        self.secrets.push(secret);
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

    /// The granted tools, in the order they were added.
    pub fn tools(&self) -> &[ToolGrant] {
        &self.tools
    }

    /// The grant of the tool with that own name. Names are compared byte by byte.
    pub fn find_tool(&self, name: &str) -> Option<&ToolGrant> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    /// The granted models, in the order they were added.
    pub fn models(&self) -> &[ModelGrant] {
        &self.models
    }

    /// The grant of the model of that name. Names are compared byte by byte.
    pub fn find_model(&self, name: &str) -> Option<&ModelGrant> {
        self.models.iter().find(|model| model.name == name)
    }

    /// The HTTP requests that may leave, in the order they were added.
    pub fn hosts(&self) -> &[HostGrant] {
        &self.hosts
    }

    /// The grants that cover a request, wherever its host's name leads: those without a question first.
    pub fn hosts_covering<'a>(&'a self, request: &'a RequestLine) -> impl Iterator<Item = &'a HostGrant> {
        let covering = |asking: bool| {
            self.hosts.iter().filter(move |host| host.question().is_some() == asking && host.covers(request))
        };
        covering(false).chain(covering(true))
    }

    /// The granted secrets, in the order they were added.
    pub fn secrets(&self) -> &[SecretGrant] {
        &self.secrets
    }

    /// The grant of the secret of that name.
    pub fn find_secret(&self, name: &str) -> Option<&SecretGrant> {
        self.secrets.iter().find(|secret| secret.name == name)
    }

    /// The grants of a child that asks for `child`: those, where all of them are granted here too.
    ///
    /// Folders are compared by their host path as it is written, and access only shrinks; a tool or model that is asked
    /// about here is asked about there. Arguments and standard input are what a child is told, not what it reaches, and are
    /// its own.
    pub fn narrow(&self, child: Self) -> Result<Self, Widened> {
        self.check_covers(&child).map(|()| child)
    }

    /// Whether all that `child` asks for is granted here too, as [`narrow`](Self::narrow) has it.
    pub fn check_covers(&self, child: &Self) -> Result<(), Widened> {
        if let Some(folder) = child.folders.iter().find(|folder| self.access_to(folder.host()) < Some(folder.access()))
        {
            return Err(Widened::Folder { folder: folder.clone() });
        }
        if let Some((name, _)) = child.env.iter().find(|variable| !self.env.contains(variable)) {
            return Err(Widened::Variable { name: name.clone() });
        }
        if let Some(tool) = child.tools.iter().find(|tool| !self.covers_tool(tool)) {
            return Err(Widened::Tool { name: tool.name.clone() });
        }
        if let Some(model) = child.models.iter().find(|model| !self.covers_model(model)) {
            return Err(Widened::Model { name: model.name.clone() });
        }
        if let Some(host) = child.hosts.iter().find(|host| !self.hosts.iter().any(|own| own.covers_grant(host))) {
            return Err(Widened::Host { host: Box::new(host.clone()) });
        }
        if let Some(secret) = child.secrets.iter().find(|secret| !self.covers_secret(secret)) {
            return Err(Widened::Secret { name: secret.name.clone() });
        }
        Ok(())
    }

    /// What both reach: `other` without what is not granted here. Its arguments and standard input stay.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let folders = other.folders.iter().filter_map(|folder| {
            let access = self.access_to(folder.host())?.min(folder.access());
            Some(folder.clone().with_access(access))
        });
        let tools = other.tools.iter().filter_map(|tool| {
            let question = tool.question.clone().or_else(|| self.find_tool(&tool.name)?.question.clone());
            self.find_tool(&tool.name).map(|_| ToolGrant { name: tool.name.clone(), question })
        });
        let models = other.models.iter().filter_map(|model| {
            let own = self.find_model(&model.name)?;
            let question = model.question.clone().or_else(|| own.question.clone());
            Some(ModelGrant { name: model.name.clone(), question })
        });
        let secrets = other.secrets.iter().filter_map(|secret| {
            let own = self.find_secret(&secret.name)?;
            let question = secret.question.clone().or_else(|| own.question.clone());
            Some(SecretGrant { name: secret.name.clone(), question })
        });
        let hosts = other.hosts.iter().flat_map(|host| self.hosts_within(host));
        Self {
            folders: folders.collect(),
            tools: tools.collect(),
            models: models.collect(),
            hosts: hosts.collect(),
            secrets: secrets.collect(),
            env: other.env.iter().filter(|variable| self.env.contains(variable)).cloned().collect(),
            args: other.args.clone(),
            stdin: other.stdin.clone(),
        }
    }

    fn access_to(&self, host: &Path) -> Option<Access> {
        self.folders.iter().filter(|folder| folder.host() == host).map(Folder::access).max()
    }

    fn covers_tool(&self, child: &ToolGrant) -> bool {
        self.find_tool(&child.name).is_some_and(|own| own.question.is_none() || child.question.is_some())
    }

    fn covers_model(&self, child: &ModelGrant) -> bool {
        self.find_model(&child.name).is_some_and(|own| own.question.is_none() || child.question.is_some())
    }

    fn covers_secret(&self, child: &SecretGrant) -> bool {
        self.find_secret(&child.name).is_some_and(|own| own.question.is_none() || child.question.is_some())
    }

    /// What of `child` is granted here.
    fn hosts_within(&self, child: &HostGrant) -> Vec<HostGrant> {
        if self.hosts.iter().any(|own| own.covers_grant(child)) {
            return vec![child.clone()];
        }
        self.hosts.iter().filter_map(|own| own.meet(child)).collect()
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

/// A tool that may be called, under its own name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ToolGrant {
    name: String,
    question: Option<String>,
}

impl ToolGrant {
    /// The tool's own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a person is asked before each call; `None` where nobody is.
    pub fn question(&self) -> Option<&str> {
        self.question.as_deref()
    }
}

/// A model that may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelGrant {
    name: String,
    question: Option<String>,
}

impl ModelGrant {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a person is asked before each chat; `None` where nobody is.
    pub fn question(&self) -> Option<&str> {
        self.question.as_deref()
    }
}

/// A secret that may be put into requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretGrant {
    name: String,
    question: Option<String>,
}

impl SecretGrant {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a person is asked before each use; `None` where nobody is.
    pub fn question(&self) -> Option<&str> {
        self.question.as_deref()
    }
}

/// Whether a secret can have that name: up to 64 letters, digits and `_`, of ASCII, and no digit first.
///
/// It can then be the name of a variable too, and stand in a URL or a header as it is.
pub fn is_secret_name(name: &str) -> bool {
    const LONGEST: usize = 64;
    name.len() <= LONGEST
        && name.bytes().next().is_some_and(|first| first == b'_' || first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

/// A child's grant that its parent does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Widened {
    /// A folder of the host that the parent was not granted, or not with that access.
    #[error("the folder `{folder}` is more than what is granted around it: grant it there, or leave it out")]
    Folder {
        /// The folder as it was asked for.
        folder: Folder,
    },
    /// A variable that the parent does not have with that value.
    #[error("the variable `{name}` is not granted around it with that value: grant it there, or leave it out")]
    Variable {
        /// Its name.
        name: String,
    },
    /// Requests that the parent may not send, or not without asking.
    #[error("`{host}` is more than the hosts that are granted around it: grant it there, or leave it out")]
    Host {
        /// The hosts as they were asked for.
        host: Box<HostGrant>,
    },
    /// A secret that the parent may not use, or not without asking.
    #[error("the secret `{name}` is not granted around it, or only after asking: grant it there, or leave it out")]
    Secret {
        /// Its name.
        name: String,
    },
    /// A tool that the parent may not call, or not without asking.
    #[error("the tool `{name}` is not granted around it, or only after asking: grant it there, or leave it out")]
    Tool {
        /// Its own name.
        name: String,
    },
    /// A model that the parent may not ask, or not without asking a person.
    #[error("the model `{name}` is not granted around it, or only after asking: grant it there, or leave it out")]
    Model {
        /// Its name.
        name: String,
    },
}

/// Why a grant could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// A tool without a name.
    #[error("the name of a tool is empty")]
    EmptyToolName,
    /// One tool twice.
    #[error("the tool `{name}` is granted twice")]
    DuplicateTool {
        /// Its own name.
        name: String,
    },
    /// A model without a name.
    #[error("the name of a model is empty")]
    EmptyModelName,
    /// One model twice.
    #[error("the model `{name}` is granted twice")]
    DuplicateModel {
        /// Its name.
        name: String,
    },
    /// Not `[METHOD,… ][SCHEME://]HOST[:PORT][/PATH][=CLASS,…]`.
    #[error("`{text}` cannot be granted as a host: {why}")]
    HostForm {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// Not a name for a secret.
    #[error("`{name}` cannot be the name of a secret: it takes up to 64 letters, digits and `_`, and no digit first")]
    SecretName {
        /// What was given.
        name: String,
    },
    /// One secret twice.
    #[error("the secret `{name}` is granted twice")]
    DuplicateSecret {
        /// Its name.
        name: String,
    },
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOSTS: [&str; 3] = ["data", "src", "data/inner"];
    const TOOLS: [&str; 3] = ["lookup", "refund", "Refund"];
    const SITES: [&str; 9] = [
        "*",
        "*.a.net",
        "b.a.net",
        "*.b.a.net",
        "b.a.net/v1",
        "GET,PUT b.a.net",
        "GET,POST *.a.net/v1",
        "b.a.net=private,loopback",
        "*=loopback",
    ];

    prop_compose! {
        fn grants()(
            folders in prop::collection::vec((0..HOSTS.len(), any::<bool>()), 0..3),
            tools in prop::collection::btree_map(0..TOOLS.len(), any::<bool>(), 0..4),
            sites in prop::collection::vec((0..SITES.len(), any::<bool>()), 0..3),
            secrets in prop::collection::btree_map(0..2_u8, any::<bool>(), 0..3),
            models in prop::collection::btree_map(0..2_u8, any::<bool>(), 0..3),
            env in prop::collection::btree_map(0..2_u8, 0..2_u8, 0..3),
        ) -> Grants {
            let mut all = Grants::none();
            for (place, (host, writes)) in folders.into_iter().enumerate() {
                let access = if writes { Access::ReadWrite } else { Access::ReadOnly };
                let folder = Folder::new(HOSTS[host], &format!("/{place}"), access).unwrap();
                all = all.folder(folder).unwrap();
            }
            for (tool, asks) in tools {
                all = if asks { all.tool_after_asking(TOOLS[tool], "?") } else { all.tool(TOOLS[tool]) }.unwrap();
            }
            for (site, asks) in sites {
                let site: HostGrant = SITES[site].parse().unwrap();
                all = all.host(if asks { site.after_asking("?") } else { site });
            }
            for (name, asks) in secrets {
                let name = format!("S{name}");
                all = if asks { all.secret_after_asking(name, "?") } else { all.secret(name) }.unwrap();
            }
            for (name, asks) in models {
                let name = format!("m{name}");
                all = if asks { all.model_after_asking(name, "?") } else { all.model(name) }.unwrap();
            }
            for (name, value) in env {
                all = all.env(&format!("V{name}"), &value.to_string()).unwrap();
            }
            all
        }
    }

    proptest! {
        #[test]
        fn an_intersection_widens_neither_side(one in grants(), other in grants()) {
            let both = one.intersection(&other);
            prop_assert_eq!(one.narrow(both.clone()), Ok(both.clone()));
            prop_assert_eq!(other.narrow(both.clone()), Ok(both));
        }

        #[test]
        fn what_narrows_is_its_own_intersection(parent in grants(), child in grants()) {
            let narrows = parent.narrow(child.clone()).is_ok();
            prop_assert_eq!(narrows, parent.intersection(&child) == child);
        }

        #[test]
        fn a_grandchild_reaches_no_more_than_its_grandparent(a in grants(), b in grants(), c in grants()) {
            let grandchild = a.intersection(&b).intersection(&c);
            prop_assert!(a.narrow(grandchild).is_ok());
        }
    }

    #[test]
    fn a_child_that_widens_is_told_what() {
        let parent = Grants::none().tool_after_asking("refund", "Refund?").unwrap();
        let child = |name: &str| Grants::none().tool(name).unwrap();
        for name in ["refund", "Refund", "r\u{435}fund", "refund "] {
            assert_eq!(parent.narrow(child(name)), Err(Widened::Tool { name: name.to_owned() }));
        }
        let asking = Grants::none().model_after_asking("fast", "Ask it?").unwrap();
        for name in ["fast", "slow"] {
            let child = Grants::none().model(name).unwrap();
            assert_eq!(asking.narrow(child), Err(Widened::Model { name: name.to_owned() }));
        }
        let folder = |access| Grants::none().folder(Folder::new("d", "/d", access).unwrap()).unwrap();
        let widened = folder(Access::ReadOnly).narrow(folder(Access::ReadWrite)).unwrap_err();
        assert_eq!(
            widened.to_string(),
            "the folder `d::/d:rw` is more than what is granted around it: grant it there, or leave it out"
        );
    }
}
