//! The README's quick start, executed as it is written.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::app::TestDatabase;
use crate::cli::{Served, command};

/// The fenced blocks of the README whose info string is `wanted`.
fn blocks(wanted: &str) -> Vec<String> {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let mut found = Vec::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        if line.trim() == format!("```{wanted}") {
            let block: Vec<_> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
            found.push(block.join("\n"));
        }
    }
    found
}

#[test]
fn the_quick_start_works_line_by_line() {
    let (server, tries) = (blocks("sh server"), blocks("sh try"));
    assert!(server.len() == 1 && tries.len() >= 3, "{} and {} blocks", server.len(), tries.len());
    assert_eq!(server[0].trim(), "countersign serve");
    let database = TestDatabase::empty();
    let folder = database.folder.path();
    // The page says port 8080; the test takes a free one and says so in its place.
    let served = Served::start(command(folder, Some(&database), &["serve"]), 3);
    let address = served.base.trim_start_matches("http://");
    let mut script = "set -eu\n".to_owned();
    for block in tries {
        writeln!(script, "{}", block.replace("127.0.0.1:8080", address).replace("localhost:8080", address)).unwrap();
    }
    script.push_str("echo every line was executed\n");
    let binary = Path::new(env!("CARGO_BIN_EXE_countersign")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), crate::app::required("PATH"));
    let like_the_server = command(folder, Some(&database), &[]);
    let mut shell = Command::new("bash");
    shell
        .current_dir(folder)
        .env_clear()
        .envs(like_the_server.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("PATH", path);
    shell.env("COUNTERSIGN__LOG__LEVEL", "warn");
    let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.ends_with("every line was executed\n"), "{out}\n{error}");
    assert!(!out.contains("\"error\""), "{out}");
}

#[test]
fn the_two_commands_stand_at_the_top() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let top: String = readme.lines().take(25).collect::<Vec<_>>().join("\n");
    assert!(top.contains("cargo run --release -- serve") && top.contains("scripts/test"), "{top}");
}
