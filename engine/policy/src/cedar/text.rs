//! Policy text: where rules begin and end, and where in a file something stands.
//!
//! Every rule is parsed by Cedar on its own, so that one mistake hides no other; this only has to find the semicolons
//! between them. Should it ever cut in the wrong place, Cedar refuses both halves.

use std::iter::Peekable;
use std::ops::Range;
use std::str::CharIndices;

use super::problem::Place;

/// One word, string or sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) range: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    Word,
    Quoted,
    Sign(char),
}

/// A file with the offsets of its lines.
#[derive(Debug)]
pub(super) struct File<'a> {
    name: &'a str,
    pub(super) text: &'a str,
    lines: Vec<usize>,
}

impl<'a> File<'a> {
    pub(super) fn new(name: &'a str, text: &'a str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name, text, lines }
    }

    pub(super) fn place(&self, offset: usize) -> Place {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or_default();
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        Place { file: self.name.to_owned(), line, column }
    }

    /// Where each rule stands, from its first token to its semicolon; what follows the last one is a rule too.
    pub(super) fn rules(&self) -> Vec<Range<usize>> {
        let mut rules = Vec::new();
        let mut open: Option<Range<usize>> = None;
        for token in tokens(self.text) {
            let start = open.map_or(token.range.start, |rule| rule.start);
            let rule = start..token.range.end;
            open = if token.kind == TokenKind::Sign(';') {
                rules.push(rule);
                None
            } else {
                Some(rule)
            };
        }
        rules.extend(open);
        rules
    }
}

/// Cuts text as Cedar's lexer does, as far as is needed here: comments and space are left out.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((start, first)) = rest.next() {
        let kind = match first {
            c if c.is_whitespace() => continue,
            '/' if rest.peek().is_some_and(|(_, next)| *next == '/') => {
                skip(&mut rest, |c| !matches!(c, '\n' | '\r'));
                continue;
            }
            '"' => {
                skip_quoted(&mut rest);
                TokenKind::Quoted
            }
            c if is_word(c) => {
                skip(&mut rest, is_word);
                TokenKind::Word
            }
            c => TokenKind::Sign(c),
        };
        let end = rest.peek().map_or(text.len(), |(at, _)| *at);
        found.push(Token { kind, range: start..end });
    }
    found
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

fn skip(rest: &mut Peekable<CharIndices<'_>>, more: impl Fn(char) -> bool) {
    while rest.next_if(|(_, c)| more(*c)).is_some() {}
}

fn skip_quoted(rest: &mut Peekable<CharIndices<'_>>) {
    while let Some((_, c)) = rest.next() {
        match c {
            '"' => return,
            '\\' => drop(rest.next()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn rules(text: &str, expected: &[&str]) {
        let file = File::new("rules.cedar", text);
        let found: Vec<_> = file.rules().into_iter().map(|range| &text[range]).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_rule_ends_at_its_semicolon() {
        rules("", &[]);
        rules(" // nothing; at all", &[]);
        rules("a; b;", &["a;", "b;"]);
        rules("a // not; here\n;b", &["a // not; here\n;", "b"]);
        rules("a \"; // \\\"; \" ; b;", &["a \"; // \\\"; \" ;", "b;"]);
        rules("a \"never closed; b;", &["a \"never closed; b;"]);
    }

    #[test]
    fn a_place_counts_characters_from_one() {
        let file = File::new("rules.cedar", "one\nzwölf x");
        let at = file.text.find('x').unwrap();
        assert_eq!(file.place(at).to_string(), "rules.cedar:2:7");
        assert_eq!(file.place(0).to_string(), "rules.cedar:1:1");
        assert_eq!(file.place(99).to_string(), "rules.cedar:2:1");
    }
}
