//! Burdock.
