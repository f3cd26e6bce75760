//! How many statements a request costs, seen at the driver: what is sent to the database, and whether it was prepared.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use diesel::connection::{Instrumentation, InstrumentationEvent};

use crate::app::TestApp;

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

/// Listens to every connection that is made from now on, in the whole process.
fn listen() {
    static LISTENING: LazyLock<()> = LazyLock::new(|| {
        diesel::connection::set_default_instrumentation(|| Some(Box::new(Ear { url: String::new() }))).unwrap();
    });
    LazyLock::force(&LISTENING);
}

/// What `work` had the database do: statements, and apart from them what only frames transactions.
fn asked_by(test: &TestApp, work: impl FnOnce()) -> (Vec<String>, u32) {
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
    let (mut statements, mut frames) = (Vec::new(), 0);
    for (text, times) in &after.times {
        let fresh = times - before.times.get(text).copied().unwrap_or(0);
        // The look at the epochs, once a second, is no request's.
        if text.contains("epochs") || fresh == 0 {
            continue;
        }
        if ["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE"].iter().any(|word| text.starts_with(word)) {
            frames += fresh;
            continue;
        }
        assert!(after.prepared.contains(text), "sent anew each time: {text}");
        statements.extend(std::iter::repeat_n(text.clone(), fresh as usize));
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
    assert_eq!(frames, framed, "refresh");

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
    assert_eq!(frames, framed, "a log-in");
    let (statements, _) = asked_by(&test, || assert_eq!(party.log_in_with("web", &email, "hunter-canary").status, 400));
    assert_eq!(statements.len(), 4, "the account, its failures, and one more of both: {statements:#?}");
}
