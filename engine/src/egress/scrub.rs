//! Masks secret values in what comes back from the world, before guest code reads it.
//!
//! The host puts secret values into requests, and servers echo what they were sent: a header in an error text, a key in
//! a stream of events.
//! A [`Scrubber`] knows such values in the forms in which servers echo without meaning harm: plain, hexadecimal,
//! base64 at any alignment, percent-encoded and escaped in JSON; base64 that was percent-encoded or escaped too.
//! Every byte of a match becomes `*`, so that lengths and framing stay true.
//!
//! What this does not do: a server that helps the guest can always find another encoding, and neither two pieces of a
//! value nor base64 that is broken into lines are put together again.
//! Of a value in base64, up to four bits remain at either end, in digits that it shares with its neighbours.

use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};
use std::{fmt, iter, mem};

use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::{Bytes, BytesMut};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

/// The values that must not come back, as they are at each moment; clones are the same. What is added counts at once,
/// also for a body that is on its way: what it has still to say may be an echo of another request.
#[derive(Clone, Default)]
pub(crate) struct Masks(Arc<RwLock<Scrubber>>);

impl Masks {
    pub(crate) fn now(&self) -> Scrubber {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, scrubber: Scrubber) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = scrubber;
    }
}

/// The values that must not come back, in every form looked for. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Scrubber {
    known: Option<Arc<Known>>,
}

impl Scrubber {
    /// The shortest value looked for, in bytes; a shorter one cannot be masked without masking ordinary text.
    pub(crate) const SHORTEST: usize = 8;

    /// Also looks for this value.
    ///
    /// The same again when the value is known already, and when it is shorter than [`Scrubber::SHORTEST`]: whoever
    /// accepts values refuses those.
    pub(crate) fn with(&self, value: &SecretString) -> Self {
        let value = value.expose_secret();
        let (mut values, mut forms) =
            self.known.as_ref().map(|known| (known.values.clone(), known.forms.clone())).unwrap_or_default();
        if value.len() < Self::SHORTEST || values.iter().any(|known| known.as_slice() == value.as_bytes()) {
            return self.clone();
        }
        values.push(form(value.as_bytes()));
        forms.extend(forms_of(value));
        Self { known: Some(Arc::new(Known::new(values, forms))) }
    }

    /// Whether nothing is looked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_none()
    }

    /// Masks a whole text, and tells whether something was masked.
    pub(crate) fn scrub(&self, text: &mut [u8]) -> bool {
        let spans = self.known.as_ref().map(|known| known.find(text).spans).unwrap_or_default();
        for span in &spans {
            mask(text, span);
        }
        !spans.is_empty()
    }

    /// Whether there is something to mask in a text that was brought into lower case, as names of headers are.
    pub(crate) fn is_in_lower_case(&self, text: &str) -> bool {
        let forms = self.known.iter().flat_map(|known| &known.forms);
        forms.into_iter().any(|form| text.as_bytes().windows(form.len()).any(|part| part.eq_ignore_ascii_case(form)))
    }

    /// Masks a message. A message that is to be cut short is scrubbed first, because half a value is not recognised.
    pub(crate) fn scrub_text(&self, text: String) -> String {
        let mut bytes = text.into_bytes();
        self.scrub(&mut bytes);
        // A form is whole characters and so is what replaces it, so there is nothing to lose.
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// Masks one body that comes in pieces.
    pub(crate) fn stream(&self) -> ScrubStream {
        ScrubStream { scrubber: self.clone(), held: BytesMut::new(), owed: 0 }
    }
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.known.as_ref().map_or(0, |known| known.values.len());
        f.debug_struct("Scrubber").field("values", &values).finish_non_exhaustive()
    }
}

/// One body as it comes in pieces, cut anywhere.
pub(crate) struct ScrubStream {
    scrubber: Scrubber,
    /// The end of what came that may be the beginning of a form, unmasked.
    held: BytesMut,
    /// How many of the held bytes are the end of a match that began in what was passed on.
    owed: usize,
}

impl ScrubStream {
    /// Looks for what `scrubber` looks for, from here on.
    pub(crate) fn know(&mut self, scrubber: Scrubber) {
        self.scrubber = scrubber;
    }

    /// What can be passed on now; may be empty.
    ///
    /// Held back is the longest end that is the beginning of some form, and no more. A piece in which nothing is found
    /// is passed on without a copy.
    pub(crate) fn push(&mut self, mut chunk: Bytes) -> Bytes {
        let Some(known) = &self.scrubber.known else { return chunk };
        let found;
        if self.held.is_empty() {
            found = known.find(&chunk);
            if found.spans.is_empty() {
                self.held.extend_from_slice(&chunk.split_off(found.open));
                return chunk;
            }
            self.held = chunk.into();
        } else {
            self.held.extend_from_slice(&chunk);
            found = known.find(&self.held);
        }
        self.release(found)
    }

    /// What was held back, at the end of the body.
    ///
    /// That may be the first part of a value: a body that was broken off by someone is dropped instead.
    pub(crate) fn finish(&mut self) -> Bytes {
        let spans = self.scrubber.known.as_ref().map(|known| known.find(&self.held).spans).unwrap_or_default();
        self.release(Found { spans, open: self.held.len() })
    }

    /// Takes what comes before the open end, masked.
    fn release(&mut self, found: Found) -> Bytes {
        let mut text = mem::take(&mut self.held);
        self.held = text.split_off(found.open);
        let cut = text.len();
        // The open end stays as it came, because a longer form may begin within a match; it only owes the rest of it.
        let owed = iter::once(0..self.owed);
        self.owed = 0;
        for span in owed.chain(found.spans).filter(|span| span.start <= cut) {
            mask(&mut text, &span);
            self.owed = self.owed.max(span.end.saturating_sub(cut));
        }
        text.freeze()
    }
}

impl fmt::Debug for ScrubStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scrubber, held, owed: _ } = self;
        f.debug_struct("ScrubStream").field("scrubber", scrubber).field("held", &held.len()).finish_non_exhaustive()
    }
}

/// Masks a span of a text, or as much of it as the text has.
fn mask(text: &mut [u8], span: &Range<usize>) {
    let end = span.end.min(text.len());
    if let Some(part) = text.get_mut(span.start..end) {
        part.fill(b'*');
    }
}

/// A spelling of a value; shared, so that there is one copy to wipe.
type Form = Arc<Zeroizing<Vec<u8>>>;

fn form(bytes: &[u8]) -> Form {
    Arc::new(Zeroizing::new(bytes.to_vec()))
}

/// The forms, and an index by which all of them are found in one pass.
///
/// Any occurrence of a form has its first [`GRAM`] bytes, or those at one of the next `stride - 1` places, at a multiple
/// of `stride`; so it is enough to look there. An ordinary key makes that one look at 4 bytes in 30, whatever the number
/// of forms: two to three times as fast as six passes of `memmem`, and nothing is copied to where it is not wiped.
struct Known {
    values: Vec<Form>,
    /// Sorted, so that forms with a common beginning are neighbours.
    forms: Vec<Form>,
    /// Pieces of the forms, sorted, with the form and the place they are from.
    grams: Zeroizing<Vec<(u32, usize, usize)>>,
    /// A bit for the hash of each piece: the one thing that is read where there is nothing to find.
    filter: Zeroizing<Vec<u64>>,
    /// Whether a form begins with this byte; spares most ends the search for a form that begins with them.
    firsts: Zeroizing<Vec<bool>>,
    stride: usize,
}

/// What is in a text.
struct Found {
    /// The forms in it; they may overlap.
    spans: Vec<Range<usize>>,
    /// Where its longest end begins that is the beginning of a form; the length of the text when there is none.
    open: usize,
}

/// The length of an indexed piece, in bytes.
const GRAM: usize = size_of::<u32>();
/// Looking in fewer places than this is not faster any more, and takes a larger index.
const LONGEST_STRIDE: usize = 32;
/// The size of a hash. A table of 8 KiB stays in the first cache, and a few hundred pieces leave it 99 % empty.
const HASH_BITS: u32 = 16;

impl Known {
    fn new(values: Vec<Form>, mut forms: Vec<Form>) -> Self {
        forms.sort_unstable_by(|a, b| a.as_slice().cmp(b));
        forms.dedup();
        // No form is shorter than its value, so this is at least five.
        let stride = forms.iter().map(|form| form.len() + 1 - GRAM).min().unwrap_or(1).min(LONGEST_STRIDE);
        // All have their final size from the start, because a vector that grows leaves a copy behind.
        let mut grams = Zeroizing::new(Vec::with_capacity(forms.len() * stride));
        let mut filter = Zeroizing::new(vec![0; 1 << (HASH_BITS - u64::BITS.ilog2())]);
        let mut firsts = Zeroizing::new(vec![false; 256]);
        for (index, form) in forms.iter().enumerate() {
            if let Some(first) = form.first().and_then(|&byte| firsts.get_mut(usize::from(byte))) {
                *first = true;
            }
            for place in 0..stride {
                let Some(gram) = gram_at(form, place) else { break };
                grams.push((gram, index, place));
                let (word, bit) = filter_bit(gram);
                if let Some(word) = filter.get_mut(word) {
                    *word |= bit;
                }
            }
        }
        grams.sort_unstable();
        Self { values, forms, grams, filter, firsts, stride }
    }

    fn find(&self, text: &[u8]) -> Found {
        let mut found = Found { spans: Vec::new(), open: text.len() };
        let mut at = 0;
        while let Some(gram) = gram_at(text, at) {
            let (word, bit) = filter_bit(gram);
            if self.filter.get(word).is_some_and(|word| word & bit != 0) {
                self.look(text, at, gram, &mut found);
            }
            at += self.stride;
        }
        // An open end that is too short to have a piece where one is looked for.
        for start in text.len().saturating_sub(self.stride + GRAM - 2)..found.open {
            if text.get(start..).is_some_and(|end| self.begins_with(end)) {
                found.open = start;
                break;
            }
        }
        found
    }

    /// Finds the forms that have this piece of the text, and would begin at or before it.
    #[cold]
    fn look(&self, text: &[u8], at: usize, gram: u32, found: &mut Found) {
        let first = self.grams.partition_point(|&(other, ..)| other < gram);
        for &(_, index, place) in self.grams.iter().skip(first).take_while(|&&(other, ..)| other == gram) {
            let Some(start) = at.checked_sub(place) else { continue };
            let (Some(rest), Some(form)) = (text.get(start..), self.forms.get(index)) else { continue };
            if rest.starts_with(form) {
                found.spans.push(start..start + form.len());
            } else if form.starts_with(rest) {
                found.open = found.open.min(start);
            }
        }
    }

    /// Whether some form begins with these bytes.
    fn begins_with(&self, bytes: &[u8]) -> bool {
        let first = bytes.first().and_then(|&byte| self.firsts.get(usize::from(byte)));
        if first != Some(&true) {
            return false;
        }
        let next = self.forms.partition_point(|form| form.as_slice() < bytes);
        self.forms.get(next).is_some_and(|form| form.starts_with(bytes))
    }
}

fn gram_at(text: &[u8], at: usize) -> Option<u32> {
    text.get(at..)?.first_chunk().map(|gram| u32::from_le_bytes(*gram))
}

/// The word of the filter, and the bit in it, for a piece.
fn filter_bit(gram: u32) -> (usize, u64) {
    let hash = gram.wrapping_mul(0x9E37_79B1) >> (u32::BITS - HASH_BITS);
    ((hash / u64::BITS) as usize, 1 << (hash % u64::BITS))
}

/// What encoders leave alone, beside letters, digits and what is in [`PLAIN`]: `encodeURIComponent`, forms, RFC 3986,
/// Python's `quote`, and `encodeURI`.
const KEPT: [&[u8]; 5] = [b"!~*'()", b"*", b"~", b"~/", b";/?:@&=+$,#!~*'()"];
/// What no encoder changes, beside letters and digits.
const PLAIN: &[u8] = b"-_.";
/// What writers of JSON give as a number: most of them, those that write ASCII only, Go, and .NET.
const CODED: [fn(char) -> bool; 4] =
    [|c| c < ' ', beyond_ascii, |c| c < ' ' || "<>&".contains(c), |c| beyond_ascii(c) || "\"&'+<>`".contains(c)];
/// What writers of JSON put a backslash before: most of them, and PHP.
const ESCAPED: [&str; 2] = ["\"\\", "\"\\/"];

fn beyond_ascii(c: char) -> bool {
    !(' '..='~').contains(&c)
}

/// Every form of a value; of an ordinary key there are six.
fn forms_of(value: &str) -> Vec<Form> {
    let mut forms = Vec::new();
    for ten in *b"aA" {
        add(&mut forms, &spelled(2 * value.len(), value.bytes(), |byte, out| out.extend(hex(byte, ten))));
    }
    add_escaped(&mut forms, value);
    // Header values are often read as Latin-1, which makes a character of each byte.
    let mut latin = Zeroizing::new(String::with_capacity(2 * value.len()));
    latin.extend(value.bytes().map(char::from));
    add_escaped(&mut forms, &latin);
    for shift in 0..3 {
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            add_escaped(&mut forms, &base64_part(value, shift, &engine));
        }
    }
    forms
}

/// Adds a text as it is, percent-encoded and escaped.
fn add_escaped(forms: &mut Vec<Form>, text: &str) {
    add(forms, text.as_bytes());
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || PLAIN.contains(&byte)) {
        return;
    }
    for ten in *b"aA" {
        for kept in KEPT {
            for space in ["+", "%20"] {
                add(forms, &percent_encoded(text, kept, space, ten));
            }
        }
        for coded in CODED {
            for escaped in ESCAPED {
                add(forms, &json_escaped(text, coded, escaped, ten));
            }
        }
    }
}

fn add(forms: &mut Vec<Form>, bytes: &[u8]) {
    if !forms.iter().any(|known| known.as_slice() == bytes) {
        forms.push(form(bytes));
    }
}

/// The part of the base64 of a text that has the value, `shift` bytes after a multiple of three, that depends on the
/// value only.
fn base64_part(value: &str, shift: usize, engine: &GeneralPurpose) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(shift + value.len()));
    bytes.resize(shift, 0);
    bytes.extend_from_slice(value.as_bytes());
    let digits = Zeroizing::new(engine.encode(&bytes));
    let (first, end) = ((8 * shift).div_ceil(6), 8 * bytes.len() / 6);
    Zeroizing::new(digits.get(first..end).unwrap_or_default().to_owned())
}

fn percent_encoded(text: &str, kept: &[u8], space: &str, ten: u8) -> Zeroizing<Vec<u8>> {
    spelled(r"%00".len() * text.len(), text.bytes(), |byte, out| match byte {
        b' ' => out.extend_from_slice(space.as_bytes()),
        _ if byte.is_ascii_alphanumeric() || PLAIN.contains(&byte) || kept.contains(&byte) => out.push(byte),
        _ => {
            out.push(b'%');
            out.extend(hex(byte, ten));
        }
    })
}

fn json_escaped(text: &str, coded: fn(char) -> bool, escaped: &str, ten: u8) -> Zeroizing<Vec<u8>> {
    // A byte may take as much as this; so may two, and four take twice as much.
    spelled(r"\u0000".len() * text.len(), text.chars(), |char, out| match char {
        '\u{8}' => out.extend_from_slice(br"\b"),
        '\t' => out.extend_from_slice(br"\t"),
        '\n' => out.extend_from_slice(br"\n"),
        '\u{c}' => out.extend_from_slice(br"\f"),
        '\r' => out.extend_from_slice(br"\r"),
        _ if coded(char) => {
            for unit in char.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(br"\u");
                out.extend(unit.to_be_bytes().into_iter().flat_map(|byte| hex(byte, ten)));
            }
        }
        _ => {
            if escaped.contains(char) {
                out.push(b'\\');
            }
            out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        }
    })
}

/// Spells a text unit by unit, in a vector with the given room; one that grows leaves a copy behind.
fn spelled<T>(room: usize, text: impl Iterator<Item = T>, spell: impl Fn(T, &mut Vec<u8>)) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(room));
    text.for_each(|unit| spell(unit, &mut out));
    debug_assert!(out.len() <= room, "{room} bytes of room for {}", out.len());
    out
}

/// Two hexadecimal digits; `ten` is the letter `a`, small or capital.
fn hex(byte: u8, ten: u8) -> [u8; 2] {
    [byte >> 4, byte & 15].map(|digit| if digit < 10 { b'0' + digit } else { ten + digit - 10 })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    const KEY: &str = "sk_live_51H8xYzKq0v9Tn";
    const RICH: &str = "p@ss w/(rd)!~+\"\\<é&=\u{1}😀";

    fn scrubber(values: &[&str]) -> Scrubber {
        values.iter().fold(Scrubber::default(), |scrubber, &value| scrubber.with(&value.into()))
    }

    /// What comes out when the text comes in pieces of these sizes, again and again.
    fn streamed(scrubber: &Scrubber, text: &[u8], sizes: &[usize]) -> Vec<u8> {
        let (mut stream, mut rest, mut out) = (scrubber.stream(), Bytes::copy_from_slice(text), Vec::new());
        for &size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            out.extend(stream.push(rest.split_to(size.min(rest.len()))));
        }
        out.extend(stream.finish());
        assert!(stream.finish().is_empty());
        out
    }

    /// The length of the longest end that is the beginning of a form, found by trying all.
    fn open_end(scrubber: &Scrubber, text: &[u8]) -> usize {
        let forms = scrubber.known.iter().flat_map(|known| &known.forms);
        forms.filter_map(|form| (1..form.len()).rev().find(|&len| text.ends_with(&form[..len]))).max().unwrap_or(0)
    }

    /// The text with all forms masked, found by trying all.
    fn masked(scrubber: &Scrubber, text: &[u8]) -> Vec<u8> {
        let mut out = text.to_vec();
        for form in scrubber.known.iter().flat_map(|known| &known.forms) {
            for start in (0..text.len()).filter(|&start| text[start..].starts_with(form)) {
                out[start..start + form.len()].fill(b'*');
            }
        }
        out
    }

    /// A form of the value is masked, at once and however the text is cut.
    #[track_caller]
    fn check(value: &str, form: &str) {
        let scrubber = scrubber(&[value]);
        let text = format!("é {form} end");
        let expected = format!("é {} end", "*".repeat(form.len()));
        assert_eq!(scrubber.scrub_text(text.clone()), expected);
        for cut in 1..text.len() {
            let out = streamed(&scrubber, text.as_bytes(), &[cut, text.len()]);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "cut at {cut}");
        }
        assert_eq!(streamed(&scrubber, text.as_bytes(), &[1]), expected.as_bytes());
    }

    #[test]
    fn a_value_is_masked_in_every_form() {
        check(KEY, KEY);
        check(KEY, "736b5f6c6976655f3531483878597a4b71307639546e");
        check(KEY, "736B5F6C6976655F3531483878597A4B71307639546E");
        let percent = [
            ("encodeURIComponent", "p%40ss%20w%2F(rd)!~%2B%22%5C%3C%C3%A9%26%3D%01%F0%9F%98%80"),
            ("encodeURI", "p@ss%20w/(rd)!~+%22%5C%3C%C3%A9&=%01%F0%9F%98%80"),
            ("URLSearchParams", "p%40ss+w%2F%28rd%29%21%7E%2B%22%5C%3C%C3%A9%26%3D%01%F0%9F%98%80"),
            ("in small letters", "p%40ss+w%2f%28rd%29%21%7e%2b%22%5c%3c%c3%a9%26%3d%01%f0%9f%98%80"),
            ("urllib.parse.quote", "p%40ss%20w/%28rd%29%21~%2B%22%5C%3C%C3%A9%26%3D%01%F0%9F%98%80"),
            ("urllib.parse.quote_plus", "p%40ss+w%2F%28rd%29%21~%2B%22%5C%3C%C3%A9%26%3D%01%F0%9F%98%80"),
        ];
        let json = [
            ("JSON.stringify", r#"p@ss w/(rd)!~+\"\\<é&=\u0001😀"#),
            ("json.dumps", r#"p@ss w/(rd)!~+\"\\<\u00e9&=\u0001\ud83d\ude00"#),
            ("json_encode", r#"p@ss w\/(rd)!~+\"\\<\u00e9&=\u0001\ud83d\ude00"#),
            ("json.Marshal", r#"p@ss w/(rd)!~+\"\\\u003cé\u0026=\u0001😀"#),
            ("JsonSerializer", r"p@ss w/(rd)!~\u002B\u0022\\\u003C\u00E9\u0026=\u0001\uD83D\uDE00"),
            ("of a header as Latin-1", r#"p@ss w/(rd)!~+\"\\<\u00c3\u00a9&=\u0001\u00f0\u009f\u0098\u0080"#),
        ];
        for (writer, form) in percent.into_iter().chain(json).chain([("as it is", RICH)]) {
            println!("{writer}");
            check(RICH, form);
        }
        check("tab\tline\nback\\", r"tab\tline\nback\\");
    }

    #[test]
    fn every_form_is_masked_wherever_it_is_cut() {
        for value in [KEY, RICH, "hunter2?", "passwörter für alle", "wJalrXUtnFEMI/K7MDENG+bPxRfiCY"] {
            for form in forms_of(value) {
                check(value, std::str::from_utf8(&form).unwrap());
            }
        }
    }

    #[test]
    fn a_value_in_base64_is_masked_at_any_alignment() {
        for value in [KEY, RICH, "~~~???>>>"] {
            for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                for (before, after) in (0..6).flat_map(|before| (0..6).map(move |after| (before, after))) {
                    let text = engine.encode(format!("{}{value}{}", &"user:>"[..before], &"@host?"[..after]));
                    let out = scrubber(&[value]).scrub_text(text.clone());
                    let (first, end) = ((8 * before).div_ceil(6), 8 * (before + value.len()) / 6);
                    let expected = format!("{}{}{}", &text[..first], "*".repeat(end - first), &text[end..]);
                    assert_eq!(out, expected, "{text}");
                    for written in [text.replace('/', r"\/"), text.replace('+', "%2B").replace('/', "%2F")] {
                        assert!(scrubber(&[value]).scrub(&mut written.into_bytes()));
                    }
                }
            }
        }
    }

    #[test]
    fn matches_that_overlap_are_all_masked() {
        #[track_caller]
        fn check(values: &[&str], text: &str, expected: &str) {
            let scrubber = scrubber(values);
            assert_eq!(scrubber.scrub_text(text.to_owned()), expected);
            for size in 1..=text.len() {
                assert_eq!(streamed(&scrubber, text.as_bytes(), &[size]), expected.as_bytes(), "by {size}");
            }
        }
        check(&["outer-inner1-outer", "inner1-o"], "outer-inner1-outer", "******************");
        check(&["outer-inner1-outer", "inner1-o"], "outer-inner1-out", "outer-********ut");
        check(&["abcdefgh", "efghijkl", "ijklmnop"], "-abcdefghijklmnop-", "-****************-");
        check(&["abcdefgh", "ghijklmn"], "-abcdefghijk-", "-********ijk-");
        check(&["abcdefgh"], "abcdefghabcdefgh", "****************");
        check(&["abababab"], "ababababab-abababa", "**********-abababa");
    }

    #[test]
    fn only_a_beginning_is_held_back() {
        let mut stream = scrubber(&[KEY]).stream();
        for (chunk, passed, held) in [
            ("data: hello\n\n", "data: hello\n\n", 0),
            ("data: sk_l", "data: ", 4),
            ("", "", 4),
            ("iv", "", 6),
            ("ing\n\n", "sk_living\n\n", 0),
            (&format!("{KEY}s"), &"*".repeat(KEY.len()), 1),
            ("k", "", 2),
        ] {
            assert_eq!(stream.push(Bytes::copy_from_slice(chunk.as_bytes())), passed);
            assert_eq!(stream.held.len(), held);
        }
        assert_eq!(stream.finish(), "sk");
    }

    #[test]
    fn what_has_nothing_to_mask_is_passed_on_without_a_copy() {
        for scrubber in [scrubber(&[]), scrubber(&[KEY, RICH])] {
            let chunk = Bytes::from(b"ordinary text, ".repeat(999));
            let passed = scrubber.stream().push(chunk.clone());
            assert_eq!((passed.as_ptr(), passed.len()), (chunk.as_ptr(), chunk.len()));
        }
        let chunk = Bytes::from(b"ordinary text: sk_".to_vec());
        assert_eq!(scrubber(&[KEY]).stream().push(chunk.clone()).as_ptr(), chunk.as_ptr());
    }

    #[test]
    fn a_value_may_be_very_long() {
        let letters = (0..64 * 1024_u32).map(|n| char::from(b'a' + (n.wrapping_mul(n) % 8191 % 26) as u8));
        for value in
            [letters.collect::<String>(), (0..16 * 1024).filter_map(char::from_u32).skip(0x80).take(5000).collect()]
        {
            let scrubber = scrubber(&[&value]);
            let mut text = format!("<{value}>").into_bytes();
            let mut stream = scrubber.stream();
            let mut out = Vec::new();
            for chunk in text.chunks(1000) {
                out.extend(stream.push(Bytes::copy_from_slice(chunk)));
            }
            out.extend(stream.finish());
            assert!(scrubber.scrub(&mut text));
            assert_eq!(text, format!("<{}>", "*".repeat(value.len())).as_bytes());
            assert_eq!(out, text);
        }
    }

    #[test]
    fn a_value_is_known_once_and_a_short_one_never() {
        assert!(scrubber(&["", "1234567"]).is_empty());
        let once = scrubber(&["12345678"]);
        assert!(!once.is_empty());
        assert_eq!(forms_of(KEY).len(), 6);
        assert!(Arc::ptr_eq(once.known.as_ref().unwrap(), once.with(&"12345678".into()).known.as_ref().unwrap()));
        // Another value that is a form of the first has forms of its own.
        assert_ne!(
            once.known.unwrap().forms.len(),
            scrubber(&["12345678", "3132333435363738"]).known.unwrap().forms.len()
        );
    }

    #[test]
    fn debug_shows_no_value() {
        let scrubber = scrubber(&[KEY, RICH]);
        let mut stream = scrubber.stream();
        stream.push(Bytes::from_static(b"sk_l"));
        assert_eq!(format!("{stream:?}"), "ScrubStream { scrubber: Scrubber { values: 2, .. }, held: 4, .. }");
    }

    /// What a text is made of.
    #[derive(Clone, Debug)]
    enum Part {
        Text(String),
        Form(Index),
        Beginning(Index, Index),
    }

    fn part() -> impl Strategy<Value = Part> {
        prop_oneof![
            prop_oneof!["[ab]{0,30}", "\\PC{0,30}"].prop_map(Part::Text),
            any::<Index>().prop_map(Part::Form),
            any::<(Index, Index)>().prop_map(|(form, len)| Part::Beginning(form, len)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

        #[test]
        fn pieces_are_masked_like_the_whole(
            values in vec(prop_oneof!["[ab]{8,12}", "[a-zA-Z0-9_]{8,60}", "[^*\\pC]{8,20}"], 1..4),
            parts in vec(part(), 0..8),
            sizes in vec(1_usize..40, 1..20),
            cut in any::<Index>(),
        ) {
            let scrubber = scrubber(&values.iter().map(String::as_str).collect::<Vec<_>>());
            let forms = &scrubber.known.as_ref().unwrap().forms;
            let mut text = Vec::new();
            for part in &parts {
                match part {
                    Part::Text(part) => text.extend_from_slice(part.as_bytes()),
                    Part::Form(form) => text.extend_from_slice(form.get(forms).as_slice()),
                    Part::Beginning(form, len) => {
                        let form = form.get(forms);
                        text.extend_from_slice(&form[..len.index(form.len())]);
                    }
                }
            }
            let expected = masked(&scrubber, &text);
            let mut whole = text.clone();
            prop_assert_eq!(scrubber.scrub(&mut whole), expected != text);
            prop_assert_eq!(&whole, &expected);
            prop_assert!(!forms.iter().any(|form| whole.windows(form.len()).any(|part| part == form.as_slice())));
            prop_assert_eq!(streamed(&scrubber, &text, &sizes), expected);
            let come = &text[..cut.index(text.len() + 1)];
            let mut stream = scrubber.stream();
            for chunk in come.chunks(sizes[0]) {
                stream.push(Bytes::copy_from_slice(chunk));
            }
            prop_assert_eq!(stream.held.len(), open_end(&scrubber, come));
        }
    }
}
