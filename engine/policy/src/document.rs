//! The form of grants on disk, and the one conversion from it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use crate::{Access, AddressClass, Folder, GrantError, Grants, HostGrant};

/// A grants document that could not be read, with the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
#[non_exhaustive]
pub struct DocumentError {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    folders: Vec<FolderEntry>,
    #[serde(default)]
    tools: Vec<ToolEntry>,
    #[serde(default)]
    models: Vec<ModelEntry>,
    #[serde(default)]
    hosts: Vec<HostEntry>,
    #[serde(default)]
    secrets: Vec<SecretEntry>,
    #[serde(default)]
    env: BTreeMap<Spanned<String>, String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    stdin: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FolderEntry {
    host: PathBuf,
    guest: Spanned<String>,
    #[serde(default)]
    access: Access,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolEntry {
    name: Spanned<String>,
    ask: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelEntry {
    name: Spanned<String>,
    ask: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostEntry {
    url: Spanned<String>,
    methods: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    addresses: Vec<AddressClass>,
    ask: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretEntry {
    name: Spanned<String>,
    ask: Option<String>,
}

impl HostEntry {
    fn grant(self, text: &str) -> Result<HostGrant, DocumentError> {
        let span = self.url.span();
        let mut grant: HostGrant = self.url.get_ref().parse().map_err(|error| misplaced(text, span, &error))?;
        if let Some(methods) = self.methods {
            let span = methods.span();
            grant = grant.methods(methods.into_inner()).map_err(|error| misplaced(text, span, &error))?;
        }
        let grant = self.addresses.into_iter().fold(grant, HostGrant::opening);
        Ok(self.ask.into_iter().fold(grant, HostGrant::after_asking))
    }
}

pub(crate) fn parse(text: &str) -> Result<Grants, DocumentError> {
    let document: Document =
        toml::from_str(text).map_err(|error| at(text, error.span(), error.message().to_owned()))?;
    let mut grants = Grants::none().stdin(document.stdin);
    for entry in document.folders {
        let span = entry.guest.span();
        grants = Folder::new(entry.host, entry.guest.get_ref(), entry.access)
            .and_then(|folder| grants.folder(folder))
            .map_err(|error| misplaced(text, span, &error))?;
    }
    for tool in document.tools {
        let (span, name) = (tool.name.span(), tool.name.into_inner());
        grants = match tool.ask {
            Some(question) => grants.tool_after_asking(name, question),
            None => grants.tool(name),
        }
        .map_err(|error| misplaced(text, span, &error))?;
    }
    for model in document.models {
        let (span, name) = (model.name.span(), model.name.into_inner());
        grants = match model.ask {
            Some(question) => grants.model_after_asking(name, question),
            None => grants.model(name),
        }
        .map_err(|error| misplaced(text, span, &error))?;
    }
    for host in document.hosts {
        grants = grants.host(host.grant(text)?);
    }
    for secret in document.secrets {
        let (span, name) = (secret.name.span(), secret.name.into_inner());
        grants = match secret.ask {
            Some(question) => grants.secret_after_asking(name, question),
            None => grants.secret(name),
        }
        .map_err(|error| misplaced(text, span, &error))?;
    }
    for (name, value) in document.env {
        grants = grants.env(name.get_ref(), &value).map_err(|error| misplaced(text, name.span(), &error))?;
    }
    Ok(document.args.into_iter().fold(grants, Grants::arg))
}

fn misplaced(text: &str, span: Range<usize>, error: &GrantError) -> DocumentError {
    at(text, Some(span), error.to_string())
}

fn at(text: &str, span: Option<Range<usize>>, message: String) -> DocumentError {
    let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    DocumentError {
        line: before.matches('\n').count() + 1,
        column: before.chars().count() - before.get(..line_start).unwrap_or_default().chars().count() + 1,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_document_becomes_grants() {
        let text = "args = ['-v']\nstdin = 'hi'\n[env]\nA = '1'\n[[folders]]\nhost = 'd'\nguest = '/d'\naccess = 'read-write'\n\
            [[tools]]\nname = 'lookup'\n[[tools]]\nname = 'refund'\nask = 'Refund?'\n\
            [[hosts]]\nurl = 'http://a.net/v1'\nmethods = ['PUT', 'GET']\naddresses = ['private']\nask = 'Send?'\n\
            [[models]]\nname = 'fast'\n[[models]]\nname = 'slow'\nask = 'Wait?'\n\
            [[secrets]]\nname = 'KEY'\n[[secrets]]\nname = 'OTHER'\nask = 'Use?'\n";
        let expected = Grants::none()
            .folder(Folder::new("d", "/d", Access::ReadWrite).expect("folder"))
            .and_then(|grants| grants.env("A", "1"))
            .and_then(|grants| grants.tool("lookup"))
            .and_then(|grants| grants.tool_after_asking("refund", "Refund?"))
            .and_then(|grants| grants.model("fast"))
            .and_then(|grants| grants.model_after_asking("slow", "Wait?"))
            .and_then(|grants| grants.secret("KEY"))
            .and_then(|grants| grants.secret_after_asking("OTHER", "Use?"))
            .expect("grants")
            .host("GET,PUT http://a.net/v1=private".parse::<HostGrant>().expect("a host").after_asking("Send?"))
            .arg("-v")
            .stdin("hi");
        assert_eq!(parse(text), Ok(expected));
    }

    #[track_caller]
    fn refused(text: &str, line: usize, column: usize, message: &str) {
        let error = parse(text).expect_err(text);
        assert_eq!((error.line, error.column, error.message.as_str()), (line, column, message));
    }

    #[test]
    fn an_error_carries_line_and_column() {
        refused(
            "\nfolder = []\n",
            2,
            1,
            "unknown field `folder`, expected one of `folders`, `tools`, `models`, `hosts`, `secrets`, `env`, `args`, `stdin`",
        );
        refused(
            "[[folders]]\nhost = 'a'\nguest = 'b'\n",
            3,
            9,
            "guest path `b` must be absolute, without `.`, `..` or empty parts",
        );
        refused(
            "[[folders]]\nhost='a'\nguest='/b'\n[[folders]]\nhost='c'\nguest='/b'\n",
            6,
            7,
            "guest path `/b` is granted twice",
        );
        refused("[[tools]]\nname='a'\n[[tools]]\nname='a'\n", 4, 6, "the tool `a` is granted twice");
        refused("[[models]]\nname=''\n", 2, 6, "the name of a model is empty");
        refused("[[models]]\nname='a'\n[[models]]\nname='a'\n", 4, 6, "the model `a` is granted twice");
        refused(
            "[[hosts]]\nurl = 'ftp://a.net'\n",
            2,
            7,
            "`ftp://a.net` cannot be granted as a host: `ftp` is not a scheme for requests: there is `http` and `https`",
        );
        refused(
            "[[hosts]]\nurl = 'a.net'\nmethods = ['get']\n",
            3,
            11,
            "`get` cannot be granted as a host: `get` is not a method that may be used",
        );
        refused(
            "[[secrets]]\nname = 'a-b'\n",
            2,
            8,
            "`a-b` cannot be the name of a secret: it takes up to 64 letters, digits and `_`, and no digit first",
        );
        refused("args = 3\n", 1, 8, "invalid type: integer `3`, expected a sequence");
        refused(
            "[env]\n'A=B' = ''\n",
            2,
            1,
            "`A=B` cannot be an environment variable: its name is empty or holds `=` or NUL, or its value holds NUL",
        );
    }
}
