//! Faults, from outside: the real binary on real databases, under honest load, while something breaks. A program of
//! its own rather than tests that run side by side, since its rows stop services and fill the machine.
//!
//! `scripts/test --faults` starts it; `docs/RELIABILITY.md` says what each row injects and what must hold.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::too_many_lines,
    clippy::wildcard_enum_match_arm,
    clippy::duration_suboptimal_units,
    clippy::unchecked_time_subtraction,
    missing_docs,
    reason = "a row fails by panicking, reads its environment and waits for real things"
)]

mod chance;
mod client;
mod database;
mod fleet;
mod http;
mod instance;
mod invariants;
mod process;
mod proxy;
mod report;
mod rows;
mod services;
mod watch;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use database::Backend;
use report::{Length, Run};

const USAGE: &str =
    "The fault suite. It takes minutes, stops services and fills the machine, so it runs only when asked to:

  scripts/test --faults            everything, about twenty minutes
  scripts/test --faults --short    the same faults in small doses, about four minutes

Further arguments: --row NAME (may be repeated), --backend sqlite|postgres, --seed NUMBER.
docs/RELIABILITY.md describes the rows.";

/// What was asked for.
struct Wish {
    length: Length,
    rows: Vec<String>,
    backend: Option<Backend>,
    seed: u64,
}

impl Wish {
    /// `None` when neither length was asked for.
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let (mut length, mut wish) =
            (None, Self { length: Length::Short, rows: Vec::new(), backend: None, seed: today });
        let (mut arguments, mut unknown) = (arguments, Vec::new());
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
            match argument.as_str() {
                "--short" => length = Some(Length::Short),
                "--full" => length = Some(Length::Full),
                "--row" => wish.rows.push(value()?),
                "--seed" => wish.seed = value()?.parse().map_err(|_| "--seed wants a number")?,
                "--backend" => {
                    wish.backend = Some(match value()?.as_str() {
                        "sqlite" => Backend::Sqlite,
                        "postgres" => Backend::Postgres,
                        other => return Err(format!("no such backend: {other}")),
                    });
                }
                _ => unknown.push(argument),
            }
        }
        // What cargo passes on to every test program is none of ours.
        if length.is_some() && !unknown.is_empty() {
            return Err(format!("not understood: {}", unknown.join(" ")));
        }
        if let Some(unknown) = wish.rows.iter().find(|name| !rows::ALL.iter().any(|row| row.name == name.as_str())) {
            return Err(format!("no such row: {unknown}"));
        }
        Ok(length.map(|length| Self { length, ..wish }))
    }

    fn wants(&self, row: &rows::Row, backend: Backend) -> bool {
        (self.rows.is_empty() || self.rows.iter().any(|name| name == row.name))
            && self.backend.is_none_or(|wanted| wanted == backend)
    }
}

fn main() -> ExitCode {
    let wish = match Wish::parse(std::env::args().skip(1)) {
        Ok(Some(wish)) => wish,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("{wrong}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    println!("seed {}", wish.seed);
    let (began, mut ran, mut failed) = (Instant::now(), 0, 0);
    for row in &rows::ALL {
        // A row that was asked for by name runs on every database that it is about.
        let all = wish.length == Length::Full || !wish.rows.is_empty();
        let backends = if all { row.full } else { row.short };
        for backend in backends.iter().filter(|backend| wish.wants(row, **backend)) {
            ran += 1;
            failed += usize::from(!run_row(row, *backend, &wish));
        }
    }
    services::stop_our_own();
    println!("{} of {ran} rows passed in {:.0} s", ran - failed, began.elapsed().as_secs_f64());
    if failed > 0 || ran == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn run_row(row: &rows::Row, backend: Backend, wish: &Wish) -> bool {
    let mut run = Run::new(row.name, backend, wish.length, wish.seed);
    let began = Instant::now();
    if catch_unwind(AssertUnwindSafe(|| (row.run)(&mut run))).is_err() {
        run.must(false, "it broke off; the reason stands above");
    }
    services::thaw_everything();
    run.finish(row.title, began.elapsed())
}
