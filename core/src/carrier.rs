//! Packets in a byte stream: a u16 length, then the packet; one machine for each direction.
//!
//! A stream that is out of step with its packets cannot be mended. So both machines have a dead
//! state that nothing leads out of, and the path that owns them gives the stream up.

use thiserror::Error;

#[cfg(test)]
mod tests;

/// The shortest packet that goes over a stream.
pub const MIN_PACKET: usize = 17;

const LENGTH_LEN: usize = 2;

/// The step in which the buffer for a cut packet grows.
const GROWTH: usize = 4096;

/// Why a stream's bytes cannot be read further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CarrierError {
    /// A length that no packet has here.
    #[error("the stream announces a packet of {len} bytes, {MIN_PACKET} to {max} are allowed; close it")]
    Length {
        /// The length announced.
        len: usize,
        /// The longest packet allowed at this place.
        max: usize,
    },
    /// An [`Input`] was dropped before its end, and bytes with it.
    #[error("bytes of the stream were dropped unread; close it")]
    Dropped,
}

/// Turns the bytes of a stream, cut anywhere, back into packets.
///
/// A packet that lies whole in what was fed is handed out where it lies, to be opened in place;
/// only one that was cut is copied. The buffer for it grows with the bytes that came, whatever
/// length was announced, and is used again.
///
/// ```
/// use burdock_core::carrier::Reassembler;
///
/// let mut reassembler = Reassembler::new(1_200, 16_384);
/// let mut bytes = [&[0, 17][..], &[7; 17], &[0, 18]].concat();
/// let mut input = reassembler.feed(&mut bytes);
/// while let Some(packet) = input.next_packet()? {
///     assert_eq!(packet, [7; 17]);
/// }
/// # Ok::<(), burdock_core::carrier::CarrierError>(())
/// ```
#[derive(Debug)]
pub struct Reassembler {
    /// The packet that was cut, from its length on; or one that was handed out whole.
    buffer: Vec<u8>,
    /// The buffer's packet was handed out.
    spent: bool,
    /// The longest packet that may come next.
    max: usize,
    later_max: usize,
    dead: Option<CarrierError>,
    #[cfg(test)]
    copied: usize,
}

impl Reassembler {
    /// For a new stream, whose first packet has at most `first_max` bytes and the others `max`.
    #[must_use]
    pub const fn new(first_max: usize, max: usize) -> Self {
        Self {
            buffer: Vec::new(),
            spent: false,
            max: first_max,
            later_max: max,
            dead: None,
            #[cfg(test)]
            copied: 0,
        }
    }

    /// The next bytes of the stream. Read the packets from what this returns until there are no
    /// more: dropping it earlier drops bytes, and so kills the stream.
    pub fn feed<'a>(&'a mut self, data: &'a mut [u8]) -> Input<'a> {
        Input { reassembler: self, data }
    }

    /// Whether the stream stands in the middle of a packet.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        !self.spent && !self.buffer.is_empty()
    }

    /// Bytes of memory held.
    #[must_use]
    pub const fn allocated(&self) -> usize {
        self.buffer.capacity()
    }

    fn die(&mut self, error: CarrierError) -> CarrierError {
        self.buffer = Vec::new();
        *self.dead.get_or_insert(error)
    }

    fn check(&mut self, length: [u8; LENGTH_LEN]) -> Result<usize, CarrierError> {
        let len = usize::from(u16::from_be_bytes(length));
        if (MIN_PACKET..=self.max).contains(&len) {
            Ok(len)
        } else {
            let max = self.max;
            Err(self.die(CarrierError::Length { len, max }))
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let needed = self.buffer.len() + bytes.len();
        if needed > self.buffer.capacity() {
            // While it is moved the old buffer is there too: a larger step would break the bound
            // of 2 x received + 4 KiB.
            let wanted = needed.next_multiple_of(GROWTH).min(LENGTH_LEN + self.max.max(MIN_PACKET)).max(needed);
            self.count(self.buffer.len());
            self.buffer.reserve_exact(wanted - self.buffer.len());
        }
        self.count(bytes.len());
        self.buffer.extend_from_slice(bytes);
    }

    #[cfg(test)]
    fn count(&mut self, bytes: usize) {
        self.copied += bytes;
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, reason = "counts in tests")]
    fn count(&self, _bytes: usize) {}
}

/// The packets that one piece of the stream completes. See [`Reassembler::feed`].
#[derive(Debug)]
pub struct Input<'a> {
    reassembler: &'a mut Reassembler,
    data: &'a mut [u8],
}

impl Input<'_> {
    /// The next packet, without its length; `None` when the rest of the stream must come first.
    ///
    /// # Errors
    /// The stream announced an impossible length, now or earlier.
    pub fn next_packet(&mut self) -> Result<Option<&mut [u8]>, CarrierError> {
        if let Some(error) = self.reassembler.dead {
            return Err(error);
        }
        if core::mem::take(&mut self.reassembler.spent) {
            self.reassembler.buffer.clear();
        }
        if self.reassembler.buffer.is_empty() { self.next_in_place() } else { self.next_cut() }
    }

    /// From the next packet on up to `max` bytes are allowed.
    pub const fn allow(&mut self, max: usize) {
        self.reassembler.later_max = max;
        self.reassembler.max = max;
    }

    fn next_in_place(&mut self) -> Result<Option<&mut [u8]>, CarrierError> {
        if let Some(&length) = self.data.first_chunk() {
            let len = self.reassembler.check(length)?;
            if self.data.len() - LENGTH_LEN >= len {
                self.reassembler.max = self.reassembler.later_max;
                return Ok(Some(&mut self.take(LENGTH_LEN + len)[LENGTH_LEN..]));
            }
        }
        let rest = self.take(self.data.len());
        if !rest.is_empty() {
            self.reassembler.keep(rest);
        }
        Ok(None)
    }

    fn next_cut(&mut self) -> Result<Option<&mut [u8]>, CarrierError> {
        self.fill(LENGTH_LEN);
        let Some(&length) = self.reassembler.buffer.first_chunk() else { return Ok(None) };
        let len = self.reassembler.check(length)?;
        self.fill(LENGTH_LEN + len);
        if self.reassembler.buffer.len() < LENGTH_LEN + len {
            return Ok(None);
        }
        self.reassembler.max = self.reassembler.later_max;
        self.reassembler.spent = true;
        Ok(Some(&mut self.reassembler.buffer[LENGTH_LEN..]))
    }

    /// Moves bytes into the buffer until it holds `len`, or there are no more.
    fn fill(&mut self, len: usize) {
        let missing = len.saturating_sub(self.reassembler.buffer.len()).min(self.data.len());
        if missing > 0 {
            let bytes = self.take(missing);
            self.reassembler.keep(bytes);
        }
    }
}

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> &'a mut [u8] {
        let (head, rest) = core::mem::take(&mut self.data).split_at_mut(len);
        self.data = rest;
        head
    }
}

impl Drop for Input<'_> {
    fn drop(&mut self) {
        if !self.data.is_empty() {
            self.reassembler.die(CarrierError::Dropped);
        }
    }
}

/// Packets on their way into a stream, each written once, and its rest after any short write.
///
/// New packets go behind what is unsent, which moves to the front when that is cheap: so memory
/// stays within a small multiple of the most that was ever queued. How much may be queued is for
/// the owner to say, who knows [`len`](Self::len).
#[derive(Debug, Default)]
pub struct SendBuffer {
    buffer: Vec<u8>,
    sent: usize,
    dead: bool,
    #[cfg(test)]
    copied: usize,
}

impl SendBuffer {
    /// Nothing to send.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            buffer: Vec::new(),
            sent: 0,
            dead: false,
            #[cfg(test)]
            copied: 0,
        }
    }

    /// Queues one packet of at most `max` bytes, which `write` appends to what it is given.
    ///
    /// Returns whether there is a packet more: not when `write` appended nothing, and not in a dead
    /// buffer, where it is not even called. A packet of a length that the stream does not allow
    /// kills the buffer: its number is used up, and the peer would wait for it for ever.
    pub fn push_with(&mut self, max: usize, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        if self.dead {
            return false;
        }
        let max = max.min(usize::from(u16::MAX));
        self.compact(LENGTH_LEN + max);
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; LENGTH_LEN]);
        write(&mut self.buffer);
        let len = self.buffer.len().checked_sub(start + LENGTH_LEN);
        if len == Some(0) {
            self.buffer.truncate(start);
            return false;
        }
        let length = len.filter(|len| (MIN_PACKET..=max).contains(len)).and_then(|len| u16::try_from(len).ok());
        match (length, self.buffer.get_mut(start..start + LENGTH_LEN)) {
            (Some(length), Some(place)) => {
                place.copy_from_slice(&length.to_be_bytes());
                true
            }
            _ => {
                self.poison();
                false
            }
        }
    }

    /// What the stream is to take next.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        self.buffer.get(self.sent..).unwrap_or_default()
    }

    /// The stream took `len` of the unsent bytes. More than there were means that nobody knows what
    /// it took: the buffer is dead.
    pub fn advance(&mut self, len: usize) {
        if len > self.len() {
            self.poison();
            return;
        }
        self.sent += len;
        if self.sent == self.buffer.len() {
            self.buffer.clear();
            self.sent = 0;
        }
    }

    /// How many bytes are unsent.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.buffer.len() - self.sent
    }

    /// Whether everything was sent.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A write failed: nothing is ever offered again, because half a packet may be on its way.
    pub fn poison(&mut self) {
        *self = Self { dead: true, ..Self::new() };
    }

    /// Whether the buffer is dead.
    #[must_use]
    pub const fn is_poisoned(&self) -> bool {
        self.dead
    }

    /// Bytes of memory held.
    #[must_use]
    pub const fn allocated(&self) -> usize {
        self.buffer.capacity()
    }

    /// Makes room for `more` bytes. What is unsent is moved only when at least as much was sent, so
    /// each byte pays for moving one other.
    fn compact(&mut self, more: usize) {
        let room = self.buffer.capacity() - self.buffer.len();
        if room < more && self.sent >= self.len() {
            #[cfg(test)]
            {
                self.copied += self.len();
            }
            self.buffer.drain(..self.sent);
            self.sent = 0;
        }
        self.buffer.reserve(more);
    }
}
