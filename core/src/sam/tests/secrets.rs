//! The private destination that a router gives.
