//! From pieces of a byte stream to messages. Memory grows with the bytes that arrived, never with
//! a length that was announced.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::ChannelError;
use crate::wire::varint::Reader;

/// Messages up to this length get all their memory with their first byte.
const SMALL: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// Everything below has arrived.
    received: u64,
    /// What arrived above that, by offset; pieces neither overlap nor touch, so that there are as
    /// many as there are gaps.
    early: BTreeMap<u64, VecDeque<u8>>,
    /// The length of the message under way, as far as it is there.
    prefix: [u8; 8],
    prefix_len: usize,
    /// The message under way, once its length is known.
    message: Option<Partial>,
    /// Bytes copied so far.
    #[cfg(test)]
    pub(super) copied: usize,
}

#[derive(Debug)]
struct Partial {
    len: usize,
    data: Vec<u8>,
}

impl Partial {
    fn push(&mut self, bytes: &[u8]) {
        let needed = self.data.len() + bytes.len();
        if needed > self.data.capacity() {
            // Ends at exactly `len`, so that the message needs no further copy.
            let capacity = if self.len <= SMALL { self.len } else { needed.saturating_mul(2).max(SMALL).min(self.len) };
            self.data.reserve_exact(capacity - self.data.len());
        }
        self.data.extend_from_slice(bytes);
    }
}

impl Assembly {
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn gaps(&self) -> usize {
        self.early.len()
    }

    /// Takes bytes in; `complete` gets every message that they complete, with the offset of its
    /// end, and says whether another one is welcome.
    pub(super) fn push(
        &mut self,
        offset: u64,
        data: &[u8],
        max_message: u32,
        mut complete: impl FnMut(u64, Bytes) -> bool,
    ) -> Result<(), ChannelError> {
        let known = self.received.saturating_sub(offset).min(data.len() as u64);
        let (offset, data) = (offset + known, &data[known as usize..]);
        if data.is_empty() {
            return Ok(());
        }
        if offset > self.received {
            self.keep(offset, data);
            return Ok(());
        }
        self.feed(data, max_message, &mut complete)?;
        while let Some(entry) = self.early.first_entry().filter(|entry| *entry.key() <= self.received) {
            let (start, piece) = entry.remove_entry();
            let mut known = (self.received - start).min(piece.len() as u64) as usize;
            let (head, tail) = piece.as_slices();
            for part in [head, tail] {
                let skip = known.min(part.len());
                known -= skip;
                self.feed(&part[skip..], max_message, &mut complete)?;
            }
        }
        Ok(())
    }

    /// Takes in the bytes that come next.
    fn feed(
        &mut self,
        mut data: &[u8],
        max_message: u32,
        complete: &mut impl FnMut(u64, Bytes) -> bool,
    ) -> Result<(), ChannelError> {
        self.count(data.len());
        while !data.is_empty() {
            let Some(partial) = &mut self.message else {
                self.prefix[self.prefix_len] = data[0];
                self.prefix_len += 1;
                self.received += 1;
                data = &data[1..];
                let Ok(len) = Reader::new(&self.prefix[..self.prefix_len]).varint() else { continue };
                self.prefix_len = 0;
                if len > u64::from(max_message) {
                    return Err(ChannelError::TooLong { len, max: max_message });
                }
                let len = len as usize;
                if len <= data.len() {
                    let (message, rest) = data.split_at(len);
                    data = rest;
                    self.received += len as u64;
                    if !complete(self.received, Bytes::copy_from_slice(message)) {
                        return Err(ChannelError::Messages);
                    }
                } else {
                    self.message = Some(Partial { len, data: Vec::new() });
                }
                continue;
            };
            let (part, rest) = data.split_at(data.len().min(partial.len - partial.data.len()));
            data = rest;
            partial.push(part);
            self.received += part.len() as u64;
            if partial.data.len() == partial.len {
                let message = Bytes::from(core::mem::take(&mut partial.data));
                self.message = None;
                if !complete(self.received, message) {
                    return Err(ChannelError::Messages);
                }
            }
        }
        Ok(())
    }

    /// Keeps bytes that come too early. Pieces are joined the smaller to the larger, so that the
    /// work stays near the number of bytes whatever their order.
    fn keep(&mut self, offset: u64, data: &[u8]) {
        let end = offset + data.len() as u64;
        self.count(data.len());
        let before =
            self.early.range(..=offset).next_back().map(|(start, piece)| (*start, *start + piece.len() as u64));
        let (start, mut piece) = match before {
            Some((_, known)) if known >= end => return,
            Some((start, known)) if known >= offset => {
                let mut piece = self.early.remove(&start).unwrap_or_default();
                piece.extend(&data[(known - offset) as usize..]);
                (start, piece)
            }
            _ => (offset, data.iter().copied().collect()),
        };
        while let Some((&next, _)) = self.early.range(start..=start + piece.len() as u64).next() {
            let mut after = self.early.remove(&next).unwrap_or_default();
            let own = (next - start) as usize;
            if own + after.len() <= piece.len() {
                continue;
            }
            if own < after.len() {
                self.count(own);
                piece.truncate(own);
                after.reserve(own);
                piece.iter().rev().for_each(|byte| after.push_front(*byte));
                piece = after;
            } else {
                self.count(after.len());
                piece.extend(after.iter().skip(piece.len() - own));
            }
        }
        self.early.insert(start, piece);
    }

    #[cfg(test)]
    fn count(&mut self, bytes: usize) {
        self.copied += bytes;
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, reason = "counts in tests")]
    fn count(&self, _bytes: usize) {}

    /// Bytes allocated.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let early: usize = self.early.values().map(VecDeque::capacity).sum();
        early + self.message.as_ref().map_or(0, |partial| partial.data.capacity())
    }
}
