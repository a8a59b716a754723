//! What grants say of one action.

use casemate::{Action, AddressClass, Grants, HostGrant, RequestLine, Secrets, Verdict};

use crate::render;

pub(super) fn verdict(grants: &Grants, secrets: &Secrets, action: &Action<'_>) -> Verdict {
    match action {
        Action::Call { tool, .. } => match grants.find_tool(&tool.name) {
            Some(grant) => asking(grant.question()),
            None => {
                deny(format!("the tool `{}` is not granted", tool.name), Some(render::flag("--allow-tool", &tool.name)))
            }
        },
        Action::Fetch { request, address } => fetch(grants, request, *address),
        Action::Use { secret, request, .. } => put(grants, secrets, secret, request),
        Action::Chat { model, .. } => match grants.find_model(model) {
            Some(grant) => asking(grant.question()),
            None => deny(format!("the model `{model}` is not granted"), Some(render::flag("--allow-model", model))),
        },
        _ => deny("grants know nothing of it".to_owned(), None),
    }
}

fn fetch(grants: &Grants, request: &RequestLine, address: AddressClass) -> Verdict {
    let origin = request.origin();
    let flag = |class| Some(render::flag("--allow-host", &HostGrant::to_origin(origin, class).to_string()));
    let mut covering = grants.hosts_covering(request).peekable();
    if covering.peek().is_none() {
        return deny(format!("the request `{request}` is not granted"), flag(AddressClass::Public));
    }
    let Some(grant) = covering.find(|host| host.opens_class(address)) else {
        let reason = format!("`{}` leads to a {address} address, which is not granted", origin.host());
        return deny(reason, flag(address));
    };
    asking(grant.question())
}

fn put(grants: &Grants, secrets: &Secrets, name: &str, request: &RequestLine) -> Verdict {
    let flag = Some(render::flag("--secret", &format!("{name}@{}", request.origin())));
    let Some(grant) = grants.find_secret(name) else {
        return deny(format!("the secret `{name}` is not granted"), flag);
    };
    let declared = secrets.list().into_iter().find(|secret| secret.name() == name);
    let bound = |requests: &HostGrant| requests.covers(request);
    match declared {
        None => deny(format!("nothing says where the value of `{name}` is"), flag),
        Some(secret) if secret.bindings().iter().any(|(requests, _)| bound(requests)) => asking(grant.question()),
        Some(_) => deny(format!("the secret `{name}` is not bound to requests such as `{request}`"), flag),
    }
}

fn asking(question: Option<&str>) -> Verdict {
    question.map_or(Verdict::Allow, |question| Verdict::Ask { question: question.to_owned() })
}

fn deny(reason: String, remedy: Option<String>) -> Verdict {
    Verdict::Deny { reason, remedy }
}
