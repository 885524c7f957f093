use proptest::prelude::*;

use super::destination::i2p_base64;
use super::line::{Argument, Command, Filled, LineBuffer, parse};
use super::*;
use crate::vectors::{list, load};

mod replies;
mod secrets;

/// The text of a destination with a certificate of `content` bytes, and `more` behind it.
pub(crate) fn destination(content: u16, more: usize) -> String {
    let mut bytes = vec![0x5a; 384];
    bytes.push(5);
    bytes.extend(content.to_be_bytes());
    bytes.extend(vec![1; usize::from(content) + more]);
    i2p_base64().encode(&bytes)
}

fn id() -> SamId {
    "demo".parse().unwrap()
}

#[test]
fn t6_e13_invalid_destinations_are_refused() {
    // Mutation: `Err(_) => Ok(Self(text.into()))` for what `decode` refuses makes this fail.
    let vectors = load("i2p_destinations");
    let (mut tried, mut accepted) = (0, 0);
    for invalid in list(&vectors["invalid_destinations"]) {
        let text = invalid["value"].as_str().unwrap();
        let read = text.parse::<Destination>();
        accepted += u32::from(read.is_ok());
        tried += 1;
        let error = read.unwrap_err().to_string();
        assert!(text.is_empty() || !error.contains(text), "{error}");
        assert!(format!("burdock://{}@h:1?i2p={text}&tcp=off", "a".repeat(52)).parse::<crate::Link>().is_err());
    }
    for valid in list(&vectors["vectors"]) {
        for form in ["destination_base64", "b32"] {
            let text = valid[form].as_str().unwrap();
            let destination: Destination = text.parse().unwrap();
            assert_eq!(destination.to_string(), text);
            assert_eq!(destination.is_whole(), form != "b32");
            assert_eq!(format!("{destination:?}"), "Destination(..)");
            assert_eq!(serde_json::from_str::<Destination>(&format!("{text:?}")).unwrap(), destination);
            assert_eq!(serde_json::to_string(&destination).unwrap(), format!("{text:?}"));
        }
    }
    burdock_ledger::reached("T6", "invalid destinations", tried);
    burdock_ledger::reached("T6", "invalid destinations accepted", accepted);
}

#[test]
fn what_is_wrong_with_a_destination() {
    let error = |text: &str| text.parse::<Destination>().unwrap_err();
    assert_eq!(error(""), DestinationError::Form);
    assert_eq!(error("abc.b32.i2p"), DestinationError::Form);
    assert_eq!(error(&destination(0, 0)[..512]), DestinationError::Short);
    assert_eq!(error(&destination(4, 288)), DestinationError::Excess);
    assert_eq!(error(&"A".repeat(5000)), DestinationError::TooLong);
    let error = |text: &str| PrivateDestination::from_text(text).err().unwrap();
    assert_eq!(error(&destination(4, 0)), DestinationError::NotPrivate);
    assert_eq!(error(&"A".repeat(8000)), DestinationError::TooLong);
    assert_eq!(error("a b"), DestinationError::Form);
    assert_eq!(error(&destination(0, 0)[..512]), DestinationError::Short);
}

#[test]
fn how_long_a_destination_may_be() {
    // In base64 4,096 and 7,168 characters.
    let longest = destination(3072 - 387, 0);
    assert_eq!(longest.parse::<Destination>().unwrap().as_str(), longest);
    assert_eq!(destination(3073 - 387, 0).parse::<Destination>(), Err(DestinationError::TooLong));
    let longest = destination(3072 - 387, 5376 - 3072);
    assert_eq!(PrivateDestination::from_text(&longest).unwrap().public().as_str().len(), 4096);
    for (content, more) in [(3072 - 387, 5377 - 3072), (3073 - 387, 1)] {
        let read = PrivateDestination::from_text(&destination(content, more));
        assert_eq!(read.err(), Some(DestinationError::TooLong));
    }
}

#[test]
fn a_private_destination_has_a_public_half() {
    for content in 0..7 {
        let text = destination(content, 288);
        let private = PrivateDestination::from_text(&format!(" {text}\n")).unwrap();
        assert_eq!(private.expose(), text);
        assert_eq!(private.public().to_string(), destination(content, 0));
        assert!(private.public().is_same(&destination(content, 0).parse().unwrap()));
    }
}

#[test]
fn t6_names_of_sessions_are_checked() {
    // Mutation: `|| true` behind `well_formed` in `SamId::from_str` makes this fail.
    for bad in ["", "a b", "a\n", "a\"", "ä", "a=b", &"a".repeat(65)] {
        assert_eq!(bad.parse::<SamId>(), Err(SamIdError), "{bad:?}");
    }
    assert!("A-z_09".parse::<SamId>().is_ok() && "a".repeat(64).parse::<SamId>().is_ok());
    assert_eq!(SamId::from([7; 10]), "a4dqobyha4dqobyh".parse().unwrap());
}

#[test]
fn t6_arbitrary_values_make_one_line_that_reads_back() {
    // Mutation: `['"']` for `['"', '\\']` in `Command::with` makes this fail.
    const CHARS: [char; 16] =
        ['"', '\\', ' ', '=', 'a', 'Z', '7', ',', '\n', '\r', '\0', '\t', 'é', '\u{2028}', '\u{85}', '𐍈'];
    let (mut random, mut written, mut otherwise) = (1_u64, 0_u32, 0_u32);
    let mut draw = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    while written < 100_000 {
        // Control characters in one string of eight, as most strings would have some.
        let kinds = if draw(8) == 0 { 16 } else { 8 };
        let any = char::from_u32(draw(0x11_0000) as u32).filter(|c| kinds == 16 || !c.is_control());
        let text: String = (0..draw(24)).map(|_| CHARS[draw(kinds) as usize]).chain(any).collect();
        let Some(argument) = Argument::new(&text) else {
            assert!(text.contains(char::is_control), "{text:?}");
            continue;
        };
        written += 1;
        let command = Command::new("SESSION CREATE").with("ID", &id()).with("inbound.nickname", argument);
        let line = command.with("STYLE", "STREAM").end();
        let one = line.iter().filter(|&&byte| byte == b'\n').count() == 1;
        let same = line.strip_suffix(b"\n").and_then(parse::<2>).is_some_and(|(words, fields)| {
            words == ["SESSION", "CREATE"]
                && fields.keys().eq(["ID", "inbound.nickname", "STYLE"])
                && fields.plain("ID") == Some("demo")
                && fields.value("inbound.nickname").unwrap().text() == text
                && fields.plain("STYLE") == Some("STREAM")
        });
        otherwise += u32::from(!one || !same);
    }
    burdock_ledger::reached("T6", "arbitrary values written", written);
    burdock_ledger::reached("T6", "lines that read back otherwise", otherwise);
}

#[test]
fn the_commands() {
    let to: Destination = destination(4, 0).parse().unwrap();
    let key = destination(4, 288);
    let identity = std::sync::Arc::new(PrivateDestination::from_text(&key).unwrap());
    let odd = SessionOptions { inbound_length: 200, outbound_length: 0, inbound_quantity: 0, outbound_quantity: 99 };
    let sockets = [
        Socket::control(id(), None, SessionOptions::default()),
        Socket::control(id(), Some(identity), odd),
        Socket::connect(id(), to.clone()),
        Socket::accept(id()),
    ];
    let mut said = Vec::new();
    for mut socket in sockets {
        assert!(socket.command().is_none());
        socket.opened();
        for reply in ["HELLO REPLY RESULT=OK VERSION=3.2\n", &format!("SESSION STATUS RESULT=OK DESTINATION={key}\n")] {
            let command = socket.command().unwrap();
            assert!(socket.command().is_none(), "each command is written once");
            said.push(String::from_utf8(command.to_vec()).unwrap());
            let control = matches!(socket.step(), Step::Hello | Step::Create);
            let _ = control.then(|| socket.read(&mut reply.as_bytes().to_vec()));
        }
        said.extend(socket.command().map(|command| String::from_utf8(command.to_vec()).unwrap()));
    }
    let said = said.concat().replace(&key, "PRIVATE").replace(to.as_str(), "PUBLIC");
    insta::assert_snapshot!(said, @r"
    HELLO VERSION MIN=3.1 MAX=3.3
    SESSION CREATE STYLE=STREAM ID=demo DESTINATION=TRANSIENT SIGNATURE_TYPE=7 i2cp.leaseSetEncType=4,0 inbound.length=3 outbound.length=3 inbound.quantity=2 outbound.quantity=2
    NAMING LOOKUP NAME=ME
    HELLO VERSION MIN=3.1 MAX=3.3
    SESSION CREATE STYLE=STREAM ID=demo DESTINATION=PRIVATE i2cp.leaseSetEncType=4,0 inbound.length=7 outbound.length=0 inbound.quantity=1 outbound.quantity=16
    NAMING LOOKUP NAME=ME
    HELLO VERSION MIN=3.1 MAX=3.3
    STREAM CONNECT ID=demo DESTINATION=PUBLIC SILENT=false
    HELLO VERSION MIN=3.1 MAX=3.3
    STREAM ACCEPT ID=demo SILENT=false
    ");
}

#[test]
fn t7_lines_that_are_none() {
    // Mutation: leaving out `|| fields.value(key).is_some()` in `parse` makes this fail.
    let many = format!("A B {}", (0..33).map(|n| format!("K{n}=1 ")).collect::<String>());
    for bad in [
        "",
        "A",
        " ",
        "A B K=1 K=2",
        "A B K K=2",
        "A B =1",
        "A B K=\"",
        "A B K=\"a\\\"",
        "A B K=\"a\"b",
        "A B K=a\"b\"",
        "A B \"K\"=1",
        &many,
    ] {
        assert_eq!(parse::<2>(bad.as_bytes()), None, "{bad:?}");
    }
    assert_eq!(parse::<2>(b"A B \xff=1"), None);
    let (_, fields) = parse::<2>(b"\tA  B\tK \tL= M=a=b== N=\"a \\\"b\\\" \\\\c\" O=\"\" P=\\a ").unwrap();
    let values = ["K", "L", "M", "N", "O", "P"].map(|key| fields.value(key).unwrap().text());
    assert_eq!(values, ["", "", "a=b==", "a \"b\" \\c", "", "\\a"]);
    assert_eq!((fields.plain("M"), fields.plain("N"), fields.plain("Q")), (Some("a=b=="), None, None));
}

#[test]
fn t7_a_line_is_at_most_8_kib_long() {
    // Mutation: `self.0.len() > MAX_LINE` in `LineBuffer::fill` makes this fail.
    let mut buffer = LineBuffer::default();
    let mut longest = vec![b'a'; MAX_LINE];
    longest[MAX_LINE - 1] = b'\n';
    let (consumed, filled) = buffer.fill(&mut longest);
    assert!(consumed == MAX_LINE && matches!(filled, Filled::Line(line) if line.len() == MAX_LINE - 1));
    assert!(longest.iter().all(|&byte| byte == 0));
    for piece in [1, 7, 4096, MAX_LINE * 2] {
        let mut socket = Socket::accept(id());
        socket.opened();
        socket.command();
        let mut longer = vec![b'a'; MAX_LINE * 2];
        let (mut fed, mut failed) = (0, None);
        while failed.is_none() {
            let end = (fed + piece).min(longer.len());
            let (consumed, happened) = socket.read(&mut longer[fed..end]);
            assert!(consumed > 0, "bytes are taken or refused");
            fed += consumed;
            failed = happened;
        }
        assert!(matches!(failed, Some(Happened::Failed(SamError::LineTooLong { step: Step::Hello }))));
        assert!(fed >= MAX_LINE && fed < MAX_LINE + piece.max(MAX_LINE) + 1);
        assert_eq!(socket.step(), Step::Over);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    // Mutation: `&quoted[end..]` in `field` makes this fail.
    #[test]
    fn t7_fields_read_alike_in_any_order(
        values in prop::collection::vec("[ -~é]{0,12}", 3),
        order in Just([0, 1, 2]).prop_shuffle(),
    ) {
        let mut command = Command::new("SOME REPLY");
        for &n in &order {
            command = command.with(["ONE", "TWO", "THREE"][n], Argument::new(&values[n]).unwrap());
        }
        let line = command.end();
        let (words, fields) = parse::<2>(&line[..line.len() - 1]).unwrap();
        prop_assert_eq!(words, ["SOME", "REPLY"]);
        for (key, value) in ["ONE", "TWO", "THREE"].iter().zip(&values) {
            prop_assert_eq!(&fields.value(key).unwrap().text(), value);
        }
    }

    // Mutation: `&quoted[end + 2..]` in `field` makes this fail.
    #[test]
    fn d7_any_line_is_read_or_refused(line in "A( [A-C](=\"?[a\\\\\" \t=]{0,4}\"?)?){0,4}\\PC?") {
        if let Some((_, fields)) = parse::<1>(line.as_bytes()) {
            for key in fields.keys() {
                prop_assert!(fields.value(key).unwrap().text().len() <= line.len());
            }
        }
    }
}
