//! Identities: a private key in a file of its own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use burdock_core::Identity;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::args::{IdArgs, OwnArgs};
use crate::failure::Failure;
use crate::output::Console;

/// What stands before the 64 hex digits of the private key, so that nobody takes the file for
/// something that may be shared.
const PREFIX: &str = "burdock-private-key:";
/// Longer than any identity file.
const MAX_FILE: u64 = 256;

#[derive(Serialize)]
struct Shown<'a> {
    key: String,
    file: &'a Path,
    created: bool,
}

pub(crate) fn run(args: &IdArgs, console: Console) -> Result<u8, Failure> {
    let path = args.file.clone().map_or_else(default_path, Ok)?;
    let (identity, created) = load_or_create(&path)?;
    if created {
        console.say(&format!("Made a new identity in {}", path.display()));
    }
    let key = identity.public_key().to_string();
    let line = if args.json {
        serde_json::to_string(&Shown { key, file: &path, created }).expect("strings serialise")
    } else {
        key
    };
    writeln!(io::stdout(), "{line}").map_err(|error| Failure::local(format!("standard output: {error}")))?;
    Ok(0)
}

/// The identity that `listen`, `connect` and `chat` were told to use. Only the default one is made when it
/// is missing: a path that was typed is expected to be there.
pub(crate) fn choose(args: &OwnArgs, console: Console) -> Result<Identity, Failure> {
    if args.ephemeral {
        return fresh();
    }
    if let Some(path) = &args.identity {
        return load(path);
    }
    let path = path(args)?;
    let (identity, created) = load_or_create(&path)?;
    if created {
        console.say(&format!("Made a new identity in {}", path.display()));
    }
    Ok(identity)
}

/// Where the identity that was asked for lies. One identity serves one class.
pub(crate) fn path(args: &OwnArgs) -> Result<PathBuf, Failure> {
    let Some(path) = &args.identity else {
        let mut path = default_path()?;
        if args.i2p.anonymous {
            path.as_mut_os_string().push("-anonymous");
        }
        return Ok(path);
    };
    Ok(path.clone())
}

fn default_path() -> Result<PathBuf, Failure> {
    match variable("BURDOCK_IDENTITY") {
        Some(path) => Ok(path),
        None => Ok(data_folder()?.join("identity")),
    }
}

/// Where this user's files of ours lie.
pub(crate) fn data_folder() -> Result<PathBuf, Failure> {
    variable("XDG_DATA_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".local/share")))
        .or_else(|| variable("APPDATA"))
        .map(|data| data.join("burdock"))
        .ok_or_else(|| Failure::local("there is no home directory to keep files in; set XDG_DATA_HOME"))
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn fresh() -> Result<Identity, Failure> {
    random().map(|secret| Identity::from_bytes(*secret))
}

/// 32 bytes from the system.
pub(crate) fn random() -> Result<Zeroizing<[u8; 32]>, Failure> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|error| Failure::local(format!("the system gives no randomness: {error}")))?;
    Ok(bytes)
}

fn load_or_create(path: &Path) -> Result<(Identity, bool), Failure> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => match create(path) {
            // Another process was faster.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok((load(path)?, false)),
            Err(error) => Err(Failure::local(format!("cannot make the identity {}: {error}", path.display()))),
            Ok(()) => Ok((load(path)?, true)),
        },
        _ => Ok((load(path)?, false)),
    }
}

/// Writes a new private key to a file that nobody else could read at any moment.
fn create(path: &Path) -> io::Result<()> {
    let secret = random().map_err(|failure| io::Error::other(failure.message))?;
    let mut hex = Zeroizing::new([0; 64]);
    HEXLOWER.encode_mut(&*secret, &mut *hex);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        private_folder(folder)?;
    }
    let mut file = private_file(path)?;
    let written = [PREFIX.as_bytes(), &*hex, b"\n"].iter().try_for_each(|part| file.write_all(part));
    written.and_then(|()| file.sync_all()).inspect_err(|_| {
        // Half a key is of no use to anybody; that it could not be written is what matters.
        let _ = fs::remove_file(path);
    })
}

#[cfg(unix)]
pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(unix)]
fn private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

#[cfg(not(unix))]
fn private_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// What a file holds that nobody else may read; `None` when it is not there.
pub(crate) fn read_secret(path: &Path, most: u64) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
    let cannot_read = |error: io::Error| Failure::local(format!("cannot read {}: {error}", path.display()));
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(cannot_read)?,
    };
    check_permissions(&file, path)?;
    // Room for all of it at once: a growing buffer would leave copies of the key behind.
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(2 * most).unwrap_or(usize::MAX)));
    file.take(most).read_to_end(&mut text).map_err(cannot_read)?;
    Ok(Some(text))
}

fn load(path: &Path) -> Result<Identity, Failure> {
    let shown = path.display();
    let missing =
        || Failure::local(format!("there is no identity at {shown}; make one with `burdock id --file {shown}`"));
    let text = read_secret(path, MAX_FILE)?.ok_or_else(missing)?;
    parse(&text).ok_or_else(|| {
        Failure::local(format!("{shown} is not an identity: expected one line, {PREFIX} and 64 hex digits"))
    })
}

fn parse(text: &[u8]) -> Option<Identity> {
    let digits = text.trim_ascii().strip_prefix(PREFIX.as_bytes())?;
    let mut secret = Zeroizing::new([0; 32]);
    if digits.len() != 2 * secret.len() {
        return None;
    }
    HEXLOWER_PERMISSIVE.decode_mut(digits, &mut *secret).ok()?;
    Some(Identity::from_bytes(*secret))
}

#[cfg(unix)]
fn check_permissions(file: &File, path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    let shown = path.display();
    let metadata = file.metadata().map_err(|error| Failure::local(format!("cannot read {shown}: {error}")))?;
    let mode = metadata.permissions().mode() & 0o777;
    if metadata.is_file() && mode & 0o077 != 0 {
        return Err(Failure::local(format!(
            "{shown} is open to other users (mode {mode:04o}); run `chmod 600 {shown}`, or make a new one"
        )));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_permissions(_: &File, _: &Path) -> Result<(), Failure> {
    Ok(())
}
