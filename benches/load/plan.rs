//! What a run measures, and how long.

use std::time::Duration;

use crate::subject::Backend;

/// How to call this.
pub const USAGE: &str = "scripts/bench [--quick] [--sqlite | --postgres] [WORD…]

  --quick       shorter rounds, a tenth of the requests and rows: for a look, not for the record
  --sqlite      SQLite only; needs no PostgreSQL
  --postgres    PostgreSQL only
  WORD…         only the measurements whose names contain one of these";

/// What to measure.
pub struct Plan {
    /// How long one round drives one server.
    pub round: Duration,
    /// How often server and control take turns.
    pub rounds: usize,
    /// Token requests between the two looks at the server's memory.
    pub requests: u64,
    /// Grants in the large table.
    pub grants: usize,
    /// Databases, in order.
    pub backends: Vec<Backend>,
    words: Vec<String>,
}

impl Plan {
    pub fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut plan = Self {
            round: Duration::from_secs(5),
            rounds: 5,
            requests: 1_000_000,
            grants: 1_000_000,
            backends: vec![Backend::Sqlite, Backend::Postgres],
            words: Vec::new(),
        };
        for argument in arguments {
            match *argument {
                "--quick" => {
                    (plan.round, plan.rounds) = (Duration::from_secs(2), 3);
                    (plan.requests, plan.grants) = (100_000, 100_000);
                }
                "--sqlite" => plan.backends = vec![Backend::Sqlite],
                "--postgres" => plan.backends = vec![Backend::Postgres],
                word if word.starts_with('-') => return Err(format!("{word} is not known.\n\n{USAGE}")),
                word => plan.words.push(word.to_owned()),
            }
        }
        Ok(plan)
    }

    /// Whether a measurement of this name is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }

    pub fn has(&self, backend: Backend) -> bool {
        self.backends.contains(&backend)
    }
}
