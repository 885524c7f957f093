//! Standard input, line by line, whatever bytes it holds.

use std::io::{self, BufRead};

use bytes::Bytes;
use tokio::sync::mpsc;

/// Lines that are read ahead of the session.
const READ_AHEAD: usize = 64;

/// A line of the input, numbered from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) number: u64,
    /// Its bytes without the newline, or its length when that is more than a message may have.
    pub(crate) data: Result<Bytes, TooLong>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong {
    pub(crate) len: u64,
}

/// Reads standard input on a thread of its own: a read that waits for a person cannot be cancelled,
/// and nothing may have to wait for it when the program ends.
pub(crate) fn from_stdin(max: usize) -> mpsc::Receiver<Line> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        for number in 1.. {
            let data = match read_line(&mut input, max) {
                Ok(Some(data)) => data,
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "standard input");
                    break;
                }
            };
            if sender.blocking_send(Line { number, data }).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The next line, `None` at the end. Of a line that is too long only the length is kept.
fn read_line(input: &mut impl BufRead, max: usize) -> io::Result<Option<Result<Bytes, TooLong>>> {
    let mut line = Vec::new();
    let mut len = 0u64;
    let mut ended = false;
    while !ended {
        let available = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if available.is_empty() {
            if len == 0 {
                return Ok(None);
            }
            break;
        }
        let newline = available.iter().position(|byte| *byte == b'\n');
        let part = &available[..newline.unwrap_or(available.len())];
        len += part.len() as u64;
        if len <= max as u64 {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(newline.is_some());
        ended = newline.is_some();
        input.consume(used);
    }
    Ok(Some(if len > max as u64 { Err(TooLong { len }) } else { Ok(line.into()) }))
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn lines(input: &[u8], max: usize, buffer: usize) -> Vec<Result<Bytes, TooLong>> {
        let mut input = BufReader::with_capacity(buffer, input);
        std::iter::from_fn(|| read_line(&mut input, max).unwrap()).collect()
    }

    #[test]
    fn lines_are_bytes_and_only_the_long_ones_are_left_out() {
        for buffer in 1..40 {
            assert_eq!(
                lines(b"one\n\n\xff\0\r\nfar too long\nlast", 5, buffer),
                [
                    Ok(Bytes::from_static(b"one")),
                    Ok(Bytes::new()),
                    Ok(Bytes::from_static(b"\xff\0\r")),
                    Err(TooLong { len: 12 }),
                    Ok(Bytes::from_static(b"last")),
                ]
            );
        }
    }

    #[test]
    fn a_line_of_exactly_the_limit_passes() {
        assert_eq!(lines(b"12345\n123456\n", 5, 4), [Ok(Bytes::from_static(b"12345")), Err(TooLong { len: 6 })]);
    }
}
