//! Clients that registered themselves and that nobody has allowed anything: they leave after a day.

use std::path::Path;
use std::time::Duration;

use countersign::admin::clients as admin;
use countersign::clock::Clock;
use countersign::clock::Timestamp;
use countersign::id::AccountId;
use countersign::jobs::sweep::Sweep;
use countersign::protocol::client_credentials::ClientId;
use countersign::protocol::client_metadata::ClientMetadata;
use countersign::protocol::resource::Resources;
use countersign::protocol::scope::Scope;
use countersign::secret::Digest;
use countersign::secret::PlainSecret;
use countersign::store::clients;
use countersign::store::clients::registrants::{self, Gone};
use countersign::store::device_codes::{self, Answer, DeviceCode, DeviceHandle};
use countersign::store::epochs;
use countersign::store::{Error, Write, consents, migrate};
use serde_json::{Value, json};

use super::registration::{allowed, open, public, registered, send, text, web};
use crate::app::{AUDIENCE, TestApp};
use crate::browser::{Browser, CALLBACK, CodeRequest, Form};
use crate::relying_party::basic;

const DAY: Duration = Duration::from_hours(24);
const SECOND: Duration = Duration::from_secs(1);

fn sweep(app: &TestApp) {
    let (_stop, stopped) = std::sync::mpsc::channel();
    assert!(Sweep::new(&app.app).round(&stopped));
}

fn ids(app: &TestApp) -> Vec<String> {
    app.database.lines("SELECT id AS line FROM clients ORDER BY id")
}

fn sorted<const N: usize>(ids: [&str; N]) -> Vec<String> {
    let mut ids = ids.map(str::to_owned).to_vec();
    ids.sort();
    ids
}

/// What an account allows a client, as the page does it.
fn allow(tx: &mut Write<'_>, id: &ClientId, account: AccountId, now: Timestamp) -> Result<(), Error> {
    consents::put(tx, (account, id), &Scope::from_stored("openid").unwrap(), now)?;
    registrants::keep(tx, id)
}

#[test]
fn a_client_that_nobody_allowed_anything_leaves_after_a_day() {
    let app = open();
    let party = app.relying_party();
    app.code_client();
    let (path, json) = registered(&app, &web());
    let (unused, token) = (text(&json, "client_id"), text(&json, "registration_access_token"));
    let (_, other) = registered(&app, &public());
    let used = text(&other, "client_id");
    allowed(&app, used);
    app.advance(DAY);
    sweep(&app);
    assert_eq!(ids(&app), sorted(["app", used, unused]), "a day, to the last moment");
    let epoch = || app.app.db.read(epochs::load).unwrap().clients;
    let before = epoch();
    app.advance(SECOND);
    sweep(&app);
    assert_eq!(ids(&app), sorted(["app", used]));
    assert_ne!(epoch(), before, "every instance hears of it");
    assert_eq!(app.database.lines("SELECT client_id AS line FROM client_secrets").len(), 0);
    let metrics = party.get("/metrics", &[]).body;
    assert!(metrics.contains("countersign_swept_rows_total{table=\"clients\"} 1"), "{metrics}");
    let log = std::fs::read_to_string(crate::app::log_file()).unwrap();
    assert!(log.lines().any(|line| line.contains("client_swept") && line.contains(unused)));
    // RFC 7592 §2.1 to §2.3: as of one that never was.
    for (method, body) in [("GET", Value::Null), ("PUT", web()), ("DELETE", Value::Null)] {
        let answer = send(&party, method, &path, Some(token), &body);
        let never = send(&party, method, "/register/never", Some(token), &body);
        assert_eq!((answer.status, &answer.body), (401, &never.body), "{method}");
    }
    let began = std::time::Instant::now();
    while Browser::new(&app).get(&CodeRequest::of(unused, CALLBACK).path()).status != 400 {
        assert!(began.elapsed() < Duration::from_secs(10), "it is still known");
        std::thread::sleep(Duration::from_millis(50));
    }
    // What somebody once allowed something stays, though nothing is left of it.
    app.advance(DAY * 200);
    sweep(&app);
    assert_eq!(app.database.rotations(), "", "the grant is gone");
    app.database.execute("DELETE FROM consents");
    app.advance(DAY * 2);
    sweep(&app);
    assert_eq!(ids(&app), sorted(["app", used]));
}

#[test]
fn one_with_an_initial_access_token_leaves_and_so_does_one_that_deleted_itself() {
    let app = TestApp::with(&[("registration.mode", "token")]);
    let party = app.relying_party();
    let created = countersign::admin::registration_tokens::create(&app.app, 2, DAY, "test").unwrap();
    let register = || send(&party, "POST", "/register", Some(created.token.expose()), &web()).json();
    let (_, deleted) = (register(), register());
    let path = format!("/register/{}", text(&deleted, "client_id"));
    let token = text(&deleted, "registration_access_token");
    assert_eq!(send(&party, "DELETE", &path, Some(token), &Value::Null).status, 204);
    assert_eq!(ids(&app).len(), 1, "it is gone at once");
    app.advance(DAY + SECOND);
    sweep(&app);
    assert_eq!(ids(&app).len(), 0);
}

#[test]
fn one_that_somebody_is_about_to_use_stays_for_a_day_more() {
    let app = open();
    let (_, email) = app.account();
    let (_, page) = registered(&app, &public());
    let (_, pushed) = registered(&app, &web());
    registered(&app, &web());
    let (page, pushed, secret) =
        (text(&page, "client_id"), text(&pushed, "client_id"), text(&pushed, "client_secret").to_owned());
    app.advance(DAY);
    let browser = Browser::new(&app);
    let asked = browser.get(&CodeRequest::of(page, CALLBACK).path());
    let request = CodeRequest::of(pushed, CALLBACK);
    let pairs: Vec<_> = request.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let answer = app.relying_party().form("/par", &[("Authorization", &basic(pushed, &secret))], &pairs);
    assert_eq!(answer.status, 201, "{}", answer.body);
    app.advance(SECOND);
    sweep(&app);
    assert_eq!(ids(&app), sorted([page, pushed]), "and the third is gone");
    // The person who was asked says yes.
    browser.allow(&browser.log_in(&asked, &email));
    app.advance(DAY + SECOND);
    sweep(&app);
    assert_eq!(ids(&app), [page], "what was pushed came to nothing");
}

#[test]
fn one_that_somebody_always_begins_to_use_leaves_after_eight_days() {
    let app = open();
    let (_, json) = registered(&app, &public());
    let id = text(&json, "client_id");
    let visits = |days: u32| {
        for _ in 0..days {
            app.advance(DAY - SECOND);
            Browser::new(&app).get(&CodeRequest::of(id, CALLBACK).path());
            sweep(&app);
        }
    };
    visits(7);
    assert_eq!(ids(&app), [id]);
    visits(1);
    assert_eq!(ids(&app), [id], "the last day has begun");
    app.advance(SECOND * 30);
    // Nor does it stay by what it pushes at this moment.
    let request = CodeRequest::of(id, CALLBACK);
    let pairs: Vec<_> = request.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(app.relying_party().form("/par", &[], &pairs).status, 201);
    sweep(&app);
    assert_eq!(ids(&app).len(), 0);
}

#[test]
fn a_no_is_no_use() {
    let app = open();
    let (_, json) = registered(&app, &public());
    let (_, email) = app.account();
    let browser = Browser::new(&app);
    let asked = browser.get(&CodeRequest::of(text(&json, "client_id"), CALLBACK).path());
    let form = Form::of(&browser.follow(&browser.log_in(&asked, &email)));
    form.send(&browser, &[("decision", "deny")]);
    app.advance(DAY + SECOND);
    sweep(&app);
    assert_eq!(ids(&app).len(), 0);
}

#[test]
fn a_client_is_removed_or_allowed_something_and_never_both() {
    let app = open();
    let (account, _) = app.account();
    let later = app.app.clock.now().plus(DAY * 2);
    // Somebody allows it something while the sweep looks at it.
    let (_, json) = registered(&app, &web());
    let id = text(&json, "client_id");
    let begins = format!("UPDATE clients SET unused_since = NULL WHERE id = '{id}'");
    let release = app.database.hold(&begins, "COMMIT");
    let removing = {
        let app = app.app.clone();
        std::thread::spawn(move || app.db.write(move |tx| registrants::remove_unused(tx, later, 10)))
    };
    std::thread::sleep(Duration::from_millis(300));
    drop(release);
    assert_eq!(removing.join().unwrap().unwrap().removed.len(), 0);
    assert_eq!(ids(&app), [id]);
    // Both at once, again and again.
    let db = &app.app.db;
    for _ in 0..12 {
        let (_, json) = registered(&app, &web());
        let id = ClientId::parse(text(&json, "client_id")).unwrap();
        let (removed, allowed) = std::thread::scope(|scope| {
            let removing = scope.spawn(move || db.write(move |tx| registrants::remove_unused(tx, later, 10)));
            let (id, account, now) = (id.clone(), account.id, app.app.clock.now());
            let allowing = scope.spawn(move || db.write(move |tx| allow(tx, &id, account, now)));
            (removing.join().unwrap(), allowing.join().unwrap())
        });
        let is_there = app.app.db.read(|tx| clients::find(tx, &id)).unwrap().is_some();
        match (removed.map(|gone| gone.removed.len()), allowed) {
            (Ok(1), Err(Error::Conflict(_))) => assert!(!is_there),
            (Ok(0), Ok(())) => assert!(is_there),
            other => panic!("{other:?}"),
        }
    }
}

fn migrate_anew(app: &TestApp, version: &str, name: &str) {
    let backend = if app.database.url.starts_with("sqlite:") { "sqlite" } else { "postgres" };
    let down = Path::new("migrations").join(backend).join(name).join("down.sql");
    app.database.execute(&std::fs::read_to_string(down).unwrap());
    app.database.execute(&format!("DELETE FROM __diesel_schema_migrations WHERE version = '{version}'"));
    migrate::apply(&app.app.settings.database).unwrap();
}

/// A server from before the column says nothing of what people allow.
#[test]
fn what_an_older_server_let_somebody_allow_stays() {
    let app = open();
    let (account, now) = (app.account().0.id, app.app.clock.now());
    let (_, first) = registered(&app, &web());
    let (_, second) = registered(&app, &public());
    let (used, unused) = (text(&first, "client_id"), text(&second, "client_id"));
    let by_older = || {
        let (id, scope) = (ClientId::parse(used).unwrap(), Scope::from_stored("openid").unwrap());
        app.app.db.write(move |tx| consents::put(tx, (account, &id), &scope, now)).unwrap();
    };
    by_older();
    let later = now.plus(DAY * 2);
    assert_eq!(app.app.db.write(move |tx| registrants::remove_unused(tx, later, 10)).unwrap().removed.len(), 1);
    assert_eq!(ids(&app), [used], "and {unused} is gone");
    // The migration marks those alone that nobody has allowed anything.
    let (_, third) = registered(&app, &public());
    migrate_anew(&app, "20261123180000", "2026-11-23-180000_unused_clients");
    let marked = app.database.lines("SELECT id AS line FROM clients WHERE unused_since IS NOT NULL");
    assert_eq!(marked, [text(&third, "client_id")]);
}

#[test]
fn an_operators_client_is_nobodys_to_remove() {
    let app = open();
    app.client("svc", json!({ "grant_types": ["client_credentials"], "scope": "jobs", "audiences": [AUDIENCE] }));
    let secret = app.client("own", json!({ "redirect_uris": [CALLBACK], "grant_types": ["authorization_code"] }));
    assert!(secret.map(PlainSecret::new).is_some());
    app.advance(DAY * 400);
    sweep(&app);
    assert_eq!(ids(&app), ["own", "svc"]);
}

fn delete(app: &TestApp, json: &Value) {
    let path = format!("/register/{}", text(json, "client_id"));
    let token = text(json, "registration_access_token");
    assert_eq!(send(&app.relying_party(), "DELETE", &path, Some(token), &Value::Null).status, 204);
}

/// CWE-770.
#[test]
fn one_that_deletes_itself_unused_leaves_nothing_behind() {
    let app = open();
    for _ in 0..2 {
        let (_, json) = registered(&app, &web());
        let request = CodeRequest::of(text(&json, "client_id"), CALLBACK);
        let pairs: Vec<_> = request.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let proof = basic(text(&json, "client_id"), text(&json, "client_secret"));
        assert_eq!(app.relying_party().form("/par", &[("Authorization", &proof)], &pairs).status, 201);
        delete(&app, &json);
        for table in ["clients", "client_secrets", "pushed_requests", "outbox", "cutoffs"] {
            assert_eq!(app.database.lines(&format!("SELECT '{table}' AS line FROM {table}")).len(), 0, "{table}");
        }
        assert_eq!(Browser::new(&app).get(&request.path()).status, 400, "it is known no more");
    }
}

/// CWE-770.
#[test]
fn one_that_deletes_itself_used_counts_until_nothing_is_left_of_it_and_leaves_then() {
    let app = TestApp::with(&[("registration.mode", "open"), ("registration.max_clients", "1")]);
    let (_, json) = registered(&app, &public());
    let id = text(&json, "client_id");
    allowed(&app, id);
    delete(&app, &json);
    assert_eq!(app.database.lines("SELECT client_id AS line FROM consents").len(), 0, "nobody allows it anything");
    let full = || send(&app.relying_party(), "POST", "/register", None, &public()).status == 503;
    assert!(full());
    // Somebody was about to say yes.
    let (account, now) = (app.account().0.id, app.app.clock.now());
    let client_id = ClientId::parse(id).unwrap();
    app.app.db.write(move |tx| allow(tx, &client_id, account, now)).unwrap();
    app.advance(DAY * 2);
    sweep(&app);
    assert_eq!(ids(&app), [id], "its grant is here");
    app.advance(DAY * 200);
    sweep(&app);
    assert_eq!((app.database.rotations().as_str(), ids(&app).len()), ("", 0));
    assert!(!full());
}

#[test]
fn one_that_deleted_itself_at_an_older_server_leaves_too() {
    let app = open();
    let (_, deleted) = registered(&app, &public());
    let (_, used) = registered(&app, &public());
    for json in [&deleted, &used] {
        allowed(&app, text(json, "client_id"));
    }
    delete(&app, &deleted);
    // It noted nothing then.
    app.database.execute("UPDATE clients SET unused_since = NULL");
    migrate_anew(&app, "20261123220000", "2026-11-23-220000_clients_that_go");
    let marked = app.database.lines("SELECT id AS line FROM clients WHERE unused_since IS NOT NULL");
    assert_eq!(marked, [text(&deleted, "client_id")]);
}

#[test]
fn one_that_an_operator_has_taken_over_stays() {
    type TakeOver = fn(&TestApp, &str);
    let ways: [TakeOver; 3] = [
        |app, id| {
            let metadata = json!({ "grant_types": ["client_credentials"], "scope": "jobs" }).to_string();
            admin::replace(&app.app, id, ClientMetadata::parse(&metadata).unwrap().1, "test").unwrap();
        },
        |app, id| drop(admin::rotate_secret(&app.app, id, "test").unwrap()),
        |app, id| {
            admin::disable(&app.app, id, "test").unwrap();
            admin::enable(&app.app, id, "test").unwrap();
        },
    ];
    let app = open();
    let taken: Vec<String> = ways
        .iter()
        .map(|take_over| {
            let (_, json) = registered(&app, &web());
            take_over(&app, text(&json, "client_id"));
            text(&json, "client_id").to_owned()
        })
        .collect();
    app.advance(DAY * 2);
    sweep(&app);
    let left = ids(&app);
    assert!(taken.iter().all(|id| left.contains(id)), "{taken:?} {left:?}");
}

#[test]
fn one_that_something_refers_to_holds_up_no_other() {
    let app = open();
    let (_, first) = registered(&app, &public());
    app.advance(SECOND);
    registered(&app, &public());
    let (id, now) = (ClientId::parse(text(&first, "client_id")).unwrap(), app.app.clock.now());
    let device = DeviceCode {
        handle: DeviceHandle([7; 16]),
        client_id: id.clone(),
        scope: Scope::from_stored("openid").unwrap(),
        audiences: Resources::new(),
        created_at: now,
        expires_at: now.plus(DAY * 2),
        answer: Answer::None,
        grant_id: None,
    };
    let code = Digest::sha256(b"code");
    app.app.db.write(move |tx| device_codes::insert(tx, &device, &code)).unwrap();
    app.advance(DAY + SECOND);
    let now = app.app.clock.now();
    let step = || app.app.db.write(move |tx| registrants::remove_unused(tx, now, 1)).unwrap();
    assert_eq!(step(), Gone { removed: Vec::new(), seen: 1 });
    assert_eq!((step().removed.len(), step()), (1, Gone::default()));
    assert_eq!(ids(&app), [id.as_str()], "the other is gone");
    app.advance(DAY);
    sweep(&app);
    assert_eq!(ids(&app), [id.as_str()]);
    app.advance(DAY + SECOND);
    sweep(&app);
    assert_eq!(ids(&app).len(), 0, "the device waits no more");
}

#[test]
fn what_is_pushed_while_a_client_leaves_is_waited_for_and_leaves_with_it() {
    let app = open();
    let (_, json) = registered(&app, &web());
    let (id, later) = (text(&json, "client_id"), app.app.clock.now().plus(DAY * 2));
    let digest = if app.database.url.starts_with("sqlite:") { "x'07'" } else { "decode('07', 'hex')" };
    let pushes = format!(
        "INSERT INTO pushed_requests (id_digest, client_id, parameters, expires_at) VALUES ({digest}, '{id}', '', 0)"
    );
    let release = app.database.hold(&pushes, "COMMIT");
    let gone = std::thread::scope(|scope| {
        let removing = scope.spawn(|| app.app.db.write(move |tx| registrants::remove_unused(tx, later, 10)));
        std::thread::sleep(Duration::from_millis(300));
        drop(release);
        removing.join().unwrap().unwrap()
    });
    assert_eq!((gone.removed.len(), ids(&app).len()), (1, 0));
}

#[test]
fn a_clock_that_is_ahead_removes_no_client() {
    let app = open();
    registered(&app, &web());
    // The database's clock, or near enough.
    let database = Clock::system().now();
    let registered_at = |span: Duration| {
        let since = database.minus(span).as_micros();
        app.database.execute(&format!("UPDATE clients SET unused_since = {since}"));
    };
    let ahead = database.plus(DAY * 2);
    let remove = || app.app.db.write(move |tx| registrants::remove_unused(tx, ahead, 10)).unwrap();
    registered_at(DAY - Duration::from_mins(10));
    assert_eq!(remove(), Gone::default());
    registered_at(DAY + Duration::from_mins(10));
    assert_eq!(remove().removed.len(), 1);
}
