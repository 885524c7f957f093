//! Writes `docs/promises.md` from the promises, the tests, and the figures of the last test run;
//! or checks it.

use std::fs;
use std::process::ExitCode;

mod check;
mod page;
mod scan;

const USE: &str = "use: burdock-ledger            write docs/promises.md
     burdock-ledger --check    say what is not as it should be
     burdock-ledger --check --all    the same, after the tests marked #[ignore] ran as well
     burdock-ledger --clear    forget the figures of earlier runs";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let path = burdock_ledger::workspace().join("docs/promises.md");
    let done = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            let page = page::render(&page::Ledger::read(&before(&path)));
            fs::write(&path, page).map_err(|error| vec![format!("docs/promises.md cannot be written: {error}")])
        }
        ["--check"] => checked(&before(&path), false),
        ["--check", "--all"] | ["--all", "--check"] => checked(&before(&path), true),
        ["--clear"] => burdock_ledger::clear().map_err(|error| vec![format!("old figures cannot be removed: {error}")]),
        _ => Err(vec![USE.to_owned()]),
    };
    let Err(problems) = done else { return ExitCode::SUCCESS };
    for problem in &problems {
        eprintln!("{problem}");
    }
    ExitCode::FAILURE
}

/// The page as it is now.
fn before(path: &std::path::Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn checked(page: &str, all: bool) -> Result<(), Vec<String>> {
    let problems = check::problems(&page::Ledger::read(page), page, all);
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}
