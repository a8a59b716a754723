use casemate_sdk::{
    Content, Error, Image, Message, Outcome, Role, Thought, ToolCall, ToolResult, Value, json, serde_json,
};

#[track_caller]
fn check(message: &Message, form: Value) {
    assert_eq!(serde_json::to_value(message).unwrap(), form);
    assert_eq!(serde_json::from_value::<Message>(form).unwrap(), *message);
}

#[test]
fn messages_have_one_form_in_json() {
    check(&Message::system("s"), json!({"role": "system", "content": [{"type": "text", "text": "s"}]}));
    check(
        &Message::new(
            Role::User,
            [Content::Image(Image { media_type: "image/png".into(), location: "/a.png".into() })],
        ),
        json!({"role": "user", "content": [{"type": "image", "media_type": "image/png", "location": "/a.png"}]}),
    );
    check(
        &Message::new(
            Role::Assistant,
            [
                Content::Thinking(Thought { text: "hm".into(), signature: Some("x".into()) }),
                Content::Thinking(Thought { text: "so".into(), signature: None }),
                Content::ToolCall(ToolCall::new("add", json!({"a": 1})).with_id("1")),
            ],
        ),
        json!({"role": "assistant", "content": [
            {"type": "thinking", "text": "hm", "signature": "x"},
            {"type": "thinking", "text": "so"},
            {"type": "tool_call", "id": "1", "name": "add", "input": {"a": 1}},
        ]}),
    );
    check(
        &Message::results([ToolResult { id: "1".into(), output: json!(3), outcome: Outcome::Succeeded }]),
        json!({"role": "tool", "content": [
            {"type": "tool_result", "id": "1", "output": 3, "outcome": "succeeded"},
        ]}),
    );
}

#[test]
fn a_result_says_what_became_of_its_call() {
    let call = ToolCall::new("add", json!({})).with_id("7");
    let told = |result| {
        let ToolResult { id, output, outcome } = ToolResult::new(&call, result);
        (id, output, outcome)
    };
    assert_eq!(told(Ok(json!([1]))), ("7".into(), json!([1]), Outcome::Succeeded));
    let denied = Error::Denied("no grant".into());
    assert_eq!(told(Err(denied)), ("7".into(), json!("denied: no grant"), Outcome::Failed));
}

#[test]
fn the_text_of_a_message_is_its_text_parts() {
    let call = Content::ToolCall(ToolCall::new("add", json!({})));
    let message = Message::new(Role::Assistant, [Content::text("one"), call, Content::text("two")]);
    assert_eq!(message.text(), "one\ntwo");
    assert_eq!(Message::new(Role::User, []).text(), "");
}
