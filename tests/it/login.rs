//! Logging in with a password: who gets in, who does not, and what neither can tell.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use countersign::admin::accounts;
use countersign::secret::PlainSecret;

use crate::app::{Backend, PASSWORD, TestApp, WRONG_PASSWORD, backend};
use crate::relying_party::{Answer, RelyingParty};

const NEW_PASSWORD: &str = "hunter-canary-new-one";

#[test]
fn every_spelling_of_a_name_is_the_same_account() {
    let app = TestApp::start();
    app.public_client();
    let new = accounts::NewAccount {
        email: "Zoe.Straße@people.test".to_owned(),
        username: Some("Zo\u{eb}".to_owned()),
        roles: Vec::new(),
        password: PlainSecret::new(PASSWORD),
        claims: serde_json::Map::new(),
    };
    let account = accounts::create(&app.app, &new, "test").unwrap();
    let party = app.relying_party();
    for name in ["zoe.strasse@PEOPLE.test", "ZO\u{cb}", "zoe\u{308}", " Zo\u{eb} "] {
        let tokens = party.log_in("web", name).tokens();
        assert_eq!(tokens.claims()["sub"], account.id.to_string(), "{name}");
    }
    assert_eq!(party.log_in("web", "zoe").error(), "invalid_grant");
}

/// Everything of an answer that another person could see, but the date.
fn visible(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| name.as_str() != "date")
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    headers.sort();
    (answer.status, headers, answer.body.clone())
}

#[test]
fn unknown_wrong_and_disabled_give_the_same_answer() {
    let app = TestApp::start();
    app.public_client();
    let (_, email) = app.account();
    let (disabled, disabled_email) = app.account();
    accounts::disable(&app.app, disabled.id, "test").unwrap();
    let (broken, broken_email) = app.account();
    app.database.execute(&format!("UPDATE accounts SET password_hash = 'x' WHERE email = '{broken_email}'"));
    let party = app.relying_party();
    let wrong = visible(&party.log_in_with("web", &email, WRONG_PASSWORD));
    assert_eq!((wrong.0, wrong.2.contains("invalid_grant")), (400, true), "{}", wrong.2);
    assert_eq!(visible(&party.log_in("web", "nobody@people.test")), wrong, "unknown");
    assert_eq!(visible(&party.log_in("web", &disabled_email)), wrong, "disabled");
    assert_eq!(visible(&party.log_in_with("web", &disabled_email, WRONG_PASSWORD)), wrong, "disabled and wrong");
    assert_eq!(visible(&party.log_in("web", &broken_email)), wrong, "a hash that cannot be used: {}", broken.id);
    party.log_in("web", &email).tokens();
}

/// Means and variances of the times of two kinds of log-in, taken in turns.
fn welch_t(party: &RelyingParty, names: [&str; 2], rounds: usize) -> (f64, [f64; 2]) {
    let mut samples = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for nth in [round % 2, 1 - round % 2] {
            let began = Instant::now();
            let answer = party.log_in_with("web", names[nth], WRONG_PASSWORD);
            samples[nth].push(began.elapsed().as_secs_f64() * 1000.0);
            assert_eq!(answer.status, 400, "{}", answer.body);
        }
    }
    let trimmed = samples.map(|mut sample| {
        // A noisy machine's worst tenth says nothing about the code.
        sample.sort_by(f64::total_cmp);
        sample.truncate(sample.len() * 9 / 10);
        sample
    });
    let [(m1, v1), (m2, v2)] = trimmed.map(|sample| {
        let count = f64::from(u32::try_from(sample.len()).unwrap());
        let mean = sample.iter().sum::<f64>() / count;
        (mean, sample.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1.0) / count)
    });
    ((m1 - m2) / (v1 + v2).sqrt(), [m1, m2])
}

#[test]
fn time_does_not_tell_whether_an_account_exists() {
    let app = TestApp::with(&[
        ("limits.login_failures", "100"),
        ("limits.login_failures_ceiling", "100"),
        ("passwords.threads", "1"),
    ]);
    app.public_client();
    let (_, email) = app.account();
    let party = app.relying_party();
    // A skipped hash is fifteen milliseconds of fifteen: far beyond what noise can hide or make.
    let (t, [known, unknown]) = welch_t(&party, [&email, "nobody@people.test"], 90);
    let ratio = known / unknown;
    assert!((0.8..1.25).contains(&ratio) || t.abs() < 4.5, "known {known:.2} ms, unknown {unknown:.2} ms, t {t:.1}");
    // The same measure on a difference that is there: a client that is refused before any hash.
    let began = Instant::now();
    for _ in 0..20 {
        party.log_in_with("nobody", &email, WRONG_PASSWORD);
    }
    let without_hash = began.elapsed().as_secs_f64() * 50.0;
    assert!(without_hash < 0.8 * known, "the measure sees a skipped hash: {without_hash:.2} ms against {known:.2} ms");
}

#[test]
fn a_hash_of_older_parameters_is_renewed_at_log_in_and_only_then() {
    let app = TestApp::with(&[("passwords.memory_kib", "8192"), ("passwords.iterations", "5")]);
    app.public_client();
    let (account, email) = app.account();
    let hash = |app: &TestApp| accounts::find(&app.app, &email).unwrap().password_hash;
    let old = hash(&app);
    assert!(old.contains("m=8192,t=5,p=1"), "{old}");
    let stricter = TestApp::on(app.database.clone(), app.app.clock.clone(), &[]);
    let party = stricter.relying_party();
    assert_eq!(party.log_in_with("web", &email, WRONG_PASSWORD).error(), "invalid_grant");
    assert_eq!(hash(&stricter), old, "a failed log-in renews nothing");
    party.log_in("web", &email).tokens();
    let renewed = hash(&stricter);
    assert!(renewed.contains("m=19456,t=2,p=1"), "{renewed} {}", account.id);
    party.log_in("web", &email).tokens();
    assert_eq!(hash(&stricter), renewed);
}

#[test]
fn a_new_password_ends_the_grants_and_the_old_password() {
    let app = TestApp::start();
    app.public_client();
    let (account, email) = app.account();
    let party = app.relying_party();
    let tokens = party.log_in("web", &email).tokens();
    assert_eq!(accounts::set_password(&app.app, &account, &PlainSecret::new(NEW_PASSWORD), "test").unwrap(), 1);
    assert_eq!(party.refresh("web", tokens.refresh_token()).error(), "invalid_grant");
    assert_eq!(party.log_in("web", &email).error(), "invalid_grant");
    party.log_in_with("web", &email, NEW_PASSWORD).tokens();
}

#[test]
fn failures_cost_time_and_the_wait_doubles_and_success_forgives() {
    let app = TestApp::start();
    app.public_client();
    let (_, email) = app.account();
    let party = app.relying_party();
    for _ in 0..5 {
        assert_eq!(party.log_in_with("web", &email, WRONG_PASSWORD).status, 400);
    }
    for wait in [1, 2, 4, 8] {
        let blocked = party.log_in("web", &email);
        assert_eq!((blocked.status, blocked.error().as_str()), (429, "temporarily_unavailable"));
        assert_eq!(blocked.header("retry-after"), Some(wait.to_string().as_str()));
        app.advance(Duration::from_secs(wait) - Duration::from_millis(1));
        let early = party.log_in("web", &email);
        assert_eq!((early.status, early.header("retry-after")), (429, Some("1")), "not a moment too early");
        app.advance(Duration::from_millis(1));
        assert_eq!(party.log_in_with("web", &email, WRONG_PASSWORD).status, 400);
    }
    app.advance(Duration::from_secs(16));
    party.log_in("web", &email).tokens();
    for _ in 0..5 {
        assert_eq!(party.log_in_with("web", &email, WRONG_PASSWORD).status, 400);
    }
    assert_eq!(party.log_in("web", &email).status, 429);
    app.advance(Duration::from_secs(1));
    party.log_in("web", &email).tokens();
}

#[test]
fn the_names_of_an_account_share_one_count() {
    let app = TestApp::start();
    app.public_client();
    let new = accounts::NewAccount {
        email: "evelyn@people.test".to_owned(),
        username: Some("lovelace".to_owned()),
        roles: Vec::new(),
        password: PlainSecret::new(PASSWORD),
        claims: serde_json::Map::new(),
    };
    accounts::create(&app.app, &new, "test").unwrap();
    let party = app.relying_party();
    for name in ["evelyn@people.test", "lovelace", "EVELYN@people.test", "Lovelace", "evelyn@people.test"] {
        assert_eq!(party.log_in_with("web", name, WRONG_PASSWORD).status, 400, "{name}");
    }
    assert_eq!(party.log_in("web", "lovelace").status, 429);
    assert_eq!(party.log_in("web", "evelyn@people.test").status, 429);
}

#[test]
fn unknown_names_wait_just_the_same() {
    let app = TestApp::start();
    app.public_client();
    let (_, email) = app.account();
    let party = app.relying_party();
    let mut answers = Vec::new();
    // Servers of other tests share this one's Redis and keys, so the name is nobody else's.
    for name in [email.as_str(), "unheard-of@people.test"] {
        for _ in 0..6 {
            answers.push(visible(&party.log_in_with("web", name, WRONG_PASSWORD)));
        }
    }
    assert_eq!(answers[..6], answers[6..]);
    assert_eq!(answers[5].0, 429);
    // Every spelling of a name is counted as one.
    assert_eq!(party.log_in("web", "UNHEARD-OF@people.TEST").status, 429);
}

#[test]
fn guesses_made_at_once_do_not_pass_the_limit_together() {
    let app = TestApp::with(&[("passwords.queue", "256")]);
    app.public_client();
    let (_, email) = app.account();
    let party = app.relying_party();
    let barrier = Arc::new(Barrier::new(60));
    let guessers: Vec<_> = (0..60)
        .map(|_| {
            let (party, email, barrier) = (party.clone(), email.clone(), barrier.clone());
            thread::spawn(move || {
                barrier.wait();
                party.log_in_with("web", &email, WRONG_PASSWORD).status
            })
        })
        .collect();
    let statuses: Vec<_> = guessers.into_iter().map(|guesser| guesser.join().unwrap()).collect();
    let hashed = statuses.iter().filter(|status| **status == 400).count();
    assert_eq!(hashed, 5, "{statuses:?}");
}

/// A log-in through a proxy, which names the client's address.
fn from(app: &TestApp, address: &str, email: &str, password: &str) -> Answer {
    let form = [("grant_type", "password"), ("client_id", "web"), ("username", email), ("password", password)];
    app.relying_party().form("/token", &[("X-Forwarded-For", address)], &form)
}

#[test]
fn a_stranger_cannot_lock_the_owner_out() {
    let app = TestApp::with(&[("http.trusted_proxies", "127.0.0.0/8"), ("limits.login_failures_ceiling", "12")]);
    app.public_client();
    let (_, email) = app.account();
    assert_eq!(from(&app, "192.0.2.1", &email, PASSWORD).status, 200);
    // One stranger's network waits, the owner's does not.
    for _ in 0..5 {
        assert_eq!(from(&app, "198.51.100.1", &email, WRONG_PASSWORD).status, 400);
    }
    assert_eq!(from(&app, "198.51.100.77", &email, PASSWORD).status, 429, "the same /24");
    assert_eq!(from(&app, "192.0.2.200", &email, PASSWORD).status, 200);
    // Many networks reach the account's own ceiling: from there on unknown networks wait, known ones never.
    for nth in 0..12 {
        assert_eq!(from(&app, &format!("203.0.{nth}.1"), &email, WRONG_PASSWORD).status, 400);
    }
    assert_eq!(from(&app, "203.0.99.1", &email, PASSWORD).status, 429);
    assert_eq!(from(&app, "192.0.2.1", &email, PASSWORD).status, 200);
}

#[test]
fn guesses_from_many_networks_at_once_do_not_pass_the_ceiling_together() {
    let overrides = [
        ("http.trusted_proxies", "127.0.0.0/8"),
        ("limits.login_failures_ceiling", "8"),
        ("passwords.threads", "16"),
        ("database.connections", "16"),
        ("passwords.queue", "256"),
    ];
    let app = TestApp::with(&overrides);
    app.public_client();
    let (_, email) = app.account();
    let (app, barrier) = (Arc::new(app), Arc::new(Barrier::new(36)));
    let guessers: Vec<_> = (0..36)
        .map(|nth| {
            let (app, email, barrier) = (app.clone(), email.clone(), barrier.clone());
            thread::spawn(move || {
                barrier.wait();
                from(&app, &format!("203.0.{nth}.1"), &email, WRONG_PASSWORD).status
            })
        })
        .collect();
    let statuses: Vec<_> = guessers.into_iter().map(|guesser| guesser.join().unwrap()).collect();
    // One that is about to be turned away is reckoned with for a moment, so that another may be turned away for it.
    let judged = statuses.iter().filter(|status| **status == 400).count();
    assert!((1..=8).contains(&judged), "{statuses:?}");
    assert!(statuses.iter().all(|status| [400, 429].contains(status)), "{statuses:?}");
}

#[test]
fn neighbours_do_not_lock_the_owner_out_and_a_new_password_forgives() {
    let overrides = [
        ("http.trusted_proxies", "127.0.0.0/8"),
        ("limits.address_failures", "10"),
        ("limits.login_failures_ceiling", "6"),
    ];
    let app = TestApp::with(&overrides);
    app.public_client();
    let (account, email) = app.account();
    let [a, b] = countersign::secret::Random.bytes::<2>();
    let near = |last: u8| format!("172.{a}.{b}.{last}");
    assert_eq!(from(&app, &near(1), &email, PASSWORD).status, 200);
    for last in 0..12 {
        from(&app, &near(99), &format!("nobody{last}@people.test"), WRONG_PASSWORD);
    }
    assert_eq!(from(&app, &near(99), "nobody@people.test", PASSWORD).status, 429, "the network waits");
    assert_eq!(from(&app, &near(1), &email, PASSWORD).status, 200, "but not for whom it knows");
    for nth in 0..7 {
        from(&app, &format!("203.0.{nth}.1"), &email, WRONG_PASSWORD);
    }
    assert_eq!(from(&app, "203.0.99.1", &email, PASSWORD).status, 429);
    accounts::set_password(&app.app, &account, &PlainSecret::new(NEW_PASSWORD), "test").unwrap();
    assert_eq!(from(&app, "203.0.99.1", &email, NEW_PASSWORD).status, 200);
}

#[test]
fn an_untrusted_peer_cannot_choose_its_address() {
    let app = TestApp::start();
    app.public_client();
    let (_, email) = app.account();
    let statuses: Vec<_> =
        (0..6).map(|nth| from(&app, &format!("203.0.{nth}.1"), &email, WRONG_PASSWORD).status).collect();
    assert_eq!(statuses, [400, 400, 400, 400, 400, 429]);
}

#[test]
fn a_network_that_fails_too_often_waits_whatever_the_account() {
    let app = TestApp::with(&[("http.trusted_proxies", "127.0.0.0/8"), ("limits.address_failures", "10")]);
    app.public_client();
    let (_, email) = app.account();
    // Redis outlives the test: a network that no other test uses.
    let [a, b] = countersign::secret::Random.bytes::<2>();
    let address = |last: u8| format!("10.{a}.{b}.{last}");
    for last in 0..20 {
        from(&app, &address(last), &email, PASSWORD).tokens();
    }
    for last in 0..10 {
        let nobody = format!("nobody{last}@people.test");
        assert_eq!(from(&app, &address(last), &nobody, WRONG_PASSWORD).status, 400);
    }
    let (_, newcomer) = app.account();
    let blocked = from(&app, &address(99), &newcomer, PASSWORD);
    assert_eq!((blocked.status, blocked.header("retry-after")), (429, Some("60")));
}

#[test]
fn a_guess_that_was_not_looked_at_does_not_speak_against_its_network() {
    let app = TestApp::with(&[("http.trusted_proxies", "127.0.0.0/8"), ("limits.address_failures", "10")]);
    app.public_client();
    let [(_, guessed), (_, neighbour)] = [app.account(), app.account()];
    let [a, b] = countersign::secret::Random.bytes::<2>();
    let near = |email: &str, password: &str| from(&app, &format!("172.{a}.{b}.1"), email, password).status;
    assert_eq!([(); 5].map(|()| near(&guessed, WRONG_PASSWORD)), [400; 5]);
    assert_eq!([(); 20].map(|()| near(&guessed, WRONG_PASSWORD)), [429; 20], "the account waits");
    assert_eq!(near(&neighbour, PASSWORD), 200);
    for nth in 0..5 {
        assert_eq!(near(&format!("nobody{nth}@people.test"), WRONG_PASSWORD), 400);
    }
    assert_eq!(near("nobody@people.test", WRONG_PASSWORD), 429, "what was looked at still counts");
}

#[test]
fn instances_that_share_redis_share_the_count() {
    let app = TestApp::with(&[("http.trusted_proxies", "127.0.0.0/8"), ("limits.address_failures", "10")]);
    app.public_client();
    let overrides = [
        ("issuer", app.app.issuer.as_str()),
        ("http.trusted_proxies", "127.0.0.0/8"),
        ("limits.address_failures", "10"),
    ];
    let other = TestApp::on(app.database.clone(), app.app.clock.clone(), &overrides);
    let [a, b] = countersign::secret::Random.bytes::<2>();
    let fail = |app: &TestApp, last: u8| {
        from(app, &format!("172.{a}.{b}.{last}"), &format!("nobody{last}@people.test"), WRONG_PASSWORD).status
    };
    for last in 0..5 {
        assert_eq!((fail(&app, last), fail(&other, last + 100)), (400, 400));
    }
    // Without Redis each instance counts for itself.
    let shared = backend() == Backend::Postgres;
    assert_eq!(fail(&app, 50) == 429, shared);
    assert_eq!(fail(&other, 51) == 429, shared);
}

#[test]
fn more_log_ins_than_the_lane_holds_are_told_so_and_other_work_goes_on() {
    let app = TestApp::with(&[("passwords.threads", "1"), ("passwords.queue", "2")]);
    let secret = app.confidential_client();
    app.public_client();
    let (_, email) = app.account();
    let party = app.relying_party();
    let barrier = Arc::new(Barrier::new(24));
    let users: Vec<_> = (0..24)
        .map(|_| {
            let (party, email, barrier) = (party.clone(), email.clone(), barrier.clone());
            thread::spawn(move || {
                barrier.wait();
                party.log_in("web", &email)
            })
        })
        .collect();
    party.client_credentials("svc", &secret, &[]).tokens();
    let answers: Vec<_> = users.into_iter().map(|user| user.join().unwrap()).collect();
    let (served, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert!(!served.is_empty() && !refused.is_empty(), "{} served", served.len());
    for answer in refused {
        assert_eq!((answer.status, answer.error().as_str()), (503, "temporarily_unavailable"));
        assert!(answer.header("retry-after").is_some());
    }
    let metrics = party.get("/metrics", &[]).body;
    assert!(metrics.contains(r#"countersign_lane_refused_total{lane="hash"}"#));
}

#[cfg(debug_assertions)]
#[test]
fn guesses_that_cannot_be_counted_are_reckoned_with_all_the_same() {
    use countersign::store::faults::{Call, Fate};
    let app = TestApp::start();
    app.public_client();
    let (_, email) = app.account();
    let party = app.relying_party();
    let no_writes = |call| if call == Call::Write { Fate::FailBefore } else { Fate::GoOn };
    app.app.db.hang_hook(Box::new(no_writes));
    let statuses: Vec<_> = (0..7).map(|_| party.log_in_with("web", &email, WRONG_PASSWORD).status).collect();
    assert_eq!(statuses, [503, 503, 503, 503, 503, 429, 429]);
}
