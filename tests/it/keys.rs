//! Keys at first start and at rest.

use std::sync::Arc;
use std::time::Duration;

use countersign::app::{App, StartError};
use countersign::clock::Clock;
use countersign::keys::{KeysError, MasterKeyError, TokenType};

use crate::app::{TestApp, TestDatabase};

fn open(database: &TestDatabase) -> Result<App, StartError> {
    App::open(database.settings(&[]), "http://127.0.0.1".to_owned(), Clock::system())
}

fn kids(app: &App) -> Vec<(String, &'static str)> {
    app.keyring.list().into_iter().map(|key| (key.kid, key.state.as_str())).collect()
}

#[test]
fn the_first_start_makes_two_keys_and_later_ones_find_them() {
    let database = TestDatabase::empty();
    let first = kids(&open(&database).unwrap());
    assert_eq!(first.iter().map(|(_, state)| *state).collect::<Vec<_>>(), ["active", "standby"]);
    assert_eq!(kids(&open(&database).unwrap()), first);
}

#[test]
fn instances_that_start_at_once_on_an_empty_database_agree() {
    let database = Arc::new(TestDatabase::empty());
    let starters: Vec<_> = (0..4)
        .map(|_| {
            let database = database.clone();
            std::thread::spawn(move || kids(&open(&database).unwrap()))
        })
        .collect();
    let seen: Vec<_> = starters.into_iter().map(|starter| starter.join().unwrap()).collect();
    assert!(seen.iter().all(|kids| *kids == seen[0] && kids.len() == 2), "{seen:?}");
}

#[test]
fn larger_keys_by_setting() {
    let database = TestDatabase::empty();
    let settings = database.settings(&[("keys.rsa_bits", "3072")]);
    let app = App::open(settings, "http://127.0.0.1".to_owned(), Clock::system()).unwrap();
    assert!(app.keyring.list().iter().all(|key| key.modulus.len() == 384));
    app.keyring
        .sign(TokenType::AccessToken, &serde_json::json!({"x": 1}), Duration::from_secs(1), app.clock.monotonic())
        .unwrap();
}

#[test]
fn another_master_key_or_none_is_refused() {
    let database = TestDatabase::prepared();
    let path = database.folder.path().join("master.key");
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(open(&database), Err(StartError::MasterKey(MasterKeyError::Lost { .. }))));
    assert!(!path.exists(), "none is made where one was lost");
    countersign::keys::create_master_key(&path, &countersign::secret::Random).unwrap();
    let error = open(&database).err().unwrap();
    assert!(matches!(error, StartError::Keys(KeysError::WrongMasterKey { .. })), "{error}");
}

#[test]
fn a_private_half_in_another_row_or_with_a_flipped_bit_is_refused() {
    let swap =
        "UPDATE signing_keys SET wrapped = (SELECT k.wrapped FROM signing_keys k WHERE k.state <> signing_keys.state)";
    let shorten = "UPDATE signing_keys SET wrapped = SUBSTR(wrapped, 2) WHERE state = 'standby'";
    for damage in [swap, shorten] {
        let database = TestDatabase::prepared();
        database.execute(damage);
        let error = open(&database).err().unwrap();
        assert!(matches!(error, StartError::Keys(KeysError::WrongMasterKey { .. })), "{damage}: {error}");
    }
    let database = TestDatabase::prepared();
    database.execute("UPDATE signing_keys SET modulus = SUBSTR(modulus, 2) WHERE state = 'active'");
    let error = open(&database).err().unwrap();
    assert!(matches!(error, StartError::Keys(KeysError::Unusable { .. })), "{error}");
}

#[test]
fn a_key_that_someone_else_put_in_the_database_is_not_published() {
    let app = TestApp::start();
    let before = app.relying_party().get("/jwks.json", &[]).body;
    let foreign = "INSERT INTO signing_keys (kid, position, state, origin, modulus, exponent, wrapped, key_version, published_at, \
                   longest_life) \
                   SELECT 'foreign', 99, 'retiring', 'imported', modulus, exponent, NULL, 1, 0, 0 FROM signing_keys WHERE state = 'standby'";
    app.database.execute(foreign);
    assert!(app.app.reload_keys().is_err());
    assert_eq!(app.relying_party().get("/jwks.json", &[]).body, before);
    assert!(open(&app.database).is_err());
}

#[test]
fn a_key_that_cannot_be_loaded_later_leaves_the_old_ones_in_use() {
    let app = TestApp::start();
    let secret = app.confidential_client();
    app.database.execute("UPDATE signing_keys SET wrapped = SUBSTR(wrapped, 2)");
    assert!(app.app.reload_keys().is_err());
    app.relying_party().client_credentials("svc", &secret, &[]).tokens();
    // The loop says so as soon as it is told that there are newer ones.
    app.database.execute("UPDATE epochs SET value = value + 1 WHERE name = 'signing_keys'");
    let noticed = (0..40).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        app.relying_party().get("/readyz", &[]).json()["signing_keys"] == "stale"
    });
    assert!(noticed);
    app.relying_party().client_credentials("svc", &secret, &[]).tokens();
}
