//! Signing keys when something around them is wrong.

use std::sync::Arc;
use std::time::Duration;

use countersign::admin::{AdminError, keys};
use countersign::app::App;
use countersign::clock::{Clock, Timestamp};
use countersign::keys::life::LifeError;
use countersign::keys::schedule::{Schedule, Step};
use countersign::keys::situation::{NotNow, Situation};
use countersign::secret::{Random, encode_base64url};
use countersign::store::signing_keys::{self, KeyState};

use crate::app::{Backend, TestApp, TestDatabase, backend};
use crate::cli::{command, run};
use crate::key_life::{import, in_state, listed, openssl, wait_for};

#[test]
fn instances_that_find_no_standby_make_one_together() {
    let database = Arc::new(TestDatabase::prepared());
    database.execute("DELETE FROM signing_keys WHERE state = 'standby'");
    let open = || App::open(database.settings(&[]), "http://127.0.0.1".to_owned(), Clock::system()).unwrap();
    let instances: Vec<App> = (0..4).map(|_| open()).collect();
    let situations: Vec<Situation> = instances.iter().map(|app| app.db.read(Situation::load).unwrap()).collect();
    let steps: Vec<_> = std::thread::scope(|scope| {
        let all = instances.iter().zip(&situations);
        let steps =
            all.map(|(app, found)| scope.spawn(|| app.key_life().take_due_step(found, found.now, None).unwrap()));
        steps.collect::<Vec<_>>().into_iter().map(|step| step.join().unwrap()).collect()
    });
    assert_eq!(steps.iter().filter(|step| **step == Some(Step::Generate)).count(), 1, "{steps:?}");
    assert_eq!(in_state(&instances[0], KeyState::Standby).len(), 1);
}

#[test]
fn a_key_leaves_though_the_master_key_cannot_be_read() {
    let app = TestApp::start();
    let second = app.second_instance();
    let secret = app.confidential_client();
    let lost = in_state(&app.app, KeyState::Active).remove(0);
    let token = app.relying_party().client_credentials("svc", &secret, &[]).tokens().access;
    wait_for("the second instance knows the client", || second.app.clients.all().len() == 1);
    // The instance in question keeps its parts; only its file is away. The command has its own.
    let file = app.database.folder.path().join("master.key");
    let good = std::fs::read(&file).unwrap();
    let elsewhere = App::open(app.database.settings(&[]), app.base.clone(), Clock::system()).unwrap();
    std::fs::write(&file, "1 AAAA").unwrap();
    keys::compromise(&elsewhere, &lost, false, "a test").unwrap();
    for instance in [&app, &second] {
        wait_for("it leaves", || !listed(instance).contains(&lost));
        let answer = instance.relying_party().introspect("svc", &secret, &token);
        assert_eq!(answer.json()["active"], false);
        instance.relying_party().client_credentials("svc", &secret, &[]).tokens();
    }
    // Not even with keys that do not open: what has left is gone, and nothing signs that must not.
    std::fs::write(&file, good).unwrap();
    let next = in_state(&app.app, KeyState::Active).remove(0);
    app.database.execute("UPDATE signing_keys SET wrapped = SUBSTR(wrapped, 2) WHERE state = 'standby'");
    app.database.execute("UPDATE signing_keys SET state = 'compromised', wrapped = NULL WHERE state = 'active'");
    app.database.execute("UPDATE epochs SET value = value + 1 WHERE name = 'signing_keys'");
    wait_for("it leaves too", || !listed(&app).contains(&next));
    assert_eq!(app.relying_party().client_credentials("svc", &secret, &[]).status, 503);
}

#[test]
fn a_row_that_does_not_open_keeps_no_lost_key_alive() {
    let app = TestApp::start();
    let lost = in_state(&app.app, KeyState::Active).remove(0);
    let standby = in_state(&app.app, KeyState::Standby).remove(0);
    app.database.execute("UPDATE signing_keys SET wrapped = SUBSTR(wrapped, 2) WHERE state = 'standby'");
    let open = || App::open_for_command(app.database.settings(&[]), app.base.clone());
    let command = open().unwrap();
    assert_eq!(keys::list(&command, false).unwrap().1.len(), 2);
    let ended = keys::compromise(&command, &lost, false, "a test").unwrap();
    assert!(ended.signs_now.is_some_and(|kid| kid != standby), "a fresh key signs");
    keys::compromise(&command, &standby, false, "a test").unwrap();
    app.app.reload_keys().unwrap();
    assert!(!listed(&app).contains(&lost) && !listed(&app).contains(&standby));
    // With no key at all that opens the master key is another one, and commands do nothing under it.
    app.database.execute("UPDATE signing_keys SET wrapped = SUBSTR(wrapped, 2) WHERE wrapped IS NOT NULL");
    assert!(open().is_err());
}

#[test]
fn an_instance_that_may_not_sign_is_not_ready() {
    let app = TestApp::start();
    wait_for("it is ready", || app.relying_party().get("/readyz", &[]).status == 200);
    app.database.execute("UPDATE signing_keys SET wrapped = SUBSTR(wrapped, 2)");
    app.database.execute("UPDATE epochs SET value = value + 1 WHERE name = 'signing_keys'");
    wait_for("it is stale", || app.relying_party().get("/readyz", &[]).json()["signing_keys"] == "stale");
    assert_eq!(app.relying_party().get("/readyz", &[]).status, 200);
    app.app.clock.advance(Duration::from_mins(1));
    wait_for("nothing is sent here, though the database is there", || {
        let answer = app.relying_party().get("/readyz", &[]);
        answer.status == 503 && answer.json()["database"] == "up"
    });
}

#[test]
fn absurd_times_are_refused_and_told() {
    let app = TestApp::start();
    assert_eq!(Timestamp::from_micros(i64::MAX).to_string(), "9999-12-31T23:59:59Z");
    let schedule = app.app.key_life().schedule;
    let absurd = Schedule { retain: Duration::from_secs(u64::MAX), ..schedule };
    assert!(absurd.check().unwrap_err().to_string().contains("ten years at most"));
    let pem = countersign::keys::public_forms(&app.app.db.read(signing_keys::load_published).unwrap()[0]).unwrap().0;
    let years = Duration::from_hours(24 * 365 * 9000);
    let refused = app.app.key_life().import_public(("theirs", &pem), years, "a test", false).err().unwrap();
    assert!(refused.to_string().contains("30 days"), "{refused}");
    // A key that is here comes back under no other name.
    let again = app.app.key_life().import_public(("theirs", &pem), years / 9000 / 365, "a test", false).err().unwrap();
    assert!(again.to_string().contains("never used again"), "{again}");
}

#[test]
fn a_compromised_key_does_not_come_back_with_an_older_database() {
    let app = TestApp::start();
    let secret = app.confidential_client();
    let lost = in_state(&app.app, KeyState::Active).remove(0);
    let standby = in_state(&app.app, KeyState::Standby).remove(0);
    app.database
        .execute("CREATE TABLE backup AS SELECT * FROM signing_keys; CREATE TABLE old_epochs AS SELECT * FROM epochs");
    keys::compromise(&app.app, &lost, false, "a test").unwrap();
    wait_for("it leaves", || !listed(&app).contains(&lost));
    app.database
        .execute("CREATE TABLE newer AS SELECT * FROM signing_keys; CREATE TABLE new_epochs AS SELECT * FROM epochs");
    let restore = "DELETE FROM signing_keys; INSERT INTO signing_keys SELECT * FROM backup; \
                   DELETE FROM epochs; INSERT INTO epochs SELECT * FROM old_epochs";
    app.database.execute(restore);
    wait_for("it is seen", || app.relying_party().get("/readyz", &[]).json()["signing_keys"] == "stale");
    let refused = app.app.reload_keys().unwrap_err().to_string();
    assert!(refused.contains(&lost), "{refused}");
    assert!(!listed(&app).contains(&lost));
    // The right database comes back: nothing in it has changed since it was last seen.
    app.database.execute("CREATE TABLE older AS SELECT * FROM signing_keys");
    app.database.execute("DELETE FROM signing_keys; INSERT INTO signing_keys SELECT * FROM newer");
    app.database.execute("DELETE FROM epochs; INSERT INTO epochs SELECT * FROM new_epochs");
    wait_for("all is as it was", || {
        let ready = app.relying_party().get("/readyz", &[]).json()["signing_keys"] == "up";
        ready && listed(&app).contains(&standby) && listed(&app).len() == 2
    });
    app.database.execute("DELETE FROM signing_keys; INSERT INTO signing_keys SELECT * FROM older");
    app.database.execute("UPDATE epochs SET value = value - 1");
    wait_for("it is seen again", || app.relying_party().get("/readyz", &[]).json()["signing_keys"] == "stale");
    // Though no load succeeds, what is compromised meanwhile leaves.
    keys::compromise(&app.app, &standby, false, "a test").unwrap();
    wait_for("it leaves too", || app.relying_party().get("/jwks.json", &[]).status == 503);
    let ended = keys::compromise(&app.app, &lost, false, "a test").unwrap();
    wait_for("all is well", || app.relying_party().get("/readyz", &[]).json()["signing_keys"] == "up");
    let token = app.relying_party().client_credentials("svc", &secret, &[]).tokens();
    assert_eq!(token.jose_header()["kid"].as_str(), ended.signs_now.as_deref());
}

#[test]
fn a_row_under_a_master_key_that_was_given_up_is_refused() {
    let app = TestApp::start();
    app.database.execute("CREATE TABLE backup AS SELECT * FROM signing_keys");
    wait_for("the master key changes", || keys::rewrap(&app.app, false, "a test").is_ok());
    let put_back = "UPDATE signing_keys SET key_version = 1, \
                    wrapped = (SELECT wrapped FROM backup WHERE backup.kid = signing_keys.kid) WHERE state = 'standby'";
    app.database.execute(put_back);
    let refused = app.app.reload_keys().unwrap_err().to_string();
    assert!(refused.contains("under version 1 of the master key and others are not"), "{refused}");
    let refused = keys::rewrap(&app.app, false, "a test").err().unwrap().to_string();
    assert!(refused.contains("and others are not"), "a row that somebody else wrote does not become ours: {refused}");
    app.database.execute(&put_back.replace(" WHERE state = 'standby'", ""));
    let refused = app.app.reload_keys().unwrap_err().to_string();
    assert!(refused.contains("under version 1 of the master key, which was given up"), "all of them: {refused}");
    keys::rewrap(&app.app, false, "a test").unwrap();
    app.app.reload_keys().unwrap();
    // Nor does it sign when the active key is lost.
    app.database.execute(put_back);
    let active = in_state(&app.app, KeyState::Active).remove(0);
    let standby = in_state(&app.app, KeyState::Standby).remove(0);
    let ended = keys::compromise(&app.app, &active, false, "a test").unwrap();
    assert!(ended.signs_now.is_some_and(|kid| kid != standby), "a fresh key signs");
    keys::compromise(&app.app, &standby, false, "a test").unwrap();
    app.app.reload_keys().unwrap();
}

#[test]
fn an_ended_key_that_cannot_be_read_keeps_nothing_from_being_done() {
    let app = TestApp::start();
    let lost = in_state(&app.app, KeyState::Active).remove(0);
    app.database.execute(
        "INSERT INTO signing_keys (kid, position, state, origin, modulus, exponent, wrapped, key_version, published_at, \
         longest_life) SELECT 'old', 99, 'retired', origin, modulus, exponent, NULL, 300, published_at, -1 \
         FROM signing_keys WHERE state = 'active'",
    );
    app.app.reload_keys().unwrap();
    let next = keys::compromise(&app.app, &lost, false, "a test").unwrap().signs_now.unwrap();
    wait_for("it leaves", || !listed(&app).contains(&lost));
    let made = keys::generate(&app.app, false, "a test").unwrap().unwrap();
    // Nor does one that is published.
    app.database.execute(&format!("UPDATE signing_keys SET key_version = 300 WHERE kid = '{made}'"));
    let odd = "UPDATE signing_keys SET key_version = 7 WHERE state = 'standby' AND key_version <> 300";
    app.database.execute(odd);
    let fresh = keys::compromise(&app.app, &next, false, "a test").unwrap().signs_now.unwrap();
    wait_for("it leaves too", || !listed(&app).contains(&next));
    for standby in app.database.lines("SELECT kid AS line FROM signing_keys WHERE state = 'standby'") {
        keys::compromise(&app.app, &standby, false, "a test").unwrap();
    }
    wait_for("all is well", || listed(&app).contains(&fresh));
    assert!(!listed(&app).contains(&made));
    // With no row at all that can be read a command still ends them, and takes none for a new beginning.
    let file = app.database.folder.path().join("master.key");
    let good = std::fs::read(&file).unwrap();
    app.database.execute("UPDATE signing_keys SET key_version = 300");
    std::fs::remove_file(&file).unwrap();
    let open = || App::open_for_command(app.database.settings(&[]), app.base.clone());
    assert!(open().is_err() && !file.exists(), "no master key is made in place of one that is away");
    std::fs::write(&file, good).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let ended = keys::compromise(&open().unwrap(), &fresh, false, "a test").unwrap();
    assert!(ended.was == KeyState::Active && ended.signs_now.is_some_and(|kid| kid != fresh));
}

#[test]
fn a_standby_that_does_not_work_never_signs() {
    let app = TestApp::start();
    let active = in_state(&app.app, KeyState::Active).remove(0);
    let standby = in_state(&app.app, KeyState::Standby).remove(0);
    let ends = if backend() == Backend::Sqlite { "X'01'" } else { "'\\x01'::bytea" };
    app.database.execute(&format!("UPDATE signing_keys SET modulus = modulus || {ends} WHERE state = 'standby'"));
    assert!(keys::rotate(&app.app, None, keys::Run { force: true, dry_run: false }, "a test").is_err());
    assert_eq!(in_state(&app.app, KeyState::Active), [active.as_str()]);
    let ended = keys::compromise(&app.app, &active, false, "a test").unwrap();
    assert!(ended.signs_now.is_some_and(|kid| kid != standby), "a fresh key signs");
}

#[test]
fn a_key_that_is_made_during_a_rewrap_is_not_left_out() {
    let app = TestApp::start();
    let old = app.app.key_life();
    countersign::keys::add_master_key_version(&app.database.folder.path().join("master.key"), 1, &Random).unwrap();
    app.app.reload_master_key().unwrap();
    let late = "INSERT INTO signing_keys (kid, position, state, origin, modulus, exponent, wrapped, key_version, published_at, \
                longest_life) SELECT 'late', 99, state, origin, modulus, exponent, wrapped, key_version, published_at, \
                longest_life FROM signing_keys WHERE state = 'standby'";
    let held = app.database.hold("UPDATE epochs SET value = value", &format!("{late}; COMMIT"));
    std::thread::scope(|scope| {
        let rewrap = scope.spawn(|| app.app.key_life().rewrap("a test"));
        std::thread::sleep(Duration::from_millis(500));
        drop(held);
        let refused = rewrap.join().unwrap().err().unwrap();
        assert!(matches!(&refused, LifeError::NotNow(NotNow::Otherwise { kid }) if kid == "late"), "{refused}");
    });
    app.database.execute("DELETE FROM signing_keys WHERE kid = 'late'");
    app.app.key_life().rewrap("a test").unwrap();
    assert!(old.generate("a test").is_err(), "none is made under a version that is not in force");
}

#[test]
fn silence_counts_though_another_step_comes_first() {
    let app = TestApp::start();
    let standby = in_state(&app.app, KeyState::Standby).remove(0);
    keys::rotate(&app.app, None, keys::Run { force: true, dry_run: false }, "a test").unwrap();
    let next = in_state(&app.app, KeyState::Standby).remove(0);
    assert_eq!(in_state(&app.app, KeyState::Active), [standby]);
    let (day, database) = (24 * 3600 * 1_000_000_u64, app.database.clone());
    drop(app);
    database.execute(&format!(
        "UPDATE signing_keys SET published_at = published_at - 3 * {day}, activated_at = activated_at - 3 * {day}, \
         retiring_at = retiring_at - 3 * {day}; UPDATE instances SET seen_at = seen_at - 3 * {day}"
    ));
    let app = TestApp::on(database, Clock::system(), &[]);
    assert_eq!(in_state(&app.app, KeyState::Active), [next]);
    assert!(in_state(&app.app, KeyState::Retiring).len() == 1, "what retired before has left");
}

#[test]
fn another_issuers_key_is_published_and_says_nothing_here() {
    let app = TestApp::start();
    let secret = app.confidential_client();
    let file = app.database.folder.path().join("theirs.pem");
    let path = file.to_str().unwrap();
    let token = app.relying_party().client_credentials("svc", &secret, &[]).tokens().access;
    let claims = token.split('.').nth(1).unwrap();
    let theirs = |kid: &str| {
        let header = encode_base64url(format!(r#"{{"typ":"at+jwt","alg":"RS256","kid":"{kid}"}}"#).as_bytes());
        let (input, output) = (file.with_extension("in"), file.with_extension("out"));
        std::fs::write(&input, format!("{header}.{claims}")).unwrap();
        openssl(&["dgst", "-sha256", "-sign", path, "-out", output.to_str().unwrap(), input.to_str().unwrap()]);
        format!("{header}.{claims}.{}", encode_base64url(&std::fs::read(&output).unwrap()))
    };
    let introspect = |token: &str| app.relying_party().introspect("svc", &secret, token).json()["active"].clone();
    std::fs::write(&file, openssl(&["genrsa", "2048"])).unwrap();
    let public = openssl(&["pkey", "-in", path, "-pubout"]);
    let hour = Duration::from_hours(1);
    app.app.key_life().import_public(("theirs", &public), hour, "a test", false).unwrap();
    wait_for("it is published", || listed(&app).contains(&"theirs".to_owned()));
    assert_eq!(introspect(&token), true);
    assert_eq!(introspect(&theirs("theirs")), false);
    // The same with a key of ours is a good token: it is the key that counts.
    std::fs::write(&file, openssl(&["genrsa", "2048"])).unwrap();
    let ours = import(&app, &std::fs::read_to_string(&file).unwrap()).unwrap();
    wait_for("it is published", || listed(&app).contains(&ours));
    assert_eq!(introspect(&theirs(&ours)), true);
}

#[test]
fn a_command_fails_when_an_instance_does_not_follow() {
    let app = TestApp::on(Arc::new(TestDatabase::prepared()), Clock::system(), &[]);
    let id = if backend() == Backend::Sqlite { "x'00'" } else { "'\\x00'" };
    app.database.execute(&format!(
        "INSERT INTO instances (id, seen_at, signing_keys_epoch, master_key_version, master_key_check) \
         SELECT {id}, seen_at + 50000000, 0, 1, 0 FROM instances LIMIT 1"
    ));
    let lost = in_state(&app.app, KeyState::Active).remove(0);
    let key_file = app.database.folder.path().join("master.key");
    let mut compromise =
        command(app.database.folder.path(), Some(&app.database), &["--json", "keys", "compromise", &lost]);
    compromise.env("COUNTERSIGN__KEYS__MASTER_KEY_FILE", key_file);
    let output = run(compromise, "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("1 of 2"), "{said}");
    let row: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&row["instances_following"], &row["instances_live"]), (&1.into(), &2.into()));
    assert!(!listed(&app).contains(&lost), "where it can it is in force");
}

#[test]
fn a_master_key_from_the_settings_serves_and_is_never_shown() {
    let database = Arc::new(TestDatabase::prepared());
    let file = database.folder.path().join("master.key");
    let line = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let app = TestApp::on(database, Clock::system(), &[("keys.master_key", line.trim())]);
    let secret = app.confidential_client();
    app.relying_party().client_credentials("svc", &secret, &[]).tokens();
    let refused = keys::rewrap(&app.app, false, "a test").err().unwrap();
    assert!(matches!(refused, AdminError::MasterKeyIsASetting { version: 2 }), "{refused}");
    assert!(!file.exists());
    let mut check = command(app.database.folder.path(), Some(&app.database), &["config", "check", "--json"]);
    check.env("COUNTERSIGN__KEYS__MASTER_KEY", line.trim());
    let output = run(check, "");
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("master_key") && !said.contains(line.trim().split(' ').nth(1).unwrap()), "{said}");
}

#[test]
fn an_epoch_never_comes_twice() {
    let app = TestApp::start();
    let epoch =
        || app.database.lines("SELECT CAST(value AS TEXT) AS line FROM epochs WHERE name = 'signing_keys'").remove(0);
    let before = epoch();
    let change = || {
        keys::generate(&app.app, false, "a test").unwrap();
        epoch()
    };
    let seen = change();
    app.database.execute(&format!("UPDATE epochs SET value = {before} WHERE name = 'signing_keys'"));
    assert_ne!(change(), seen, "the same change to a database that was put back");
}
