//! Who types at the terminal: lines, each for the question that is open.
//!
//! One thread reads standard input for as long as the process lives, since a read cannot be taken back. What is typed
//! while no question is open, or for one that was withdrawn, answers no other.

use std::io::{BufRead, IsTerminal as _, Read};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// The one at the terminal.
#[derive(Clone)]
pub(crate) struct Typist(Arc<Mutex<Attention>>);

enum Attention {
    /// Nothing is asked.
    Idle,
    Question(Sender<String>),
    /// Nobody types any more.
    Gone,
}

impl Typist {
    /// The one at the terminal, where there is one.
    pub(crate) fn at_terminal() -> Option<Self> {
        let is_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        is_terminal.then(Self::start)
    }

    fn start() -> Self {
        let typist = Self(Arc::new(Mutex::new(Attention::Idle)));
        let reading = typist.clone();
        std::thread::spawn(move || {
            for line in std::io::stdin().lines() {
                let Ok(line) = line else { break };
                reading.hear(line);
            }
            *reading.attention() = Attention::Gone;
        });
        typist
    }

    /// The lines that are typed from now on, until [`withdraw`](Self::withdraw) or the end of the input.
    pub(crate) fn listen(&self) -> Typed {
        let (sender, lines) = channel();
        let mut attention = self.attention();
        if !matches!(*attention, Attention::Gone) {
            *attention = Attention::Question(sender);
        }
        Typed { lines, rest: Vec::new(), read: 0 }
    }

    /// Ends the lines of the question that is open.
    pub(crate) fn withdraw(&self) {
        let mut attention = self.attention();
        if let Attention::Question(_) = *attention {
            *attention = Attention::Idle;
        }
    }

    fn hear(&self, line: String) {
        if let Attention::Question(lines) = &*self.attention() {
            // Where it was answered already, the line is for nobody.
            _ = lines.send(line);
        }
    }

    fn attention(&self) -> std::sync::MutexGuard<'_, Attention> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is typed for one question.
pub(crate) struct Typed {
    lines: Receiver<String>,
    rest: Vec<u8>,
    read: usize,
}

impl Read for Typed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Typed {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.read >= self.rest.len()
            && let Ok(line) = self.lines.recv()
        {
            self.rest = line.into_bytes();
            self.rest.push(b'\n');
            self.read = 0;
        }
        Ok(self.rest.get(self.read..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.read += amount;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_for_the_question_that_is_open() {
        let typist = Typist(Arc::new(Mutex::new(Attention::Idle)));
        typist.hear("too early".into());
        let mut first = typist.listen();
        typist.hear("one".into());
        let mut line = String::new();
        first.read_line(&mut line).unwrap();
        assert_eq!(line, "one\n");
        typist.withdraw();
        typist.hear("too late".into());
        assert_eq!(first.read_line(&mut line).unwrap(), 0);
        let mut second = typist.listen();
        typist.hear("two".into());
        line.clear();
        second.read_line(&mut line).unwrap();
        assert_eq!(line, "two\n");
    }

    #[test]
    fn after_the_end_of_the_input_nobody_answers() {
        let typist = Typist(Arc::new(Mutex::new(Attention::Gone)));
        assert_eq!(typist.listen().read_line(&mut String::new()).unwrap(), 0);
    }
}
