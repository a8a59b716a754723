//! The one path of every effect, from asking to outcome.
//!
//! ```text
//! a guest asks ─→ grants ─→ policy ─→ budget ─→ a person, where one is asked ─→ the intent ─→ Permit ─→ perform ─→ outcome
//! ```
//!
//! Only [`Permit::begin`] gives what a tool's provider takes, and only the Gate makes a permit,
//! so nothing is performed that was not admitted. This file knows nothing of wasmtime or WIT.

mod admit;
mod approval;
mod budget;
mod chat;
#[cfg(feature = "http")]
mod egress;
#[cfg(feature = "http")]
mod fetch;
mod permit;
mod say;
mod scope;
mod ticket;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use casemate_policy::{Policy, Principal};

#[cfg(feature = "http")]
use crate::egress::HttpClient;
use crate::event::{Events, Subscription};
#[cfg(feature = "http")]
use crate::secret::Secrets;

pub(crate) use approval::Given;
pub use approval::{Answer, AnswerFuture, ApprovalId, ApprovalRequest, Approver, NotPending, PendingApprovals};
pub use budget::Budget;
pub(crate) use budget::{Account, Spent};
#[cfg(feature = "http")]
use egress::Egress;
#[cfg(feature = "http")]
pub(crate) use fetch::{Outgoing, Unanswered, Wanted, Whole};
#[cfg(feature = "http")]
pub(crate) use permit::Record;
pub(crate) use permit::{Invocation, Permit};
pub(crate) use scope::{Scope, Tree};

/// Decides, records and shows what sandboxes do through tools. Cheap to clone; clones are the same Gate.
///
/// One serves any number of calls, or one of them each: events are numbered by Gate.
///
/// ```
/// use casemate::{Gate, PendingApprovals};
///
/// let approvals = PendingApprovals::new();
/// let gate = Gate::builder().approver(approvals.clone()).build();
/// let events = gate.subscribe(1_000);
/// ```
#[derive(Clone)]
pub struct Gate {
    inner: Arc<Inner>,
}

struct Inner {
    policy: RwLock<Option<Arc<dyn Policy>>>,
    approver: Option<Arc<dyn Approver>>,
    approval_time: Duration,
    events: Events,
    effects: AtomicU64,
    anonymous: Principal,
    #[cfg(feature = "http")]
    egress: Egress,
}

/// Settings of a [`Gate`].
#[must_use]
pub struct GateBuilder {
    policy: Option<Arc<dyn Policy>>,
    approver: Option<Arc<dyn Approver>>,
    approval_time: Duration,
    #[cfg(feature = "http")]
    egress: Egress,
}

impl Gate {
    /// Settings to choose before the Gate is made.
    pub fn builder() -> GateBuilder {
        GateBuilder {
            policy: None,
            approver: None,
            approval_time: Duration::from_mins(10),
            #[cfg(feature = "http")]
            egress: Egress::default(),
        }
    }

    /// Everything that happens from now on. A subscriber that leaves `capacity` events untaken is closed; nobody waits
    /// for it.
    pub fn subscribe(&self, capacity: usize) -> Subscription {
        self.inner.events.subscribe(capacity)
    }

    /// Puts other rules in the place of those there are, at once: an effect is decided by the old or the new ones, never
    /// by both. A person who is being asked under the old ones is asked again, if the new ones still ask.
    pub fn set_policy(&self, policy: impl Policy + 'static) {
        *self.inner.policy.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(policy));
    }

    fn policy(&self) -> Option<Arc<dyn Policy>> {
        self.inner.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn events(&self) -> &Events {
        &self.inner.events
    }

    /// On whose behalf, where nobody was named.
    fn anonymous(&self) -> &Principal {
        &self.inner.anonymous
    }

    fn next_effect(&self) -> u64 {
        self.inner.effects.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// A Gate without policy, where nobody is asked: the grants alone decide.
impl Default for Gate {
    fn default() -> Self {
        Self::builder().build()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.policy().map(|policy| policy.version().to_owned());
        f.debug_struct("Gate").field("policy", &version).finish_non_exhaustive()
    }
}

impl GateBuilder {
    /// Rules that decide beside the grants: both must say yes. By default there are none, and the grants alone decide.
    pub fn policy(mut self, policy: impl Policy + 'static) -> Self {
        self.policy = Some(Arc::new(policy));
        self
    }

    /// Who is asked where grants or rules say so. By default nobody can be, and such calls are denied.
    pub fn approver(mut self, approver: impl Approver + 'static) -> Self {
        self.approver = Some(Arc::new(approver));
        self
    }

    /// How long a person has to answer, at most a year; default ten minutes. That time does not count on the limit of wall time.
    pub fn approval_time(mut self, time: Duration) -> Self {
        self.approval_time = time.min(Duration::from_hours(365 * 24));
        self
    }

    /// The client through which requests leave; by default one of its own.
    #[cfg(feature = "http")]
    pub fn http(mut self, client: HttpClient) -> Self {
        self.egress.client = client;
        self
    }

    /// The secrets that may be put into requests; by default there are none. They can be changed while it works.
    #[cfg(feature = "http")]
    pub fn secrets(mut self, secrets: Secrets) -> Self {
        self.egress.secrets = secrets;
        self
    }

    /// Makes the Gate.
    pub fn build(self) -> Gate {
        let Self { policy, approver, approval_time, .. } = self;
        Gate {
            inner: Arc::new(Inner {
                policy: RwLock::new(policy),
                approver,
                approval_time,
                events: Events::default(),
                effects: AtomicU64::new(0),
                anonymous: Principal::default(),
                #[cfg(feature = "http")]
                egress: self.egress,
            }),
        }
    }
}
