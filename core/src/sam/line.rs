//! Lines of SAM: how one is read, and how a command is written.
//!
//! A line is one or two words, then `KEY=VALUE`, `KEY="a \"quoted\" value"` or `KEY` alone, in any order.

use core::str::FromStr;
use std::borrow::Cow;

use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use super::destination::{Destination, PrivateDestination};
use crate::key::base32;

/// The longest line, its end included, in bytes.
pub const MAX_LINE: usize = 8192;

/// The most fields in a line.
const MAX_FIELDS: usize = 32;

/// Appends to a buffer that may hold secrets; one that it outgrows is wiped.
fn append(buffer: &mut Zeroizing<Vec<u8>>, bytes: &[u8]) {
    let needed = buffer.len().saturating_add(bytes.len());
    if needed > buffer.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(256).saturating_mul(2)));
        larger.extend_from_slice(buffer);
        *buffer = larger;
    }
    buffer.extend_from_slice(bytes);
}

/// The bytes of a line that has not ended yet.
#[derive(Default)]
pub(super) struct LineBuffer(Zeroizing<Vec<u8>>);

/// What bytes made of a line.
pub(super) enum Filled {
    /// It has not ended.
    Not,
    /// It ended; without its end.
    Line(Zeroizing<Vec<u8>>),
    /// It is too long to be one.
    TooLong,
}

impl LineBuffer {
    /// Takes bytes up to the end of a line, wipes them where they were, and says how many they are.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) -> (usize, Filled) {
        let room = bytes.len().min(MAX_LINE - self.0.len());
        let end = bytes[..room].iter().position(|&byte| byte == b'\n');
        let taken = &mut bytes[..end.map_or(room, |end| end + 1)];
        append(&mut self.0, taken);
        taken.zeroize();
        let filled = match end {
            Some(_) => Filled::Line(self.take()),
            None if self.0.len() == MAX_LINE => Filled::TooLong,
            None => Filled::Not,
        };
        (taken.len(), filled)
    }

    /// What there is, as if it were a whole line: some bridges close the socket in the place of its end.
    pub(super) fn take(&mut self) -> Zeroizing<Vec<u8>> {
        let mut line = core::mem::take(&mut self.0);
        let len = line.strip_suffix(b"\n").unwrap_or(&line).len();
        line.truncate(len);
        let len = line.strip_suffix(b"\r").unwrap_or(&line).len();
        line.truncate(len);
        line
    }
}

/// The fields of a line, each key once.
#[derive(Debug, PartialEq)]
pub(super) struct Fields<'a>(Vec<(&'a str, Value<'a>)>);

/// A value as it stands in a line, without the quotes around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Value<'a> {
    raw: &'a str,
    escaped: bool,
}

/// Reads a line that begins with so many words.
pub(super) fn parse<const WORDS: usize>(line: &[u8]) -> Option<([&str; WORDS], Fields<'_>)> {
    let mut rest = core::str::from_utf8(line).ok()?.trim_start_matches(is_space);
    let mut words = [""; WORDS];
    for word in &mut words {
        let (first, behind) = rest.split_at(rest.find(is_space).unwrap_or(rest.len()));
        (*word, rest) = (first, behind.trim_start_matches(is_space));
        if first.is_empty() {
            return None;
        }
    }
    let mut fields = Fields(Vec::new());
    while !rest.is_empty() {
        let (key, value, behind) = field(rest)?;
        if fields.0.len() == MAX_FIELDS || fields.value(key).is_some() {
            return None;
        }
        fields.0.push((key, value));
        rest = behind.trim_start_matches(is_space);
    }
    Some((words, fields))
}

const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// The first field of `text`, and what is behind it.
fn field(text: &str) -> Option<(&str, Value<'_>, &str)> {
    let (key, behind) = text.split_at(text.find(|c| is_space(c) || c == '=').unwrap_or(text.len()));
    if key.is_empty() || key.contains('"') {
        return None;
    }
    let Some(value) = behind.strip_prefix('=') else {
        return Some((key, Value { raw: "", escaped: false }, behind));
    };
    let Some(quoted) = value.strip_prefix('"') else {
        let (raw, behind) = value.split_at(value.find(is_space).unwrap_or(value.len()));
        return (!raw.contains('"')).then_some((key, Value { raw, escaped: false }, behind));
    };
    let (mut escaped, mut after_backslash) = (false, false);
    let end = quoted.find(|c| {
        let ends = c == '"' && !after_backslash;
        after_backslash = c == '\\' && !after_backslash;
        escaped |= after_backslash;
        ends
    })?;
    let (raw, behind) = (&quoted[..end], &quoted[end + 1..]);
    (behind.is_empty() || behind.starts_with(is_space)).then_some((key, Value { raw, escaped }, behind))
}

impl<'a> Fields<'a> {
    pub(super) fn value(&self, key: &str) -> Option<Value<'a>> {
        self.0.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    /// The value of `key`, where it lies; none with escapes in it, which no word, number or destination has.
    pub(super) fn plain(&self, key: &str) -> Option<&'a str> {
        self.value(key).filter(|value| !value.escaped).map(|value| value.raw)
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().map(|(key, _)| *key)
    }
}

impl Value<'_> {
    /// The value with its escapes resolved.
    pub(super) fn text(self) -> String {
        let mut text = String::with_capacity(self.raw.len());
        let mut chars = self.raw.chars();
        while let Some(c) = chars.next() {
            text.extend(if self.escaped && c == '\\' { chars.next() } else { Some(c) });
        }
        text
    }
}

/// The name of a SAM session at its router: 1 to 64 letters, digits, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SamId(String);

/// Why a text cannot name a SAM session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the name of a SAM session is 1 to 64 letters, digits, _ and -; choose another")]
pub struct SamIdError;

impl FromStr for SamId {
    type Err = SamIdError;

    fn from_str(text: &str) -> Result<Self, SamIdError> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let well_formed = (1..=64).contains(&text.len()) && text.bytes().all(known);
        if well_formed { Ok(Self(text.to_owned())) } else { Err(SamIdError) }
    }
}

impl From<[u8; 10]> for SamId {
    /// A name of 16 characters from random bytes, so that no two programs at one router choose the same.
    fn from(random: [u8; 10]) -> Self {
        Self(base32().encode(&random))
    }
}

/// What may be the value of an option: text without control characters, which no quotes could contain.
pub(super) struct Argument<'a>(Cow<'a, str>);

impl<'a> Argument<'a> {
    pub(super) fn new(text: impl Into<Cow<'a, str>>) -> Option<Self> {
        let text = text.into();
        (!text.contains(char::is_control)).then_some(Self(text))
    }
}

impl From<&'static str> for Argument<'static> {
    fn from(text: &'static str) -> Self {
        Self::new(text).expect("the texts in this program have no control characters")
    }
}

impl From<u8> for Argument<'static> {
    fn from(number: u8) -> Self {
        Self::new(number.to_string()).expect("digits are no control characters")
    }
}

impl<'a> From<&'a SamId> for Argument<'a> {
    fn from(id: &'a SamId) -> Self {
        Self::new(&*id.0).expect("a name was checked when it was made")
    }
}

impl<'a> From<&'a Destination> for Argument<'a> {
    fn from(destination: &'a Destination) -> Self {
        Self::new(destination.as_str()).expect("a destination was checked when it was made")
    }
}

impl<'a> From<&'a PrivateDestination> for Argument<'a> {
    fn from(destination: &'a PrivateDestination) -> Self {
        Self::new(destination.expose()).expect("a destination was checked when it was made")
    }
}

/// A command that is being written. It may hold a private key.
pub(super) struct Command(Zeroizing<Vec<u8>>);

impl Command {
    pub(super) fn new(words: &'static str) -> Self {
        let mut line = Zeroizing::new(Vec::new());
        append(&mut line, words.as_bytes());
        Self(line)
    }

    /// The answer to a line that asks for itself back; `None` when that would be more than an answer.
    pub(super) fn pong(ping: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let text = core::str::from_utf8(ping).ok()?.strip_prefix("PING")?;
        let echo = (text.is_empty() || text.starts_with(' ')) && !text.contains(char::is_control);
        let mut pong = Self::new("PONG");
        append(&mut pong.0, text.as_bytes());
        echo.then(|| pong.end())
    }

    /// Adds an option. Routers that know no quotes get none unless the value needs them.
    pub(super) fn with<'a>(mut self, name: &'static str, value: impl Into<Argument<'a>>) -> Self {
        let value = value.into().0;
        let bare = |byte: u8| byte.is_ascii_alphanumeric() || b".,-_~=".contains(&byte);
        append(&mut self.0, b" ");
        append(&mut self.0, name.as_bytes());
        append(&mut self.0, b"=");
        if !value.is_empty() && value.bytes().all(bare) {
            append(&mut self.0, value.as_bytes());
            return self;
        }
        append(&mut self.0, b"\"");
        for piece in value.split_inclusive(['"', '\\']) {
            let (text, special) = piece.split_at(piece.trim_end_matches(['"', '\\']).len());
            append(&mut self.0, text.as_bytes());
            if !special.is_empty() {
                append(&mut self.0, b"\\");
                append(&mut self.0, special.as_bytes());
            }
        }
        append(&mut self.0, b"\"");
        self
    }

    /// The whole line.
    pub(super) fn end(mut self) -> Zeroizing<Vec<u8>> {
        append(&mut self.0, b"\n");
        self.0
    }
}
