//! The page in a real browser, with sessions over real loopback sockets.
//!
//! `BURDOCK_SCREENSHOTS=folder` keeps a picture of each state.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod chromium;
mod stage;

use burdock_tests::relay::Weather;
use burdock_tests::sam_bridge::{Bridge, Mood};
use chromium::Browser;
use stage::Stage;

#[test]
#[ignore = "needs chromium"]
fn two_pages_talk() {
    let mut browser = Browser::start();
    let stage = Stage::new();
    let (ann, ben) = (stage.chat(1), stage.chat(2));
    let b = browser.chat(ben.url());
    browser.see(&b, "#nobody", "Nobody yet");
    browser.pictures(&b, "start");
    browser.click(&b, "#copy");
    browser.see(&b, "#copied", "Copied.");
    let link = browser.eval(&b, "document.getElementById('my-link').value").as_str().unwrap().to_owned();

    // By the keyboard alone.
    let a = browser.chat(ann.url());
    browser.press(&a, "Tab");
    browser.wait(&a, "document.activeElement.id === 'link'");
    browser.enter(&a, &link);
    browser.press(&a, "Enter");
    browser.see(&a, "#text-now", "Connected over UDP");
    browser.wait(&a, "document.activeElement.id === 'text'");
    browser.enter(&a, "Are you there?");
    browser.press(&a, "Enter");

    // It came in by itself; the invite is used up, and there is a fresh one.
    browser.see(&b, ".peer .bubble", "Are you there?");
    browser.see(&a, ".me .state", "delivered");
    browser.wait(&b, &format!("document.getElementById('my-link').value !== {link:?}"));
    assert_eq!(browser.text(&b, "#link"), "");
    for (tab, text) in [
        (&b, "I am! Your link worked at once."),
        (&a, "Good. Shall we meet at the old mill at noon?"),
        (&b, "Yes. I’ll bring the seeds."),
    ] {
        browser.say(tab, text);
        browser.see(tab, ".me:last-child .state", "delivered");
    }
    browser.see(&a, "#badge", "UDP · ");
    browser.wait(&a, "document.getElementById('bars').dataset.on === '5'");
    browser.pictures(&a, "connected");

    // What a peer writes is text.
    browser.say(&b, "<img src=x onerror=alert(1)> Grüße 🌱");
    browser.see(&a, ".peer .bubble", "<img src=x onerror=alert(1)> Grüße 🌱");

    // Both read the same safety number.
    for tab in [&a, &b] {
        browser.click(tab, "#safety summary");
        browser.see(tab, "#number", "");
    }
    let number = browser.text(&a, "#number");
    assert_eq!(number.split_whitespace().count(), 12, "{number}");
    assert_eq!(number, browser.text(&b, "#number"));
    browser.pictures(&a, "safety-number");
    browser.press(&a, "Escape");

    // Closed by one, told to the other; who knows the link can dial again.
    browser.click(&a, "[data-way=close]");
    browser.see(&a, "#text-now", "The session was closed");
    browser.see(&b, ".note", "The peer closed the session.");
    browser.wait(&b, "!document.querySelector('[data-way=try_again]') && document.querySelector('[data-way=dismiss]')");
    browser.pictures(&a, "closed");
    browser.click(&a, "[data-way=try_again]");
    browser.see(&b, "#text-now", "Connected over UDP");
    browser.see(&a, "#text-now", "Connected over UDP");
    assert_eq!(browser.eval(&a, "conversations = document.querySelectorAll('#list li').length"), 1);
    assert_eq!(browser.complaints(), [""; 0]);
}

/// A peer that is not there yet: each attempt is refused on both transports.
#[test]
#[ignore = "needs chromium"]
fn progress_is_shown_until_the_peer_is_there() {
    let mut browser = Browser::start();
    let stage = Stage::new();
    let ann = stage.chat(1);
    let (link, place) = stage.absent(2);
    let a = browser.chat(ann.url());
    browser.dial(&a, &link);
    browser.see(&a, "#countdown", "Attempt 2 of 4 starts in");
    browser.see(&a, "#text-now", "Peer is unreachable — they may be offline");
    browser.see(&a, "#hint", "Ask the peer whether they are online");
    // What is written meanwhile waits.
    browser.say(&a, "See you when you are up");
    browser.see(&a, ".me .state", "sending");
    let left = "Number(document.getElementById('countdown').textContent.match(/in (\\d+) s/)[1])";
    let before = browser.eval(&a, left).as_u64().unwrap();
    browser.wait(&a, &format!("{left} < {before}"));
    browser.pictures(&a, "retrying");

    // Opened late, a page shows the same.
    let late = browser.chat(ann.url());
    browser.see(&late, "#countdown", "Attempt 2 of 4 starts in");
    browser.see(&late, ".me .state", "sending");
    let at_a = browser.eval(&a, left).as_i64().unwrap();
    assert!(browser.eval(&late, left).as_i64().unwrap().abs_diff(at_a) <= 2);

    browser.click(&a, "[data-way=retry_now]");
    browser.see(&a, "#countdown", "Attempt 3 of 4 starts in");
    browser.see(&late, "#countdown", "Attempt 3 of 4 starts in");
    let _ben = stage.chat_at(2, place);
    browser.click(&late, "[data-way=retry_now]");
    for tab in [&a, &late] {
        browser.see(tab, "#text-now", "Connected over ");
        browser.see(tab, ".me .state", "delivered");
    }
    assert_eq!(browser.text(&a, "#log"), browser.text(&late, "#log"));
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
#[ignore = "needs chromium"]
fn over_i2p_a_router_that_reaches_nobody_twice_is_shown_and_then_messages_pass() {
    let mut browser = Browser::start();
    let stage = Stage::new();
    let bridge = Bridge::new(Mood::Works);
    let ann = stage.hidden_chat(1, &bridge);
    let a = browser.chat(ann.url());
    let link = Stage::hidden_link(2);
    browser.dial(&a, &link.to_string());
    for next in [2, 3] {
        browser.see(&a, "#countdown", &format!("Attempt {next} of 4 starts in"));
        browser.see(&a, "#text-now", "Peer is unreachable — they may be offline");
        if next == 2 {
            browser.click(&a, "[data-way=retry_now]");
        }
    }
    browser.pictures(&a, "i2p-retrying");

    let ben = stage.hidden_chat(2, &bridge);
    bridge.until_somebody_waits_at(link.i2p.as_ref().unwrap());
    browser.click(&a, "[data-way=retry_now]");
    browser.see(&a, "#text-now", "Connected over I2P");
    browser.see(&a, "#badge", "I2P");
    let b = browser.chat(ben.url());
    browser.click(&b, "#list button");
    for (from, to, text) in [(&a, &b, "Nobody knows where I am."), (&b, &a, "Nor do I.")] {
        browser.say(from, text);
        browser.see(from, ".me:last-child .state", "delivered");
        browser.see(to, ".peer .bubble", text);
    }
    browser.pictures(&a, "i2p-connected");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
#[ignore = "needs chromium"]
fn the_last_failure_says_what_to_do() {
    let mut browser = Browser::start();
    let stage = Stage::new();
    let ann = stage.hasty_chat(1);
    let (link, place) = stage.absent(2);
    let a = browser.chat(ann.url());
    browser.click(&a, "#link");
    browser.enter(&a, "burdock://nonsense");
    browser.press(&a, "Enter");
    browser.see(&a, "#connect-error", "The link's key is wrong: a key has 52 characters, this one has 8");
    browser.complaints();
    browser.eval(&a, "document.getElementById('link').value = ''");
    browser.enter(&a, &link);
    browser.press(&a, "Enter");
    let end = "Could not reach peer after 4 attempts — their node may be offline or still bootstrapping";
    browser.see(&a, "#text-now", end);
    browser.see(&a, "#hint", "Ask the peer whether they are online, then connect again.");
    browser.wait(&a, "document.getElementById('text').disabled");
    browser.pictures(&a, "failed");
    let _ben = stage.chat_at(2, place);
    browser.click(&a, "[data-way=try_again]");
    browser.see(&a, "#text-now", "Connected over ");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
#[ignore = "needs chromium"]
fn a_dial_can_be_cancelled_and_taken_off_the_screen() {
    let mut browser = Browser::start();
    let stage = Stage::new();
    let ann = stage.chat(1);
    let (link, _) = stage.absent(2);
    let a = browser.chat(ann.url());
    browser.dial(&a, &link);
    browser.see(&a, "#countdown", "starts in");
    browser.say(&a, "never sent");
    browser.see(&a, ".me .state", "sending");
    // More than is kept: what is off the screen is told of no more, what is on it has its end.
    for _ in 0..33 {
        browser.say(&a, &"x".repeat(16 * 1024));
    }
    browser.wait(&a, "document.querySelectorAll('.me').length === 32");
    browser.click(&a, "[data-way=cancel]");
    browser.see(&a, "#text-now", "The session was closed");
    let ends = "[...document.querySelectorAll('.me .state')].map((e) => e.dataset.state)";
    browser.wait(&a, &format!("{ends}.length > 30 && {ends}.every((state) => state === 'undelivered')"));
    browser.click(&a, "[data-way=dismiss]");
    browser.see(&a, "#empty", "Send your link to somebody");
    browser.see(&a, "#nobody", "Nobody yet");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
#[ignore = "needs chromium"]
fn a_break_is_shown_and_nothing_is_lost() {
    let mut browser = Browser::start();
    let stage = Stage::new();
    let (ann, ben) = (stage.chat(1), stage.chat(2));
    let relay = stage.relay(&ben);
    let (a, b) = (browser.chat(ann.url()), browser.chat(ben.url()));
    let link = stage.through(&relay, browser.eval(&b, "document.getElementById('my-link').value").as_str().unwrap());
    browser.dial(&a, &link);
    browser.see(&a, "#text-now", "Connected over UDP");
    browser.say(&a, "The ferry leaves at ten.");
    browser.see(&b, ".peer .bubble", "The ferry leaves at ten.");
    browser.see(&a, ".me .state", "delivered");

    relay.set(Weather::DEAD);
    for (tab, text) in [(&a, "I am on board now!"), (&b, "Wave when you see the pier.")] {
        browser.say(tab, text);
    }
    browser.see(&a, "#text-now", "Reconnecting... (attempt 2/4)");
    browser.see(&a, "#countdown", "Attempt 2 of 4 starts in");
    browser.see(&b, "#text-now", "Connection lost — waiting for the peer to come back");
    browser.see(&a, ".me:not(:first-child) .state", "sending");
    browser.pictures(&a, "reconnecting");
    browser.pictures(&b, "waiting");

    relay.set(Weather::FAIR);
    browser.click(&a, "[data-way=retry_now]");
    for (tab, text) in [(&b, "I am on board now!"), (&a, "Wave when you see the pier.")] {
        browser.see(tab, ".peer .bubble", text);
        browser.see(tab, ".note", "; nothing was lost.");
        browser.wait(tab, "[...document.querySelectorAll('.me .state')].every((e) => e.dataset.state === 'delivered')");
    }
    browser.see(&a, ".note", "Back over ");
    browser.pictures(&a, "resumed");
    for tab in [&a, &b] {
        let bubbles = browser.eval(tab, "[...document.querySelectorAll('.bubble')].map((e) => e.textContent).sort()");
        let said = ["I am on board now!", "The ferry leaves at ten.", "Wave when you see the pier."];
        assert_eq!(bubbles, serde_json::json!(said), "once each");
    }

    // Who will not wait any longer is told what is not known.
    relay.set(Weather::DEAD);
    browser.say(&a, "Are you still there?");
    browser.see(&a, "#text-now", "Reconnecting...");
    browser.click(&a, "[data-way=cancel]");
    browser.see(&a, "#text-now", "Closing...");
    browser.see(&a, "#hint", "Still to be delivered: one message.");
    browser.click(&a, "[data-way=cancel]");
    browser.see(&a, "#text-now", "The session was cancelled");
    browser.see(&a, ".me .state", "may not have arrived");
    browser.pictures(&a, "cancelled");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
#[ignore = "needs chromium"]
fn several_conversations_stay_apart() {
    let mut browser = Browser::start();
    let stage = Stage::new();
    let ann = stage.chat(1);
    let others = [stage.chat(2), stage.chat(3)];
    let a = browser.chat(ann.url());
    let mut tabs = Vec::new();
    for (n, other) in others.iter().enumerate() {
        let link = browser.eval(&a, "document.getElementById('my-link').value").as_str().unwrap().to_owned();
        let tab = browser.chat(other.url());
        browser.dial(&tab, &link);
        browser.see(&tab, "#text-now", "Connected over UDP");
        // The link was used, and another takes its place.
        browser.wait(&a, &format!("document.getElementById('my-link').value !== {link:?}"));
        browser.wait(&a, &format!("document.querySelectorAll('#list li').length === {}", n + 1));
        browser.say(&tab, &format!("I am number {n}"));
        browser.see(&tab, ".me .state", "delivered");
        tabs.push(tab);
    }
    browser.see(&a, "#list li:nth-child(2) .unread", "1");
    browser.pictures(&a, "several");
    browser.see(&a, ".bubble", "I am number 0");
    browser.click(&a, "#list li:nth-child(2) button");
    browser.see(&a, ".bubble", "I am number 1");
    browser.wait(&a, "document.querySelector('#list li:nth-child(2) .unread').hidden");
    browser.say(&a, "hello, number 1");
    browser.see(&tabs[1], ".peer .bubble", "hello, number 1");
    assert_eq!(browser.eval(&tabs[0], "document.querySelectorAll('.peer').length"), 0);
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
#[ignore = "needs chromium"]
fn without_the_secret_or_the_program_the_page_says_so() {
    let mut browser = Browser::start();
    let stage = Stage::new();
    let ann = stage.chat(1);
    let bare = browser.open(ann.url().split_once('#').unwrap().0);
    browser.see(&bare, "#banner", "open the address that burdock chat printed");
    let a = browser.chat(ann.url());
    assert_eq!(browser.eval(&a, "location.hash"), "", "the secret stays out of sight and history");
    // The page that is left may go on for a moment.
    browser.eval(&a, "window.left = true; location.reload()");
    browser.wait(&a, "!window.left && document.getElementById('my-link').value");
    drop(ann);
    browser.see(&a, "#banner", "burdock chat does not answer");
}

#[test]
#[ignore = "needs chromium"]
fn the_gallery_shows_every_status() {
    let mut browser = Browser::start();
    let stage = Stage::new();
    let ann = stage.chat(1);
    let all = burdock_tokio::gallery::cards();
    let usual = all.iter().filter(|card| card.usual).count();
    let page = browser.open(&format!("http://{}/gallery", ann.local_addr()));
    browser.see(&page, "#count", &format!("{usual} of {}", all.len()));
    browser.pictures(&page, "gallery");
    browser.click(&page, "#rare");
    browser.see(&page, "#count", &format!("{0} of {0}", all.len()));
    assert_eq!(browser.eval(&page, "document.querySelectorAll('article').length"), all.len());
    assert_eq!(browser.complaints(), [""; 0]);
}
