//! What real routers answer, cut anywhere.

use core::fmt::Write;

use super::*;

/// The bytes that follow a line which hands the socket over.
const STREAM: &str = "\0\x11hello\nSTREAM STATUS RESULT=I2P_ERROR\n";

/// A socket at `step`, whose command was written.
fn at(step: Step) -> Socket {
    let (public, private) = (destination(4, 0), destination(4, 288));
    let mut socket = match step {
        Step::Hello | Step::Create | Step::Naming | Step::Standing => {
            Socket::control(id(), None, SessionOptions::default())
        }
        Step::Connect => Socket::connect(id(), public.parse().unwrap()),
        _ => Socket::accept(id()),
    };
    let replies = [
        "HELLO REPLY RESULT=OK VERSION=3.1\n".to_owned(),
        if matches!(step, Step::Accept | Step::Waiting) {
            "STREAM STATUS RESULT=OK\n".to_owned()
        } else {
            format!("SESSION STATUS RESULT=OK DESTINATION={private}\n")
        },
        format!("NAMING REPLY RESULT=OK NAME=ME VALUE={public}\n"),
    ];
    socket.opened();
    assert!(socket.command().is_some());
    for reply in replies {
        if socket.step() == step {
            return socket;
        }
        let (consumed, _) = socket.read(&mut reply.clone().into_bytes());
        assert_eq!(consumed, reply.len());
        assert_eq!(socket.command().is_some(), !matches!(socket.step(), Step::Waiting | Step::Standing));
    }
    assert_eq!(socket.step(), step);
    socket
}

fn note(said: &mut String, happened: &Happened) {
    match happened {
        Happened::SessionStands { address, private } => {
            assert_eq!((address.as_str(), private.expose()), (&*destination(4, 0), &*destination(4, 288)));
            said.push_str("stands ");
        }
        Happened::StreamOpen => said.push_str("open "),
        Happened::Accepting => said.push_str("accepting "),
        Happened::Accepted { from } => {
            assert_eq!(from.as_str(), destination(4, 0));
            said.push_str("accepted ");
        }
        Happened::Failed(SamError::Refused { refusal, message, .. }) => {
            write!(said, "{refusal:?} {}", message.as_deref().unwrap_or_default()).unwrap();
        }
        Happened::Failed(SamError::Ended { .. }) => said.push_str("ended "),
        Happened::Failed(SamError::Garbled { .. }) => said.push_str("garbled "),
        Happened::Failed(other) => write!(said, "{other:?} ").unwrap(),
    }
}

/// What the socket makes of `bytes` that come in two pieces; at a `|` in them, the bridge closes.
fn outcome(step: Step, bytes: &str, cut: usize) -> String {
    let mut socket = at(step);
    let (bytes, closes) = bytes.strip_suffix('|').map_or((bytes, false), |bytes| (bytes, true));
    let mut bytes = bytes.as_bytes().to_vec();
    let cut = cut.min(bytes.len());
    let (first, second) = bytes.split_at_mut(cut);
    let (mut said, mut stream) = (String::new(), Vec::new());
    for mut piece in [first, second] {
        loop {
            let (consumed, happened) = socket.read(piece);
            assert!(piece[..consumed].iter().all(|&byte| byte == 0), "what is consumed is wiped");
            piece = &mut piece[consumed..];
            if let Some(happened) = &happened {
                note(&mut said, happened);
            }
            while let Some(command) = socket.command() {
                write!(said, "says {} ", String::from_utf8_lossy(&command[..command.len() - 1])).unwrap();
            }
            if consumed == 0 {
                stream.extend_from_slice(piece);
                break;
            }
        }
    }
    if closes && socket.step() != Step::Over {
        note(&mut said, &socket.ended());
        assert_eq!(socket.step(), Step::Over);
    }
    if said.contains("open") || said.contains("accepted") {
        assert_eq!(String::from_utf8(stream).unwrap(), STREAM);
    }
    said.trim_end().to_owned()
}

/// A step, what comes (`PUB` and `PRIV` stand for destinations, `STREAM` for the stream, `|` for the end), and what
/// that comes to.
const TABLE: &[(Step, &str, &str)] = &[
    (Step::Hello, "HELLO REPLY RESULT=OK VERSION=3.1\n", "says CREATE"),
    (Step::Hello, "HELLO REPLY RESULT=OK VERSION=3.2\n", "says CREATE"),
    (Step::Hello, "HELLO REPLY RESULT=OK VERSION=3.3\r\n", "says CREATE"),
    (Step::Hello, "HELLO REPLY VERSION=3.1 NEW=\"a b\" RESULT=OK FLAG\n", "says CREATE"),
    (Step::Hello, "HELLO REPLY RESULT=OK VERSION=3.0\n", "NoVersion"),
    (Step::Hello, "HELLO REPLY RESULT=OK\n", "garbled"),
    (Step::Hello, "HELLO REPLY RESULT=NOVERSION\n|", "NoVersion"),
    (Step::Hello, "HELLO REPLY RESULT=I2P_ERROR MESSAGE=\"RESULT=OK VERSION=3.1\"\n", "I2pError RESULT=OK VERSION=3.1"),
    (Step::Hello, "HELLO REPLY MESSAGE=\"RESULT=OK\" VERSION=3.1\n", "garbled"),
    (Step::Hello, "HELLO REPLY RESULT=OK RESULT=OK VERSION=3.1\n", "garbled"),
    (Step::Hello, "STREAM STATUS RESULT=OK\n", "garbled"),
    (Step::Hello, "HTTP/1.1 400 Bad Request\r\n\r\n|", "garbled"),
    (Step::Hello, "|", "ended"),
    (Step::Create, "SESSION STATUS RESULT=OK DESTINATION=PRIV\n", "says NAMING LOOKUP NAME=ME"),
    (Step::Create, "SESSION STATUS DESTINATION=\"PRIV\" RESULT=OK\n", "says NAMING LOOKUP NAME=ME"),
    (Step::Create, "SESSION STATUS RESULT=OK DESTINATION=PUB\n", "garbled"),
    (Step::Create, "SESSION STATUS RESULT=OK\n", "garbled"),
    (Step::Create, "SESSION STATUS RESULT=DUPLICATED_ID\n|", "DuplicatedId"),
    (Step::Create, "SESSION STATUS RESULT=DUPLICATE_ID|", "DuplicatedId"),
    (Step::Create, "SESSION STATUS RESULT=DUPLICATED_DEST\n", "DuplicatedDest"),
    (Step::Create, "SESSION STATUS RESULT=DUPLICATE_DEST|", "DuplicatedDest"),
    (Step::Create, "SESSION STATUS RESULT=INVALID_KEY\n|", "InvalidKey"),
    (Step::Create, "SESSION STATUS RESULT=INVALID_ID\n|", "InvalidId"),
    (Step::Create, "SESSION STATUS RESULT=I2P_ERROR MESSAGE=\"Unknown STYLE\"\n|", "I2pError Unknown STYLE"),
    (Step::Create, "SESSION STATUS RESULT=I2P_ERROR MESSAGE=\"RESULT=OK DESTINATION=PRIV\"\n", "I2pError RESULT=OK .."),
    (Step::Create, "SESSION STATUS RESULT=NEW_REASON\n", "Other NEW_REASON"),
    (Step::Create, "SESSION STATUS RESULT=OK DESTINATION=PRIV|", "ended"),
    (Step::Create, "|", "ended"),
    (Step::Naming, "NAMING REPLY RESULT=OK NAME=ME VALUE=PUB\n", "stands"),
    (Step::Naming, "NAMING REPLY VALUE=PUB NAME=ME RESULT=OK\n", "stands"),
    (Step::Naming, "NAMING REPLY RESULT=OK NAME=ME VALUE=PRIV\n", "garbled"),
    (Step::Naming, "NAMING REPLY RESULT=OK NAME=ME VALUE=OTHER\n", "garbled"),
    (Step::Naming, "NAMING REPLY RESULT=OK NAME=other.i2p VALUE=PUB\n", "garbled"),
    (Step::Naming, "NAMING REPLY RESULT=KEY_NOT_FOUND NAME=ME\n", "KeyNotFound"),
    (Step::Naming, "NAMING REPLY RESULT=INVALID_KEY NAME=ME\n", "InvalidKey"),
    (Step::Standing, "PING 1 a\n", "says PONG 1 a"),
    (Step::Standing, "PING\nPING b\n", "says PONG says PONG b"),
    (Step::Standing, "PING \u{1b}\n", "garbled"),
    (
        Step::Standing,
        "SESSION STATUS RESULT=I2P_ERROR MESSAGE=\"Socket already in use\"\n|",
        "I2pError Socket already in use",
    ),
    (Step::Standing, "|", "ended"),
    (Step::Connect, "STREAM STATUS RESULT=OK\nSTREAM", "open"),
    (Step::Connect, "STREAM STATUS RESULT=\"OK\" MESSAGE=\"no \\\"fault\\\"\"\r\nSTREAM", "open"),
    (Step::Connect, "STREAM STATUS RESULT=CANT_REACH_PEER\n|", "CantReachPeer"),
    (Step::Connect, "STREAM STATUS RESULT=CANT_REACH_PEER|", "CantReachPeer"),
    (Step::Connect, "STREAM STATUS RESULT=INVALID_KEY\n|", "InvalidKey"),
    (Step::Connect, "STREAM STATUS RESULT=INVALID_ID\n|", "InvalidId"),
    (Step::Connect, "STREAM STATUS RESULT=TIMEOUT MESSAGE=\"Connection timed out\"\n", "Timeout Connection timed out"),
    (Step::Connect, "STREAM STATUS RESULT=PEER_NOT_FOUND\n", "PeerNotFound"),
    (Step::Connect, "STREAM STATUS RESULT=LEASESET_NOT_FOUND\n", "PeerNotFound"),
    (Step::Connect, "STREAM STATUS RESULT=I2P_ERROR MESSAGE=\"RESULT=OK\"\n", "I2pError RESULT=OK"),
    (Step::Connect, "STREAM STATUS MESSAGE=\"RESULT=OK\"\n", "garbled"),
    (Step::Connect, "STREAM STATUS RESULT=I2P_ERROR MESSAGE=\"a\u{1b}[2J\u{7}b\"\n", "I2pError a [2J b"),
    (
        Step::Connect,
        "SESSION STATUS RESULT=I2P_ERROR MESSAGE=\"Socket already in use\"\n|",
        "I2pError Socket already in use",
    ),
    (Step::Connect, "STREAM STATUS RESULT=OK|", "ended"),
    (Step::Connect, "|", "ended"),
    (Step::Accept, "STREAM STATUS RESULT=OK\n", "accepting"),
    (Step::Accept, "STREAM STATUS RESULT=OK\nPUB\nSTREAM", "accepting accepted"),
    (Step::Accept, "STREAM STATUS RESULT=I2P_ERROR\n", "I2pError"),
    (Step::Accept, "STREAM STATUS RESULT=ALREADY_ACCEPTING\n", "AlreadyAccepting"),
    (Step::Accept, "SESSION STATUS RESULT=I2P_ERROR MESSAGE=\"Already accepting\"\n", "I2pError Already accepting"),
    (Step::Accept, "PUB\n", "garbled"),
    (Step::Waiting, "PUB\nSTREAM", "accepted"),
    (Step::Waiting, "PUB FROM_PORT=0 TO_PORT=65535\nSTREAM", "accepted"),
    (Step::Waiting, "PUB TO_PORT=1 FROM_PORT=2 \r\nSTREAM", "accepted"),
    (Step::Waiting, "STREAM STATUS RESULT=I2P_ERROR MESSAGE=\"Session was closed\"\n|", "I2pError Session was closed"),
    (Step::Waiting, "STREAM STATUS RESULT=OK\n", "garbled"),
    (Step::Waiting, "PRIV\n", "garbled"),
    (Step::Waiting, "B32\n", "garbled"),
    (Step::Waiting, "PUB|", "ended"),
    (Step::Waiting, "|", "ended"),
];

#[test]
fn t7_e14_replies_of_routers_cut_anywhere() {
    // Mutation: `end.map_or(room, |end| end)` in `LineBuffer::fill` makes this fail.
    let create = "SESSION CREATE STYLE=STREAM ID=demo DESTINATION=TRANSIENT SIGNATURE_TYPE=7 i2cp.leaseSetEncType=4,0 \
        inbound.length=3 outbound.length=3 inbound.quantity=2 outbound.quantity=2";
    let (mut cuts, mut differ) = (0_u32, 0_u32);
    for (step, bytes, expected) in TABLE {
        let stream = bytes.strip_suffix("STREAM").map(|line| format!("{line}{STREAM}"));
        let bytes = stream
            .as_deref()
            .unwrap_or(bytes)
            .replace("PUB", &destination(4, 0))
            .replace("PRIV", &destination(4, 288))
            .replace("OTHER", &destination(3, 0))
            .replace("B32", &format!("{}.b32.i2p", "a".repeat(52)));
        let expected = expected.replace("CREATE", create);
        assert_eq!(outcome(*step, &bytes, usize::MAX), expected, "{step:?}: {bytes:?}");
        for cut in 0..bytes.len() {
            cuts += 1;
            differ += u32::from(outcome(*step, &bytes, cut) != expected);
        }
    }
    burdock_ledger::reached("T7", "replies of routers", u32::try_from(TABLE.len()).unwrap());
    burdock_ledger::reached("T7", "cuts of them", cuts);
    burdock_ledger::reached("T7", "cuts that change what happens", differ);
}

#[test]
fn t7_a_result_in_a_message_is_no_result() {
    // Mutation: `line.windows(9).any(|part| part == b"RESULT=OK")` for what `Reply::read` compares makes this fail.
    let mut taken = 0_u32;
    for step in [Step::Hello, Step::Create, Step::Naming, Step::Connect, Step::Accept, Step::Waiting] {
        for head in ["HELLO REPLY", "SESSION STATUS", "NAMING REPLY", "STREAM STATUS"] {
            for result in ["", " RESULT=I2P_ERROR", " RESULT", " RESULT=", " RESULT=ok", " XRESULT=OK", " RESULT=OK\\"]
            {
                for message in ["RESULT=OK", "\\\" RESULT=OK \\\"", "\\\\"] {
                    let line = format!("{head}{result} MESSAGE=\"{message}\" X=\"RESULT=OK\"\n");
                    let (_, happened) = at(step).read(&mut line.clone().into_bytes());
                    taken += u32::from(!matches!(happened, Some(Happened::Failed(_))));
                }
            }
        }
    }
    burdock_ledger::reached("T7", "messages taken for a result", taken);
}

#[test]
fn t7_each_step_has_a_deadline() {
    // Mutation: `from_secs(60)` for `Step::Connect` in `Socket::patience` makes this fail.
    let seconds = |step| at(step).patience().map(|patience| u32::try_from(patience.as_secs()).unwrap());
    burdock_ledger::reached("T7", "s that HELLO may take", seconds(Step::Hello).unwrap());
    burdock_ledger::reached("T7", "s that SESSION CREATE may take", seconds(Step::Create).unwrap());
    burdock_ledger::reached("T7", "s that STREAM CONNECT may take", seconds(Step::Connect).unwrap());
    assert!(seconds(Step::Naming).is_some() && seconds(Step::Accept).is_some());
    assert_eq!((seconds(Step::Standing), seconds(Step::Waiting)), (None, None));
    assert!(Socket::accept(id()).patience().is_some());
    let mut socket = at(Step::Create);
    assert!(matches!(socket.timed_out(), Happened::Failed(SamError::TimedOut { step: Step::Create })));
    assert_eq!((socket.step(), socket.patience()), (Step::Over, None));
}

#[test]
fn t7_answers_that_were_not_asked_for_are_none() {
    // Mutation: leaving out `self.due.is_some() ||` in `Socket::hear` makes this fail.
    let mut socket = Socket::connect(id(), destination(4, 0).parse().unwrap());
    assert!(matches!(
        Socket::accept(id()).read(&mut b"HELLO REPLY RESULT=OK VERSION=3.1\n".to_vec()),
        (34, Some(Happened::Failed(SamError::Garbled { step: Step::Opening })))
    ));
    socket.opened();
    socket.command();
    let mut both = b"HELLO REPLY RESULT=OK VERSION=3.1\nSTREAM STATUS RESULT=OK\n".to_vec();
    let (consumed, None) = socket.read(&mut both) else { panic!("HELLO leads to CONNECT") };
    assert!(matches!(
        socket.read(&mut both[consumed..]),
        (24, Some(Happened::Failed(SamError::Garbled { step: Step::Connect })))
    ));
    assert!(socket.command().is_none(), "what was due never reaches a stream");
}

#[test]
fn an_address_that_is_not_the_identitys_is_refused() {
    let identity = PrivateDestination::from_text(&destination(3, 288)).unwrap();
    let mut socket = Socket::control(id(), Some(std::sync::Arc::new(identity)), SessionOptions::default());
    socket.opened();
    let replies = [
        "HELLO REPLY RESULT=OK VERSION=3.1\n".to_owned(),
        format!("SESSION STATUS RESULT=OK DESTINATION={}\n", destination(4, 288)),
        format!("NAMING REPLY RESULT=OK NAME=ME VALUE={}\n", destination(4, 0)),
    ];
    let happened = replies.map(|reply| (socket.command(), socket.read(&mut reply.into_bytes()).1).1);
    assert!(matches!(happened, [None, None, Some(Happened::Failed(SamError::Garbled { step: Step::Naming }))]));
}

#[test]
fn a_refusal_is_told_with_what_the_router_said_beside_it() {
    let mut reply = b"SESSION STATUS RESULT=I2P_ERROR MESSAGE=\"no tunnels\"\n".to_vec();
    let Some(Happened::Failed(error)) = at(Step::Create).read(&mut reply).1 else { panic!("it says no") };
    let told = "the start of the I2P session was refused: the router has a trouble of its own; open a new session";
    assert_eq!(error.to_string(), format!("{told} (it said: no tunnels)"));
    // At most 120 characters, in whole words.
    for (third, kept) in [(21, 120), (22, 88)] {
        let words = [32, 32, third, 32].map(|len| "a".repeat(len));
        let mut reply = format!("SESSION STATUS RESULT=I2P_ERROR MESSAGE=\"{}\"\n", words.join(" ")).into_bytes();
        let said = match at(Step::Create).read(&mut reply).1 {
            Some(Happened::Failed(SamError::Refused { message, .. })) => message,
            _ => panic!("it says no"),
        };
        assert_eq!(said.map(|said| said.len()), Some(kept));
    }
}

#[test]
fn whose_fault_it_is() {
    let refused = |step, refusal| SamError::Refused { step, refusal, message: None };
    let told = [
        refused(Step::Connect, Refusal::CantReachPeer),
        refused(Step::Connect, Refusal::Timeout),
        refused(Step::Connect, Refusal::InvalidKey),
        refused(Step::Connect, Refusal::InvalidId),
        refused(Step::Connect, Refusal::I2pError),
        refused(Step::Connect, Refusal::Other),
        refused(Step::Create, Refusal::InvalidKey),
        refused(Step::Create, Refusal::Timeout),
        refused(Step::Accept, Refusal::AlreadyAccepting),
        refused(Step::Hello, Refusal::NoVersion),
        SamError::Ended { step: Step::Connect },
        SamError::Ended { step: Step::Standing },
        SamError::Ended { step: Step::Waiting },
        SamError::TimedOut { step: Step::Connect },
        SamError::TimedOut { step: Step::Create },
        SamError::TimedOut { step: Step::Hello },
        SamError::Garbled { step: Step::Connect },
        SamError::LineTooLong { step: Step::Accept },
    ]
    .map(|error| {
        let (peer, session) = (error.is_peers_fault(), error.ends_session());
        format!(
            "{} {} {}: {error}",
            error.code(),
            if peer { "peer" } else { "-" },
            if session { "session" } else { "-" }
        )
    });
    insta::assert_snapshot!(told.join("\n"));
}
