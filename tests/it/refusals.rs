//! `docs/ERRORS.md` is printed from the table of refusals; this test prints it anew and compares.

use std::fmt::Write as _;

use countersign::protocol::error_code::ErrorCode;
use countersign::reason::{Reason, Weight};

const FILE: &str = "docs/ERRORS.md";

fn page() -> String {
    let mut page = "# Errors\n\n\
        Every refusal there is, printed from `src/reason.rs` by the test `refusals`; do not edit. `error_id` is what logs and\n\
        metrics call it; `error`, status and description are what the client sees. Where several rows look the same from\n\
        outside, that is on purpose. `invalid_client` is 401 with a challenge when the client used the Authorization header.\n\n\
        | error_id | error | status | description | weight |\n|---|---|---|---|---|\n"
        .to_owned();
    for reason in Reason::ALL {
        let row = reason.row();
        let weight = match row.weight {
            Weight::Routine => "routine",
            Weight::Suspicious => "suspicious",
            Weight::Fault => "fault",
        };
        let description = row.description.unwrap_or("(none)");
        writeln!(page, "| `{}` | `{}` | {} | {description} | {weight} |", row.id, row.code.as_str(), row.status)
            .unwrap();
    }
    page
}

#[test]
fn the_page_of_errors_is_that_of_the_code() {
    let written = std::fs::read_to_string(FILE).unwrap_or_default();
    if crate::app::variable("COUNTERSIGN_TEST_WRITE").is_some() {
        std::fs::write(FILE, page()).unwrap();
        return;
    }
    assert_eq!(written, page(), "{FILE} is out of date: run COUNTERSIGN_TEST_WRITE=1 cargo test --test it refusals");
}

#[test]
fn the_map_says_where_each_invalid_grant_is_decided() {
    let map = std::fs::read_to_string("docs/ARCHITECTURE.md").unwrap();
    let (_, table) = map.split_once("A test compares this table with it:").unwrap();
    let rows: Vec<&str> = table.lines().skip(4).take_while(|line| line.starts_with('|')).collect();
    let mut named: Vec<&str> = rows
        .iter()
        .flat_map(|row| row.split('|').nth(1).unwrap().split('`').filter(|part| part.contains('.')))
        .collect();
    let of_code = Reason::ALL.iter().map(|reason| reason.row()).filter(|row| row.code == ErrorCode::InvalidGrant);
    let mut decided: Vec<&str> = of_code.map(|row| row.id).collect();
    named.sort_unstable();
    decided.sort_unstable();
    assert_eq!(named, decided);
}
