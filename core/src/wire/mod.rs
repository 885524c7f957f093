//! The bytes: packets, handshake payloads and frames, as `docs/protocol.md` has them.
//!
//! Everything here is a pure function between bytes and values. Reading checks every length and
//! every reserved field, allocates nothing, and takes time linear in the bytes; it never panics,
//! whatever the bytes. Encryption happens between [`packet`] and the other two.

pub mod frame;
pub mod packet;
pub mod payload;
pub mod varint;

#[cfg(test)]
mod tests;
