//! Tools, hosts and secrets that rules name and that cannot be.

use std::net::Ipv6Addr;

use cedar_policy::EntityTypeName;

use super::{Check, Findings};
use crate::cedar::problem::{PolicyFault, PolicyProblem};
use crate::cedar::rules::{LoadedRule, did_you_mean};
use crate::cedar::schema::uid;
use crate::request::split_port;
use crate::{GrantError, HostName, is_secret_name};

impl Check<'_> {
    pub(super) fn check_literals(&self, rule: &LoadedRule, findings: &mut Findings) {
        let types = self.types;
        self.check_each(rule, &types.tool, findings, |name| self.check_tool(name));
        self.check_each(rule, &types.host, findings, |name| self.check_host(name));
        self.check_each(rule, &types.secret, findings, check_secret);
    }

    fn check_each(
        &self,
        rule: &LoadedRule,
        entity_type: &EntityTypeName,
        findings: &mut Findings,
        check: impl Fn(&str) -> Option<(PolicyFault, Option<String>)>,
    ) {
        for name in rule.entities_of(entity_type) {
            if let Some((fault, help)) = check(&name) {
                let at = literal_offset(rule.text(self.files), entity_type, &name);
                findings.error(PolicyProblem { help, ..rule.problem(self.files, at, fault) });
            }
        }
    }

    /// Tools are known beforehand.
    fn check_tool(&self, name: &str) -> Option<(PolicyFault, Option<String>)> {
        let tools = self.slices.tools().iter().filter_map(|slice| slice.subject.identity());
        let known: Vec<_> = tools.map(|tool| tool.name.as_str()).collect();
        let help = || did_you_mean(name, known.iter().copied()).map(|known| format!("did you mean `{known}`?"));
        (!known.contains(&name)).then(|| (PolicyFault::UnknownTool { name: name.to_owned() }, help()))
    }

    /// Hosts are not, but they are compared in one form.
    fn check_host(&self, name: &str) -> Option<(PolicyFault, Option<String>)> {
        if name.parse::<HostName>().is_ok_and(|host| host.to_string() == name) {
            return None;
        }
        Some((PolicyFault::ImpossibleHost { name: name.to_owned() }, self.host_help(name)))
    }

    fn host_help(&self, written: &str) -> Option<String> {
        let (host, rest) = host_in(written);
        let instead = if host == "*" {
            format!("resource is {}", self.types.host)
        } else if host.contains('*') {
            format!("context.host like {host:?}")
        } else {
            uid(&self.types.host, &host.parse::<HostName>().ok()?.to_string()).to_string()
        };
        Some(if rest.is_empty() {
            format!("write `{instead}`")
        } else {
            format!("write `{instead}`, and compare {}", rest.join(", "))
        })
    }
}

fn check_secret(name: &str) -> Option<(PolicyFault, Option<String>)> {
    let fault = || PolicyFault::ImpossibleSecret(GrantError::SecretName { name: name.to_owned() });
    (!is_secret_name(name)).then(|| (fault(), None))
}

/// The host in a URL or a part of one, and where rules find the rest.
fn host_in(written: &str) -> (String, Vec<&'static str>) {
    if written.parse::<Ipv6Addr>().is_ok() {
        return (format!("[{written}]"), Vec::new());
    }
    let (scheme, rest) = written.split_once("://").map_or((None, written), |(scheme, rest)| (Some(scheme), rest));
    let (authority, path) = rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path));
    let (host, port) = split_port(authority);
    let rest = [
        scheme.map(|_| "`context.scheme`"),
        port.map(|_| "`context.port`"),
        (!path.is_empty()).then_some("`context.path`"),
    ];
    (host.to_owned(), rest.into_iter().flatten().collect())
}

/// Where a rule names an entity.
fn literal_offset(text: &str, entity_type: &EntityTypeName, name: &str) -> usize {
    let prefix = format!("{entity_type}::");
    let literal = text.find(&format!("{prefix}{name:?}")).map(|at| at + prefix.len());
    literal.or_else(|| text.find(&format!("{name:?}"))).unwrap_or_default()
}
