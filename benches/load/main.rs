//! The load harness: the release server against controls of the same run. See `README.md` beside this file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::format_push_string,
    clippy::format_collect,
    clippy::future_not_send,
    missing_docs,
    reason = "a measuring program stops at the first surprise, reads clocks and prints"
)]

mod callers;
mod control;
mod driver;
mod plan;
mod report;
mod scenarios;
mod subject;

use plan::Plan;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["control", "bytes"] => control::serve_bytes(),
        ["control", "signatures"] => control::serve_signatures(),
        _ => match Plan::parse(&words) {
            Ok(plan) => scenarios::run(&plan),
            Err(message) => {
                eprintln!("{message}");
                std::process::exit(2);
            }
        },
    }
}
