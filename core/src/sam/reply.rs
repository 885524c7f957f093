//! What a bridge answers.

use super::destination::{Destination, PrivateDestination};
use super::error::Refusal;
use super::line::{Fields, parse};

/// The longest message kept from a refusal, in characters.
const MAX_MESSAGE: usize = 120;
/// The longest word kept in it: a router may repeat the destination or key that it was given.
const MAX_WORD: usize = 32;

/// One answer.
pub(super) enum Reply {
    /// `HELLO REPLY RESULT=OK`, with a version that was asked for.
    Hello,
    /// `SESSION STATUS RESULT=OK`: `DESTINATION` is the private one.
    Session(PrivateDestination),
    /// `NAMING REPLY RESULT=OK NAME=ME`: the public one.
    Me(Destination),
    /// `STREAM STATUS RESULT=OK`.
    Stream,
    /// Any of them with another `RESULT`.
    Refused { refusal: Refusal, message: Option<String> },
}

impl Reply {
    /// `None` when the line is no answer to anything that is ever asked here.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let (words, fields) = parse(line)?;
        if !matches!(words, ["HELLO" | "NAMING", "REPLY"] | ["SESSION" | "STREAM", "STATUS"]) {
            return None;
        }
        let result = fields.plain("RESULT")?;
        if result != "OK" {
            return Some(Self::refused(result, &fields));
        }
        match words[0] {
            "HELLO" => Some(match fields.plain("VERSION")? {
                "3.1" | "3.2" | "3.3" => Self::Hello,
                _ => Self::refused("NOVERSION", &fields),
            }),
            "SESSION" => PrivateDestination::from_text(fields.plain("DESTINATION")?).ok().map(Self::Session),
            "NAMING" if fields.plain("NAME")? == "ME" => whole(fields.plain("VALUE")?).map(Self::Me),
            "STREAM" => Some(Self::Stream),
            _ => None,
        }
    }

    fn refused(result: &str, fields: &Fields<'_>) -> Self {
        let refusal = Refusal::from_result(result);
        let said = fields.value("MESSAGE").map(|value| cleaned(&value.text()));
        let message = said.or_else(|| (refusal == Refusal::Other).then(|| cleaned(result)));
        Self::Refused { refusal, message: message.filter(|text| !text.is_empty()) }
    }
}

/// The line that names who calls, on a socket that waited: a destination, and since SAM 3.2 ports behind it.
pub(super) fn caller(line: &[u8]) -> Option<Destination> {
    let ([destination], _ports) = parse(line)?;
    whole(destination)
}

fn whole(text: &str) -> Option<Destination> {
    text.parse().ok().filter(Destination::is_whole)
}

/// A bridge's words, fit to be shown.
fn cleaned(text: &str) -> String {
    let mut cleaned = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        let word = if word.chars().count() > MAX_WORD { ".." } else { word };
        if cleaned.chars().count() + 1 + word.chars().count() > MAX_MESSAGE {
            break;
        }
        if !cleaned.is_empty() {
            cleaned.push(' ');
        }
        cleaned.push_str(word);
    }
    cleaned
}
