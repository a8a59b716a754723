//! Secrets as `policy show` has them: where each may go, and never its value.

use std::collections::BTreeMap;

use casemate::{Grants, Secret, SecretGrant, Secrets};
use serde::Serialize;

use crate::render::{self, BAD, DIM, GOOD, WARN, styled};

#[derive(Serialize)]
pub(super) struct SecretView {
    #[serde(flatten)]
    standing: Standing,
    /// Where its value comes from; `null` where nothing says so.
    source: Option<String>,
    /// The requests that it is put into.
    bindings: Vec<Binding>,
}

/// Whether a guest may use it.
#[derive(Serialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
enum Standing {
    Granted,
    /// A person is asked each time.
    Asks {
        question: String,
    },
    /// Only tools that name it use it.
    ToolsOnly,
}

#[derive(Serialize)]
struct Binding {
    requests: String,
    place: String,
}

/// All that are granted or declared.
pub(super) fn views(grants: &Grants, secrets: &Secrets) -> BTreeMap<String, SecretView> {
    let declared = secrets.list();
    let names = grants.secrets().iter().map(SecretGrant::name).chain(declared.iter().map(Secret::name));
    let view = |name: &str| SecretView::of(name, grants, declared.iter().find(|secret| secret.name() == name));
    names.map(|name| (name.to_owned(), view(name))).collect()
}

impl SecretView {
    fn of(name: &str, grants: &Grants, declared: Option<&Secret>) -> Self {
        let standing = match grants.find_secret(name).map(|grant| grant.question()) {
            None => Standing::ToolsOnly,
            Some(None) => Standing::Granted,
            Some(Some(question)) => Standing::Asks { question: question.to_owned() },
        };
        let bindings = declared.iter().flat_map(|secret| secret.bindings());
        let bindings =
            bindings.map(|(requests, place)| Binding { requests: requests.to_string(), place: place.to_string() });
        Self { standing, source: declared.map(Secret::source), bindings: bindings.collect() }
    }

    pub(super) fn text(&self, name: &str) -> String {
        let Self { standing, source, bindings } = self;
        let standing = match standing {
            Standing::Granted => styled(GOOD, "granted"),
            Standing::Asks { question } => format!("{} {}", styled(WARN, "asks:"), render::plain(question)),
            Standing::ToolsOnly => "for tools that name it".to_owned(),
        };
        let source = match source {
            Some(source) => styled(DIM, format!("from {}", render::plain(source))),
            None => format!("{}, say it with `--secret {name}=SOURCE@HOST`", styled(BAD, "from nowhere")),
        };
        let bindings = bindings.iter().map(|Binding { requests, place }| format!("\n    in the {place} of {requests}"));
        format!("{name:<12}  {standing}  {source}{}", bindings.collect::<String>())
    }
}
