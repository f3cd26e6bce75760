//! What a row found: figures that were measured, and what should not have been.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::client::{Event, Honest};
use crate::database::{Backend, Database};
use crate::invariants;

/// How much of a row is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Short,
    Full,
}

/// One row's run, and its findings.
pub struct Run {
    pub row: &'static str,
    pub backend: Backend,
    pub length: Length,
    pub seed: u64,
    figures: Vec<String>,
    failures: Vec<String>,
    told: Instant,
}

impl Run {
    pub fn new(row: &'static str, backend: Backend, length: Length, seed: u64) -> Self {
        Self { row, backend, length, seed, figures: Vec::new(), failures: Vec::new(), told: Instant::now() }
    }

    /// The first in a short run, the second in a full one.
    pub fn either<T>(&self, short: T, full: T) -> T {
        if self.length == Length::Short { short } else { full }
    }

    pub fn figure(&mut self, figure: impl Display) {
        self.figures.push(figure.to_string());
    }

    /// Fails the row unless it holds.
    pub fn must(&mut self, holds: bool, what: impl Display) {
        if !holds {
            self.failures.push(what.to_string());
        }
    }

    /// Tells whoever waits how far it is; on a terminal in one line, otherwise now and then.
    pub fn progress(&mut self, how_far: impl Display) {
        let mut out = std::io::stderr();
        if out.is_terminal() {
            let _ = write!(out, "\r\x1b[K{} on {}: {how_far}", self.row, self.backend.name());
        } else if self.told.elapsed() > Duration::from_secs(15) {
            self.told = Instant::now();
            let _ = writeln!(out, "  {} on {}: {how_far}", self.row, self.backend.name());
        }
    }

    /// Judges clients at rest by the invariants, with the figures that every row has.
    pub fn judge(&mut self, clients: &[Honest], database: &Database) {
        self.judge_with(clients, &[], database);
    }

    /// The same with what else was asked in their names.
    pub fn judge_with(&mut self, clients: &[Honest], copies: &[Event], database: &Database) {
        let verdict = invariants::judge(clients, copies, database);
        self.figure(format_args!(
            "{} clients, {} refreshes, {} repeats, {} answers 503, {} requests without an answer",
            clients.len(),
            verdict.refreshed,
            verdict.repeats,
            verdict.unavailable,
            verdict.unanswered
        ));
        if verdict.revoked > 0 {
            self.figure(format_args!("{} revocations", verdict.revoked));
        }
        self.figure(format_args!(
            "worst answer {}, longest from first try to success {}",
            span(verdict.worst_answer),
            span(verdict.longest_refresh)
        ));
        self.figure(format_args!("{} violations, {} honest log-outs", verdict.violations.len(), verdict.log_outs));
        self.must(verdict.refreshed > 0, "no client refreshed at all");
        let mut counted: Vec<(String, usize)> = Vec::new();
        for violation in verdict.violations {
            match counted.iter_mut().find(|(known, _)| *known == violation) {
                Some((_, times)) => *times += 1,
                None => counted.push((violation, 1)),
            }
        }
        for (violation, times) in counted {
            self.must(false, format_args!("{violation} ({times} times)"));
        }
    }

    /// The row's line, and whether it passed.
    pub fn finish(self, title: &str, took: Duration) -> bool {
        let passed = self.failures.is_empty();
        let verdict = if passed { "passed" } else { "FAILED" };
        if std::io::stderr().is_terminal() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
        let (row, backend) = (self.row, self.backend.name());
        println!(
            "{row:<4} {backend:<8} {verdict} in {:>5.1} s: {title}: {}",
            took.as_secs_f64(),
            self.figures.join("; ")
        );
        for failure in self.failures {
            println!("       {failure}");
        }
        passed
    }
}

/// A span for people.
pub fn span(span: Duration) -> String {
    if span < Duration::from_secs(1) {
        return format!("{} ms", span.as_millis());
    }
    format!("{:.1} s", span.as_secs_f64())
}
