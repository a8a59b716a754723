//! The agent on a scripted host, a behaviour at a time.

use super::*;
use casemate_sdk::testing::Host;
use casemate_sdk::{
    Answer, Content, ContextFile, Image, Message, Outcome, Role, StopReason, Thought, ToolCall, Usage, Value, json,
};

fn host() -> Host {
    Host::new()
        .tool("read", |input| Ok(json!(format!("text of {}", input["path"].as_str().unwrap_or("nothing")))))
        .tool("write", |_| Err(Error::Denied("writing is not granted".into())))
}

fn context() -> Context {
    Context { id: "run-1".into(), agent: "chat".into(), model: Some("large".into()), ..Context::default() }
}

fn with_turns(turns: u32) -> Context {
    Context { budget: Budget { turns: Some(turns), ..Budget::default() }, ..context() }
}

/// Runs the agent as the component does.
fn run(host: &Host, context: Context) -> Result<String, String> {
    host.run(|| chat(Request::new("Go."), context))
}

fn calls<const N: usize>(names: [&'static str; N]) -> [(&'static str, Value); N] {
    names.map(|name| (name, json!({"path": "/a"})))
}

/// An answer of the model, with what it took: tokens and millionths of a dollar.
fn answer(content: Vec<Content>, stop_reason: StopReason, tokens: u64, cost: u64) -> Answer {
    let usage = Usage { input_tokens: tokens, cached_tokens: 0, output_tokens: 0, cost: Some(cost) };
    Answer { message: Message::new(Role::Assistant, content), stop_reason, usage, model: "large-1".into() }
}

fn wants(name: &str, input: Value) -> Content {
    Content::ToolCall(ToolCall::new(name, input).with_id("one"))
}

/// What the model was told, at its chat of that number, about its calls before.
fn results(host: &Host, chat: usize) -> Vec<(String, Outcome)> {
    let chats = host.chats();
    let last = chats[chat].messages.last().unwrap();
    last.tool_results().map(|result| (result.text(), result.outcome)).collect()
}

mod beginning {
    use super::*;

    #[test]
    fn the_model_reads_instructions_history_files_and_the_message_in_this_order() {
        let image =
            Content::Image(Image { media_type: "image/png".into(), location: "https://example.com/plan.png".into() });
        let context = Context {
            system_prompt: Some("Be short.".into()),
            history: vec![Message::user("Hello."), Message::assistant("Hi.")],
            files: vec![ContextFile { path: "/workspace/a.txt".into(), text: "alpha\n".into() }],
            ..context()
        };
        let message = Message::new(Role::User, [Content::text("What is this?"), image.clone()]);
        let host = host().model_says("A plan.");
        host.run(|| chat(Request { message }, context)).unwrap();
        let file = "The file \"/workspace/a.txt\":\n```\nalpha\n```";
        let message = [Content::text(file), Content::text("What is this?"), image];
        assert_eq!(
            host.chats()[0].messages,
            [
                Message::system("Be short."),
                Message::user("Hello."),
                Message::assistant("Hi."),
                Message::new(Role::User, message),
            ]
        );
    }

    #[test]
    fn the_granted_tools_are_offered_and_the_model_is_the_one_of_the_context() {
        let host = host().model_says("Done.");
        run(&host, context()).unwrap();
        let [chat] = &host.chats()[..] else { panic!("one chat") };
        assert_eq!(chat.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["read", "write"]);
        assert_eq!(chat.model, None);
        assert_eq!(chat.messages, [Message::user("Go.")]);
    }

    #[test]
    fn a_run_without_a_model_says_so() {
        let host = host();
        let ended = run(&host, Context { model: None, ..context() });
        assert_eq!(ended, Err("this run has no model: it has to be started with one".into()));
        assert_eq!(host.chats(), []);
    }
}

mod work {
    use super::*;

    #[test]
    fn the_final_text_is_the_output() {
        let host = host().model_says("All is well.");
        assert_eq!(run(&host, context()).as_deref(), Ok("All is well."));
        assert_eq!(host.output(), "All is well.");
        assert!(host.thinking().is_empty());
    }

    #[test]
    fn the_calls_of_a_turn_are_made_side_by_side_and_answered_in_order() {
        let host = host().model_calls(calls(["write", "read"])).model_calls(calls(["read"])).model_says("Done.");
        run(&host, context()).unwrap();
        assert_eq!(host.calls().iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        let denied = "denied: writing is not granted".to_owned();
        assert_eq!(results(&host, 1), [(denied, Outcome::Failed), ("text of /a".into(), Outcome::Succeeded)]);
        let ids = host.chats()[1].messages[2].clone();
        assert_eq!(ids.tool_results().map(|result| result.id.as_str()).collect::<Vec<_>>(), ["call-1", "call-2"]);
    }

    #[test]
    fn thoughts_and_text_beside_calls_are_told_to_those_who_watch() {
        let thought = |text: &str| Content::Thinking(Thought { text: text.into(), signature: Some("s".into()) });
        let asking = vec![
            thought("I need the file."),
            thought(""),
            Content::text("Let me look."),
            wants("read", json!({"path": "/a"})),
        ];
        let ending = vec![thought("That is it."), Content::text("Found it.")];
        let host = host().model_answers(answer(asking.clone(), StopReason::ToolCalls, 1, 1)).model_answers(answer(
            ending,
            StopReason::End,
            1,
            1,
        ));
        assert_eq!(run(&host, context()).as_deref(), Ok("Found it."));
        assert_eq!(host.thinking(), ["I need the file.", "Let me look.", "That is it."]);
        assert_eq!(host.chats()[1].messages[1], Message::new(Role::Assistant, asking), "thoughts go back as they came");
    }

    #[track_caller]
    fn check_malformed(call: Content, reason: &str) {
        let host = host()
            .model_answers(answer(vec![call, wants("read", json!({"path": "/b"}))], StopReason::ToolCalls, 1, 1))
            .model_says("Done.");
        assert_eq!(run(&host, context()).as_deref(), Ok("Done."));
        let results = results(&host, 1);
        assert_eq!(results[0], (reason.into(), Outcome::Failed));
        assert_eq!(results[1], ("text of /b".into(), Outcome::Succeeded));
        assert_eq!(host.calls().iter().map(Vec::len).collect::<Vec<_>>(), [1], "it reached the host");
    }

    #[test]
    fn a_call_that_makes_no_sense_is_answered_to_the_model() {
        check_malformed(wants("fly", json!({})), "not found: there is no tool `fly`; there are `read`, `write`");
        check_malformed(
            wants("read", json!("{\"path\": ")),
            "invalid input: the input is not JSON: EOF while parsing a value at line 1 column 9",
        );
        check_malformed(wants("read", json!([1])), "invalid input: the input has to be a JSON object, and is `[1]`");
    }

    #[test]
    fn of_a_long_result_the_model_sees_head_and_tail() {
        let host = Host::new()
            .tool("read", |_| Ok(json!(format!("start{}end", "x".repeat(20_000)))))
            .model_calls(calls(["read"]))
            .model_says("Done.");
        run(&host, context()).unwrap();
        let (text, outcome) = results(&host, 1).remove(0);
        assert_eq!(outcome, Outcome::Succeeded);
        assert!(text.starts_with("startx") && text.ends_with("xend"));
        assert!(text.contains("[4008 of 20008 characters were left out here. If `read` only reads, call it again"));
        assert!(text.len() < 16_300);
    }

    #[test]
    fn calls_of_an_answer_that_broke_off_are_not_made() {
        let host =
            host().model_answers(answer(vec![wants("read", json!({}))], StopReason::Length, 1, 1)).model_says("Done.");
        assert_eq!(run(&host, context()).as_deref(), Ok("Done."));
        assert!(host.calls().is_empty());
        assert_eq!(results(&host, 1)[0].1, Outcome::Failed);
    }
}

mod ends {
    use super::*;

    #[test]
    fn a_model_that_says_nothing_is_asked_once_more() {
        let host = host().model_calls(calls(["read"])).model_says(" ").model_says("It is fine.");
        assert_eq!(run(&host, context()).as_deref(), Ok("It is fine."));
        assert_eq!(host.chats()[2].messages.last(), Some(&Message::user(NUDGE)));
    }

    #[test]
    fn an_answer_that_says_nothing_is_not_sent_back() {
        let host = host().model_answers(answer(Vec::new(), StopReason::End, 1, 1)).model_says("\n");
        run(&host, context()).unwrap_err();
        assert_eq!(host.chats()[1].messages, [Message::user("Go."), Message::user(NUDGE)]);
    }

    #[test]
    fn a_model_that_says_nothing_twice_gave_no_answer() {
        let host = host().model_calls(calls(["read"])).model_says("").model_says("");
        let reason = "the model gave no answer\n\nThe model asked for `read` (1).";
        assert_eq!(run(&host, context()), Err(reason.into()));
        assert_eq!(host.output(), "");
    }

    #[test]
    fn an_answer_that_breaks_off_says_so() {
        let host = host().model_answers(answer(vec![Content::text("Once upon")], StopReason::Length, 1, 1));
        let text = "Once upon\n\n[The answer breaks off here: the model reached the most that it may answer.]";
        assert_eq!(run(&host, context()).as_deref(), Ok(text));
    }

    #[test]
    fn a_model_that_declines_ends_the_run() {
        let host = host().model_answers(answer(vec![Content::text("I will not.")], StopReason::Refused, 1, 1));
        let ended = run(&host, context()).unwrap_err();
        assert!(ended.starts_with("the model declined to answer: I will not."), "{ended}");
    }
}

mod budget {
    use super::*;

    #[test]
    fn the_last_turn_is_for_a_summary() {
        let host =
            host().model_calls(calls(["read"])).model_calls(calls(["write"])).model_says("I read /a, and /b is left.");
        let expected = "Stopped before the end: the budget of turns is used up.\n\nI read /a, and /b is left.";
        assert_eq!(run(&host, with_turns(3)).as_deref(), Ok(expected));
        assert_eq!(host.output(), expected);
        assert_eq!(host.chats()[2].messages.last(), Some(&Message::user(WRAP_UP)));
        assert_eq!(host.calls().len(), 1, "what is asked for at the end is not called");
        let told = host.chats()[2].messages[4].clone();
        let reason = "limit exceeded: the budget of turns is used up, so this was not called";
        assert_eq!(told.tool_results().next().unwrap().text(), reason);
    }

    #[test]
    fn without_a_turn_for_it_the_summary_is_made_of_facts() {
        let host = host().model_calls(calls(["read", "read"]));
        let expected = "Stopped before the end: the budget of turns is used up.\n\n\
                        No tool was called.\nLeft undone: `read`, `read`.";
        assert_eq!(run(&host, with_turns(1)).as_deref(), Ok(expected));
        assert_eq!(host.chats().len(), 1);
    }

    #[test]
    fn a_summary_that_fails_is_made_of_facts() {
        let said = vec![Content::text("Now the second."), wants("write", json!({}))];
        let host = host()
            .model_calls(calls(["read", "write"]))
            .model_answers(answer(said, StopReason::ToolCalls, 1, 1))
            .model_fails(Error::LimitExceeded("the embedder's budget".into()));
        let expected = "Stopped before the end: the budget of turns is used up.\n\n\
                        The model asked for `read` (1), `write` (1, of which 1 failed).\nLeft undone: `write`.\n\
                        The model said last: Now the second.";
        assert_eq!(run(&host, with_turns(3)).as_deref(), Ok(expected));
    }

    /// Two turns take so much, and then there is this or that.
    #[track_caller]
    fn check(budget: Budget, turns: [u64; 2], expected: &str) {
        let wanted = |most| answer(vec![wants("read", json!({"path": "/a"}))], StopReason::ToolCalls, most, most * 10);
        let [first, second] = turns.map(wanted);
        let host = host().model_answers(first).model_answers(second).model_says("Half of it is done.");
        assert_eq!(run(&host, Context { budget, ..context() }).as_deref(), Ok(expected));
        assert_eq!(host.calls().len(), 1);
    }

    #[test]
    fn of_tokens_and_cost_a_tenth_is_for_a_summary_that_has_to_fit() {
        let tokens = Budget { tokens: Some(100), ..Budget::default() };
        let cost = Budget { cost: Some(1_000), ..Budget::default() };
        let facts = "The model asked for `read` (1).\nLeft undone: `read`.";
        let stopped =
            |what, standing| format!("Stopped before the end: the budget of {what} is used up.\n\n{standing}");
        check(tokens, [85, 7], &stopped("tokens", "Half of it is done."));
        check(tokens, [40, 50], &stopped("tokens", facts));
        check(cost, [85, 7], &stopped("cost", "Half of it is done."));
        check(cost, [40, 50], &stopped("cost", facts));
    }

    #[test]
    fn a_run_that_may_take_no_turn_handles_nothing() {
        let host = host();
        assert_eq!(run(&host, with_turns(0)), Err("the budget of turns is used up".into()));
        assert_eq!(host.chats(), []);
    }

    #[test]
    fn a_limit_of_the_host_ends_it_in_the_same_way() {
        let spent = || Error::LimitExceeded("the run's tokens are spent".into());
        let host = host().model_calls(calls(["read"])).model_fails(spent()).model_fails(spent());
        let ended = run(&host, context()).unwrap();
        let expected = "Stopped before the end: the run's tokens are spent.\n\nThe model asked for `read` (1).";
        assert_eq!(ended, expected);
        assert_eq!(run(&self::host().model_fails(spent()), context()), Err("the run's tokens are spent".into()));
    }
}

mod failures {
    use super::*;

    fn overloaded() -> Error {
        Error::Failed("overloaded".into())
    }

    #[test]
    fn a_model_that_fails_is_asked_twice_more() {
        let host = host().model_fails(overloaded()).model_fails(overloaded()).model_says("Done.");
        assert_eq!(run(&host, context()).as_deref(), Ok("Done."));
        let [first, second, third] = &host.chats()[..] else { panic!("three chats") };
        assert!(first == second && second == third);
    }

    #[test]
    fn a_model_that_goes_on_failing_ends_the_run_with_what_was_done() {
        let mut host = host().model_calls(calls(["read"]));
        for _ in 0..3 {
            host = host.model_fails(overloaded());
        }
        let reason = "the model failed again and again, at last with: overloaded\n\nThe model asked for `read` (1).";
        assert_eq!(run(&host, context()), Err(reason.into()));
    }

    #[track_caller]
    fn check(error: Error, reason: &str) {
        let host = host().model_fails(error);
        assert_eq!(run(&host, context()), Err(reason.into()));
        assert_eq!(host.chats().len(), 1, "it is not asked again");
    }

    #[test]
    fn what_does_not_pass_by_itself_ends_the_run_at_once() {
        check(Error::Denied("no grant".into()), "the model may not be used: no grant");
        check(Error::NotFound("`large`".into()), "there is no such model: `large`");
        check(Error::InvalidInput("too long".into()), "the model cannot take this conversation: too long");
        check(Error::Cancelled, "the model was stopped before it answered");
    }
}
