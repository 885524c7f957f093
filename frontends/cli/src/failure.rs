//! What ends the program early: one sentence and an exit status.

/// Something on this side went wrong, or not everything was delivered.
pub(crate) const FAILED: u8 = 1;
/// The command line was not understood.
pub(crate) const USAGE: u8 = 2;
/// Interrupted with ^C, as shells report it.
pub(crate) const INTERRUPTED: u8 = 130;

#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) status: u8,
}

impl Failure {
    pub(crate) fn local(message: impl Into<String>) -> Self {
        Self { message: message.into(), status: FAILED }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), status: USAGE }
    }
}
