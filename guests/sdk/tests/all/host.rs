use casemate_sdk::testing::Host;
use casemate_sdk::{
    Chat, Context, Error, ToolCall, Value, ask, available_tools, call_all, call_tool, chat, context, json, output,
    thinking,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

fn adder() -> Host {
    Host::new().tool("add", |input| match (input["a"].as_i64(), input["b"].as_i64()) {
        (Some(a), Some(b)) => Ok(json!(a + b)),
        _ => Err(Error::InvalidInput("two numbers".into())),
    })
}

#[test]
fn tools_are_the_closures_of_the_host() {
    let host = adder();
    host.run(|| {
        assert_eq!(available_tools().iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["add"]);
        assert_eq!(call_tool("add", &json!({"a": 1, "b": 2})), Ok(3));
        assert_eq!(call_tool::<i64>("add", &json!({})), Err(Error::InvalidInput("two numbers".into())));
        assert_eq!(call_tool::<i64>("sub", &json!({})), Err(Error::NotFound("there is no tool `sub`".into())));
    });
    assert_eq!(host.calls().len(), 3);
    assert_eq!(host.calls()[0], [ToolCall::new("add", json!({"a": 1, "b": 2}))]);
}

#[test]
fn a_result_of_another_type_is_a_failure() {
    let text = adder().run(|| call_tool::<String>("add", &json!({"a": 1, "b": 2})));
    let reason = "the result of `add` is not what was expected: invalid type: integer `3`, expected a string";
    assert_eq!(text, Err(Error::Failed(reason.into())));
}

#[test]
fn calls_side_by_side_are_answered_in_order() {
    let host = adder();
    let calls = [ToolCall::new("sub", json!({})), ToolCall::new("add", json!({"a": 1, "b": 2}))];
    let results = host.run(|| call_all(calls.clone()));
    assert_eq!(results, [Err(Error::NotFound("there is no tool `sub`".into())), Ok(json!(3))]);
    assert_eq!(host.calls(), [calls.to_vec()]);
}

#[test]
fn the_model_follows_the_script() {
    let host = Host::new().model_says("one").model_fails(Error::Denied("no".into()));
    assert_eq!(host.run(|| chat("first")), Ok("one".into()));
    let second = Chat::new().model("small").system("s").user("u").max_output_tokens(9).temperature(0.5);
    assert_eq!(host.run(|| second.send()), Err(Error::Denied("no".into())));
    assert_eq!(host.chats(), [Chat::new().user("first"), second]);
    let over = catch_unwind(AssertUnwindSafe(|| host.run(|| chat("third"))));
    let message = over.unwrap_err().downcast::<String>().unwrap();
    assert_eq!(*message, "the script of this test has no answer for chat number 3");
}

#[test]
fn people_answer_and_watch() {
    let host = Host::new().person_says("blue");
    host.run(|| {
        assert_eq!(ask("Which colour?"), Ok("blue".into()));
        assert_eq!(ask("Why?"), Err(Error::Failed("nobody is there to answer".into())));
        thinking("so it is");
        output("bl");
        output("ue");
    });
    assert_eq!(host.questions(), ["Which colour?", "Why?"]);
    assert_eq!(host.thinking(), ["so it is"]);
    assert_eq!(host.output(), "blue");
}

#[test]
fn a_host_is_there_only_while_it_runs() {
    let named = |name: &str| Host::new().context(Context { agent: name.into(), ..Context::default() });
    let agent = || context().agent;
    let (outer, inner) = (named("outer"), named("inner"));
    let seen = outer.run(|| {
        let within = inner.run(agent);
        let broken = catch_unwind(AssertUnwindSafe(|| inner.run(|| -> Value { panic!("an agent that panics") })));
        assert!(broken.is_err());
        [agent(), within, agent()]
    });
    assert_eq!(seen, ["outer", "inner", "outer"]);
    let without = catch_unwind(agent).unwrap_err();
    assert!(without.downcast::<&str>().unwrap().starts_with("no host is there for this effect"));
}
