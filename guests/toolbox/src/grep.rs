//! `grep`: lines that match, in many files, with little memory.

use crate::bindings::exports::casemate::toolbox::files::{GrepResult, LineMatch};
use crate::path_glob::PathGlob;
use crate::text::cut;
use crate::walk::{Found, Hidden, walk};
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkContext, SinkContextKind, SinkMatch};
use std::io::Error;
use std::path::Path;

const DEFAULT_MATCHES: usize = 200;
const MAX_MATCHES: usize = 2000;
const MAX_CONTEXT: usize = 20;

/// How much of a line is returned.
const MAX_LINE: usize = 512;

/// How much text of lines is returned, all of them together.
const MAX_TEXT: usize = 256 << 10;

/// The longest line that is searched; a file with a longer one is skipped.
const MAX_SEARCHED_LINE: usize = 1 << 20;

/// The memory that a compiled pattern may take, and its cache again.
const MAX_PATTERN: usize = 4 << 20;

/// Whether upper and lower case differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    Minded,
    Ignored,
}

/// What is searched for, and where.
#[derive(Debug)]
pub(crate) struct Search {
    matcher: RegexMatcher,
    files: Files,
    context: usize,
    max_matches: usize,
}

/// Which of the files are searched.
#[derive(Debug)]
enum Files {
    All,
    Only(PathGlob),
    Except(PathGlob),
}

impl Search {
    pub(crate) fn new(pattern: &str, case: Case) -> Result<Self, String> {
        let matcher = RegexMatcherBuilder::new()
            .case_insensitive(case == Case::Ignored)
            .line_terminator(Some(b'\n'))
            .size_limit(MAX_PATTERN)
            .dfa_size_limit(MAX_PATTERN)
            .build(pattern)
            .map_err(|error| format!("`{pattern}` is not a regular expression: {error}"))?;
        Ok(Self { matcher, files: Files::All, context: 0, max_matches: DEFAULT_MATCHES })
    }

    pub(crate) fn within(mut self, glob: Option<&str>) -> Result<Self, String> {
        self.files = match glob.map(|glob| (glob, glob.strip_prefix('!'))) {
            None => Files::All,
            Some((_, Some(glob))) => Files::Except(PathGlob::new(glob)?),
            Some((glob, None)) => Files::Only(PathGlob::new(glob)?),
        };
        Ok(self)
    }

    pub(crate) fn with_context(mut self, lines: Option<u32>) -> Self {
        self.context = lines.map_or(0, |lines| bounded(lines, MAX_CONTEXT));
        self
    }

    pub(crate) fn at_most(mut self, matches: Option<u32>) -> Self {
        self.max_matches = matches.map_or(DEFAULT_MATCHES, |max| bounded(max, MAX_MATCHES));
        self
    }

    /// Searches the file at `path`, or the files below it.
    pub(crate) fn run(&self, path: &Path) -> Result<GrepResult, String> {
        let mut searcher = self.searcher();
        let mut hits = Hits::new(self.max_matches);
        for found in walk(path, self.files.hidden())? {
            match found {
                Found::Unreadable => hits.result.files_skipped += 1,
                Found::File(file) if self.files.include(path, &file) => {
                    self.search(&mut searcher, &file, &mut hits);
                }
                Found::File(_) => {}
            }
            if hits.result.truncated {
                break;
            }
        }
        Ok(hits.result)
    }

    fn searcher(&self) -> Searcher {
        SearcherBuilder::new()
            .line_number(true)
            .before_context(self.context)
            .after_context(self.context)
            .binary_detection(BinaryDetection::quit(0))
            .heap_limit(Some(MAX_SEARCHED_LINE))
            .build()
    }

    /// Searches one file; what was found in it is dropped if it cannot be searched to its end.
    fn search(&self, searcher: &mut Searcher, file: &Path, hits: &mut Hits) {
        let mark = hits.mark();
        let outcome = searcher.search_path(&self.matcher, file, hits.of(file));
        if outcome.is_ok() && !hits.binary {
            hits.result.files_searched += 1;
        } else {
            hits.reset(&mark);
            hits.result.files_skipped += 1;
        }
    }
}

impl Files {
    /// `path` is where the search began, which may be the file itself.
    fn include(&self, path: &Path, file: &Path) -> bool {
        match self {
            Self::All => true,
            Self::Only(glob) => path == file || glob.matches(path, file),
            Self::Except(glob) => path == file || !glob.matches(path, file),
        }
    }

    fn hidden(&self) -> Hidden {
        match self {
            Self::Only(glob) => Hidden::as_named_by(glob),
            Self::All | Self::Except(_) => Hidden::Skipped,
        }
    }
}

/// What was found so far.
struct Hits {
    result: GrepResult,
    max_matches: usize,
    /// How much text is in the result.
    bytes: usize,
    path: String,
    /// Lines that the next match comes after.
    before: Vec<String>,
    binary: bool,
}

/// A state to go back to.
struct Mark {
    matches: usize,
    bytes: usize,
}

impl Hits {
    fn new(max_matches: usize) -> Self {
        Self {
            result: GrepResult { matches: Vec::new(), files_searched: 0, files_skipped: 0, truncated: false },
            max_matches,
            bytes: 0,
            path: String::new(),
            before: Vec::new(),
            binary: false,
        }
    }

    fn of(&mut self, file: &Path) -> &mut Self {
        self.path = file.to_string_lossy().into_owned();
        self.before.clear();
        self.binary = false;
        self
    }

    fn mark(&self) -> Mark {
        Mark { matches: self.result.matches.len(), bytes: self.bytes }
    }

    fn reset(&mut self, mark: &Mark) {
        self.result.matches.truncate(mark.matches);
        self.result.truncated = false;
        self.bytes = mark.bytes;
    }

    /// The line as it is returned, and counted.
    fn line(&mut self, bytes: &[u8]) -> String {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        let line = String::from_utf8_lossy(cut(bytes, MAX_LINE)).into_owned();
        self.bytes += line.len();
        line
    }

    fn is_full(&self) -> bool {
        self.result.matches.len() >= self.max_matches || self.bytes >= MAX_TEXT
    }
}

impl Sink for &mut Hits {
    type Error = Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> Result<bool, Error> {
        if self.is_full() {
            self.result.truncated = true;
            return Ok(false);
        }
        self.bytes += self.path.len();
        let line = LineMatch {
            path: self.path.clone(),
            line: found.line_number().unwrap_or_default(),
            text: self.line(found.bytes()),
            before: std::mem::take(&mut self.before),
            after: Vec::new(),
        };
        self.result.matches.push(line);
        Ok(true)
    }

    fn context(&mut self, _: &Searcher, found: &SinkContext<'_>) -> Result<bool, Error> {
        let line = self.line(found.bytes());
        match (found.kind(), self.result.matches.last_mut()) {
            (SinkContextKind::After, Some(last)) => last.after.push(line),
            _ => self.before.push(line),
        }
        Ok(true)
    }

    fn binary_data(&mut self, _: &Searcher, _: u64) -> Result<bool, Error> {
        self.binary = true;
        Ok(false)
    }
}

fn bounded(asked: u32, max: usize) -> usize {
    usize::try_from(asked).map_or(max, |asked| asked.min(max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walk::tests::tree;

    fn search(pattern: &str) -> Search {
        Search::new(pattern, Case::Minded).unwrap()
    }

    /// Runs a search in a tree and lists `path:line:text`.
    fn run(search: &Search, path: &str) -> Vec<String> {
        let (_folder, root) = tree();
        let result = search.run(&root.join(path)).unwrap();
        assert!(!result.truncated);
        let line = |found: &LineMatch| {
            let path = Path::new(&found.path).strip_prefix(&root).unwrap().to_owned();
            format!("{}:{}:{}", path.display(), found.line, found.text)
        };
        result.matches.iter().map(line).collect()
    }

    #[test]
    fn lines_are_found_in_order() {
        let found = ["deep/b.rs:2:needle 1", "deep/b.rs:4:needle 2"];
        assert_eq!(run(&search("needle"), ""), found);
        assert_eq!(run(&search("^needle \\d$"), "deep"), found);
        assert_eq!(run(&search("needle"), "deep/b.rs"), found);
        assert_eq!(run(&search("no such thing"), ""), [""; 0]);
    }

    #[test]
    fn case_can_be_ignored() {
        let search = Search::new("a NEEDLE", Case::Ignored).unwrap();
        assert_eq!(run(&search, ""), ["a.rs:2:// a Needle"]);
    }

    #[test]
    fn a_glob_says_which_files() {
        let check = |glob, found: &[&str]| {
            let search = search("fn b|needle 1").within(Some(glob)).unwrap();
            assert_eq!(run(&search, ""), found, "{glob}");
        };
        check("*.rs", &["a.rs:3:fn b() {}", "deep/b.rs:2:needle 1"]);
        check("deep/*", &["deep/b.rs:2:needle 1"]);
        check("!deep/**", &["a.rs:3:fn b() {}"]);
        check("*.txt", &[]);
    }

    #[test]
    fn a_file_that_is_named_is_searched() {
        assert_eq!(run(&search("needle"), "big.log"), ["big.log:1:needle"]);
    }

    #[test]
    fn files_are_counted() {
        let (_folder, root) = tree();
        let result = search("needle").run(&root).unwrap();
        assert_eq!((result.files_searched, result.files_skipped), (2, 1));
    }

    #[test]
    fn context_lists_each_line_once() {
        let (_folder, root) = tree();
        let result = search("needle").with_context(Some(1)).run(&root.join("deep")).unwrap();
        let context: Vec<_> =
            result.matches.iter().map(|found| (found.before.join(","), found.after.join(","))).collect();
        let expected = [("one", "two"), ("", "three")];
        assert_eq!(context, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn matches_beyond_the_bound_are_flagged() {
        let (_folder, root) = tree();
        let check = |max, found, truncated| {
            let result = search("needle").at_most(Some(max)).run(&root).unwrap();
            assert_eq!((result.matches.len(), result.truncated), (found, truncated));
        };
        check(1, 1, true);
        check(2, 2, false);
        check(0, 0, true);
    }

    #[test]
    fn long_lines_and_much_text_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), ("x".repeat(1000) + "\r\n").repeat(2000)).unwrap();
        let result = search("x").at_most(Some(2000)).run(folder.path()).unwrap();
        assert!(result.truncated);
        assert!(result.matches.iter().all(|found| found.text.len() == MAX_LINE));
        let bytes: usize = result.matches.iter().map(|found| found.text.len()).sum();
        assert!(bytes <= MAX_TEXT);
    }

    #[test]
    fn a_file_with_a_line_that_never_ends_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let content = "x\n".to_owned() + &"x".repeat(3 << 20);
        std::fs::write(folder.path().join("a"), content).unwrap();
        let result = search("x").run(folder.path()).unwrap();
        assert_eq!((result.matches.len(), result.files_skipped), (0, 1));
    }

    #[test]
    fn a_malformed_pattern_is_an_error() {
        let error = Search::new("(a", Case::Minded).unwrap_err();
        assert!(error.starts_with("`(a` is not a regular expression: "), "{error}");
        let error = Search::new("a\nb", Case::Minded).unwrap_err();
        assert!(error.starts_with("`a\nb` is not a regular expression: "), "{error}");
        let error = Search::new("(\\w{1000}){1000}", Case::Minded).unwrap_err();
        assert!(error.contains("exceeds size limit"), "{error}");
    }
}
