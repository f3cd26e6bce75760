//! How many statements a request costs, seen at the driver: what is sent to the database, and whether it was prepared.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use diesel::connection::{Instrumentation, InstrumentationEvent};

use crate::app::TestApp;
use crate::browser::{CodeRequest, code};

/// What one database was asked: each text with how often, and whether a connection keeps it prepared.
#[derive(Clone, Debug, Default)]
struct Asked {
    times: HashMap<String, u32>,
    prepared: Vec<String>,
}

static ASKED: LazyLock<Mutex<HashMap<String, Asked>>> = LazyLock::new(Mutex::default);

/// Notes what one connection sends.
struct Ear {
    url: String,
}

impl Instrumentation for Ear {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        let mut all = ASKED.lock().unwrap();
        match event {
            InstrumentationEvent::StartEstablishConnection { url, .. } => url.clone_into(&mut self.url),
            // What a server asks by itself is no request's.
            InstrumentationEvent::StartQuery { .. } if is_background() => {}
            InstrumentationEvent::StartQuery { query, .. } => {
                let text = query.to_string();
                let text = text.split(" -- ").next().unwrap_or_default().to_owned();
                *all.entry(self.url.clone()).or_default().times.entry(text).or_default() += 1;
            }
            InstrumentationEvent::CacheQuery { sql, .. } => {
                all.entry(self.url.clone()).or_default().prepared.push(sql.to_owned());
            }
            _ => {}
        }
    }
}

/// Whether this is a thread of a server's loops; what they write, the writer of an embedded database does for them.
fn is_background() -> bool {
    let loops = ["watch", "keys", "status", "outbox", "logout", "sweep", "checkpoint"];
    std::thread::current().name().is_some_and(|name| loops.contains(&name))
}

/// Listens to every connection that is made from now on, in the whole process.
fn listen() {
    static LISTENING: LazyLock<()> = LazyLock::new(|| {
        diesel::connection::set_default_instrumentation(|| Some(Box::new(Ear { url: String::new() }))).unwrap();
    });
    LazyLock::force(&LISTENING);
}

/// What `work` had the database do: statements, and apart from them what only frames transactions.
fn asked_by(test: &TestApp, work: impl FnOnce()) -> (Vec<String>, Vec<String>) {
    let path = test.database.url.trim_start_matches("sqlite:").to_owned();
    let heard = || -> Asked {
        let all = ASKED.lock().unwrap();
        let ours = all.iter().filter(|(url, _)| url.starts_with(&path));
        ours.fold(Asked::default(), |mut sum, (_, asked)| {
            asked.times.iter().for_each(|(text, times)| *sum.times.entry(text.clone()).or_default() += times);
            sum.prepared.extend(asked.prepared.clone());
            sum
        })
    };
    let before = heard();
    work();
    let after = heard();
    let (mut statements, mut frames) = (Vec::new(), Vec::new());
    for (text, times) in &after.times {
        let fresh = times - before.times.get(text).copied().unwrap_or(0);
        if fresh == 0 {
            continue;
        }
        let each = std::iter::repeat_n(text.clone(), fresh as usize);
        if ["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE"].iter().any(|word| text.contains(word)) {
            frames.extend(each);
            continue;
        }
        // A sign of life, a step of signing keys, or how a connection begins, is no request's.
        let others = ["instances", "epochs", "signing_keys", "PRAGMA"];
        if others.iter().any(|other| text.contains(other)) || text.starts_with("SET ") {
            continue;
        }
        assert!(after.prepared.contains(text), "sent anew each time: {text}");
        statements.extend(each);
    }
    (statements, frames)
}

#[test]
fn a_request_costs_no_more_statements_than_promised() {
    listen();
    let test = TestApp::start();
    let (party, tokens) = test.log_in();
    let secret = test.confidential_client();
    let (statements, _) = asked_by(&test, || {
        party.client_credentials("svc", &secret, &[]).tokens();
    });
    assert_eq!(statements, Vec::<String>::new(), "client_credentials");

    let first = tokens.refresh.unwrap();
    let mut next = String::new();
    let (statements, frames) = asked_by(&test, || next = party.refresh("web", &first).tokens().refresh.unwrap());
    assert_eq!(statements.len(), 2, "a read and a compare-and-swap: {statements:#?}");
    // On SQLite the writer frames what waits together, once; on PostgreSQL a single statement needs no frame.
    let framed = if test.database.url.starts_with("sqlite:") { 2 } else { 0 };
    assert_eq!(frames.len(), framed, "refresh");

    let (statements, _) = asked_by(&test, || {
        party.refresh("web", &first).tokens();
    });
    assert!(statements.len() <= 4, "a repeat: {statements:#?}");

    let (_, email) = test.account();
    let (statements, _) = asked_by(&test, || {
        party.log_in("web", &email).tokens();
    });
    assert!(statements.len() <= 4, "a first log-in, which makes its network known: {statements:#?}");
    let (statements, frames) = asked_by(&test, || {
        party.log_in("web", &email).tokens();
    });
    assert_eq!(statements.len(), 3, "the account, its failures, the grant: {statements:#?}");
    assert_eq!(frames.len(), framed, "a log-in");
    let (statements, _) = asked_by(&test, || assert_eq!(party.log_in_with("web", &email, "hunter-canary").status, 400));
    assert_eq!(statements.len(), 4, "the account, its failures, and one more of both: {statements:#?}");
}

#[test]
fn a_request_of_somebody_who_is_logged_in_costs_two_statements() {
    listen();
    let test = TestApp::start();
    let (browser, ..) = test.at_browser();
    let request = CodeRequest::new();
    let (statements, frames) = asked_by(&test, || {
        code(&browser.get(&request.path()));
    });
    assert_eq!(statements.len(), 2, "the log-in and the code: {statements:#?}");
    assert_eq!(frames.len(), if test.database.url.starts_with("sqlite:") { 2 } else { 0 }, "{frames:#?}");
}

/// What only SQLite does.
mod sqlite {
    use super::*;

    #[test]
    fn refreshes_that_wait_together_share_a_commit() {
        const DEVICES: usize = 12;
        listen();
        let test = TestApp::start();
        let (party, first) = test.log_in();
        let (_, email) = test.account();
        let mut devices = vec![first];
        devices.extend((1..DEVICES).map(|_| party.log_in("web", &email).tokens()));
        let (statements, frames) = asked_by(&test, || {
            let release = test.database.hold_grants();
            std::thread::scope(|scope| {
                for device in &devices {
                    scope.spawn(|| test.relying_party().refresh("web", device.refresh_token()).tokens());
                }
                std::thread::sleep(std::time::Duration::from_millis(500));
                drop(release);
            });
        });
        assert_eq!(statements.len(), 2 * DEVICES, "{statements:#?}");
        // The first that came waited for the lock by itself or with others, the rest behind it.
        let commits = frames.iter().filter(|text| text.contains("COMMIT")).count();
        assert!(commits <= 2, "{commits} commits for {DEVICES} refreshes");
    }
}
