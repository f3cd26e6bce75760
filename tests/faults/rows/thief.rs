//! F-5: whoever stole a refresh token, and in whatever order the two come, the grant ends at the step that gives the
//! theft away, and not before.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::client::{Honest, TokenName};
use crate::database::Database;
use crate::fleet::Fleet;
use crate::http;
use crate::instance::{Site, targets};
use crate::report::Run;

/// Short, so that being late does not take a minute.
const LEEWAY: &str = "2s";
const LONGER_THAN_THE_LEEWAY: Duration = Duration::from_millis(2_200);

/// What one of the two does. Tokens are numbered in the order in which they were given out; 0 is that of the log-in.
#[derive(Clone, Copy)]
enum Step {
    /// Uses a token and is given the next one.
    Uses(usize),
    /// The same, marked as belonging to that attempt.
    UsesFor(usize, &'static str),
    /// Time passes, more than the leeway.
    Waits,
    /// Uses a token, is refused, and that ends the grant.
    Ends(usize),
    /// The same, marked as belonging to that attempt.
    EndsFor(usize, &'static str),
    /// Uses a token of a grant that is over.
    IsOver(usize),
    /// Another client uses a token: it is refused, and nothing changes.
    IsNotTheirs(usize),
}
use Step::{Ends, EndsFor, IsNotTheirs, IsOver, Uses, UsesFor, Waits};

const ONE: &str = "attempt-0000000000000001";
const TWO: &str = "attempt-0000000000000002";

const SCRIPTS: [(&str, &[Step]); 14] = [
    (
        "the thief is second within the leeway, and comes again after the client",
        &[Uses(0), Uses(0), Uses(1), Ends(2), IsOver(3)],
    ),
    (
        "the thief is second within the leeway, and comes again before the client",
        &[Uses(0), Uses(0), Uses(2), Ends(1), IsOver(3)],
    ),
    (
        "the thief is first, the client within the leeway, and the client goes on",
        &[Uses(0), Uses(0), Uses(2), Waits, Ends(1), IsOver(3)],
    ),
    ("the thief is first and goes on before the client comes", &[Uses(0), Uses(1), Ends(0), IsOver(2)]),
    (
        "the thief is first and goes far before the client comes",
        &[Uses(0), Uses(1), Uses(2), Uses(3), Ends(0), IsOver(4)],
    ),
    ("the thief is first, the client after the leeway", &[Uses(0), Waits, Ends(0), IsOver(1)]),
    ("the thief is second, after the leeway", &[Uses(0), Uses(1), Waits, Ends(1), IsOver(2)]),
    ("both of two siblings are used", &[Uses(0), Uses(0), Uses(1), Ends(2)]),
    (
        "the winner is repeated, then a losing sibling comes",
        &[Uses(0), Uses(0), Uses(2), Uses(2), Ends(1), IsOver(3), IsOver(4)],
    ),
    ("a token two generations old comes", &[Uses(0), Uses(1), Uses(2), Ends(0), IsOver(3)]),
    (
        "a repeat after the leeway by the same attempt is none",
        &[UsesFor(0, ONE), Waits, UsesFor(0, ONE), Uses(2), Ends(1)],
    ),
    ("a repeat after the leeway by another attempt is a theft", &[UsesFor(0, ONE), Waits, EndsFor(0, TWO), IsOver(1)]),
    ("another client's use changes nothing", &[Uses(0), IsNotTheirs(1), IsNotTheirs(0), Uses(1), Ends(0)]),
    ("repeats do not lengthen the leeway", &[Uses(0), Uses(0), Waits, Ends(0), IsOver(1), IsOver(2)]),
];

pub fn row(run: &mut Run) {
    let site = Site::new(run.backend, &[("tokens.refresh_leeway", LEEWAY)]);
    let mut other = vec!["clients", "create", "--id", "other", "--public", "--scope", "read"];
    other.extend(["--grant", "password", "--grant", "refresh_token"]);
    site.command(&other, "");
    let instance = site.start();
    let rounds = run.either(1, 12);
    let mut played = 0;
    for round in 1..=rounds {
        let clients =
            Fleet::log_in(&targets(std::slice::from_ref(&instance)), &site.emails, SCRIPTS.len(), run.seed + round);
        let found: Vec<_> = thread::scope(|scope| {
            let play = |(script, client): (&'static (&str, &[Step]), Honest)| {
                let database = &site.database;
                let address = instance.address;
                scope.spawn(move || play(address, database, script.1, &client).map_err(|why| (script.0, why)))
            };
            let playing: Vec<_> = SCRIPTS.iter().zip(clients).map(play).collect();
            playing.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for outcome in found {
            played += usize::from(outcome.is_ok());
            if let Err((script, why)) = outcome {
                run.must(false, format_args!("{script}: {why}"));
            }
        }
        run.progress(format_args!("{round} of {rounds} rounds"));
    }
    run.figure(format_args!("{played} of {} played thefts went as the table says", SCRIPTS.len() as u64 * rounds));
}

/// Plays a script and checks after each step whether the grant is over.
fn play(address: SocketAddr, database: &Database, script: &[Step], client: &Honest) -> Result<(), String> {
    let mut tokens = vec![client.token().unwrap().to_owned()];
    let name = client.holds().unwrap();
    let mut over = false;
    for (nth, step) in script.iter().enumerate() {
        let (token, client_id, attempt) = match *step {
            Uses(token) | Ends(token) | IsOver(token) => (token, "web", None),
            UsesFor(token, attempt) | EndsFor(token, attempt) => (token, "web", Some(attempt)),
            IsNotTheirs(token) => (token, "other", None),
            Waits => {
                thread::sleep(LONGER_THAN_THE_LEEWAY);
                continue;
            }
        };
        let mut pairs =
            vec![("grant_type", "refresh_token"), ("client_id", client_id), ("refresh_token", tokens[token].as_str())];
        pairs.extend(attempt.map(|attempt| ("refresh_attempt", attempt)));
        let answer = http::ask(address, &http::form("/token", None, &pairs), Duration::from_secs(11));
        let answer = answer.map_err(|why| format!("step {nth}: no answer, {why:?}"))?;
        let wanted = if matches!(step, Uses(_) | UsesFor(..)) { 200 } else { 400 };
        if answer.status != wanted {
            return Err(format!("step {nth}: answered {}, not {wanted}", answer.status));
        }
        if let Some(next) = answer.json()["refresh_token"].as_str() {
            tokens.push(next.to_owned());
        }
        over |= matches!(step, Ends(_) | EndsFor(..));
        let ended_by = ended_by(database, name);
        if ended_by.as_deref() != over.then_some("replay") {
            return Err(format!("step {nth}: the grant was ended by {ended_by:?}"));
        }
    }
    Ok(())
}

fn ended_by(database: &Database, name: TokenName) -> Option<String> {
    let row = database.grants().into_iter().find(|row| row.handle == name.handle);
    row.expect("the grant's row").ended_by
}
