//! Secrets that are revoked, replaced, or asked about, while they are in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use casemate::{Answer, AnswerFuture, ApprovalRequest, Approver, Gate, Secret, SecretPlace, Secrets};
use serde_json::json;

use super::{CANARY, bound, gate, is_clean, is_clean_json, with_key};
use crate::outside::{answer, failure, get, get_with, hosts};
use crate::server::{Reply, Server};
use crate::support::{Fixed, seen};

#[test]
fn a_revoked_secret_is_gone_at_once_also_on_an_open_connection() {
    let server = Server::start(|request| Reply::text(format!("{:?}", request.header("authorization"))));
    let secrets = bound(&[&server.url("")]);
    let gate = gate(&secrets);
    let call = || get(&server.url("/")).grants(with_key(&[&server.url("")]));
    answer(call(), &gate);
    secrets.set(
        Secret::new("KEY", Fixed("cAnarY-the-second-one"))
            .unwrap()
            .bound_to(server.url("").parse().unwrap(), SecretPlace::bearer()),
    );
    let response = answer(call(), &gate);
    is_clean_json(&response);
    assert!(secrets.revoke("KEY"));
    assert_eq!(answer(call(), &gate)["body"], "None");
    let error = failure(
        get_with(&server.url("/"), &[("authorization", "casemate-secret-KEY")]).grants(with_key(&[&server.url("")])),
        &gate,
    );
    assert_eq!(error, "ErrorCode::HttpRequestDenied");
    let first = format!("Bearer {CANARY}");
    let requests = server.seen();
    let sent: Vec<_> = requests.iter().map(|request| (request.connection, request.header("authorization"))).collect();
    assert_eq!(sent, [(1, Some(first.as_str())), (1, Some("Bearer cAnarY-the-second-one")), (1, None)]);
}

/// What was sent once stays masked, also when it is no secret any more.
#[test]
fn a_revoked_secret_stays_masked() {
    let server = Server::start(|_| Reply::text(format!("it was {CANARY}")));
    let secrets = bound(&[&server.url("/use")]);
    let gate = gate(&secrets);
    answer(get(&server.url("/use")).grants(with_key(&[&server.url("")])), &gate);
    secrets.revoke("KEY");
    is_clean_json(&answer(get(&server.url("/")).grants(hosts(&[&server.url("")])), &gate));
}

/// Says what it was told to say, and does something before.
struct Asked<F>(F, Arc<AtomicUsize>);

impl<F: Fn(&ApprovalRequest) -> Answer + Send + Sync> Approver for Asked<F> {
    fn ask(&self, request: ApprovalRequest) -> AnswerFuture {
        self.1.fetch_add(1, Ordering::SeqCst);
        is_clean(&format!("{request:?}"));
        Box::pin(std::future::ready((self.0)(&request)))
    }
}

fn asked(
    secrets: &Secrets,
    answer: impl Fn(&ApprovalRequest) -> Answer + Send + Sync + 'static,
) -> (Gate, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    (Gate::builder().secrets(secrets.clone()).approver(Asked(answer, count.clone())).build(), count)
}

#[test]
fn a_person_is_asked_at_each_use_and_a_no_sends_nothing() {
    let server = Server::start(|_| Reply::text("hello"));
    let secrets = bound(&[&server.url("")]);
    let grants = || hosts(&[&server.url("")]).secret_after_asking("KEY", "Use the key?").unwrap();
    let (gate, count) = asked(&secrets, |_| Answer::Approve);
    for _ in 0..2 {
        answer(get(&server.url("/")).grants(grants()), &gate);
    }
    assert_eq!((count.load(Ordering::SeqCst), server.seen().len()), (2, 2));
    for said in [Answer::Reject { reason: "no".to_owned() }, Answer::ApproveEdited(json!({"secret": "OTHER"}))] {
        let (gate, count) = asked(&secrets, move |_| said.clone());
        let mut events = gate.subscribe(10);
        assert_eq!(failure(get(&server.url("/")).grants(grants()), &gate), "ErrorCode::HttpRequestDenied");
        assert_eq!((count.load(Ordering::SeqCst), server.seen().len()), (1, 2));
        let kinds: Vec<_> = seen(&mut events).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, ["fetch", "approval_required", "rejected", "error"]);
    }
}

#[test]
fn a_secret_that_is_revoked_while_a_person_is_asked_is_not_used() {
    for replaces in [true, false] {
        let server = Server::start(|_| Reply::text("never"));
        let secrets = bound(&[&server.url("")]);
        let (own, url) = (secrets.clone(), server.url(""));
        let (gate, count) = asked(&secrets, move |_| {
            own.revoke("KEY");
            if replaces {
                let other = Secret::new("KEY", Fixed("cAnarY-of-somebody-else")).unwrap();
                own.set(other.bound_to(url.parse().unwrap(), SecretPlace::bearer()));
            }
            Answer::Approve
        });
        let grants = hosts(&[&server.url("")]).secret_after_asking("KEY", "Use the key?").unwrap();
        let error = failure(get(&server.url("/")).grants(grants), &gate);
        assert!(error.contains("was changed or revoked meanwhile"), "{error}");
        assert_eq!((count.load(Ordering::SeqCst), server.seen().len()), (1, 0));
    }
}
