//! Finds tests in source files: their names, and the mutation that makes each fail.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the workspace keeps its sources.
const FOLDERS: [&str; 5] = ["core", "drivers", "frontends", "sim", "tests"];

/// A test, as its source shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Test {
    /// The promises that its name begins with.
    pub(crate) ids: Vec<String>,
    /// Its file, from the workspace on.
    pub(crate) file: String,
    pub(crate) name: String,
    /// What makes it fail.
    pub(crate) mutation: Option<String>,
}

/// Every test of the workspace, by file and line.
pub(crate) fn tests(workspace: &Path) -> Vec<Test> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(&workspace.join(folder), &mut files);
    }
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let name = file.strip_prefix(workspace).unwrap_or(&file).display().to_string();
        found.extend(tests_of(&name, &text));
    }
    found
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            if !path.ends_with("target") {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn tests_of(file: &str, text: &str) -> Vec<Test> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found: Vec<Test> = Vec::new();
    // The attributes and comments right above the current line.
    let mut head = 0;
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        if code.starts_with("#[") || code.starts_with("//") {
            continue;
        }
        let above = &lines[head..at];
        head = at + 1;
        let Some(name) = function(code) else { continue };
        if !above.iter().any(|line| is_test(line.trim_start())) {
            continue;
        }
        let end = format!("{}}}", &line[..line.len() - code.len()]);
        let below = if code.ends_with('}') { &[] } else { &lines[at + 1..] };
        let body = &below[..below.iter().position(|line| **line == end).unwrap_or(0)];
        let mutation = mutation(above).or_else(|| mutation(body)).map(|mutation| {
            let same = found.last().and_then(|before| before.mutation.clone());
            if mutation == "as above" { same.unwrap_or(mutation) } else { mutation }
        });
        found.push(Test { ids: ids(name), file: file.to_owned(), name: name.to_owned(), mutation });
    }
    found
}

/// The name of the function that a line begins.
fn function(code: &str) -> Option<&str> {
    let code = code.strip_prefix("pub ").unwrap_or(code);
    let code = code.strip_prefix("async ").unwrap_or(code);
    let name = code.strip_prefix("fn ")?;
    name.split(['(', '<']).next()
}

fn is_test(code: &str) -> bool {
    ["#[test]", "#[tokio::test"].iter().any(|attribute| code.starts_with(attribute))
}

/// The ids at the start of a test's name: `r1_i1_secrets` proves R1 and I1.
fn ids(name: &str) -> Vec<String> {
    let is_id = |word: &&str| {
        let (group, number) = word.split_at_checked(1).unwrap_or_default();
        "hrdtci".contains(group) && !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
    };
    name.split('_').take_while(is_id).map(str::to_uppercase).collect()
}

/// How the sentence about a mutation ends; a table says that much in its heading.
const ENDS: [&str; 3] = [" makes this fail.", " make this fail.", "."];

/// The sentence behind `Mutation:`, which may go on over several lines, without its end.
fn mutation(lines: &[&str]) -> Option<String> {
    let comment = |line: &&str| line.trim_start().strip_prefix("//").map(|comment| comment.trim().to_owned());
    let start = lines.iter().position(|line| comment(line).is_some_and(|text| text.starts_with("Mutation:")))?;
    let mut words = Vec::new();
    for text in lines[start..].iter().map_while(comment) {
        let ends = text.ends_with('.');
        words.push(text);
        if ends {
            break;
        }
    }
    let sentence = words.join(" ");
    let sentence = sentence.trim_start_matches("Mutation:").trim();
    let short = ENDS.iter().find_map(|end| sentence.strip_suffix(end)).unwrap_or(sentence);
    (!short.is_empty()).then(|| short.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    // A tilde for each number sign: what stands here is no test of this file.
    const SOURCE: &str = r#"
/// A helper, whatever its name says.
fn r3_helper() {}

// Mutation: `a` in place of
// `b` makes this fail.
~[test]
fn r3_above() {
    let _ = 1;
}

// Mutation: as above.
~[test]
fn r1_i1_same() {}

mod inner {
    ~[tokio::test(flavor = "multi_thread")]
    ~[ignore = "slow"]
    async fn t1_below() {
        // Mutation: without `c` this fails.
        // More about it.
    }

    ~[test]
    fn t2_none() {}

    ~[test]
    fn i2p_is_no_id() {
        // Mutation: another test's is not this one's.
    }
}
"#;

    #[test]
    fn tests_are_found_with_what_makes_them_fail() {
        let found: Vec<_> = tests_of("a.rs", &SOURCE.replace('~', "#"))
            .into_iter()
            .map(|test| (test.name, test.ids.join(" "), test.mutation))
            .collect();
        let expected = [
            ("r3_above", "R3", Some("`a` in place of `b`")),
            ("r1_i1_same", "R1 I1", Some("`a` in place of `b`")),
            ("t1_below", "T1", Some("without `c` this fails")),
            ("t2_none", "T2", None),
            ("i2p_is_no_id", "", Some("another test's is not this one's")),
        ];
        let expected = expected.map(|(name, ids, text)| (name.to_owned(), ids.to_owned(), text.map(str::to_owned)));
        assert_eq!(found, expected);
    }

    #[test]
    fn this_workspace_has_tests() {
        let found = tests(&burdock_ledger::workspace());
        assert!(found.iter().any(|test| test.file.ends_with("scan.rs") && test.name == "this_workspace_has_tests"));
        assert!(found.iter().all(|test| !test.file.starts_with('/')));
    }
}
