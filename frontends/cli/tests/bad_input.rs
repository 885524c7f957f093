//! Bad input gets one clear sentence and a non-zero exit status.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod common;

use std::fs;
use std::net::UdpSocket;
use std::path::Path;

use common::{identity, run};

/// What is said on standard error, and the exit status; `folder` is made nameless.
fn told(args: &[&str], folder: &Path) -> String {
    let output = run(args);
    assert!(!output.status.success(), "{args:?} succeeded");
    assert!(output.stdout.is_empty(), "{args:?} wrote to standard output");
    let text = String::from_utf8(output.stderr).unwrap().replace(folder.to_str().unwrap(), "DIR");
    assert_eq!(text.lines().count(), 1, "one sentence: {text}");
    format!("{} [{}]", text.trim_end(), output.status.code().unwrap())
}

const KEY: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

#[test]
fn a_command_line_that_is_not_understood() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path();
    let table = [
        told(&["connect"], none),
        told(&["connect", "--frobnicate", "burdock://x"], none),
        told(&["frobnicate"], none),
        told(&["listen", "--bind", "somewhere", "--anyone"], none),
        told(&["listen", "--allow", "somebody"], none),
        told(&["listen", "--ephemeral", "--identity", "x", "--anyone"], none),
        told(&["listen", "--ephemeral", "--bind", "127.0.0.1:0"], none),
        told(&["demo", "--only", "e"], none),
        told(&["sim", "run"], none),
    ];
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn a_link_that_is_malformed() {
    let folder = tempfile::tempdir().unwrap();
    let connect = |link: &str| told(&["connect", "--ephemeral", link], folder.path());
    let table = [
        connect("http://example.org"),
        connect("burdock://tooshort@192.0.2.1:4000"),
        connect(&format!("burdock://{KEY}@192.0.2.1")),
        connect(&format!("burdock://{KEY}@192.0.2.1:4000?tcp=off&udp=off")),
        connect(&format!("burdock://{KEY}@192.0.2.1:4000?colour=blue")),
    ];
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn a_bad_host_for_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["listen", "--ephemeral", "--anyone", "--bind", "127.0.0.1:0", "--host", "two words"];
    insta::assert_snapshot!(told(&args, folder.path()));
}

#[test]
fn a_port_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = told(&["listen", "--ephemeral", "--anyone", "--bind", &address], folder.path());
    insta::assert_snapshot!(text.replace(&address, "ADDRESS"));
}

#[test]
#[cfg(unix)]
fn an_identity_that_cannot_be_used() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let listen = |file: &str| told(&["listen", "--anyone", "--bind", "127.0.0.1:0", "--identity", file], folder.path());

    let (open, _) = identity(folder.path(), "open");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let (damaged, _) = identity(folder.path(), "damaged");
    fs::write(&damaged, "burdock-private-key:0123\n").unwrap();
    let (endless, _) = identity(folder.path(), "endless");
    fs::write(&endless, [b'0'; 100_000]).unwrap();
    fs::write(path("file"), "").unwrap();
    let table = [
        listen(&path("missing")),
        listen(&path("open")),
        listen(&path("damaged")),
        listen(&path("endless")),
        listen(&path("")),
        told(&["id", "--file", &path("file/below")], folder.path()),
    ];
    insta::assert_snapshot!(table.join("\n"));
}
