//! `docs/SPEC-COVERAGE.md` names tests: each of them exists, and each row has a test or says why it has none.

use std::collections::BTreeMap;
use std::fs;

const FILE: &str = "docs/SPEC-COVERAGE.md";

/// How a row without a test begins to say why.
const REASONS: [&str; 3] = ["not offered: ", "not asked: ", "gap: "];

/// The cells of the rows of every table, with the number of their line; neither heads nor rules.
fn rows(page: &str) -> Vec<(usize, Vec<&str>)> {
    let is_row = |line: &str| line.starts_with('|') && !line.starts_with("|---");
    let lines: Vec<&str> = page.lines().collect();
    let heads: Vec<usize> =
        lines.iter().enumerate().filter(|(_, line)| line.starts_with("|---")).map(|(nth, _)| nth).collect();
    let rows = lines.iter().enumerate().filter(|(nth, line)| is_row(line) && !heads.contains(&(nth + 1)));
    rows.map(|(nth, line)| (nth + 1, line.trim_matches('|').split('|').map(str::trim).collect())).collect()
}

/// The code spans of a cell that name a test.
fn named(cell: &str) -> Vec<(&str, &str)> {
    cell.split('`').skip(1).step_by(2).filter_map(|span| span.rsplit_once("::")).collect()
}

/// Whether the file has a test of that name: the function, under its attribute.
fn is_test(source: &str, name: &str) -> bool {
    let Some((before, _)) = source.split_once(&format!("fn {name}(")) else { return false };
    let mut above = before.lines().rev().map(str::trim).take_while(|line| line.is_empty() || line.starts_with("#["));
    above.any(|line| line == "#[test]")
}

#[test]
fn every_row_names_tests_that_exist_or_says_why_not() {
    let page = fs::read_to_string(FILE).unwrap();
    let (mut sources, mut wrong, mut tests) = (BTreeMap::new(), Vec::new(), 0);
    let rows = rows(&page);
    for (line, cells) in &rows {
        let last = cells.last().unwrap();
        let found = named(last);
        if found.is_empty() && !REASONS.iter().any(|reason| last.starts_with(reason) && last.len() > reason.len() + 10)
        {
            wrong.push(format!("{FILE}:{line} has neither a test nor a reason: {last}"));
        }
        for (module, name) in found {
            tests += 1;
            let path =
                if module.starts_with("src/") { format!("{module}.rs") } else { format!("tests/it/{module}.rs") };
            let source = sources.entry(path.clone()).or_insert_with(|| fs::read_to_string(&path).unwrap_or_default());
            if !is_test(source, name) {
                wrong.push(format!("{FILE}:{line} names {name}, which is no test of {path}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows.len() > 400 && tests > 500, "the page was not read: {} rows, {tests} tests", rows.len());
}

#[test]
fn a_test_that_is_not_there_is_missed() {
    let source = "#[test]\nfn there() {}\nfn helper() {}\n#[test]\n#[cfg(unix)]\nfn attributed() {}\n";
    assert!(is_test(source, "there") && is_test(source, "attributed"));
    assert!(!is_test(source, "helper") && !is_test(source, "elsewhere") && !is_test(source, "ther"));
    let page = "| asks | test |\n|---|---|\n| a | `x/y::z`, `q::r` |\n| b | gap: nobody wrote one yet |\n";
    assert_eq!(rows(page).len(), 2);
    assert_eq!(named(rows(page)[0].1[1]), [("x/y", "z"), ("q", "r")]);
}
