//! Signing keys when something around them is wrong.

use std::sync::Arc;
use std::time::Duration;

use countersign::admin::keys;
use countersign::app::App;
use countersign::clock::{Clock, Timestamp};
use countersign::keys::schedule::{Schedule, Step};
use countersign::keys::situation::Situation;
use countersign::store::signing_keys::{self, KeyState};

use crate::app::{TestApp, TestDatabase};
use crate::key_life::{in_state, listed, wait_for};

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
    wait_for("nothing is sent here", || app.relying_party().get("/readyz", &[]).status == 503);
}

#[test]
fn absurd_times_are_refused_and_told() {
    let app = TestApp::start();
    assert_eq!(Timestamp::from_micros(i64::MAX).to_string(), "9999-12-31T23:59:59Z");
    let schedule = app.app.key_life().schedule;
    let absurd = Schedule { retain: Duration::from_secs(u64::MAX), ..schedule };
    assert!(absurd.check().unwrap_err().to_string().contains("ten years at most"));
    let pem = countersign::keys::public_forms(&app.app.db.read(signing_keys::load_all).unwrap()[0]).unwrap().0;
    let years = Duration::from_hours(24 * 365 * 9000);
    let refused = app.app.key_life().import_public(("theirs", &pem), years, "a test", false).err().unwrap();
    assert!(refused.to_string().contains("30 days"), "{refused}");
    // A key that is here comes back under no other name.
    let again = app.app.key_life().import_public(("theirs", &pem), years / 9000 / 365, "a test", false).err().unwrap();
    assert!(again.to_string().contains("never used again"), "{again}");
}
