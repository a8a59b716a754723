//! Asking at the terminal: who answers when a grant or a rule says that a person decides.

use std::io::{BufRead, IsTerminal as _, Write};
use std::sync::{Arc, Once};

use casemate::{Annotations, Answer, AnswerFuture, ApprovalRequest, Approver, Rule, Subject, ToolSource};
use clap::ValueEnum;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::render::{self, BOLD, DIM, styled};

/// What becomes of questions.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Approve {
    /// Ask at the terminal; where there is none, a call is told no, and a run waits
    Ask,
    /// No to every question
    Never,
    /// Yes to every question
    Always,
}

/// Whoever answers.
pub(crate) enum Person {
    /// The one at the terminal, one question at a time.
    AtTerminal(Arc<Mutex<()>>),
    SaysYes,
    SaysNo,
    /// Nobody, for that reason; whoever runs this is told so once.
    Absent {
        why: &'static str,
        told: Once,
    },
}

impl Person {
    /// `input_is_taken`: standard input is read for something else.
    pub(crate) fn new(approve: Approve, input_is_taken: bool) -> Self {
        match approve {
            Approve::Always => Self::SaysYes,
            Approve::Never => Self::SaysNo,
            Approve::Ask if input_is_taken => Self::absent("standard input is the call's input"),
            Approve::Ask => Self::at_terminal().unwrap_or_else(|| Self::absent("there is no terminal to ask at")),
        }
    }

    /// The one at the terminal, where there is one.
    pub(crate) fn at_terminal() -> Option<Self> {
        let is_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        is_terminal.then(|| Self::AtTerminal(Arc::default()))
    }

    fn absent(why: &'static str) -> Self {
        Self::Absent { why, told: Once::new() }
    }
}

impl Approver for Person {
    fn ask(&self, request: ApprovalRequest) -> AnswerFuture {
        match self {
            Self::SaysYes => at_once(Answer::Approve),
            Self::SaysNo => at_once(reject(format!("nobody is asked, and the answer is no: {}", request.question))),
            Self::Absent { why, told } => {
                told.call_once(|| {
                    let name = request.subject.name();
                    render::warning_line(&format!(
                        "nobody can be asked about `{name}`, because {why}; `--approve always` says yes to everything"
                    ));
                });
                at_once(reject(format!("nobody can be asked, because {why}: {}", request.question)))
            }
            Self::AtTerminal(turn) => {
                let turn = turn.clone();
                Box::pin(async move {
                    let turn = turn.lock_owned().await;
                    // The thread keeps its turn even where nobody waits for the answer any more, so that what is typed
                    // for this question answers no other.
                    let answer = tokio::task::spawn_blocking(move || {
                        let _turn = turn;
                        ask(&request, &mut std::io::stdin().lock(), &mut anstream::stderr().lock())
                    });
                    match answer.await {
                        Ok(Ok(answer)) => answer.unwrap_or_else(unanswered),
                        Ok(Err(error)) => reject(format!("the terminal failed: {error}")),
                        Err(_) => reject("the terminal failed"),
                    }
                })
            }
        }
    }
}

/// Shows a question, and waits for an answer that is one; none where the input ends before.
pub(crate) fn ask(
    request: &ApprovalRequest,
    input: &mut impl BufRead,
    out: &mut impl Write,
) -> std::io::Result<Option<Answer>> {
    Question::of(request).put(input, out)
}

/// Shows a question that is answered in words, and waits for some; none where the input ends before.
pub(crate) fn ask_for_text(
    question: &str,
    input: &mut impl BufRead,
    out: &mut impl Write,
) -> std::io::Result<Option<String>> {
    writeln!(out, "\n{}", styled(BOLD, render::plain(question)))?;
    loop {
        match prompt("> ", input, out)? {
            Some(line) if line.is_empty() => {}
            answer => return Ok(answer),
        }
    }
}

fn at_once(answer: Answer) -> AnswerFuture {
    Box::pin(std::future::ready(answer))
}

fn reject(reason: impl Into<String>) -> Answer {
    Answer::Reject { reason: reason.into() }
}

/// What a person has to know to answer.
struct Question<'a> {
    subject: &'a Subject,
    source: Option<&'a ToolSource>,
    annotations: Annotations,
    input: &'a Value,
    asks: &'a str,
    rules: &'a [Rule],
    principal: &'a str,
}

impl<'a> Question<'a> {
    fn of(request: &'a ApprovalRequest) -> Self {
        Self {
            subject: &request.subject,
            source: request.source.as_ref(),
            annotations: request.annotations,
            input: &request.input,
            asks: &request.question,
            rules: &request.rules,
            principal: &request.principal,
        }
    }

    /// Shows it, and waits for an answer that is one.
    fn put(&self, input: &mut impl BufRead, out: &mut impl Write) -> std::io::Result<Option<Answer>> {
        self.show(out)?;
        // What leaves for a host or a model is not changed on the way.
        let (can_edit, choices) = match self.subject {
            Subject::Host(_) | Subject::Secret(_) | Subject::Model(_) => (false, "[y]es / [n]o: "),
            _ => (true, "[y]es / [n]o / [e]dit: "),
        };
        loop {
            let Some(line) = prompt(choices, input, out)? else { return Ok(None) };
            let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
            match word {
                "y" | "yes" => return Ok(Some(Answer::Approve)),
                "n" | "no" if rest.is_empty() => {
                    let reason = prompt("why? (Enter for no reason) ", input, out)?;
                    return Ok(Some(no(reason.as_deref().unwrap_or_default())));
                }
                "n" | "no" => return Ok(Some(no(rest))),
                "e" | "edit" if can_edit => {
                    if let Some(edited) = edit(input, out)? {
                        return Ok(Some(Answer::ApproveEdited(edited)));
                    }
                }
                _ => {}
            }
        }
    }

    fn show(&self, out: &mut impl Write) -> std::io::Result<()> {
        let name = render::plain(self.subject.name());
        let asked = match self.subject {
            Subject::Host(_) => format!("May a request go to `{name}`?"),
            Subject::Secret(_) => format!("May the secret `{name}` be used?"),
            Subject::Model(_) => format!("May the model `{name}` be asked?"),
            _ => format!("May `{name}` be called?"),
        };
        writeln!(out, "\n{}", styled(BOLD, asked))?;
        for line in self.asks.lines() {
            writeln!(out, "  {}", render::plain(line))?;
        }
        writeln!(out, "  {}  {}", styled(DIM, "asked by"), self.asked_by())?;
        writeln!(out, "  {}    {}", styled(DIM, "caller"), render::plain(self.principal))?;
        if let Some(source) = self.source {
            writeln!(out, "  {}      {}", styled(DIM, "tool"), render::tool_source(source))?;
            writeln!(out, "  {}   {}", styled(DIM, "it says"), self.sort())?;
        }
        writeln!(out, "  {}", styled(DIM, "input"))?;
        for line in render::plain(&format!("{:#}", self.input)).lines() {
            writeln!(out, "    {line}")?;
        }
        Ok(())
    }

    /// What its maker says of the tool.
    fn sort(&self) -> String {
        let Annotations { read_only, idempotent, destructive, open_world } = self.annotations;
        let either = |holds, yes, no| if holds { yes } else { no };
        [
            either(read_only, "read-only", "not read-only"),
            either(idempotent, "idempotent", "not idempotent"),
            either(destructive, "destructive", "not destructive"),
            either(open_world, "open-world", "not open-world"),
        ]
        .join(", ")
    }

    fn asked_by(&self) -> String {
        if self.rules.is_empty() {
            return "the grants".to_owned();
        }
        let rules: Vec<_> = self.rules.iter().map(render::rule).collect();
        rules.join(", ")
    }
}

/// A line without the white space around it; `None` where there are no more.
fn prompt(text: &str, input: &mut impl BufRead, out: &mut impl Write) -> std::io::Result<Option<String>> {
    write!(out, "{text}")?;
    out.flush()?;
    let mut line = String::new();
    let read = input.read_line(&mut line)?;
    Ok((read > 0).then(|| line.trim().to_owned()))
}

/// JSON on as many lines as it takes; `None` where it is not JSON.
fn edit(input: &mut impl BufRead, out: &mut impl Write) -> std::io::Result<Option<Value>> {
    let mut text = String::new();
    while let Some(line) = prompt(if text.is_empty() { "input as JSON: " } else { "… " }, input, out)? {
        text.push_str(&line);
        text.push('\n');
        match serde_json::from_str(&text) {
            Ok(value) => return Ok(Some(value)),
            Err(error) if error.is_eof() && !line.is_empty() => {}
            Err(error) => {
                writeln!(out, "this is not JSON: {error}")?;
                return Ok(None);
            }
        }
    }
    Ok(None)
}

fn no(reason: &str) -> Answer {
    reject(if reason.is_empty() { "a person said no" } else { reason })
}

fn unanswered() -> Answer {
    reject("a person was asked and gave no answer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What is shown, and what the lines typed come to.
    fn put(argument: &Value, rules: &[Rule], typed: &str) -> (String, Option<Answer>) {
        let subject = Subject::Tool("refund".into());
        let annotations = Annotations::default();
        let source = Some(&ToolSource::Closure);
        let question =
            Question { subject: &subject, source, annotations, input: argument, asks: "Pay?", rules, principal: "bot" };
        let mut shown = anstream::StripStream::new(Vec::new());
        let answer = question.put(&mut typed.as_bytes(), &mut shown).unwrap();
        (String::from_utf8(shown.into_inner()).unwrap(), answer)
    }

    #[track_caller]
    fn check(typed: &str, expected: &Answer) {
        assert_eq!(put(&json!({}), &[], typed).1.as_ref(), Some(expected), "{typed:?}");
    }

    #[test]
    fn what_is_typed_is_an_answer() {
        check("y\n", &Answer::Approve);
        check(" yes \n", &Answer::Approve);
        check("maybe\n\nY\ny\n", &Answer::Approve);
        check("n\n\n", &reject("a person said no"));
        check("n\ntoo much\n", &reject("too much"));
        check("no too much\n", &reject("too much"));
        check("e\n{\"amount\": 5}\n", &Answer::ApproveEdited(json!({"amount": 5})));
        check("e\n{\n\"amount\":\n5}\n", &Answer::ApproveEdited(json!({"amount": 5})));
        check("e\n{,}\nn no\n", &reject("no"));
        assert_eq!(put(&json!({}), &[], "").1, None);
        assert_eq!(put(&json!({}), &[], "e\n").1, None);
    }

    #[test]
    fn all_that_is_decided_about_is_shown() {
        let rule = Rule { id: "cap".into(), file: "rules.cedar".into(), line: 7 };
        let (shown, _) = put(&json!({"order": "A-1", "amount": 101}), &[rule], "y\n");
        assert_eq!(
            shown,
            "\nMay `refund` be called?\n  Pay?\n  asked by  rule `cap` (rules.cedar:7)\n  caller    bot\n  \
             tool      closure\n  \
             it says   not read-only, not idempotent, destructive, open-world\n  \
             input\n    {\n      \"order\": \"A-1\",\n      \"amount\": 101\n    }\n[y]es / [n]o / [e]dit: "
        );
    }

    #[test]
    fn what_leaves_is_not_edited() {
        not_edited(&Subject::Host("a.net".into()), "May a request go to `a.net`?");
        not_edited(&Subject::Model("fast".into()), "May the model `fast` be asked?");
    }

    #[track_caller]
    fn not_edited(subject: &Subject, asked: &str) {
        let (annotations, input) = (Annotations::default(), json!({"method": "GET"}));
        let question =
            Question { subject, source: None, annotations, input: &input, asks: "Send?", rules: &[], principal: "bot" };
        let mut shown = anstream::StripStream::new(Vec::new());
        let answer = question.put(&mut "e\n{}\ny\n".as_bytes(), &mut shown).unwrap();
        let shown = String::from_utf8(shown.into_inner()).unwrap();
        assert_eq!(answer, Some(Answer::Approve));
        assert!(shown.contains(asked) && !shown.contains("[e]dit"), "{shown}");
    }

    #[test]
    fn an_argument_cannot_steer_the_terminal() {
        let hostile = "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\r\u{8}\u{7f}\u{202e}yes\n[y]es / [n]o / [e]dit: y";
        let (shown, _) = put(&json!({ hostile: hostile }), &[], "n\n\n");
        let steering = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!shown.contains(steering), "{shown:?}");
        assert!(shown.contains(r"\u001b[2J\u001b]0;x\u0007\u009b31m\r\b\u007f\u202eyes\n[y]es"), "{shown}");
        assert_eq!(shown.lines().filter(|line| line.starts_with("[y]es")).count(), 1);
    }
}
