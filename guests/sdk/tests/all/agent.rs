use casemate_sdk::testing::Host;
use casemate_sdk::{Context, Error, IntoResponse, Request, Response, agent, context};

/// Agents in modules of their own, since a component has only one.
mod without_arguments {
    use super::*;

    #[agent]
    pub(super) fn name() -> String {
        context().agent
    }
}

mod with_a_request {
    use super::*;

    #[agent]
    pub(super) fn shout(request: Request) -> Result<Response, std::num::ParseIntError> {
        let number: u32 = request.text().parse()?;
        Ok(Response::from(format!("{number}!")))
    }
}

mod with_a_context {
    use super::*;

    #[agent]
    pub(super) fn greet(Request { message }: Request, context: Context) {
        casemate_sdk::output(format!("{} greets {}", context.agent, message.text()));
    }
}

mod with_a_fixed_answer {
    #[casemate_sdk::agent]
    pub(super) const fn hello() -> &'static str {
        "hello"
    }
}

#[test]
fn an_agent_stays_a_function() {
    let host = Host::new();
    assert_eq!(host.run(without_arguments::name), "test");
    assert_eq!(host.run(|| with_a_request::shout(Request::new("7"))), Ok(Response { output: "7!".into() }));
    assert!(host.run(|| with_a_request::shout(Request::new("x"))).is_err());
    host.run(|| with_a_context::greet(Request::new("Ada"), context()));
    assert_eq!(host.output(), "test greets Ada");
    assert_eq!(with_a_fixed_answer::hello(), "hello");
}

#[track_caller]
fn check(given: impl IntoResponse, expected: Result<&str, &str>) {
    let expected = expected.map(Response::from).map_err(str::to_owned);
    assert_eq!(given.into_response(), expected);
}

#[test]
fn an_agent_returns_what_is_sensible() {
    check((), Ok(""));
    check("text", Ok("text"));
    check("text".to_owned(), Ok("text"));
    check(Response::from("text"), Ok("text"));
    check(Ok::<_, Error>("text"), Ok("text"));
    check(Ok::<_, Error>(()), Ok(""));
    check(Err::<String, _>(Error::Denied("no grant".into())), Err("denied: no grant"));
    check(Err::<(), _>("told as it is"), Err("told as it is"));
}
