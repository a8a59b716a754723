//! Requests that leave, and secrets that are put into them.

use std::net::IpAddr;
use std::sync::Arc;

use casemate_policy::{Action, AddressClass, Annotations, Grants, HostGrant, RequestLine, ToolSource};
use serde_json::{Value, json};

use super::{Admitted, Denial, Effect, flag};
use crate::event::{EventKind, Subject};

/// One HTTP request.
pub(crate) struct Fetch {
    pub(crate) request: RequestLine,
    /// Those of one class that the grants open; none where they open none.
    pub(crate) addresses: Vec<IpAddr>,
    /// Where its host's name leads; nothing is known before it was looked up.
    class: Option<AddressClass>,
    input: Arc<Value>,
}

impl Fetch {
    /// A request whose host was not looked up. Rules do not see its query; whoever is asked does.
    pub(crate) fn new(request: RequestLine, query: Option<&str>) -> Self {
        let mut input = json!(request);
        if let (Some(query), Some(input)) = (query, input.as_object_mut()) {
            input.insert("query".to_owned(), query.into());
        }
        Self { request, addresses: Vec::new(), class: None, input: Arc::new(input) }
    }

    /// The same if its host's name led to an address of that class.
    pub(crate) fn supposing(&self, class: AddressClass) -> Self {
        let (request, input) = (self.request.clone(), self.input.clone());
        Self { request, addresses: Vec::new(), class: Some(class), input }
    }

    /// The same once its host was looked up: it goes to addresses of one class, by which it is decided.
    pub(crate) fn leading_to(mut self, found: &[IpAddr], reach: &Grants) -> Self {
        let open = |address: &IpAddr| reach.hosts_covering(&self.request).any(|host| host.opens(*address));
        let Some(first) = found.iter().find(|address| open(address)).or(found.first()) else { return self };
        let class = AddressClass::of(*first);
        self.addresses =
            found.iter().filter(|address| AddressClass::of(**address) == class && open(address)).copied().collect();
        if let Some(input) = Arc::make_mut(&mut self.input).as_object_mut() {
            input.insert("address".to_owned(), json!(class));
        }
        Self { class: Some(class), ..self }
    }

    /// What sort of address it goes to.
    pub(crate) fn class(&self) -> AddressClass {
        // Unknown is as bad as any.
        self.class.unwrap_or(AddressClass::Reserved)
    }
}

impl Effect for Fetch {
    /// As HTTP has it of its methods.
    fn repeats(&self) -> bool {
        matches!(self.request.method(), "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE")
    }

    fn subject(&self) -> Subject {
        Subject::Host(self.request.origin().host().to_string())
    }

    fn input(&self) -> &Arc<Value> {
        &self.input
    }

    fn origin(&self) -> (Option<ToolSource>, Annotations) {
        (None, Annotations::default())
    }

    fn granted(&self, reach: &Grants) -> Result<Option<String>, Denial> {
        let origin = self.request.origin();
        let would_allow = |class| {
            let grant = HostGrant::to_origin(origin, class).to_string();
            if grant.contains('*') { None } else { Some(flag("--allow-host", &grant)) }
        };
        let mut covering = reach.hosts_covering(&self.request).peekable();
        if covering.peek().is_none() {
            let allow = would_allow(AddressClass::Public);
            return Err(Denial { allow, ..Denial::new(format!("the request `{}` is not granted", self.request)) });
        }
        let (Some(class), address) = (self.class, self.addresses.first()) else {
            return Ok(covering.next().and_then(HostGrant::question).map(str::to_owned));
        };
        let grant = address.and_then(|address| covering.find(|host| host.opens(*address))).ok_or_else(|| {
            let reason = format!("`{}` leads to a {class} address, which is not granted", origin.host());
            Denial { allow: would_allow(class), ..Denial::new(reason) }
        })?;
        Ok(grant.question().map(str::to_owned))
    }

    fn action(&self) -> Action<'_> {
        Action::Fetch { request: &self.request, address: self.class() }
    }

    fn edit(&mut self, _input: Arc<Value>) -> Result<(), Denial> {
        Err(Denial::new("a request cannot be edited, so the answer is taken for a no"))
    }

    fn begun(&self, admitted: Admitted) -> EventKind {
        let Admitted { id, principal, depth, policy, rules } = admitted;
        let (request, address) = (self.request.clone(), self.class());
        EventKind::Fetch { id, request, address, principal, depth, policy, rules }
    }
}

/// One secret that is put into one request.
pub(crate) struct SecretUse {
    secret: String,
    place: String,
    /// The effect of the request.
    fetch: u64,
    request: RequestLine,
    class: AddressClass,
    input: Arc<Value>,
}

impl SecretUse {
    pub(crate) fn new(secret: &str, place: String, (id, fetch): (u64, &Fetch)) -> Self {
        let mut input = (*fetch.input).clone();
        if let Some(input) = input.as_object_mut() {
            input.insert("secret".to_owned(), secret.into());
            input.insert("place".to_owned(), place.clone().into());
        }
        Self {
            secret: secret.to_owned(),
            place,
            fetch: id,
            request: fetch.request.clone(),
            class: fetch.class(),
            input: Arc::new(input),
        }
    }
}

impl Effect for SecretUse {
    fn subject(&self) -> Subject {
        Subject::Secret(self.secret.clone())
    }

    fn input(&self) -> &Arc<Value> {
        &self.input
    }

    fn origin(&self) -> (Option<ToolSource>, Annotations) {
        (None, Annotations::default())
    }

    fn granted(&self, reach: &Grants) -> Result<Option<String>, Denial> {
        let grant = reach.find_secret(&self.secret).ok_or_else(|| Denial::secret_not_granted(&self.secret))?;
        Ok(grant.question().map(str::to_owned))
    }

    fn action(&self) -> Action<'_> {
        Action::Use { secret: &self.secret, request: &self.request, address: self.class }
    }

    fn edit(&mut self, _input: Arc<Value>) -> Result<(), Denial> {
        Err(Denial::new("the use of a secret cannot be edited, so the answer is taken for a no"))
    }

    fn begun(&self, admitted: Admitted) -> EventKind {
        let Admitted { id, principal, depth: _, policy, rules } = admitted;
        let (secret, place, request) = (self.secret.clone(), self.place.clone(), self.request.clone());
        EventKind::SecretUsed { id, fetch: self.fetch, secret, request, place, principal, policy, rules }
    }
}

impl Denial {
    /// The same for a secret that is there and for one that is not.
    pub(crate) fn secret_not_granted(name: &str) -> Self {
        Self { allow: Some(format!("--secret {name}=…")), ..Self::new(format!("the secret `{name}` is not granted")) }
    }
}
