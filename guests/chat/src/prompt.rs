//! How a run begins, as a chat.

use casemate_sdk::{Chat, Content, Context, ContextFile, Message};

/// Instructions, what was said before, and the message with the files ahead of it.
pub(crate) fn chat(message: Message, context: &Context) -> Chat {
    let instructions = context.system_prompt.iter().map(Message::system);
    Chat::new()
        .history(instructions)
        .history(context.history.iter().cloned())
        .message(with_files(message, &context.files))
        .granted_tools()
}

fn with_files(message: Message, files: &[ContextFile]) -> Message {
    let files = files.iter().map(|file| Content::text(shown(file)));
    Message::new(message.role, files.chain(message.content))
}

/// A file as the model reads it: its path, and its text between fences that the text does not have.
fn shown(file: &ContextFile) -> String {
    let fence = "`".repeat(longest_run_of_backticks(&file.text).max(2) + 1);
    let break_at_end = if file.text.is_empty() || file.text.ends_with('\n') { "" } else { "\n" };
    format!("The file {:?}:\n{fence}\n{}{break_at_end}{fence}", file.path, file.text)
}

fn longest_run_of_backticks(text: &str) -> usize {
    text.split(|other| other != '`').map(str::len).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, expected: &str) {
        assert_eq!(shown(&ContextFile { path: path.into(), text: text.into() }), expected);
    }

    #[test]
    fn a_file_is_told_from_what_surrounds_it() {
        check("/workspace/a.txt", "one\ntwo\n", "The file \"/workspace/a.txt\":\n```\none\ntwo\n```");
        check("/workspace/a.txt", "one", "The file \"/workspace/a.txt\":\n```\none\n```");
        check("/workspace/a.txt", "", "The file \"/workspace/a.txt\":\n```\n```");
    }

    #[test]
    fn a_file_cannot_end_itself() {
        check("/workspace/a.md", "```\nevil\n````", "The file \"/workspace/a.md\":\n`````\n```\nevil\n````\n`````");
        check("/a\":\nevil", "", "The file \"/a\\\":\\nevil\":\n```\n```");
    }
}
