//! A router of our own, which here is this program once more: no real one is ever started.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "tests")]

use core::net::SocketAddr;
use core::time::Duration;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use burdock_router::{Program, Router, RouterError, ensure, running};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// What this process is to be when it is started for the tests: `router`, `broken`, or `owner FOLDER`.
const PART: &str = "BURDOCK_TEST_PART";

/// No test by itself, but what the tests start.
#[test]
fn played_by_another_process() {
    let Ok(part) = std::env::var(PART) else { return };
    match part.split_once(' ').unwrap_or((&part, "")) {
        ("router", options) => play_router(options),
        ("owner", folder) => play_owner(Path::new(folder)),
        _ => std::process::exit(1),
    }
}

/// As much of a router as answers hello, on the port in its settings.
fn play_router(options: &str) {
    let option = |name: &str| options.split(' ').find_map(|option| option.strip_prefix(name)).unwrap().to_owned();
    let settings = fs::read_to_string(option("--conf=")).unwrap();
    let sam = settings.split_once("[sam]").unwrap().1;
    let port = sam.split_once("port = ").unwrap().1.lines().next().unwrap().parse().unwrap();
    let folder = PathBuf::from(option("--datadir="));
    let mut lives = fs::OpenOptions::new().create(true).append(true).open(folder.join("lives")).unwrap();
    writeln!(lives, "{} {options}", std::process::id()).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut open = Vec::new();
    for mut stream in listener.incoming().flatten() {
        stream.write_all(b"HELLO REPLY RESULT=OK VERSION=3.1\n").unwrap();
        open.push(stream);
    }
}

/// Another program that wants a router.
fn play_owner(folder: &Path) {
    let runtime = runtime();
    let router = runtime.block_on(ensure(nobody(), &program(folder, "router"))).unwrap();
    // On standard error, as standard output is the test harness's.
    eprintln!("bridge {}", router.bridge());
    // Until it is killed.
    let _ = std::io::stdin().read(&mut [0]);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A script that starts this program in the part.
fn program(folder: &Path, part: &str) -> Program {
    let script = folder.with_extension(part);
    let this = std::env::current_exe().unwrap();
    let text = format!(
        "#!/bin/sh\n{PART}=\"{part} $*\" exec {} --exact played_by_another_process --nocapture\n",
        this.display()
    );
    if !script.exists() {
        let new = script.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, &script).unwrap();
    }
    Program { path: Some(script), arguments: vec!["--more=1".into()], folder: folder.to_owned() }
}

/// Where no router answers.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn place() -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("data/i2pd");
    fs::create_dir(place.path().join("data")).unwrap();
    (place, folder)
}

/// The process of each life so far, with its options.
fn lives(folder: &Path) -> Vec<(String, String)> {
    let lives = fs::read_to_string(folder.join("lives")).unwrap_or_default();
    let life = |line: &str| line.split_once(' ').map(|(id, options)| (id.to_owned(), options.to_owned()));
    lives.lines().filter_map(life).collect()
}

fn kill(id: &str) {
    assert!(Command::new("kill").args(["-KILL", id]).status().unwrap().success());
}

/// A connection to the router, which ends when that does.
fn connection(bridge: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(bridge).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn until_it_ends(mut stream: TcpStream) {
    match stream.read_to_end(&mut Vec::new()) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the router outlives its program"),
        // By a reset it has ended as well.
        _ => {}
    }
}

/// Until a router answers that is not one of those `before`.
async fn next_life(bridge: SocketAddr, folder: &Path, before: usize) {
    let again = async {
        while lives(folder).len() <= before || running(bridge).await.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("it is started again");
}

#[tokio::test]
async fn one_that_answers_is_used_and_none_started() {
    let (_place, folder) = place();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let usual = listener.local_addr().unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
        stream.write_all(b"HELLO REPLY RESULT=NOVERSION\n").unwrap();
        line
    });
    let router = ensure(usual, &program(&folder, "router")).await.unwrap();
    assert_eq!((router.bridge(), router.folder()), (usual, None));
    assert_eq!(answering.join().unwrap(), "HELLO VERSION MIN=3.1 MAX=3.3\n");
    router.shutdown().await;
    assert!(!folder.exists());
}

#[tokio::test]
async fn without_one_the_reason_is_one_sentence() {
    let (_place, folder) = place();
    let usual = nobody();
    let why = async |program: &Program| ensure(usual, program).await.unwrap_err();
    let none = Program { path: None, ..program(&folder, "router") };
    let missing = why(&none).await;
    assert!(matches!(missing, RouterError::Missing { .. }));
    assert_eq!(
        missing.to_string(),
        format!(
            "no I2P router answers on {usual}; install one with `apt install i2pd` (or the package from \
             i2pd.website), or name another with --i2p=ADDR:PORT"
        )
    );
    let nowhere = why(&Program { path: Some("/nowhere/i2pd".into()), ..none.clone() }).await;
    assert!(nowhere.to_string().starts_with("cannot start the I2P router /nowhere/i2pd: "), "{nowhere}");
    let broken = why(&program(&folder, "broken")).await;
    assert!(matches!(broken, RouterError::Ended { .. }), "{broken}");
    let no_folder = why(&Program { folder: "/dev/null/i2pd".into(), ..program(&folder, "router") }).await;
    assert!(matches!(no_folder, RouterError::Folder { .. }), "{no_folder}");
}

#[tokio::test]
async fn it_is_started_in_private_and_ends_when_told() {
    let (_place, folder) = place();
    let router = ensure(nobody(), &program(&folder, "router")).await.unwrap();
    assert_eq!(router.folder(), Some(&*folder));
    assert!(router.bridge().ip().is_loopback());
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let settings = fs::read_to_string(folder.join("i2pd.conf")).unwrap();
    for off in ["http", "httpproxy", "socksproxy", "i2cp", "i2pcontrol", "bob", "upnp"] {
        assert!(settings.contains(&format!("[{off}]\nenabled = false\n")), "{off} in\n{settings}");
    }
    let [(_, options)] = &lives(&folder)[..] else { panic!("one life") };
    assert!(options.ends_with("--more=1"), "{options}");
    let connection = connection(router.bridge());
    router.shutdown().await;
    until_it_ends(connection);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_when_it_is_dropped() {
    let (_place, folder) = place();
    let router = ensure(nobody(), &program(&folder, "router")).await.unwrap();
    let connection = connection(router.bridge());
    drop(router);
    tokio::task::spawn_blocking(|| until_it_ends(connection)).await.unwrap();
}

#[tokio::test]
async fn one_that_dies_is_started_again_at_the_same_address() {
    let (_place, folder) = place();
    let router = ensure(nobody(), &program(&folder, "router")).await.unwrap();
    for life in 1..=2 {
        kill(&lives(&folder)[life - 1].0);
        next_life(router.bridge(), &folder, life).await;
    }
    let connection = connection(router.bridge());
    router.shutdown().await;
    until_it_ends(connection);
}

/// Another process of ours, which has or shares a router.
fn owner(folder: &Path) -> (std::process::Child, SocketAddr) {
    // Its programs are made here, so that both do not write them at once.
    let _ = program(folder, "router");
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "played_by_another_process", "--nocapture"])
        .env(PART, format!("owner {}", folder.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(owner.stderr.take().unwrap()).lines();
    let bridge = lines.find_map(|line| line.unwrap().strip_prefix("bridge ")?.parse().ok());
    (owner, bridge.expect("it has a router"))
}

#[test]
fn it_ends_when_we_are_killed() {
    let (_place, folder) = place();
    let (mut owner, bridge) = owner(&folder);
    let connection = connection(bridge);
    owner.kill().unwrap();
    owner.wait().unwrap();
    until_it_ends(connection);
}

#[tokio::test]
async fn two_programs_share_one_and_the_second_takes_over() {
    let (_place, folder) = place();
    let (mut owner, bridge) = owner(&folder);
    let router: Router = ensure(nobody(), &program(&folder, "router")).await.unwrap();
    assert_eq!(router.bridge(), bridge);
    assert_eq!(lives(&folder).len(), 1);
    owner.kill().unwrap();
    owner.wait().unwrap();
    next_life(bridge, &folder, 1).await;
    let connection = connection(bridge);
    router.shutdown().await;
    until_it_ends(connection);
}
