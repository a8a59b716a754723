use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{AddressClass, Principal, RequestLine, ToolIdentity};

/// One effect about which a policy is asked: who would do what.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// On whose behalf.
    pub principal: &'a Principal,
    /// What.
    pub action: Action<'a>,
    /// When.
    pub time: SystemTime,
    /// How deep in a tree of calls: 1 for a call that the outermost component makes.
    pub depth: u32,
    /// How many calls were admitted in this tree so far.
    pub calls: u64,
}

/// What is attempted.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Action<'a> {
    /// Calling a tool.
    Call {
        /// Which tool, under its own name.
        tool: &'a ToolIdentity,
        /// The whole input.
        input: &'a Value,
    },
    /// Sending an HTTP request.
    Fetch {
        /// How, where to, and which path.
        request: &'a RequestLine,
        /// What sort of address it goes to.
        address: AddressClass,
    },
    /// Putting a secret into an HTTP request.
    Use {
        /// The name of the secret.
        secret: &'a str,
        /// The request.
        request: &'a RequestLine,
        /// What sort of address it goes to.
        address: AddressClass,
    },
    /// Having a model answer.
    Chat {
        /// The model, by the name it is granted under.
        model: &'a str,
        /// What is known of the chat: `messages`, how many there are; `text`, of the last message of the role `user`;
        /// `tools`, the names; and where they are said `max_output_tokens` and `temperature`.
        input: &'a Value,
    },
}

/// Rules that decide one effect with its arguments.
///
/// An implementation decides, and does nothing else: no I/O, no clock, no waiting.
pub trait Policy: Send + Sync {
    /// What tells these rules from others; it goes into events, and approvals are bound to it.
    fn version(&self) -> &str;

    /// Decides one effect. What cannot be decided is denied.
    fn decide(&self, query: &Query<'_>) -> Decision;

    /// Whether there may be an input with which `tool` is not denied. Guests are shown only such tools; in doubt, yes.
    fn could_allow(&self, _tool: &ToolIdentity) -> bool {
        true
    }
}

/// What the rules say of one effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Allow, ask or deny.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The rules that decided; none where nothing permits.
    pub rules: Vec<Rule>,
}

/// Allow, ask or deny.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// It may happen.
    Allow,
    /// A person decides.
    Ask {
        /// What the person is asked.
        question: String,
    },
    /// It may not happen.
    Deny {
        /// Why, in words fit for whoever called, a model included.
        reason: String,
        /// What a person could change so that it may: a line of policy.
        remedy: Option<String>,
    },
}

/// One rule, as people find it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// Its `@id`, or else `FILE:LINE`.
    pub id: String,
    /// The file that it stands in.
    pub file: String,
    /// Its line there, from 1.
    pub line: usize,
}
