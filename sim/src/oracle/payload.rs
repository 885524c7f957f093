//! Messages that say what they are, so that whoever receives one can tell whether it was sent.

use bytes::Bytes;

use crate::luck::{Luck, Purpose};

/// The bytes in which a message describes itself; a shorter one is empty.
pub const HEADER: u32 = 16;

/// What a message says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// The host that sent it.
    pub(crate) host: u16,
    pub(crate) channel: u8,
    /// The sender's count of its sessions.
    pub(crate) session: u16,
    /// The message's number in that session.
    pub(crate) number: u32,
    /// The length of the whole message.
    pub(crate) len: u32,
}

/// The message with this label.
pub(crate) fn write(label: Label, luck: Luck) -> Bytes {
    let len = label.len as usize;
    if label.len < HEADER {
        return Bytes::from(vec![0; len]);
    }
    let mut data = Vec::with_capacity(len + 8);
    data.extend_from_slice(&label.host.to_be_bytes());
    data.extend_from_slice(&label.session.to_be_bytes());
    data.extend_from_slice(&label.number.to_be_bytes());
    data.extend_from_slice(&label.len.to_be_bytes());
    data.extend_from_slice(&[label.channel, 0x0D, 0x0C, 0x05]);
    let mut state = filling(label, luck);
    while data.len() < len {
        // xorshift64: quick, and no two messages alike.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&state.to_be_bytes());
    }
    data.truncate(len);
    Bytes::from(data)
}

/// The label of a message; `None` for one too short to have any.
pub(crate) fn label(data: &[u8]) -> Option<Label> {
    let word = |at: usize| Some(u32::from_be_bytes(data.get(at..at + 4)?.try_into().ok()?));
    let number = word(4)?;
    let len = word(8)?;
    let [channel, ..] = word(12)?.to_be_bytes();
    let (host, session) = (u16::from_be_bytes([data[0], data[1]]), u16::from_be_bytes([data[2], data[3]]));
    Some(Label { host, channel, session, number, len })
}

fn filling(label: Label, luck: Luck) -> u64 {
    let place = u64::from(label.host) << 16 | u64::from(label.session);
    luck.draw(Purpose::Filling, place, label.number.into()) | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_it_is() {
        let made = Label { host: 4_999, channel: 7, session: 3, number: 99, len: 1001 };
        let data = write(made, Luck::of(5));
        assert_eq!(data.len(), 1001);
        assert_eq!(label(&data), Some(made));
        assert_ne!(data, write(made, Luck::of(6)));
        assert_eq!(label(&write(Label { len: 0, ..made }, Luck::of(5))), None);
    }
}
