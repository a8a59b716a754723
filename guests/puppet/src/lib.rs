//! An agent without a will of its own: it does what its message says, line by line, and answers with what came of each.
//!
//! | line | what it does |
//! | --- | --- |
//! | `call NAME JSON` | calls a tool |
//! | `call-all NAME JSON` | calls the tool three times at once |
//! | `call-keys NAME KEY…` | calls the tool with each `{"key": KEY}`, all at once |
//! | `chat TEXT` | has the model answer |
//! | `list` | the names of its tools |
//! | `ask QUESTION`, `think TEXT`, `say TEXT` | as they read |
//! | `shout MIB` | says as much at once |
//! | `sleep MILLISECONDS` | through `wasi:clocks` |
//! | `now`, `elapsed`, `random`, `hash-seed` | what it is told of time and chance |
//! | `wait-for-clock MILLISECONDS` | reads the clock until so much has passed |
//! | `env NAME` | an environment variable |
//! | `context` | what it knows of its run |
//! | `http METHOD URL BODY` | a request, and what came back |
//! | `http-around URL LINE` | a POST, and the line between two pieces of its body |
//! | `http-broken URL` | a POST whose body breaks off |
//! | `http-within MILLISECONDS URL BODY` | the same, unless it takes longer: a POST where there is a body |
//! | `http-twice URL` | two requests at once, and which answered first |
//! | `times N LINE` | the line, so often |
//! | `count N` | counts, and says nothing of it |
//! | `spin`, `trap`, `nothing`, `fail TEXT`, `fill MIB` | ends badly, or never |
//!
//! In the JSON of a call `$now` and `$random` stand for what those lines say.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "whoever writes the lines sees what went wrong")]

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

mod web;

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]

    wit_bindgen::generate!({
        path: "../../wit/agent",
        world: "casemate:agent/agent",
        with: { "casemate:agent/types@0.1.0": casemate_wording::types },
        generate_all,
    });

    export!(Puppet with_types_in self);

    use super::Puppet;
}

use bindings::casemate::agent::{model, run, tools};
use bindings::exports::casemate::agent::handler::{self, Guest, Response};
use casemate_wording::reason;
use casemate_wording::types::{Content, Error, Message, Role, ToolCall};

struct Puppet;

impl Guest for Puppet {
    fn handle(request: handler::Request) -> Result<Response, String> {
        let text = request.message.content.iter().map(|part| match part {
            Content::Text(text) => text.as_str(),
            _ => "",
        });
        let text = text.collect::<String>();
        let mut output = Vec::new();
        for line in text.lines() {
            match line.trim() {
                "" => {}
                "nothing" => return Ok(Response { output: String::new() }),
                line => match line.strip_prefix("fail ") {
                    Some(reason) => return Err(reason.to_owned()),
                    None => obey(line, &mut output),
                },
            }
        }
        Ok(Response { output: output.join("\n") })
    }
}

fn obey(line: &str, output: &mut Vec<String>) {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let answer = match verb {
        "times" => {
            let (count, line) = rest.split_once(' ').unwrap_or((rest, ""));
            (0..count.parse().unwrap_or(0)).for_each(|_| obey(line, output));
            return;
        }
        "call" => {
            let (name, input) = rest.split_once(' ').unwrap_or((rest, "{}"));
            told(tools::call(name, &filled_in(input)))
        }
        "call-all" => {
            let (name, input) = rest.split_once(' ').unwrap_or((rest, "{}"));
            call_all(name, [input, input, input].map(filled_in))
        }
        "call-keys" => {
            let (name, keys) = rest.split_once(' ').unwrap_or((rest, ""));
            call_all(name, keys.split_whitespace().map(|key| format!(r#"{{"key": "{key}"}}"#)))
        }
        "chat" => chat(rest),
        "list" => tools::available().into_iter().map(|tool| tool.name).collect::<Vec<_>>().join(" "),
        "ask" => told(run::ask(rest)),
        "think" => {
            run::thinking(rest);
            return;
        }
        "say" => {
            run::output(rest);
            return;
        }
        "shout" => {
            run::output(&"a".repeat(mebibytes(rest)));
            return;
        }
        "count" => {
            for n in 0..number(rest) {
                std::hint::black_box(n);
            }
            return;
        }
        "sleep" => {
            std::thread::sleep(Duration::from_millis(number(rest)));
            "slept".to_owned()
        }
        "wait-for-clock" => {
            let (began, time) = (Instant::now(), Duration::from_millis(number(rest)));
            while began.elapsed() < time {}
            "waited".to_owned()
        }
        "now" => now(),
        "elapsed" => {
            let began = Instant::now();
            began.elapsed().as_nanos().to_string()
        }
        "random" | "hash-seed" => random(),
        verb if verb.starts_with("http") => web::answer(verb, rest),
        "env" => std::env::var(rest).unwrap_or_else(|_| "(not set)".to_owned()),
        "context" => context(),
        "spin" => loop {
            std::hint::spin_loop();
        },
        "trap" => panic!("told to"),
        "fill" => {
            let bytes = vec![1_u8; mebibytes(rest)];
            bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>().to_string()
        }
        other => panic!("no such line: {other}"),
    };
    output.push(answer);
}

fn call_all(name: &str, inputs: impl IntoIterator<Item = String>) -> String {
    let call = |input| ToolCall { id: String::new(), name: name.to_owned(), input };
    let calls: Vec<_> = inputs.into_iter().map(call).collect();
    tools::call_all(&calls).into_iter().map(told).collect::<Vec<_>>().join(" ")
}

fn filled_in(input: &str) -> String {
    let mut input = input.to_owned();
    for (word, value) in [("$now", now as fn() -> String), ("$random", random)] {
        if input.contains(word) {
            input = input.replace(word, &value());
        }
    }
    input
}

fn chat(text: &str) -> String {
    let message = Message { role: Role::User, content: vec![Content::Text(text.to_owned())] };
    let request = model::ChatRequest {
        model: None,
        messages: vec![message],
        tools: Vec::new(),
        max_output_tokens: None,
        temperature: None,
    };
    told(model::chat(&request).map(|response| {
        let texts = response.message.content.into_iter().map(|part| match part {
            Content::Text(text) => text,
            _ => String::new(),
        });
        texts.collect::<String>()
    }))
}

fn context() -> String {
    let context = run::context();
    let files: Vec<_> = context.files.iter().map(|file| format!("{}={}", file.path, file.text)).collect();
    let prompt = context.system_prompt.unwrap_or_default();
    format!("{} | {} | {} | {}", context.agent, prompt, files.join(","), context.history.len())
}

fn told(result: Result<String, Error>) -> String {
    result.unwrap_or_else(reason)
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or_else(|_| panic!("`{text}` is no number"))
}

fn mebibytes(text: &str) -> usize {
    usize::try_from(number(text)).unwrap_or(usize::MAX) << 20
}

fn now() -> String {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros().to_string()
}

fn random() -> String {
    RandomState::new().hash_one(0).to_string()
}
