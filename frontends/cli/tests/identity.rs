//! `burdock id`: a private key that nobody else can read.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod common;

use std::fs;

use common::{burdock, identity, run};

#[test]
fn the_same_file_shows_the_same_key() {
    let folder = tempfile::tempdir().unwrap();
    let (path, key) = identity(folder.path(), "identity");
    assert_eq!(key.len(), 52);
    let again = run(&["id", "--file", path.to_str().unwrap()]);
    assert_eq!(String::from_utf8(again.stdout).unwrap().trim(), key);
    assert!(again.stderr.is_empty(), "only the first call makes an identity");
    assert_ne!(identity(folder.path(), "another").1, key);
}

#[test]
fn the_public_key_is_all_that_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity");
    let output = run(&["id", "--json", "--file", path.to_str().unwrap()]);
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["created"], true);
    let file = fs::read_to_string(&path).unwrap();
    let secret = file.trim().strip_prefix("burdock-private-key:").unwrap();
    assert_eq!(secret.len(), 64);
    assert!(!String::from_utf8_lossy(&output.stdout).contains(secret));
    assert!(!String::from_utf8_lossy(&output.stderr).contains(secret));
}

// Mutation: `OpenOptions` without `mode(0o600)` in `id.rs` makes this fail.
#[test]
#[cfg(unix)]
fn i2_file_and_folder_are_private_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/folder/identity");
    let command = format!("umask 000; exec {} id --file {}", env!("CARGO_BIN_EXE_burdock"), path.display());
    let status = std::process::Command::new("sh").args(["-c", &command]).output().unwrap().status;
    assert!(status.success());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn the_environment_names_the_default_file() {
    let folder = tempfile::tempdir().unwrap();
    let named = folder.path().join("named");
    let output = burdock(&["id"]).env("BURDOCK_IDENTITY", &named).output().unwrap();
    assert!(output.status.success() && named.exists());
    let output = burdock(&["id"]).env("XDG_DATA_HOME", folder.path()).output().unwrap();
    assert!(output.status.success() && folder.path().join("burdock/identity").exists());
}
