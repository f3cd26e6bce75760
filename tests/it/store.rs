//! The schema, and what a stolen database tells.

use std::time::Duration;

use countersign::admin::clients;
use countersign::app::{App, StartError};
use countersign::clock::{Clock, Timestamp};
use countersign::store::grants;
use countersign::store::migrate::{self, MigrateError};

use crate::app::{PASSWORD, TestApp, TestDatabase};

#[test]
fn migrations_are_shown_and_applied_once() {
    let database = TestDatabase::empty();
    let url = database.settings(&[]).database;
    let before = migrate::status(&url).unwrap();
    assert!(before.applied.is_empty() && !before.pending.is_empty());
    assert_eq!(migrate::apply(&url).unwrap(), before.pending);
    assert!(migrate::apply(&url).unwrap().is_empty());
    let after = migrate::status(&url).unwrap();
    assert_eq!((after.applied, after.pending), (before.pending, Vec::new()));
}

#[test]
fn a_database_newer_than_the_binary_is_refused() {
    let database = TestDatabase::prepared();
    database.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('29991231000000')");
    let refused = App::open(database.settings(&[]), "http://127.0.0.1".to_owned(), Clock::system()).err().unwrap();
    let StartError::Migrate(MigrateError::NewerThanBinary(version)) = &refused else { panic!("{refused}") };
    assert_eq!(version, "29991231000000");
}

#[test]
fn the_ways_down_lead_back_to_nothing() {
    let database = TestDatabase::prepared();
    let folder = if database.url.starts_with("sqlite:") { "migrations/sqlite" } else { "migrations/postgres" };
    let mut downs: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    downs.sort();
    for migration in downs.iter().rev() {
        database.execute(&std::fs::read_to_string(migration.join("down.sql")).unwrap());
    }
    database.execute("DELETE FROM __diesel_schema_migrations");
    assert_eq!(migrate::apply(&database.settings(&[]).database).unwrap().len(), downs.len());
}

#[test]
fn a_dump_of_the_database_holds_no_password_no_secret_and_no_token() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    let secret = app.confidential_client();
    let second =
        party.refresh_with("web", first.refresh_token(), &[("refresh_attempt", "attempt-canary-0001")]).tokens();
    let machine = party.client_credentials("svc", &secret, &[]).tokens();
    party.form(
        "/revoke",
        &[("Authorization", &crate::relying_party::basic("svc", &secret))],
        &[("token", &machine.access)],
    );
    let dump = app.database.dump();
    let master_key = std::fs::read_to_string(app.database.folder.path().join("master.key")).unwrap();
    let found = |needle: &[u8]| dump.windows(needle.len()).any(|window| window == needle);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert!(found(b"web") && found(b"$argon2id$"), "the dump holds what it must");
    for (what, text) in [
        ("the password", PASSWORD),
        ("the client's secret", &secret),
        ("a spent refresh token", first.refresh_token()),
        ("a live refresh token", second.refresh_token()),
        ("an access token", &first.access),
        ("a machine's access token", &machine.access),
        ("the attempt key", "attempt-canary-0001"),
        ("the master key", master_key.trim().split(' ').nth(1).unwrap()),
        ("a prefix of refresh tokens", "csr_"),
        ("a prefix of client secrets", "css_"),
        ("a PEM header", "PRIVATE KEY"),
    ] {
        assert!(!found(text.as_bytes()) && !found(hex(text.as_bytes()).as_bytes()), "{what} is in the dump");
        if let Some(bytes) =
            countersign::secret::decode_base64url(text.trim_start_matches("csr_").trim_start_matches("css_"))
        {
            let tail = &bytes[bytes.len().saturating_sub(32)..];
            assert!(bytes.len() < 16 || !found(tail) && !found(hex(tail).as_bytes()), "{what} is in the dump, decoded");
        }
    }
    let rsa_encryption = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    assert!(!found(&rsa_encryption) && !found(hex(&rsa_encryption).as_bytes()), "a PKCS#8 key is in the dump");
}

#[test]
fn whoever_has_the_database_alone_cannot_make_a_refresh_token() {
    use countersign::secret::{PurposeKey, Random};
    use countersign::token::refresh_token::RefreshToken;
    let app = TestApp::start();
    let (party, tokens) = app.log_in();
    let id = tokens.claims()["sid"].as_str().unwrap().parse().unwrap();
    let stolen = app.app.db.read(|tx| grants::find(tx, id)).unwrap().unwrap().grant;
    let forged = RefreshToken { handle: stolen.handle, generation: stolen.rotation.generation, sibling: 1 };
    let guessed = forged.seal(&[(1, PurposeKey::new(Random.bytes()))]).unwrap();
    assert_eq!(party.refresh("web", &guessed).error(), "invalid_grant");
    // The MAC key is all that was missing.
    assert_eq!(forged.seal(&app.app.secrets.load().refresh_token_mac).as_deref(), tokens.refresh.as_deref());
    party.refresh("web", tokens.refresh_token()).tokens();
}

#[test]
fn counts_and_revocations_go_when_they_can_no_longer_matter() {
    use countersign::secret::Digest;
    use countersign::store::login_attempts::{self, Throttle};
    use countersign::store::revoked_tokens;
    use std::time::Duration;
    let app = TestApp::start();
    let (now, day) = (app.app.clock.now(), Duration::from_hours(24));
    let throttle = Throttle { failures_until_wait: 5, longest_wait: Duration::from_secs(900) };
    let [failed, known, recent] = [b"failed", b"known ", b"recent"].map(|name| Digest::sha256(name));
    app.app
        .db
        .write(move |tx| {
            login_attempts::count_failure(tx, &failed, throttle, now)?;
            login_attempts::count_failure(tx, &known, throttle, now)?;
            login_attempts::count_success(tx, &known, now)?;
            login_attempts::count_failure(tx, &recent, throttle, now.plus(20 * day))?;
            revoked_tokens::insert(tx, "over", now.plus(day))?;
            revoked_tokens::insert(tx, "alive", now.plus(60 * day))
        })
        .unwrap();
    let sweep = |at: Timestamp| {
        let work = move |tx: &mut countersign::store::Write<'_>| {
            let attempts = login_attempts::remove_stale(tx, at.minus(30 * day), at.minus(100 * day), 10)?;
            Ok((attempts, revoked_tokens::remove_expired(tx, at, 10)?))
        };
        app.app.db.write(work).unwrap()
    };
    assert_eq!(sweep(now), (0, 0));
    assert_eq!(sweep(now.plus(31 * day)), (1, 1));
    assert_eq!(sweep(now.plus(31 * day)), (0, 0));
    let counts = app.app.db.read(|tx| login_attempts::find(tx, [&known, &failed])).unwrap();
    assert_eq!(counts[0].map(|count| (count.failures, count.succeeded_at)), Some((0, Some(now))));
    assert_eq!(counts[1], None);
    assert!(app.app.db.read(|tx| revoked_tokens::contains(tx, "alive")).unwrap());
    assert_eq!(sweep(now.plus(101 * day)), (2, 1));
}

#[test]
fn a_grants_row_changes_only_if_it_is_as_it_was_read() {
    use countersign::store::grants::{EndedBy, Rotation};
    let app = TestApp::start();
    let (_, tokens) = app.log_in();
    let id = tokens.claims()["sid"].as_str().unwrap().parse().unwrap();
    let now = app.app.clock.now();
    let at = |generation, siblings| Rotation { generation, winner: 1, siblings, rotated_at: now, attempt: None };
    let read_at = app.app.db.read(|tx| grants::find(tx, id)).unwrap().unwrap().read_at;
    let (soon, far) = (read_at.plus(Duration::from_mins(1)), Timestamp::from_micros(i64::MAX));
    let rotate_until = |from: u32, not_after| {
        let to = at(from + 1, 1);
        app.app.db.write(move |tx| grants::rotation::rotate(tx, (id, from), &to, far, not_after)).unwrap()
    };
    let add_until = |generation, siblings, not_after| {
        let seen = at(generation, siblings);
        app.app.db.write(move |tx| grants::rotation::add_sibling(tx, id, &seen, not_after)).unwrap()
    };
    let (rotate, add) = (|from| rotate_until(from, soon), |generation, siblings| add_until(generation, siblings, soon));
    std::thread::sleep(Duration::from_millis(2));
    assert!(!rotate_until(1, read_at), "never after its time on the database's own clock");
    assert!(!rotate(2) && rotate(1) && !rotate(1), "only from the generation that was read");
    assert!(!add_until(2, 1, read_at), "never after its time on the database's own clock");
    assert!(!add(1, 1) && !add(2, 2) && add(2, 1) && !add(2, 1), "only beside the siblings that were read");
    assert!(app.app.db.write(move |tx| grants::end(tx, id, EndedBy::Operator, now)).unwrap());
    assert!(!rotate(2) && !add(2, 2), "never once it is over");
}

#[test]
fn a_grant_is_made_only_for_the_account_that_was_checked_and_ends_with_its_credentials() {
    use countersign::id::GrantId;
    use countersign::secret::{PlainSecret, Random};
    use countersign::store::grants::Handle;
    let app = TestApp::start();
    app.public_client();
    let (account, email) = app.account();
    let made = app.relying_party().log_in("web", &email).tokens();
    let id = made.claims()["sid"].as_str().unwrap().parse().unwrap();
    let find = |id| app.app.db.read(|tx| grants::find(tx, id)).unwrap().unwrap();
    let mut grant = find(id).grant;
    let mut insert_until = |seen_version: i64, not_after| {
        grant.id = GrantId::new(app.app.clock.now(), &Random);
        grant.handle = Handle(Random.bytes());
        grant.status_position = app.app.status.take_position(&app.app.db, &app.app.clock, Random).unwrap();
        let row = grant.clone();
        let made = app.app.db.write(move |tx| grants::insert(tx, &row, seen_version, not_after)).unwrap();
        made.then_some(grant.id)
    };
    let mut insert = |seen_version: i64| insert_until(seen_version, find(id).read_at.plus(Duration::from_mins(1)));
    let before = insert(account.credentials_version).unwrap();
    let now_there = find(id).read_at;
    std::thread::sleep(Duration::from_millis(2));
    assert!(
        insert_until(account.credentials_version, now_there).is_none(),
        "never after its time on the database's own clock"
    );
    let mut insert = |seen_version: i64| insert_until(seen_version, find(id).read_at.plus(Duration::from_mins(1)));
    assert!(!find(before).credentials_changed);
    assert!(insert(account.credentials_version + 1).is_none(), "the password has changed meanwhile");
    // A log-in that reads the account just before its password changes may make its grant just after.
    let forget_the_end = "UPDATE grants SET ended_at = NULL, ended_by = NULL";
    countersign::admin::accounts::set_password(&app.app, &account, &PlainSecret::new("hunter-canary-anew"), "test")
        .unwrap();
    app.database.execute(forget_the_end);
    assert!(find(before).credentials_changed && find(id).credentials_changed);
    let refused = app.relying_party().refresh("web", made.refresh_token());
    assert_eq!(refused.error(), "invalid_grant", "a grant of the old password is over without having been ended");
    countersign::admin::accounts::disable(&app.app, account.id, "test").unwrap();
    let version =
        app.app.db.read(|tx| countersign::store::accounts::find(tx, account.id)).unwrap().unwrap().credentials_version;
    assert!(insert(version).is_none(), "the account was disabled meanwhile");
}

#[test]
fn a_grant_leaves_a_day_after_its_last_moment_ended_or_not_and_never_before() {
    let app = TestApp::start();
    let (party, over) = app.log_in();
    let log_in = || party.log_in("web", &app.account().1).tokens();
    let (ended, recent) = (log_in(), log_in());
    assert_eq!(party.revoke("web", ended.refresh_token()).status, 200);
    let now = app.app.clock.now();
    let set_end = |tokens: &crate::relying_party::Tokens, hours: u64| {
        let id = tokens.claims()["sid"].as_str().unwrap().replace('-', "");
        let id = if app.database.url.starts_with("sqlite:") { format!("X'{id}'") } else { format!("'\\x{id}'") };
        let at = now.minus(Duration::from_hours(hours)).as_micros();
        app.database.execute(&format!("UPDATE grants SET expires_at = {at} WHERE id = {id}"));
    };
    set_end(&over, 25);
    set_end(&recent, 23);
    let left = || app.database.rotations().lines().count();
    assert_eq!(left(), 3);
    let (_stop, stopped) = std::sync::mpsc::channel();
    assert!(countersign::jobs::sweep::Sweep::new(&app.app).round(&stopped));
    assert_eq!(left(), 2, "what was over for less than a day stays, and so does what was ended");
    let metrics = party.get("/metrics", &[]).body;
    assert!(metrics.contains("countersign_swept_rows_total{table=\"grants\"} 1"), "{metrics}");
}

#[test]
fn work_that_fails_or_panics_takes_nothing_of_what_shares_its_commit() {
    use countersign::store::{Error, revoked_tokens};
    let app = TestApp::start();
    let later = app.app.clock.now().plus(Duration::from_hours(1));
    let (holds, held) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let holding = app.app.clone();
    // While this one is being done, the rest gathers behind it, and on SQLite shares the commit.
    let first = std::thread::spawn(move || {
        holding.db.write(move |tx| {
            revoked_tokens::insert(tx, "first", later)?;
            holds.send(()).unwrap();
            let _ = released.lock().unwrap().recv();
            Ok(())
        })
    });
    held.recv().unwrap();
    let rest: Vec<_> = (0..12)
        .map(|nth| {
            let app = app.app.clone();
            std::thread::spawn(move || {
                app.db.write(move |tx| {
                    revoked_tokens::insert(tx, &format!("token {nth}"), later)?;
                    assert!(nth % 4 != 1, "a defect, on purpose");
                    if nth % 4 == 2 { Err(Error::Expired) } else { Ok(()) }
                })
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(200));
    drop(release);
    assert!(first.join().unwrap().is_ok());
    for (nth, work) in rest.into_iter().enumerate() {
        // On PostgreSQL a defect unwinds through its own connection, and that one is not used again.
        let outcome = work.join().unwrap_or(Err(Error::Expired));
        assert_eq!(outcome.is_ok(), nth % 4 != 1 && nth % 4 != 2, "{nth}: {outcome:?}");
        let kept = app.app.db.read(|tx| revoked_tokens::contains(tx, &format!("token {nth}"))).unwrap();
        assert_eq!(kept, outcome.is_ok(), "{nth}");
    }
    assert!(app.app.db.read(|tx| revoked_tokens::contains(tx, "first")).unwrap());
}

#[test]
fn the_end_of_a_client_looks_at_its_own_grants_alone_and_at_all_of_them() {
    let test = TestApp::start();
    test.log_in();
    test.confidential_client();
    let (far, now) = (Timestamp::from_micros(i64::MAX), test.app.clock.now());
    let end = |client: &'static str| {
        test.app.db.write(move |tx| grants::end_of_client(tx, (client, far), (&[], 1), now)).unwrap().is_some()
    };
    assert!(!end("svc"), "there is nothing to go on from");
    let live = || test.database.lines("SELECT client_id AS line FROM grants WHERE ended_at IS NULL").len();
    assert_eq!(live(), 1);
    // Whatever is noted of its use.
    test.database.execute("UPDATE clients SET unused_since = 1");
    clients::disable(&test.app, "web", "test").unwrap();
    let began = std::time::Instant::now();
    while live() > 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "its grant does not end");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(end("web"), "it is there, and over");
}
