//! An agent that reads a support message: it looks the order up, asks for its number where none is named, and has a
//! model write the answer. It needs a model and the tool `lookup`.

use casemate_sdk::{Chat, Error, Request, Value, agent, ask, call_tool, json, tool};

#[agent]
fn triage(request: Request) -> Result<String, Error> {
    let message = request.text();
    let number = match order_number(&message) {
        Some(number) => number.to_owned(),
        None => ask("Which order is this about?")?,
    };
    let order: Value = call_tool("lookup", &json!({"order": number}))?;
    Chat::new()
        .system("You answer support messages, in three sentences. Say by when the customer hears from us again.")
        .user(format!("Order: {order}\n\nMessage: {message}"))
        .converse()
        .with([HOURS_TO_ANSWER])
        .answer()
}

/// Says within how many hours a customer has to hear from us again.
#[tool]
fn hours_to_answer(
    /// What was paid for the order, in hundredths of its currency.
    paid: u32,
    /// Whether the customer cannot go on without an answer.
    stuck: bool,
) -> u32 {
    if stuck || paid >= 100_000 { 4 } else { 48 }
}

/// The number of an order, as `#A-1042`, that a message names.
fn order_number(message: &str) -> Option<&str> {
    let number = message.split_whitespace().find_map(|word| word.strip_prefix('#'))?;
    let number = number.trim_end_matches(|end: char| !end.is_alphanumeric());
    (!number.is_empty()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use casemate_sdk::testing::Host;

    fn host() -> Host {
        Host::new().tool("lookup", |input| match input["order"].as_str() {
            Some("A-1042") => Ok(json!({"order": "A-1042", "paid": 1250, "currency": "EUR"})),
            _ => Err(Error::Failed("there is no such order".into())),
        })
    }

    #[test]
    fn it_answers_with_what_the_tools_say() {
        let host = host()
            .model_calls([("hours-to-answer", json!({"paid": 1250, "stuck": true}))])
            .model_says("You hear from us within four hours.");
        let answer = host.run(|| triage(Request::new("Where is #A-1042? I am stuck!")));
        assert_eq!(answer.as_deref(), Ok("You hear from us within four hours."));
        assert_eq!(host.chats()[1].messages[3].tool_results().next().unwrap().output, json!(4));
        assert!(host.questions().is_empty());
    }

    #[test]
    fn it_asks_for_an_order_that_nobody_named() {
        let host = host().person_says("A-1042").model_says("It is on its way.");
        let answer = host.run(|| triage(Request::new("Where is my order?")));
        assert_eq!(answer.as_deref(), Ok("It is on its way."));
        assert_eq!(host.questions(), ["Which order is this about?"]);
    }

    #[test]
    fn an_order_that_is_not_there_ends_it() {
        let answer = host().run(|| triage(Request::new("Where is #B-7?")));
        assert_eq!(answer, Err(Error::Failed("there is no such order".into())));
    }
}
