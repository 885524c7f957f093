//! Variable-length integers (RFC 9000 §16), and a cursor that reads them and everything else.

use thiserror::Error;

/// The largest number that a varint can hold: 2^62 - 1.
pub const VARINT_MAX: u64 = (1 << 62) - 1;

/// How many bytes the shortest varint of `value` has: 1, 2, 4 or 8.
#[must_use]
pub const fn varint_len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Appends the shortest varint of `value`. What does not fit in one is clamped to [`VARINT_MAX`].
pub fn put_varint(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(Varint::new(value).as_bytes());
}

/// The bytes of one varint.
pub(crate) struct Varint {
    bytes: [u8; 8],
    len: usize,
}

impl Varint {
    pub(crate) fn new(value: u64) -> Self {
        debug_assert!(value <= VARINT_MAX, "the counters of a session stay far below 2^62");
        let value = value.min(VARINT_MAX);
        let len = varint_len(value);
        // The two highest bits of the first byte hold log2 of the length.
        let marked = (value << (64 - 8 * len)) | (u64::from(len.trailing_zeros()) << 62);
        Self { bytes: marked.to_be_bytes(), len }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The bytes end before the value does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the bytes end in the middle of a value")]
pub struct Truncated;

/// A cursor over bytes from outside. Integers are big-endian. A failed read moves nothing.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes have not been read.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rest.len()
    }

    /// Whether everything has been read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], Truncated> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    ///
    /// # Errors
    /// There is none.
    pub fn u8(&mut self) -> Result<u8, Truncated> {
        self.array().map(u8::from_be_bytes)
    }

    /// Two bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn u64(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_be_bytes)
    }

    /// A varint of any length, shortest or not (RFC 9000 §16 allows both).
    ///
    /// # Errors
    /// The bytes end before it does.
    pub fn varint(&mut self) -> Result<u64, Truncated> {
        let first = *self.rest.first().ok_or(Truncated)?;
        let bytes = self.bytes(1 << (first >> 6))?;
        Ok(bytes[1..].iter().fold(u64::from(first & 0x3f), |value, &byte| (value << 8) | u64::from(byte)))
    }

    /// A varint that says how many bytes follow it, and those bytes.
    ///
    /// # Errors
    /// The bytes end before they do.
    pub fn counted(&mut self) -> Result<&'a [u8], Truncated> {
        let mut ahead = self.clone();
        let len = usize::try_from(ahead.varint()?).map_err(|_| Truncated)?;
        let bytes = ahead.bytes(len)?;
        *self = ahead;
        Ok(bytes)
    }
}
