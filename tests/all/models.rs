use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use casemate::{
    Action, Answer, ApprovalRequest, Budget, Call, CallError, CedarPolicy, ChatContext, ChatRequest, ChatResponse,
    Content, Decision, Gate, Grants, LimitKind, Message, Model, ModelError, Models, PlaygroundModel, Policy,
    PolicySource, Query, Role, ScriptedModel, StopReason, TokenUsage, Verdict,
};
use serde_json::{Value, json};
use tokio::sync::{Barrier, Notify};

use crate::support::{
    caller, counting, exceeded, granted, limits, run, seen, talker, tool_error, toolset, types_seen, value,
};

fn models(model: impl Model + 'static) -> Models {
    Models::new().with("fast", model).unwrap()
}

fn may_ask(names: &[&str]) -> Grants {
    names.iter().try_fold(Grants::none(), |grants, name| grants.model(*name)).unwrap()
}

/// A guest that may ask the model `fast`, its default.
fn talks(function: &str, input: Value, model: impl Model + 'static) -> Call {
    talker().call(function, input).models(models(model)).grants(may_ask(&["fast"]))
}

/// What `try-say` tells of one chat with the default model.
fn try_say(text: &str, model: impl Model + 'static) -> Call {
    talks("try-say", json!({"text": text}), model)
}

fn says(text: &str) -> ChatResponse {
    let usage = TokenUsage { input_tokens: 7, cached_tokens: 2, output_tokens: 3, cost: Some(11) };
    let message = Message::text(Role::Assistant, text);
    ChatResponse { message, stop_reason: StopReason::End, usage, model: "kept-1".to_owned() }
}

/// A model that says `yes`, and keeps what it was asked.
fn keeping() -> (impl Model + Clone, Arc<Mutex<Vec<ChatRequest>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = asked.clone();
    let model = move |request, _: ChatContext| {
        kept.lock().unwrap().push(request);
        std::future::ready(Ok(says("yes")))
    };
    (model, asked)
}

fn script(text: &str) -> ScriptedModel {
    ScriptedModel::from_toml(text).unwrap()
}

/// Rules written in Rust: up to two messages are allowed, three asked about, more denied.
struct Short;

impl Policy for Short {
    fn version(&self) -> &'static str {
        "short"
    }

    fn decide(&self, query: &Query<'_>) -> Decision {
        let Action::Chat { model, input } = query.action else { panic!("only models are asked here") };
        let verdict = match input["messages"].as_u64() {
            Some(..=2) => Verdict::Allow,
            Some(3) => Verdict::Ask { question: format!("{model} again?") },
            _ => Verdict::Deny { reason: "that is long enough".to_owned(), remedy: None },
        };
        Decision { verdict, rules: Vec::new() }
    }
}

#[test]
fn what_all_steps_allow_is_asked_once_and_recorded() {
    let (model, asked) = keeping();
    let gate = Gate::builder().policy(Short).build();
    let mut events = gate.subscribe(10);
    assert_eq!(value(try_say("Hello", model).gate(&gate)), "ok: yes");
    let events = seen(&mut events);
    assert_eq!(events[0].0, "chat");
    assert_eq!(
        events[0].1,
        json!({
            "id": 1, "model": "fast", "kept": 0,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
            "tools": [], "principal": "anonymous", "depth": 1, "policy": "short", "rules": [],
        })
    );
    let mut result = events[1].1.clone();
    assert!(result["duration_us"].take().is_u64());
    assert_eq!(events[1].0, "chat_result");
    assert_eq!(
        result,
        json!({
            "id": 1, "model": "fast", "answered_by": "kept-1",
            "message": {"role": "assistant", "content": [{"type": "text", "text": "yes"}]},
            "stop_reason": "end",
            "usage": {"input_tokens": 7, "cached_tokens": 2, "output_tokens": 3, "cost": 11},
            "duration_us": null,
        })
    );
    assert_eq!((events.len(), asked.lock().unwrap().len()), (2, 1));
}

#[test]
fn only_the_grants_say_no() {
    let (model, asked) = keeping();
    let gate = Gate::builder().policy(Short).build();
    let mut events = gate.subscribe(10);
    let call = try_say("Hello", model).grants(may_ask(&["Fast"])).gate(&gate);
    assert_eq!(value(call), "denied: the model `fast` is not granted");
    let events = seen(&mut events);
    assert_eq!((events.len(), events[0].0.as_str()), (1, "denied"));
    assert_eq!((&events[0].1["model"], &events[0].1["allow"]), (&json!("fast"), &json!("--allow-model fast")));
    assert_eq!(events[0].1["input"], json!({"messages": 1, "text": "Hello", "tools": []}));
    assert!(asked.lock().unwrap().is_empty());
}

#[test]
fn only_the_policy_says_no() {
    let (model, asked) = keeping();
    let gate = Gate::builder().policy(Short).approver(|_| std::future::ready(Answer::Approve)).build();
    let mut events = gate.subscribe(100);
    let call = talks("converse", json!({"texts": ["a", "b", "c"]}), model).gate(&gate);
    assert_eq!(value(call), json!(["ok: yes", "ok: yes", "denied: that is long enough"]));
    let expected =
        ["chat", "chat_result", "approval_required", "approved", "chat", "chat_result", "denied"].map(str::to_owned);
    assert_eq!(types_seen(&mut events), expected);
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[test]
fn only_the_budget_says_no() {
    let (model, asked) = keeping();
    let gate = Gate::default();
    let mut events = gate.subscribe(10);
    let call = try_say("Hello", model).gate(&gate).budget(Budget::default().chats(0));
    assert_eq!(value(call), "limit-exceeded: the limit `chats` was reached: 1 of at most 0 chats");
    let events = seen(&mut events);
    assert_eq!((events.len(), events[0].0.as_str()), (1, "error"));
    assert_eq!((&events[0].1["model"], &events[0].1["kind"]), (&json!("fast"), &json!("limit-exceeded")));
    assert!(asked.lock().unwrap().is_empty());
}

#[test]
fn only_a_person_says_no() {
    let (model, asked) = keeping();
    let questions = Arc::new(Mutex::new(Vec::<ApprovalRequest>::new()));
    let answers = |answer: Answer| {
        let kept = questions.clone();
        let approver = move |request| {
            kept.lock().unwrap().push(request);
            std::future::ready(answer.clone())
        };
        let gate = Gate::builder().approver(approver).build();
        let mut events = gate.subscribe(10);
        let grants = Grants::none().model_after_asking("fast", "Ask it?").unwrap();
        let said = value(try_say("Hello", model.clone()).grants(grants).gate(&gate));
        (said, types_seen(&mut events))
    };
    let (said, events) = answers(Answer::Reject { reason: "not now".to_owned() });
    assert_eq!((said, events), (json!("denied: not now"), ["approval_required", "rejected"].map(str::to_owned).into()));
    let (said, _) = answers(Answer::ApproveEdited(json!({"messages": []})));
    assert_eq!(said, "denied: a chat cannot be edited, so the answer is taken for a no");
    assert!(asked.lock().unwrap().is_empty());
    let (said, events) = answers(Answer::Approve);
    let expected = ["approval_required", "approved", "chat", "chat_result"].map(str::to_owned);
    assert_eq!((said, events), (json!("ok: yes"), expected.into()));
    // Whoever is asked sees all of it.
    let questions = questions.lock().unwrap();
    assert_eq!((questions[0].subject.name(), questions[0].question.as_str()), ("fast", "Ask it?"));
    assert_eq!(
        *questions[0].input,
        json!({
            "model": "fast", "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
            "tools": [], "max_output_tokens": null, "temperature": null,
        })
    );
}

#[test]
fn rules_in_cedar_decide_by_what_is_said() {
    let text = "permit(principal, action == Action::\"chat\", resource) when { resource.name == \"fast\" };\n\
        @reason(\"not about Bern\") forbid(principal, action == Action::\"chat\", resource)\n\
        when { context.input has text && context.input.text like \"*Bern*\" };";
    let policy = || CedarPolicy::compile(&[PolicySource { name: "rules.cedar", text }], &[]).unwrap();
    let both = Models::new().with("fast", keeping().0).unwrap().with("slow", keeping().0).unwrap();
    let tried = |model: &str, text: &str| {
        let gate = Gate::builder().policy(policy()).build();
        let call = talker().call("try-say", json!({"model": model, "text": text})).models(both.clone()).gate(&gate);
        value(call.grants(may_ask(&["fast", "slow"])))
    };
    assert_eq!(tried("fast", "Hello"), "ok: yes");
    assert_eq!(tried("fast", "Is it far to Bern?"), "denied: not about Bern");
    assert_eq!(tried("slow", "Hello"), "denied: no rule permits a chat with `slow`");
}

#[test]
fn a_model_is_asked_by_name_or_as_the_default() {
    let (fast, slow) = (keeping(), keeping());
    let both = Models::new().with("fast", fast.0).unwrap().with("slow", slow.0).unwrap();
    let tried = |model: Option<&str>, models: &Models| {
        let gate = Gate::default();
        let mut events = gate.subscribe(10);
        let call = talker().call("try-say", json!({"model": model, "text": "a"})).models(models.clone()).gate(&gate);
        (value(call.grants(may_ask(&["fast", "slow"]))), types_seen(&mut events))
    };
    let (good, bad) = (["chat", "chat_result"].map(str::to_owned).to_vec(), vec!["denied".to_owned()]);
    assert_eq!(tried(None, &both), (json!("ok: yes"), good.clone()));
    assert_eq!(tried(Some("slow"), &both), (json!("ok: yes"), good));
    assert_eq!(tried(Some("slo\u{7}"), &both), (json!("not-found: there is no model `slo\\u{7}`"), bad.clone()));
    assert_eq!(tried(None, &Models::new()), (json!("not-found: there is no model"), bad));
    let names = [fast.1, slow.1].map(|asked| asked.lock().unwrap()[0].model.clone().unwrap());
    assert_eq!(names, ["fast", "slow"]);
}

#[test]
fn a_conversation_reaches_the_model_as_it_was_said() {
    let (model, asked) = keeping();
    let request = json!({
        "messages": [
            {"role": "system", "content": [{"text": "Be brief."}]},
            {"role": "user", "content": [
                {"text": "What is this?"},
                {"image": {"media-type": "image/png", "location": "/workspace/plan.png"}},
            ]},
            {"role": "assistant", "content": [
                {"thinking": {"text": "", "signature": "c2ln"}},
                {"tool-call": {"id": "c1", "name": "look", "input": "{\"deep\": [1, {\"er\": null}]}"}},
                {"tool-call": {"id": "c2", "name": "look", "input": "\"{oops\""}},
            ]},
            {"role": "tool", "content": [
                {"tool-result": {"id": "c1", "output": "[true]", "outcome": "succeeded"}},
                {"tool-result": {"id": "c2", "output": "\"no\"", "outcome": "failed"}},
            ]},
        ],
        "tools": [{"name": "look", "description": "Looks.", "input-schema": "{\"type\": \"object\"}"}],
        "max-output-tokens": 100,
        "temperature": 0.7,
    });
    let answer = value(talks("chat", json!({ "request": request }), model));
    assert_eq!(
        answer,
        json!({
            "message": {"role": "assistant", "content": [{"text": "yes"}]}, "stop-reason": "end",
            "usage": {"input-tokens": 7, "cached-tokens": 2, "output-tokens": 3, "cost": 11}, "model": "kept-1",
        })
    );
    assert_eq!(
        json!(asked.lock().unwrap()[0]),
        json!({
            "model": "fast",
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
                {"role": "user", "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image", "media_type": "image/png", "location": "/workspace/plan.png"},
                ]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "text": "", "signature": "c2ln"},
                    {"type": "tool_call", "id": "c1", "name": "look", "input": {"deep": [1, {"er": null}]}},
                    {"type": "tool_call", "id": "c2", "name": "look", "input": "{oops"},
                ]},
                {"role": "tool", "content": [
                    {"type": "tool_result", "id": "c1", "output": [true], "outcome": "succeeded"},
                    {"type": "tool_result", "id": "c2", "output": "no", "outcome": "failed"},
                ]},
            ],
            "tools": [{"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}],
            "max_output_tokens": 100,
            "temperature": 0.7,
        })
    );
}

#[track_caller]
fn malformed(request: &Value, said: &str) {
    let (model, asked) = keeping();
    let error = tool_error(run(talks("chat", json!({ "request": request }), model)).result.unwrap_err());
    assert_eq!(error.value, json!({ "invalid-input": said }));
    assert!(asked.lock().unwrap().is_empty());
}

#[test]
fn what_a_guest_gets_wrong_does_not_reach_the_model() {
    let call = |input: &str| {
        let call = json!({"id": "c1", "name": "look", "input": input});
        json!({"messages": [{"role": "assistant", "content": [{"tool-call": call}]}], "tools": []})
    };
    let not_json = "a part of the conversation is not JSON";
    malformed(&call("{"), &format!("{not_json}: EOF while parsing an object at line 1 column 1"));
    malformed(&call(r#"{"a": 1, "a": 2}"#), &format!("{not_json}: the key `a` stands there twice at line 1 column 12"));
    let result = json!({"id": "c1", "output": "no", "outcome": "failed"});
    malformed(
        &json!({"messages": [{"role": "tool", "content": [{"tool-result": result}]}], "tools": []}),
        &format!("{not_json}: expected ident at line 1 column 2"),
    );
    malformed(
        &json!({"messages": [], "tools": [{"name": "a", "description": "", "input-schema": ""}]}),
        &format!("{not_json}: EOF while parsing a value at line 1 column 0"),
    );
    for temperature in [json!(-1.0), json!("NaN"), json!("Infinity")] {
        let shown = temperature.as_str().map_or("-1", |text| if text == "NaN" { text } else { "inf" });
        malformed(
            &json!({"messages": [], "tools": [], "temperature": temperature}),
            &format!("the temperature is from 0 on, and this is {shown}"),
        );
    }
}

#[test]
fn json_much_larger_than_its_text_is_refused() {
    let (model, asked) = keeping();
    let schema = format!("[{}0]", "0,".repeat(100_000));
    let request = json!({"messages": [], "tools": [{"name": "a", "description": "", "input-schema": schema}]});
    let small = limits().host_call_bytes(1 << 20).unwrap().build();
    let error = run(talks("chat", json!({ "request": request }), model).limits(small)).result.unwrap_err();
    let said = "the limit `host-call-bytes` was reached: 1048576 of at most 1048576 bytes";
    assert_eq!(tool_error(error).value, json!({ "limit-exceeded": said }));
    assert!(asked.lock().unwrap().is_empty());
}

#[test]
fn an_input_that_is_no_json_reaches_the_guest_which_answers_it() {
    let (tool, count) = counting("lookup");
    let model = script(
        r#"
        [[turns]]
        tool_calls = [{ name = "lookup", input = "{\"order\": " }]

        [[turns]]
        expect = { role = "tool", contains = "invalid-input" }
        tool_calls = [{ name = "lookup", input = { order = "A-1" } }]

        [[turns]]
        expect = { role = "tool", contains = "A-1" }
        text = "Found."
        "#,
    );
    let call = talks("work", json!({"task": "Look A-1 up."}), model).tools(toolset([tool]));
    assert_eq!(value(call.grants(granted(&["lookup"]).model("fast").unwrap())), "Found.");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn a_script_notices_that_the_conversation_went_elsewhere() {
    let model = script("[[turns]]\nexpect = { contains = 'A-1' }\ntext = 'Found.'\n");
    assert_eq!(value(try_say("Look A-1 up.", model.clone())), "ok: Found.");
    assert_eq!(
        value(try_say("Hello", model.clone())),
        "failed: the model failed: the script expects of turn 1 a last message with `A-1`, and it is `Hello`"
    );
    assert_eq!(
        value(talks("converse", json!({"texts": ["A-1", "A-1"]}), model)),
        json!(["ok: Found.", "failed: the model failed: the script is used up after 1 turn"])
    );
}

#[test]
fn the_playground_calls_what_it_is_told_to() {
    let (tool, count) = counting("lookup");
    let task = "call lookup {\"order\": \"A-1\"}\ncall lookup {\"order\": \"B-2\"}\ncall nothing";
    let call = talks("work", json!({ "task": task }), PlaygroundModel).tools(toolset([tool]));
    let said = value(call.grants(granted(&["lookup"]).model("fast").unwrap()));
    let expected = "lookup gave {\"order\":\"A-1\"}\nlookup gave {\"order\":\"B-2\"}\n\
                    nothing failed with \"not-found: there is no tool `nothing`\"";
    assert_eq!(said, expected);
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[test]
fn a_long_conversation_is_told_once() {
    let gate = Gate::default();
    let mut events = gate.subscribe(100);
    let texts = json!({"texts": ["say a", "say b", "say c"]});
    assert_eq!(value(talks("converse", texts, PlaygroundModel).gate(&gate)), json!(["ok: a", "ok: b", "ok: c"]));
    let chats = seen(&mut events).into_iter().filter(|(kind, _)| kind == "chat");
    let told: Vec<_> = chats.map(|(_, data)| (data["kept"].clone(), data["messages"].clone())).collect();
    let said = |role: Role, text: &str| Message::text(role, text);
    assert_eq!(
        told,
        [
            (json!(0), json!([said(Role::User, "say a")])),
            (json!(1), json!([said(Role::Assistant, "a"), said(Role::User, "say b")])),
            (json!(3), json!([said(Role::Assistant, "b"), said(Role::User, "say c")])),
        ]
    );
}

#[test]
fn tokens_and_cost_are_spent_once_they_are_known() {
    let gate = Gate::default();
    let tried = |budget: Budget| {
        let mut events = gate.subscribe(100);
        let call = talks("say-many", json!({"text": "a", "count": 4}), keeping().0).budget(budget).gate(&gate);
        let tally = value(call);
        let refused = seen(&mut events).into_iter().find(|(kind, _)| kind == "error");
        (tally, refused.map(|(_, data)| data["message"].clone()))
    };
    let limit = |text: &str| Some(json!(format!("the limit {text}")));
    assert_eq!(tried(Budget::default()), (json!([4, 0]), None));
    // Each takes ten tokens; the second one goes beyond.
    assert_eq!(
        tried(Budget::default().tokens(15)),
        (json!([2, 2]), limit("`tokens` was reached: 20 of at most 15 tokens"))
    );
    assert_eq!(
        tried(Budget::default().cost(11)),
        (json!([1, 3]), limit("`cost` was reached: 11 of at most 11 millionths of a US dollar"))
    );
    assert_eq!(tried(Budget::default().chats(3)), (json!([3, 1]), limit("`chats` was reached: 4 of at most 3 chats")));
}

#[test]
fn a_budget_is_one_for_the_whole_tree() {
    let (model, asked) = keeping();
    let inner = json!({"text": "a", "count": 2}).to_string();
    let call = caller()
        .call("call-many-in-a-row", json!({"name": "say-many", "input": inner, "count": 3}))
        .tools(toolset([talker().tool("say-many").unwrap().inheriting().into()]))
        .models(models(model))
        .grants(granted(&["say-many"]).model("fast").unwrap())
        .budget(Budget::default().chats(3));
    assert_eq!(value(call), json!([3, 0]));
    assert_eq!(asked.lock().unwrap().len(), 3);
}

#[test]
fn what_goes_wrong_has_its_case_and_the_host_keeps_its_own_affairs() {
    let tried = |error: ModelError| {
        let gate = Gate::default();
        let mut events = gate.subscribe(10);
        let model = move |_, _| std::future::ready(Err(error.clone()));
        let said = value(try_say("a", model).gate(&gate));
        let error = seen(&mut events).pop().unwrap();
        assert_eq!((error.0.as_str(), &error.1["model"]), ("error", &json!("fast")));
        (said.as_str().unwrap().to_owned(), error.1["message"].as_str().unwrap().to_owned())
    };
    let message = || "no".to_owned();
    for (error, guest, watcher) in [
        (
            ModelError::InvalidRequest { message: message() },
            "invalid-input: the model cannot take this: no",
            "the model cannot take this: no",
        ),
        (
            ModelError::ContextTooLong { message: message() },
            "invalid-input: the conversation is too long for the model: no",
            "the conversation is too long for the model: no",
        ),
        (
            ModelError::RateLimited { retry_after: Some(Duration::from_secs(2)) },
            "failed: the model takes no more for now: try again after 2s",
            "the model takes no more for now: try again after 2s",
        ),
        (
            ModelError::Unavailable { detail: "10.0.0.3 refused".to_owned() },
            "failed: the model cannot be reached",
            "the model cannot be reached: 10.0.0.3 refused",
        ),
        (ModelError::Failed { message: message() }, "failed: the model failed: no", "the model failed: no"),
    ] {
        assert_eq!(tried(error), (guest.to_owned(), watcher.to_owned()));
    }
}

#[test]
fn a_model_that_panics_has_failed() {
    async fn panics(_: ChatRequest, _: ChatContext) -> Result<ChatResponse, ModelError> {
        panic!("no idea")
    }
    struct PanicsAtOnce;
    impl Model for PanicsAtOnce {
        fn chat(&self, _: ChatRequest, _: ChatContext) -> casemate::ChatFuture {
            panic!("no idea at all")
        }
    }
    assert_eq!(value(try_say("a", panics)), "failed: the model panicked");
    assert_eq!(value(try_say("a", PanicsAtOnce)), "failed: the model panicked");
}

#[test]
fn a_denial_that_ends_a_guest_badly_is_the_end_of_its_call() {
    let call = talker().call("say", json!({"text": "a"})).models(models(PlaygroundModel));
    let CallError::Denied(denied) = run(call).result.unwrap_err() else { panic!("not denied") };
    assert_eq!(
        denied.to_string(),
        "refused: chat with `fast`: the model `fast` is not granted (allow it with `--allow-model fast`)"
    );
}

/// Counts when it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A model that never answers, with how often it was given up, and what tells that it was asked.
fn silent() -> (impl Model + Clone, Arc<AtomicUsize>, Arc<Notify>) {
    let (dropped, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (counted, told) = (dropped.clone(), asked.clone());
    let model = move |_, _| {
        let counted = Counted(counted.clone());
        told.notify_one();
        async move {
            let _counted = counted;
            pending().await
        }
    };
    (model, dropped, asked)
}

#[test]
fn a_model_that_never_answers_is_given_up_at_the_deadline() {
    let (model, dropped, _) = silent();
    let gate = Gate::default();
    let mut events = gate.subscribe(10);
    let short = limits().wall_time(Duration::from_millis(50)).unwrap().build();
    let report = run(try_say("a", model).limits(short).gate(&gate));
    assert_eq!(exceeded(&report).limit, LimitKind::WallTime);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    let events = seen(&mut events);
    assert_eq!((events[1].0.as_str(), &events[1].1["kind"]), ("error", &json!("cancelled")));
}

#[tokio::test]
async fn a_cancelled_call_drops_what_the_model_does() {
    let (model, dropped, asked) = silent();
    let report = try_say("a", model).until(async move { asked.notified().await }).report().await;
    assert!(matches!(report.result, Err(CallError::Cancelled)), "{report:?}");
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

#[test]
fn what_a_model_says_is_heard_as_it_comes() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let kept = heard.clone();
    let model = script("[[turns]]\nthinking = 'hm'\ntext = ['I ', 'do.']\n");
    let call = try_say("a", model.clone()).on_delta(move |delta| kept.lock().unwrap().push(json!(delta)));
    assert_eq!(value(call), "ok: I do.");
    let delta = |kind: &str, text: &str| json!({"id": 1, "model": "fast", "depth": 1, "type": kind, "text": text});
    let mut heard = heard.lock().unwrap();
    // Other tests use the same Gate.
    heard.iter_mut().for_each(|delta| delta["id"] = json!(1));
    assert_eq!(*heard, [delta("thinking", "hm"), delta("text", "I "), delta("text", "do.")]);
    assert_eq!(value(try_say("a", model).on_delta(|_| panic!("deaf"))), "ok: I do.");
}

#[test]
fn sandboxes_side_by_side_talk_at_the_same_time() {
    let barrier = Arc::new(Barrier::new(3));
    let model = move |_, _| {
        let barrier = barrier.clone();
        async move {
            barrier.wait().await;
            Ok(says("yes"))
        }
    };
    let gate = Gate::default();
    let mut events = gate.subscribe(100);
    let calls = vec![("try-say", r#"{"text": "a"}"#); 3];
    let call = caller()
        .call("call-all", json!({ "calls": calls }))
        .tools(toolset([talker().tool("try-say").unwrap().inheriting().into()]))
        .models(models(model))
        .grants(granted(&["try-say"]).model("fast").unwrap())
        .gate(&gate);
    assert_eq!(value(call), json!(vec!["ok: \"ok: yes\""; 3]));
    let chats = seen(&mut events).into_iter().filter(|(kind, _)| kind == "chat");
    let told: Vec<_> = chats.map(|(_, data)| (data["depth"].clone(), data["kept"].clone())).collect();
    assert_eq!(told, vec![(json!(2), json!(0)); 3]);
}

#[test]
fn a_tool_has_models_of_its_own_within_the_grants_of_its_caller() {
    let (model, asked) = keeping();
    let tool = || talker().tool("try-say").unwrap().models(models(model.clone()));
    let call = |tool: casemate::ComponentTool, grants: Grants| {
        let input = json!({"name": "try-say", "input": r#"{"text": "a"}"#});
        caller().call("try-tool", input).tools(toolset([tool.into()])).grants(grants)
    };
    let both = granted(&["try-say"]).model("fast").unwrap();
    assert_eq!(value(call(tool().grants(may_ask(&["fast"])), both.clone())), "ok: \"ok: yes\"");
    assert_eq!(value(call(tool(), both.clone())), "ok: \"denied: the model `fast` is not granted\"");
    // What inherits knows the models of its caller, which has none.
    assert_eq!(value(call(tool().inheriting(), both)), "ok: \"not-found: there is no model\"");
    let error = run(call(tool().grants(may_ask(&["fast"])), granted(&["try-say"]))).result.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the tool `try-say` would reach more than its caller: the model `fast` is not granted around it, or only after \
         asking: grant it there, or leave it out"
    );
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[test]
fn thoughts_go_back_to_the_model_as_they_were() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = asked.clone();
    let thought = || casemate::Thought { text: "hm".to_owned(), signature: Some("c2ln".to_owned()) };
    let model = move |request: ChatRequest, _: ChatContext| {
        kept.lock().unwrap().push(request.messages);
        let content = vec![Content::Thinking(thought()), Content::Text { text: "yes".to_owned() }];
        let message = Message { role: Role::Assistant, content };
        std::future::ready(Ok(ChatResponse { message, ..says("") }))
    };
    assert_eq!(value(talks("converse", json!({"texts": ["a", "b"]}), model)), json!(["ok: yes", "ok: yes"]));
    assert_eq!(asked.lock().unwrap()[1][1].content[0], Content::Thinking(thought()));
}
