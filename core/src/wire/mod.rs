//! The bytes: packets, handshake payloads and frames, as `docs/protocol.md` has them.

pub mod frame;
