use proptest::prelude::*;

use super::*;
use crate::sam::tests::destination;

const KEY: &str = "a4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4dq";

fn key() -> PublicKey {
    PublicKey::from([7; 32])
}

fn host() -> impl Strategy<Value = Host> {
    let usable = |ip: &IpAddr| !ip.is_unspecified() && !ip.is_multicast();
    prop_oneof![
        any::<IpAddr>().prop_filter("one machine", usable).prop_map(Host::Address),
        "([a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?\\.){0,3}[a-z]{2}".prop_map(Host::Name),
    ]
}

fn place() -> impl Strategy<Value = (Option<Host>, Option<u16>, Option<u16>)> {
    let ports = (prop::option::of(1u16..), prop::option::of(1u16..))
        .prop_filter("one is on", |(udp, tcp)| udp.or(*tcp).is_some());
    (host(), ports).prop_map(|(host, (udp, tcp))| (Some(host), udp, tcp))
}

fn link() -> impl Strategy<Value = Link> {
    let b32 = any::<[u8; 32]>().prop_map(|hash| format!("{}.b32.i2p", base32().encode(&hash)));
    let i2p = prop_oneof![b32, (0u16..10).prop_map(|content| destination(content, 0))];
    let i2p = i2p.prop_map(|text| text.parse().unwrap());
    let invite = (any::<[u8; 8]>(), any::<[u8; 32]>())
        .prop_filter("zero is no invite", |(id, _)| *id != [0; 8])
        .prop_map(|(id, secret)| Invite::new(id, secret));
    (any::<[u8; 32]>(), prop::option::of(place()), prop::option::of(i2p), prop::option::of(invite))
        .prop_filter("an address", |(_, place, i2p, _)| place.is_some() || i2p.is_some())
        .prop_map(|(key, place, i2p, invite)| {
            let (host, udp_port, tcp_port) = place.unwrap_or_default();
            Link { key: key.into(), host, udp_port, tcp_port, i2p, invite }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn links_come_back_as_they_went(link in link()) {
        let text = link.to_string();
        prop_assert_eq!(text.parse::<Link>(), Ok(link.clone()));
        let shouted = format!(" {}{}\n", text[..62].to_uppercase(), &text[62..]);
        prop_assert_eq!(shouted.parse::<Link>(), Ok(link));
    }

    // Mutation: `text.split_at(SCHEME.len())` in `Link::from_str` makes this fail.
    #[test]
    fn d7_any_text_is_a_link_or_an_error(text in "\\PC{0,80}", tail in "[a-z0-9:@.\\[\\]?&=%-]{0,60}") {
        let _ = text.parse::<Link>();
        if let Ok(link) = format!("burdock://{KEY}{tail}").parse::<Link>() {
            prop_assert_eq!(link.to_string().parse::<Link>(), Ok(link));
        }
    }
}

#[test]
fn the_text_of_links() {
    let direct = Link::direct(key(), "[2001:db8::1]:4000".parse().unwrap());
    let invited = Link { tcp_port: Some(443), ..direct.clone() }.with_invite(Invite::new([1; 8], [2; 32]));
    let udp = Link { tcp_port: None, host: Some(Host::Name("example.org".into())), ..direct.clone() };
    let tcp = Link { udp_port: None, i2p: Some(format!("{KEY}.b32.i2p").parse().unwrap()), ..direct.clone() };
    let hidden = Link { host: None, ..tcp.clone() };
    let texts = [direct, invited, udp, tcp, hidden].map(|link| link.to_string().replace(KEY, "KEY")).join("\n");
    insta::assert_snapshot!(texts, @r"
    burdock://KEY@[2001:db8::1]:4000
    burdock://KEY@[2001:db8::1]:4000?tcp=443&invite=aeaqcaibaeaqc.aibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaiba
    burdock://KEY@example.org:4000?tcp=off
    burdock://KEY@[2001:db8::1]:4000?udp=off&i2p=KEY.b32.i2p
    burdock://KEY?i2p=KEY.b32.i2p
    ");
}

#[test]
fn bad_links_are_told_what_is_wrong() {
    let long = format!("burdock://KEY@h:1?i2p={}", "a".repeat(2048));
    let short_destination = format!("burdock://KEY?i2p={}", &destination(0, 0)[..512]);
    let private_destination = format!("burdock://KEY?i2p={}", destination(4, 256));
    let long_label = format!("burdock://KEY@{}.org:1", "a".repeat(64));
    let long_name = format!("burdock://KEY@{}org:1", "abcd.".repeat(51));
    let no_id = format!("burdock://KEY@h:1?invite=aaaaaaaaaaaaa.{KEY}");
    let cases = [
        "",
        "https://example.org",
        "burdock:KEY@h:1",
        "burdock://",
        "burdock://abc@h:1",
        "burdock://0000000000000000000000000000000000000000000000000000@h:1",
        "burdock://KEY",
        "burdock://KEY?invite=x",
        "burdock://KEY@",
        "burdock://KEY@h",
        "burdock://KEY@h:",
        "burdock://KEY@h:0",
        "burdock://KEY@h:+1",
        "burdock://KEY@h:65536",
        "burdock://KEY@h:1/",
        "burdock://KEY@:1",
        "burdock://KEY@-h:1",
        "burdock://KEY@h_h:1",
        "burdock://KEY@h..org:1",
        "burdock://KEY@bücher.example:1",
        "burdock://KEY@127.1:1",
        "burdock://KEY@0x7f000001:1",
        "burdock://KEY@2001:db8::1:1",
        "burdock://KEY@[2001:db8::1:1",
        "burdock://KEY@[fe80::1%eth0]:1",
        "burdock://KEY@[2001:db8::1]",
        "burdock://KEY@0.0.0.0:1",
        "burdock://KEY@[ff02::1]:1",
        "burdock://KEY@Example.I2P:1",
        "burdock://KEY@example.onion:1",
        &long_label,
        &long_name,
        "burdock://KEY@h:1?",
        "burdock://KEY@h:1?tcp",
        "burdock://KEY@h:1?tcp=",
        "burdock://KEY@h:1?tcp=on",
        "burdock://KEY@h:1?udp=2",
        "burdock://KEY@h:1?udp=off&tcp=off",
        "burdock://KEY@h:1?tcp=2&tcp=3",
        "burdock://KEY@h:1?relay=x",
        "burdock://KEY@h:1?\u{1b}[2J\u{202e}=x",
        "burdock://KEY?tcp=1",
        "burdock://KEY?udp=off",
        "burdock://KEY?i2p=",
        "burdock://KEY?i2p=a b.b32.i2p",
        "burdock://KEY?i2p=abc.b32.i2p",
        &short_destination,
        &private_destination,
        "burdock://KEY@h:1?invite=abc",
        "burdock://KEY@h:1?invite=abc.def",
        &no_id,
        &long,
    ];
    let told: Vec<String> = cases
        .iter()
        .map(|text| {
            let error = text.replace("KEY", KEY).parse::<Link>().unwrap_err().to_string();
            format!("{:.60}\n  {error}", text.escape_debug().to_string())
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn t4_an_i2p_name_is_never_a_host() {
    // Mutation: leaving out the check for `HiddenName` in `read_host` makes this fail.
    for name in ["example.i2p", &format!("{KEY}.b32.i2p"), "EXAMPLE.I2P", "i2p"] {
        assert_eq!(format!("burdock://{KEY}@{name}:1").parse::<Link>(), Err(LinkError::HiddenName));
    }
}

#[test]
fn t8_e15_a_private_destination_is_refused() {
    // Mutation: leaving out `DestinationError::Excess` in `Destination::from_str` makes this fail.
    let read = |text: String| format!("burdock://{KEY}?i2p={text}").parse::<Link>();
    assert_eq!(destination(4, 0).len(), 524);
    assert!(read(destination(4, 0)).is_ok() && read(destination(0, 0)).is_ok());
    assert_eq!(read(destination(4, 256 + 32)), Err(LinkError::I2p(DestinationError::Excess)));
}

#[test]
fn the_secret_of_an_invite_is_not_shown() {
    // Mutation: `#[derive(Debug)]` on `Invite` makes this fail.
    let invite = Invite::new([1; 8], [0xab; 32]);
    let text = invite.to_string();
    let link = Link::direct(key(), "192.0.2.1:1".parse().unwrap()).with_invite(invite.clone());
    assert!(link.to_string().ends_with(&format!("?invite={text}")));
    assert!(format!("{link:?}").contains("Invite(..)") && !format!("{link:?}").contains("171"));
    assert_eq!(text.parse(), Ok(invite));
    assert_ne!(text.parse(), Ok(Invite::new([1; 8], [0xac; 32])));
    let bad = format!("{link}a").parse::<Link>().unwrap_err().to_string();
    assert!(!bad.contains(&text[14..30]));
}
