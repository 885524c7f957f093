//! The one list of reasons: stable names, what a person reads, and what can be done.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($( $(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $exit:literal, $retry:literal,
        $text:literal, $hint:literal; )*) => {
        /// Why something failed or ended.
        ///
        /// Names and numbers are stable: names go to applications and logs, numbers go over the
        /// wire in `CLOSE` and `PATH_CLOSE`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum Code {
            $( $(#[$doc])* $variant, )*
        }

        impl Code {
            /// Every code, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> u16 {
                match self { $(Self::$variant => $number),* }
            }

            /// The code with this number on the wire; unknown numbers read as [`Code::Protocol`].
            #[must_use]
            pub const fn from_number(number: u16) -> Self {
                match number { $($number => Self::$variant,)* _ => Self::Protocol }
            }

            /// The stable name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// One sentence for a person. `{attempts}` in it stands for the number of attempts made.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// What a person can do about it.
            #[must_use]
            pub const fn hint(self) -> &'static str {
                match self { $(Self::$variant => $hint),* }
            }

            /// Whether trying again, as things are, can help.
            #[must_use]
            pub const fn retry_helps(self) -> bool {
                match self { $(Self::$variant => $retry),* }
            }

            /// The exit status of the command line when this ends it.
            #[must_use]
            pub const fn exit_status(self) -> u8 {
                match self { $(Self::$variant => $exit),* }
            }
        }
    };
}

codes! {
    /// Closed on purpose.
    Done = 0, "done", 0, false,
        "The session was closed", "Nothing to do.";
    /// Bytes that no correct peer sends, after the handshake.
    Protocol = 1, "protocol", 8, false,
        "The peer broke the protocol", "Check that both sides run the same version.";
    /// The peer pushed on a limit.
    Limit = 2, "limit", 8, false,
        "The peer exceeded a limit", "Check that both sides run the same version and limits.";
    /// Nobody answers at the peer's addresses.
    Unreachable = 3, "unreachable", 3, true,
        "Peer is unreachable — they may be offline", "Ask the peer whether they are online, and whether the link is current.";
    /// No answer in time.
    Timeout = 4, "timeout", 4, true,
        "Connection timed out — the network may be dropping packets", "A firewall may be blocking the way; try another network.";
    /// Bytes came from the peer, but no valid handshake.
    HandshakeTimeout = 5, "handshake_timeout", 4, true,
        "Connected but handshake failed — retrying", "Check that the link names the right peer and that you are allowed to connect.";
    /// Whoever answered does not hold the key in the link.
    WrongPeer = 6, "wrong_peer", 5, false,
        "Somebody else answered at that address", "Ask the peer for a new link.";
    /// The peer does not know us and the invite is not valid.
    NotInvited = 7, "not_invited", 5, false,
        "The peer does not accept this identity", "Ask the peer for an invite, or to allow your key.";
    /// No common version.
    Version = 8, "version", 6, false,
        "The peer speaks another version", "Update the older side.";
    /// The SAM bridge does not answer.
    SamDown = 9, "sam_down", 3, true,
        "The I2P router does not answer", "Start an I2P router with SAM enabled, or install i2pd (on Debian: apt install i2pd).";
    /// A host name in the link could not be resolved.
    Name = 10, "name", 3, true,
        "The host name in the link could not be found", "Check the link, and that this machine can resolve names.";
    /// The session waited too long for its peer to come back.
    Expired = 11, "expired", 4, true,
        "The peer did not come back", "Connect again when the peer is online.";
    /// The same identity connected from elsewhere and took over.
    Replaced = 12, "replaced", 7, false,
        "This identity connected from elsewhere", "Use one identity in one place at a time.";
    /// Out of attempts.
    GaveUp = 13, "gave_up", 3, true,
        "Could not reach peer after {attempts} attempts — their node may be offline or still bootstrapping", "Ask the peer whether they are online, then connect again.";
    /// The path went silent.
    Silent = 14, "silent", 4, true,
        "The connection went silent", "Reconnecting; a firewall or an outage may be in the way.";
    /// The carrier of the path was closed or reset.
    CarrierLost = 15, "carrier_lost", 4, true,
        "The connection was cut", "Reconnecting; nothing is lost.";
    /// A better path took over.
    Superseded = 16, "superseded", 0, false,
        "Another path is better", "Nothing to do.";
    /// The close deadline passed before everything was delivered.
    CloseTimeout = 17, "close_timeout", 4, false,
        "The session was closed before everything was delivered", "Allow a longer deadline for closing.";
    /// The application let go of the session.
    Cancelled = 18, "cancelled", 9, false,
        "The session was cancelled", "Nothing to do.";
    /// No answer in time over I2P.
    TunnelTimeout = 19, "tunnel_timeout", 4, true,
        "Connection timed out — I2P tunnels may be building", "Wait a little: after a start a router needs some minutes for its tunnels.";
}

impl Code {
    /// [`Code::text`] with the number of attempts filled in.
    ///
    /// ```
    /// use burdock_core::Code;
    /// assert!(Code::GaveUp.message(4).starts_with("Could not reach peer after 4 attempts"));
    /// ```
    #[must_use]
    pub fn message(self, attempts: u32) -> String {
        self.text().replace("{attempts}", &attempts.to_string())
    }
}

impl core::fmt::Display for Code {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}
