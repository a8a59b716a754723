use casemate_sdk::testing::Host;
use casemate_sdk::{
    Allowance, Answer, Budget, Chat, Content, Context, Conversation, End, Error, Message, Outcome, Role, Spent,
    StopReason, ToolCall, ToolResult, Usage, json, tool,
};

/// Doubles a number.
#[tool]
fn double(number: i64) -> Result<i64, String> {
    number.checked_mul(2).ok_or_else(|| "it is too large".to_owned())
}

fn host() -> Host {
    Host::new().tool("echo", Ok)
}

fn conversation() -> Conversation {
    Chat::new().user("Go.").granted_tools().converse().with([DOUBLE])
}

fn refused() -> Answer {
    let message = Message::assistant("No.");
    Answer { message, stop_reason: StopReason::Refused, usage: Usage::default(), model: "test".into() }
}

#[test]
fn local_and_granted_tools_answer_in_the_order_of_the_calls() {
    let host = host()
        .model_calls([
            ("double", json!({"number": 1})),
            ("echo", json!({"a": 1})),
            ("double", json!({"number": i64::MAX})),
            ("echo", json!({"b": 2})),
        ])
        .model_says("Done.");
    let mut conversation = host.run(conversation);
    assert_eq!(host.run(|| conversation.run()), Ok(End::Answered("Done.".into())));
    let told: Vec<_> = conversation.chat().messages[2]
        .tool_results()
        .map(|result| (result.id.as_str(), result.output.clone(), result.outcome))
        .collect();
    assert_eq!(
        told,
        [
            ("call-1", json!(2), Outcome::Succeeded),
            ("call-2", json!({"a": 1}), Outcome::Succeeded),
            ("call-3", json!("failed: it is too large"), Outcome::Failed),
            ("call-4", json!({"b": 2}), Outcome::Succeeded),
        ]
    );
    let batches =
        host.calls().iter().map(|calls| calls.iter().map(|call| call.id.clone()).collect()).collect::<Vec<Vec<_>>>();
    assert_eq!(batches, [["call-2", "call-4"]]);
}

#[test]
fn the_tools_are_offered_once_each_and_a_local_one_takes_the_place_of_a_granted_one() {
    let host = host().tool("double", |_| Err(Error::Failed("the granted one".into())));
    let host = host.model_calls([("double", json!({"number": 4}))]).model_says("Done.");
    host.run(|| conversation().with([DOUBLE]).run()).unwrap();
    let [first, second] = &host.chats()[..] else { panic!("two chats") };
    assert_eq!(first.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["echo", "double"]);
    assert_eq!(first.tools[1].description, "Doubles a number.");
    assert_eq!(second.messages[2].tool_results().next().unwrap().output, json!(8));
    assert!(host.calls().is_empty());
}

#[test]
fn a_tool_that_is_granted_but_not_offered_is_not_called() {
    let host = host().model_calls([("echo", json!({}))]).model_says("Done.");
    host.run(|| Chat::new().user("Go.").converse().run()).unwrap();
    let reason = "not found: there is no tool `echo`; there are none";
    assert_eq!(host.chats()[1].messages[2].tool_results().next().unwrap().text(), reason);
    assert!(host.calls().is_empty());
}

#[test]
fn long_results_and_long_failures_are_trimmed() {
    let host = host()
        .tool("fail", |_| Err(Error::Failed("x".repeat(100))))
        .model_calls([("echo", json!({"text": "y".repeat(100)})), ("fail", json!({}))])
        .model_says("Done.");
    host.run(|| conversation().result_limit(30).run()).unwrap();
    let results: Vec<_> = host.chats()[1].messages[2].tool_results().map(ToolResult::text).collect();
    assert!(results[0].starts_with("{\"text\":\"yyyyyyyyyyy\n\n[81 of 111 characters were left out"), "{}", results[0]);
    assert!(results[0].ends_with("]\n\nyyyyyyyy\"}"), "{}", results[0]);
    assert!(results[1].starts_with("failed: xxxxxxxxxxxx\n\n[78 of 108 characters"), "{}", results[1]);
}

#[test]
fn a_conversation_goes_on_after_its_end() {
    let host = host().model_says("One.").model_says("Two.");
    let mut conversation = host.run(conversation);
    host.run(|| {
        conversation.run().unwrap();
        conversation.say("And?");
        assert_eq!(conversation.run(), Ok(End::Answered("Two.".into())));
    });
    let said: Vec<_> = conversation.chat().messages.iter().map(|message| (message.role, message.text())).collect();
    let expected = [(Role::User, "Go."), (Role::Assistant, "One."), (Role::User, "And?"), (Role::Assistant, "Two.")];
    assert_eq!(said, expected.map(|(role, text)| (role, text.to_owned())));
    assert_eq!(conversation.spent(), Spent { turns: 2, tokens: 30, cost: 0 });
    assert_eq!(conversation.last_turn(), Spent { turns: 1, tokens: 15, cost: 0 });
}

#[test]
fn the_budget_of_the_run_ends_it_and_says_what_is_left() {
    let budget = Budget { turns: Some(2), ..Budget::default() };
    let host = host().context(Context { budget, ..Context::default() });
    let host = host.model_calls([("echo", json!({"a": 1}))]).model_calls([("echo", json!({"a": 2}))]);
    let mut conversation = host.run(conversation);
    let end = host.run(|| conversation.run());
    let left = vec![ToolCall::new("echo", json!({"a": 2})).with_id("call-1")];
    assert_eq!(end, Ok(End::UsedUp { allowance: Allowance::Turns, left }));
    assert_eq!(host.calls().len(), 1);
    let again = host.run(|| conversation.run());
    assert_eq!(again, Ok(End::UsedUp { allowance: Allowance::Turns, left: Vec::new() }));
    assert_eq!(host.chats().len(), 2);
}

#[test]
fn a_budget_of_its_own_ends_it_too() {
    let budget = Budget { tokens: Some(15), ..Budget::default() };
    let host = host().model_calls([("echo", json!({}))]);
    let text = host.run(|| conversation().budget(budget).answer());
    assert_eq!(text, Err(Error::LimitExceeded("the budget of tokens is used up".into())));
}

#[test]
fn a_failing_model_is_asked_twice_more_and_a_denied_one_never() {
    let failed = || Error::Failed("busy".into());
    let host = host().model_fails(failed()).model_fails(failed()).model_says("Done.");
    assert_eq!(host.run(|| conversation().answer()), Ok("Done.".into()));
    let host = self::host().model_fails(failed()).model_fails(failed()).model_fails(failed());
    assert_eq!(host.run(|| conversation().answer()), Err(failed()));
    let host = self::host().model_fails(Error::Denied("no".into()));
    assert_eq!(host.run(|| conversation().answer()), Err(Error::Denied("no".into())));
}

#[test]
fn a_model_that_declines_has_the_last_word() {
    let mut answer = refused();
    answer.message.content.push(Content::ToolCall(ToolCall::new("echo", json!({}))));
    let host = host().model_answers(answer).model_answers(refused());
    assert_eq!(host.run(|| conversation().run()), Ok(End::Refused("No.".into())));
    assert!(host.calls().is_empty());
    assert_eq!(host.run(|| conversation().answer()), Err(Error::Failed("the model declined: No.".into())));
}
