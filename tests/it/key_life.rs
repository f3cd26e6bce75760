//! Signing keys from birth to end, on real databases. Time passes by moving the instants in the rows back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::admin::{AdminError, keys};
use countersign::app::App;
use countersign::clock::Clock;
use countersign::keys::life::LifeError;
use countersign::keys::situation::NotNow;
use countersign::keys::{ImportError, KeysError, MasterKeyError, TokenType};
use countersign::store::signing_keys::{self, KeyState, StoredKey};
use serde_json::json;

use crate::app::{AUDIENCE, Backend, TestApp, TestDatabase, backend};

const FORCED: keys::Run = keys::Run { force: true, dry_run: false };
const UNFORCED: keys::Run = keys::Run { force: false, dry_run: false };

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Lets time pass for the keys in those states.
pub fn pass(database: &TestDatabase, span: Duration, states: &str) {
    let micros = span.as_micros();
    database.execute(&format!(
        "UPDATE signing_keys SET published_at = published_at - {micros}, activated_at = activated_at - {micros}, \
         retiring_at = retiring_at - {micros} WHERE state IN ({states})"
    ));
    database.execute("UPDATE epochs SET value = value + 1 WHERE name = 'signing_keys'");
}

fn all(app: &App) -> Vec<StoredKey> {
    app.db.read(|tx| signing_keys::load_readable(tx, &KeyState::ALL)).unwrap().keys
}

pub fn in_state(app: &App, state: KeyState) -> Vec<String> {
    all(app).into_iter().filter(|key| key.state == state).map(|key| key.kid).collect()
}

pub fn listed(app: &TestApp) -> Vec<String> {
    let jwks = app.relying_party().get("/jwks.json", &[]).json();
    jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// Waits for what a server does within seconds.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(20), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn token(app: &TestApp, secret: &str) -> (String, String) {
    let tokens = app.relying_party().client_credentials("svc", secret, &[]).tokens();
    (tokens.jose_header()["kid"].as_str().unwrap().to_owned(), tokens.access.clone())
}

fn is_active(app: &TestApp, secret: &str, token: &str) -> bool {
    app.relying_party().introspect("svc", secret, token).json()["active"] == true
}

#[test]
fn a_key_signs_when_its_turn_comes_and_leaves_when_no_token_of_it_is_alive() {
    let app = TestApp::on(Arc::new(TestDatabase::prepared()), Clock::system(), &[]);
    let secret = app.confidential_client();
    let (first, old_token) = token(&app, &secret);
    let standby = in_state(&app.app, KeyState::Standby).remove(0);
    assert_eq!(listed(&app), [first.clone(), standby.clone()]);
    // Its turn is over, but the standby was published a moment ago.
    pass(&app.database, 90 * DAY, "'active'");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(token(&app, &secret).0, first);
    pass(&app.database, DAY, "'standby'");
    wait_for("the standby signs", || token(&app, &secret).0 == standby);
    let now_listed = listed(&app);
    assert_eq!(now_listed[..2], [first.clone(), standby.clone()]);
    assert_eq!(now_listed.len(), 3, "a new one stands by");
    assert!(is_active(&app, &secret, &old_token), "what the first signed is good");
    // A few seconds short of its time it is still there.
    pass(&app.database, DAY - Duration::from_secs(30), "'retiring'");
    std::thread::sleep(Duration::from_secs(2));
    assert!(listed(&app).contains(&first));
    pass(&app.database, Duration::from_secs(31), "'retiring'");
    wait_for("the first leaves", || !listed(&app).contains(&first));
    let retired = all(&app.app).into_iter().find(|key| key.kid == first).unwrap();
    assert_eq!((retired.state, retired.wrapped), (KeyState::Retired, None), "its private half is destroyed");
    assert!(!is_active(&app, &secret, &old_token), "a retired key verifies nothing");
    let seen = app.database.lines("SELECT event AS line FROM audit_events");
    assert!(seen.contains(&"key_rotated".to_owned()) && seen.contains(&"key_retired".to_owned()), "{seen:?}");
}

#[test]
fn a_standby_that_caches_may_lack_does_not_sign_unless_forced() {
    let app = TestApp::start();
    let standby = in_state(&app.app, KeyState::Standby).remove(0);
    let refused = keys::rotate(&app.app, None, UNFORCED, "a test").err().unwrap();
    let AdminError::Keys(LifeError::NotNow(NotNow::NotYetKnown { kid, safe_from })) = &refused else {
        panic!("{refused}")
    };
    let published_at = all(&app.app)[1].published_at;
    assert_eq!((kid, *safe_from), (&standby, published_at.plus(DAY)));
    let planned = keys::rotate(&app.app, None, keys::Run { force: true, dry_run: true }, "a test").unwrap();
    assert!(planned.reject.iter().any(|(name, span)| *name == "Istio" && *span == Some(Duration::from_mins(26))));
    assert_eq!(in_state(&app.app, KeyState::Standby), std::slice::from_ref(&standby), "a dry run changes nothing");
    keys::rotate(&app.app, None, FORCED, "a test").unwrap();
    assert_eq!(in_state(&app.app, KeyState::Active), [standby]);
    let unknown = keys::rotate(&app.app, Some("../../etc/passwd"), FORCED, "a test").err().unwrap();
    assert!(matches!(unknown, AdminError::NotFound(_)), "{unknown}");
}

#[test]
fn no_key_signs_before_every_instance_publishes_it() {
    let app = TestApp::start();
    pass(&app.database, DAY, "'standby'");
    let id = if backend() == Backend::Sqlite { "x'00000000000000000000000000000001'" } else { "'\\x01'" };
    let now =
        i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros()).unwrap();
    app.database.execute(&format!(
        "INSERT INTO instances (id, seen_at, signing_keys_epoch, master_key_version, master_key_check) VALUES ({id}, {now}, 0, \
         1, 0)"
    ));
    wait_for("this instance follows", || {
        let refused = keys::rotate(&app.app, None, keys::Run { force: false, dry_run: true }, "a test").err();
        matches!(refused, Some(AdminError::Keys(LifeError::NotNow(NotNow::NotYetPublished { lagging: 1, live: 2 }))))
    });
    // One that was not there for a minute signs nothing and is not waited for.
    app.database.execute(&format!("UPDATE instances SET seen_at = {} WHERE id = {id}", now - 61_000_000));
    keys::rotate(&app.app, None, UNFORCED, "a test").unwrap();
}

#[test]
fn instances_that_rotate_at_once_leave_one_active_key() {
    let database = Arc::new(TestDatabase::prepared());
    pass(&database, DAY, "'standby'");
    let open = || App::open(database.settings(&[]), "http://127.0.0.1".to_owned(), Clock::system()).unwrap();
    let instances: Vec<App> = (0..4).map(|_| open()).collect();
    for round in 0_usize..10 {
        let standby = in_state(&instances[0], KeyState::Standby).remove(0);
        let won: usize = std::thread::scope(|scope| {
            let rotate = |app| {
                let standby = standby.clone();
                scope.spawn(move || App::key_life(app).rotate(&standby, "a test", false).is_ok())
            };
            let rotating: Vec<_> = instances.iter().map(rotate).collect();
            rotating.into_iter().map(|one| usize::from(one.join().unwrap())).sum()
        });
        assert_eq!(won, 1, "round {round}");
        assert_eq!(in_state(&instances[0], KeyState::Active), [standby]);
        assert_eq!(in_state(&instances[0], KeyState::Standby).len(), 1);
        assert_eq!(all(&instances[0]).len(), 3 + round, "one key was made");
        pass(&database, 2 * DAY, "'standby', 'retiring'");
        let situation = instances[0].db.read(countersign::keys::situation::Situation::load).unwrap();
        while instances[0].key_life().take_due_step(&situation, situation.now, None).unwrap().is_some() {}
    }
}

#[test]
fn what_operators_do_at_once_is_done_whole_or_not_at_all() {
    let database = Arc::new(TestDatabase::prepared());
    let open = || App::open(database.settings(&[]), "http://127.0.0.1".to_owned(), Clock::system()).unwrap();
    let apps: Vec<App> = (0..4).map(|_| open()).collect();
    for round in 0..10 {
        let active = in_state(&apps[0], KeyState::Active).remove(0);
        let standby = in_state(&apps[0], KeyState::Standby).remove(0);
        let lost = if round % 2 == 0 { &active } else { &standby };
        let [rotated, ended, made] = std::thread::scope(|scope| {
            let rotating = scope.spawn(|| apps[0].key_life().rotate(&standby, "a test", true).is_ok());
            let ending = scope.spawn(|| apps[1].key_life().compromise(lost, "a test").is_ok());
            let making = scope.spawn(|| apps[2].key_life().generate("a test").is_ok());
            [rotating.join().unwrap(), ending.join().unwrap(), making.join().unwrap()]
        });
        assert!(rotated || ended || made, "round {round}: somebody gets on");
        let after = all(&apps[3]);
        let state = |kid: &str| after.iter().find(|key| key.kid == kid).unwrap().state;
        assert_eq!(in_state(&apps[3], KeyState::Active).len(), 1, "round {round}");
        assert_eq!(ended, state(lost) == KeyState::Compromised, "round {round}: it is as it was said");
        assert!(after.iter().all(|key| key.state.is_published() == key.wrapped.is_some()), "round {round}");
        apps[3].reload_keys().unwrap();
        for kid in
            in_state(&apps[3], KeyState::Retiring).iter().chain(&in_state(&apps[3], KeyState::Standby).split_off(1))
        {
            apps[3].key_life().compromise(kid, "a test").unwrap();
        }
    }
}

#[test]
fn a_compromised_key_is_gone_everywhere_within_seconds() {
    let app = TestApp::start();
    let second = app.second_instance();
    let secret = app.confidential_client();
    wait_for("the second instance knows the client", || second.app.clients.all().len() == 1);
    let (first, old_token) = token(&app, &secret);
    let standby = in_state(&app.app, KeyState::Standby).remove(0);
    let planned = keys::compromise(&app.app, &first, true, "a test").unwrap();
    assert_eq!(planned.signs_now.as_ref(), Some(&standby));
    assert_eq!(in_state(&app.app, KeyState::Active), std::slice::from_ref(&first), "a dry run changes nothing");
    keys::compromise(&app.app, &first, false, "a test").unwrap();
    for instance in [&app, &second] {
        wait_for("it is gone", || !listed(instance).contains(&first));
        assert_eq!(token(instance, &secret).0, standby, "the standby signs");
        assert!(!is_active(instance, &secret, &old_token));
    }
    let ended = all(&app.app).into_iter().find(|key| key.kid == first).unwrap();
    assert_eq!((ended.state, ended.wrapped), (KeyState::Compromised, None));
    assert_eq!(listed(&app).len(), 2, "a new one stands by");
    let again = keys::compromise(&app.app, &first, false, "a test").err().unwrap();
    assert!(matches!(again, AdminError::NotFound(_)), "{again}");
    // A standby may be lost too, and the last one is replaced.
    let standby = in_state(&app.app, KeyState::Standby).remove(0);
    keys::compromise(&app.app, &standby, false, "a test").unwrap();
    assert_eq!(in_state(&app.app, KeyState::Standby).len(), 1);
    app.database.execute("DELETE FROM signing_keys WHERE state = 'standby'");
    let active = in_state(&app.app, KeyState::Active).remove(0);
    let ended = keys::compromise(&app.app, &active, false, "a test").unwrap();
    assert_eq!(in_state(&app.app, KeyState::Active), [ended.signs_now.unwrap()], "without a standby a fresh key signs");
}

#[test]
fn an_instance_out_of_touch_for_a_minute_stops_signing() {
    let app = TestApp::start();
    let secret = app.confidential_client();
    token(&app, &secret);
    let sign = || app.app.keyring.sign(TokenType::AccessToken, &json!({}), HOUR, app.app.clock.monotonic());
    app.app.keyring.note_life(&app.app.db, HOUR).unwrap();
    app.app.clock.advance(Duration::from_secs(59));
    sign().unwrap();
    app.app.clock.advance(Duration::from_secs(60));
    assert!(matches!(sign(), Err(KeysError::Unconfirmed)));
    wait_for("the next look confirms", || sign().is_ok());
    token(&app, &secret);
}

#[test]
fn an_instance_that_cannot_load_the_newest_keys_stops_signing() {
    let app = TestApp::start();
    let secret = app.confidential_client();
    token(&app, &secret);
    app.database.execute("UPDATE signing_keys SET wrapped = SUBSTR(wrapped, 2)");
    app.database.execute("UPDATE epochs SET value = value + 1 WHERE name = 'signing_keys'");
    wait_for("it notices", || app.relying_party().get("/readyz", &[]).json()["signing_keys"] == "stale");
    token(&app, &secret);
    app.app.clock.advance(Duration::from_mins(1));
    std::thread::sleep(Duration::from_secs(2));
    let refused = app.relying_party().client_credentials("svc", &secret, &[]);
    assert_eq!((refused.status, refused.error().as_str()), (503, "temporarily_unavailable"));
    assert!(refused.header("retry-after").is_some());
}

#[test]
fn a_database_clock_that_jumps_ahead_ends_no_key() {
    // The clock of this process stands still, so to it the database's clock has jumped.
    let now = Clock::manual(Clock::system().now());
    let app = TestApp::on(Arc::new(TestDatabase::prepared()), now, &[]);
    pass(&app.database, DAY, "'standby'");
    keys::rotate(&app.app, None, FORCED, "a test").unwrap();
    let retiring = in_state(&app.app, KeyState::Retiring);
    pass(&app.database, DAY - Duration::from_secs(2), "'retiring'");
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(in_state(&app.app, KeyState::Retiring), retiring, "as much time has passed for the database alone");
    app.advance(Duration::from_secs(30));
    wait_for("it leaves when time passes here too", || in_state(&app.app, KeyState::Retiring).is_empty());
}

#[test]
fn a_key_stays_as_long_as_the_longest_token_that_it_signed() {
    let app = TestApp::on(Arc::new(TestDatabase::prepared()), Clock::system(), &[]);
    let client = json!({"grant_types": ["client_credentials"], "scope": "read", "audiences": [AUDIENCE], "access_token_ttl": 86_400});
    let secret = app.client("long", client).unwrap();
    let active = || all(&app.app).into_iter().find(|key| key.state == KeyState::Active).unwrap();
    assert_eq!(active().longest_life, Duration::from_mins(10));
    app.relying_party().client_credentials("long", &secret, &[]).tokens();
    assert_eq!(active().longest_life, DAY, "written before the token left");
    let kid = active().kid;
    pass(&app.database, DAY, "'standby'");
    keys::rotate(&app.app, None, FORCED, "a test").unwrap();
    // The retention that is set would be over; the token, and what clocks and leeways add, is not.
    pass(&app.database, DAY + Duration::from_secs(440), "'retiring'");
    std::thread::sleep(Duration::from_secs(2));
    assert!(listed(&app).contains(&kid));
    pass(&app.database, Duration::from_secs(20), "'retiring'");
    wait_for("it leaves", || !listed(&app).contains(&kid));
}

#[test]
fn a_long_life_is_signed_by_an_instance_that_has_not_heard_of_a_rotation() {
    let app = TestApp::start();
    let client = json!({"grant_types": ["client_credentials"], "scope": "read", "audiences": [AUDIENCE], "access_token_ttl": 3600});
    let secret = app.client("long", client).unwrap();
    pass(&app.database, DAY, "'standby'");
    let standby = in_state(&app.app, KeyState::Standby).remove(0);
    // At once, before this instance looks.
    keys::rotate(&app.app, None, FORCED, "a test").unwrap();
    let tokens = app.relying_party().client_credentials("long", &secret, &[]).tokens();
    assert_eq!(tokens.jose_header()["kid"], standby);
}

#[test]
fn after_a_long_silence_the_standby_signs_first() {
    let database = Arc::new(TestDatabase::prepared());
    let app = TestApp::on(database.clone(), Clock::system(), &[]);
    let standby = in_state(&app.app, KeyState::Standby).remove(0);
    drop(app);
    // Restarted at once, or a copy that is not old: nothing happens.
    pass(&database, 2 * DAY, "'standby', 'active'");
    let app = TestApp::on(database.clone(), Clock::system(), &[]);
    assert_ne!(in_state(&app.app, KeyState::Active), std::slice::from_ref(&standby));
    drop(app);
    database.execute(&format!("UPDATE instances SET seen_at = seen_at - {}", (DAY + HOUR).as_micros()));
    let app = TestApp::on(database, Clock::system(), &[]);
    assert_eq!(in_state(&app.app, KeyState::Active), [standby]);
}

#[test]
fn the_jwks_never_has_more_than_five_keys() {
    let app = TestApp::start();
    for count in 3..=5 {
        keys::generate(&app.app, false, "a test").unwrap();
        assert_eq!(all(&app.app).len(), count);
    }
    let full = keys::generate(&app.app, false, "a test").err().unwrap();
    assert!(matches!(full, AdminError::Keys(LifeError::NotNow(NotNow::Full { leaves_at: None }))), "{full}");
    // A rotation uses up one that stands by, and makes none while another does.
    pass(&app.database, DAY, "'standby'");
    wait_for("this instance publishes them", || keys::rotate(&app.app, None, UNFORCED, "a test").is_ok());
    for _ in 0..3 {
        keys::rotate(&app.app, None, FORCED, "a test").ok();
    }
    let full = keys::rotate(&app.app, None, FORCED, "a test").err().unwrap();
    assert!(matches!(full, AdminError::Keys(LifeError::NotNow(NotNow::Full { leaves_at: Some(_) }))), "{full}");
    assert_eq!(all(&app.app).len(), 5);
}

/// A key in PEM by OpenSSL's own hand.
pub fn openssl(arguments: &[&str]) -> String {
    let output = std::process::Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub fn import(app: &TestApp, pem: &str) -> Result<String, LifeError> {
    app.app.key_life().import(pem, "a test", false)
}

#[test]
fn a_key_from_elsewhere_stands_by_and_a_weak_one_is_refused() {
    let app = TestApp::start();
    let pkcs8 = openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-quiet"]);
    let kid = import(&app, &pkcs8).unwrap();
    wait_for("it is published", || listed(&app).contains(&kid));
    assert!(matches!(import(&app, &pkcs8), Err(LifeError::Known { .. })), "never twice");
    let pkcs1 = openssl(&["genrsa", "-traditional", "3072"]);
    let other = import(&app, &pkcs1).unwrap();
    let before = all(&app.app).len();
    let refused = |arguments: &[&str]| match import(&app, &openssl(arguments)) {
        Err(LifeError::Import(error)) => error,
        outcome => panic!("{arguments:?}: {outcome:?}"),
    };
    let rsa = |option: &'static str| ["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", option];
    assert_eq!(refused(&rsa("rsa_keygen_bits:1024")), ImportError::WrongSize(1024));
    assert_eq!(refused(&rsa("rsa_keygen_pubexp:3")), ImportError::WrongExponent);
    let pss = ["genpkey", "-quiet", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"];
    assert_eq!(refused(&pss), ImportError::NotAPrivateKey);
    let ec = ["genpkey", "-quiet", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    assert_eq!(refused(&ec), ImportError::NotAPrivateKey);
    let close = include_str!("data/close_primes.pem");
    assert!(matches!(import(&app, close), Err(LifeError::Import(ImportError::PrimesTooClose))));
    let encrypted = openssl(&["genrsa", "-aes128", "-passout", "pass:hunter-canary", "2048"]);
    let public = countersign::keys::public_forms(&all(&app.app)[0]).unwrap().0;
    let named = [("", ImportError::Empty), (&encrypted, ImportError::Encrypted), (&public, ImportError::OnlyPublic)];
    for (pem, why) in named {
        assert!(matches!(import(&app, pem), Err(LifeError::Import(error)) if error == why), "{why}");
    }
    for garbage in ["-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", &pkcs8[..900]] {
        assert!(matches!(import(&app, garbage), Err(LifeError::Import(ImportError::NotAPrivateKey))), "{garbage}");
    }
    assert_eq!(all(&app.app).len(), before, "nothing was changed");
    // It can be told to sign.
    pass(&app.database, DAY, "'standby'");
    let secret = app.confidential_client();
    wait_for("every instance publishes it", || keys::rotate(&app.app, Some(&other), UNFORCED, "a test").is_ok());
    wait_for("it signs", || token(&app, &secret).0 == other);
}

#[test]
fn tokens_of_an_old_issuer_live_out_their_time() {
    let app = TestApp::start();
    let private = openssl(&["genrsa", "2048"]);
    let file = app.database.folder.path().join("old.pem");
    std::fs::write(&file, private).unwrap();
    let public = openssl(&["pkey", "-in", file.to_str().unwrap(), "-pubout"]);
    let life = app.app.key_life();
    let malformed = life.import_public(("two words", &public), HOUR, "a test", false).err().unwrap();
    assert!(matches!(malformed, LifeError::Import(ImportError::MalformedKid)), "{malformed}");
    let oversized = life.import_public((&"k".repeat(1 << 20), &public), HOUR, "a test", false).err().unwrap();
    assert!(matches!(oversized, LifeError::Import(ImportError::MalformedKid)));
    assert!(life.import_public(("old/key';--", &public), HOUR, "a test", true).is_ok());
    assert_eq!(all(&app.app).len(), 2, "a dry run changes nothing");
    life.import_public(("old/key';--", &public), HOUR, "a test", false).unwrap();
    wait_for("it is published", || listed(&app).contains(&"old/key';--".to_owned()));
    // Somebody who writes into the database cannot exchange it for a key of his own.
    let row = "UPDATE signing_keys SET modulus = (SELECT modulus FROM signing_keys WHERE state = 'active') \
               WHERE origin = 'verify_only'";
    app.database.execute(row);
    assert!(app.app.reload_keys().is_err());
    let row = "UPDATE signing_keys SET wrapped = NULL WHERE origin = 'verify_only'";
    app.database.execute(row);
    assert!(app.app.reload_keys().is_err());
}

#[test]
fn a_new_master_key_takes_over_with_every_server_running() {
    let app = TestApp::on(Arc::new(TestDatabase::prepared()), Clock::system(), &[]);
    let second = app.second_instance();
    let secret = app.confidential_client();
    let (party, tokens) = app.log_in();
    let versions = |app: &App| all(app).iter().map(|key| key.key_version).collect::<Vec<_>>();
    let planned = keys::rewrap(&app.app, true, "a test").unwrap();
    assert_eq!((planned.version, planned.keys, versions(&app.app)), (2, 2, vec![1, 1]));
    let mut done = keys::rewrap(&app.app, false, "a test");
    wait_for("every instance has the version", || {
        if done.is_err() {
            done = keys::rewrap(&app.app, false, "a test");
        }
        done.is_ok()
    });
    let done = done.unwrap();
    assert_eq!((done.version, done.keys, done.older_client_secrets, versions(&app.app)), (2, 2, 1, vec![2, 2]));
    wait_for("both make new things under it", || {
        [&app, &second].iter().all(|instance| instance.app.secrets.load().master_key.version() == 2)
    });
    // What was made under the old one is good, at the other instance too, and so is what is made now.
    let renewed = party.refresh("web", tokens.refresh_token()).tokens();
    second.relying_party().refresh("web", renewed.refresh_token()).tokens();
    wait_for("the second instance knows the client", || second.app.clients.all().len() == 2);
    token(&second, &secret);
    // Killed before the keys were encrypted anew, the command goes on where it was.
    let file = app.database.folder.path().join("master.key");
    std::thread::scope(|scope| {
        for _another in 0..8 {
            scope.spawn(|| match countersign::keys::add_master_key_version(&file, 2, &countersign::secret::Random) {
                Ok(()) | Err(MasterKeyError::Locked { .. }) => {}
                Err(error) => panic!("{error}"),
            });
        }
    });
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 3, "eight at once made one version");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    app.app.reload_master_key().unwrap();
    wait_for("it goes on", || keys::rewrap(&app.app, false, "a test").is_ok_and(|done| done.version == 3));
    assert_eq!(versions(&app.app), [3, 3]);
    // An instance without the version would not find the keys again: it is waited for, and named.
    let stranger = "INSERT INTO instances (id, seen_at, signing_keys_epoch, master_key_version, master_key_check) SELECT 'x', seen_at + \
                    50000000, 9999, 4, 0 FROM instances LIMIT 1";
    app.database
        .execute(stranger.replace("'x'", if backend() == Backend::Sqlite { "x'00'" } else { "'\\x00'" }).as_str());
    let refused = || keys::rewrap(&app.app, false, "a test").err();
    assert!(matches!(refused(), Some(AdminError::MasterKeyNotEverywhere { version: 4, .. })));
    // It says that it has a version of that number, which is another key.
    wait_for("the others have it and have said so", || {
        let seen = "SELECT 'x' AS line FROM instances WHERE master_key_version = 4";
        app.database.lines(seen).len() == 3
    });
    let last = refused().unwrap();
    assert!(matches!(last, AdminError::MasterKeyNotEverywhere { version: 4, lacking: 1, live: 3 }), "{last}");
    assert_eq!(versions(&app.app), [3, 3]);
}

#[test]
fn a_master_key_that_goes_wrong_while_a_server_runs_changes_nothing() {
    let app = TestApp::on(Arc::new(TestDatabase::prepared()), Clock::system(), &[]);
    let secret = app.confidential_client();
    let (party, tokens) = app.log_in();
    let file = app.database.folder.path().join("master.key");
    let good = std::fs::read_to_string(&file).unwrap();
    let other = tempfile::tempdir().unwrap().path().join("other.key");
    countersign::keys::create_master_key(&other, &countersign::secret::Random).unwrap();
    let wrong = std::fs::read_to_string(&other).unwrap();
    for bad in [wrong.as_str(), "", &good[..10], "1 AAAA"] {
        std::fs::write(&file, bad).unwrap();
        assert!(app.app.reload_master_key().is_err(), "{}", bad.len());
        app.app.reload_keys().unwrap();
        token(&app, &secret);
    }
    std::fs::remove_file(&file).unwrap();
    assert!(app.app.reload_master_key().is_err());
    assert!(!file.exists(), "none is made where one was lost");
    party.refresh("web", tokens.refresh_token()).tokens();
    std::fs::write(&file, &good).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    app.app.reload_keys().unwrap();
}

#[test]
fn the_public_half_is_all_that_leaves() {
    let app = TestApp::start();
    let key = all(&app.app).remove(0);
    let (pem, jwk) = countersign::keys::public_forms(&key).unwrap();
    let file = app.database.folder.path().join("public.pem");
    std::fs::write(&file, pem).unwrap();
    let text = openssl(&["pkey", "-pubin", "-in", file.to_str().unwrap(), "-text", "-noout"]);
    assert!(text.contains("2048 bit"), "{text}");
    let jwks = app.relying_party().get("/jwks.json", &[]).json();
    assert_eq!(jwks["keys"][0], jwk);
    let members: Vec<&String> = jwk.as_object().unwrap().keys().collect();
    assert_eq!(members, ["alg", "e", "kid", "kty", "n", "use"]);
}
