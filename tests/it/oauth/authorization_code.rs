//! Redeeming a code (RFC 6749 §4.1.3, RFC 7636 §4.5): once, by whoever asked for it, within a minute.

use std::time::Duration;

use countersign::clock::Deadline;
use countersign::id::GrantId;
use countersign::secret::Random;
use countersign::store::grants::{self, Handle};
use countersign::store::{DatabaseTime, authorization_codes};
use countersign::token::authorization_code;

use crate::app::TestApp;
use crate::browser::{Browser, CALLBACK, CodeRequest, code, response};
use crate::relying_party::basic;

#[test]
fn everything_that_a_code_is_bound_to_must_be_shown_and_a_mistake_uses_nothing_up() {
    let app = TestApp::start();
    let (_, _, request, code) = app.at_browser();
    app.client(
        "other",
        serde_json::json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK], "scope": "openid" }),
    );
    let party = app.relying_party();
    let mangled = format!("{}A", &code[..code.len() - 1]);
    let other_verifier = "w".repeat(43);
    for more in [
        &[("client_id", "other")][..],
        &[("redirect_uri", "https://app.example/cb/")],
        &[("redirect_uri", "https://evil.example/")],
        &[("code", if mangled == code { "csc_" } else { &mangled })],
        &[("code", "csc_")],
        &[("code", &code[1..])],
        &[("code", "x")],
        &[("code_verifier", "")],
        &[("code_verifier", &other_verifier)],
    ] {
        assert_eq!(request.redeem(&party, &code, more).error(), "invalid_grant", "{more:?}");
    }
    for more in [&[("code", "")][..], &[("grant_type", "")]] {
        assert_eq!(request.redeem(&party, &code, more).error(), "invalid_request", "{more:?}");
    }
    assert_eq!(request.redeem(&party, &code, &[("resource", "https://other.example")]).error(), "invalid_target");
    assert_eq!(request.redeem(&party, &code, &[("redirect_uri", "")]).status, 200, "draft-ietf-oauth-v2-1 §4.1.3");
}

#[test]
fn a_code_buys_once_and_its_second_use_ends_what_it_bought() {
    let app = TestApp::start();
    let (browser, _, request, code_of_first) = app.at_browser();
    let party = app.relying_party();
    let tokens = request.redeem(&party, &code_of_first, &[]).tokens();
    // A use that could not have been the client's ends nothing.
    let wrong = "w".repeat(43);
    assert_eq!(request.redeem(&party, &code_of_first, &[("code_verifier", &wrong)]).error(), "invalid_grant");
    let tokens = party.refresh("app", tokens.refresh_token()).tokens();
    assert_eq!(request.redeem(&party, &code_of_first, &[]).error(), "invalid_grant");
    assert_eq!(party.refresh("app", tokens.refresh_token()).error(), "invalid_grant");
    let authorization = format!("Bearer {}", tokens.access);
    assert_eq!(party.get("/userinfo", &[("Authorization", &authorization)]).status, 401);
    // Long after its minute, too; and nobody else's grant.
    let second = CodeRequest::new();
    let kept = second.redeem(&party, &code(&browser.get(&second.path())), &[]).tokens();
    app.advance(Duration::from_secs(3000));
    let third = CodeRequest::new();
    let of_third = code(&browser.get(&third.path()));
    let bought = third.redeem(&party, &of_third, &[]).tokens();
    app.advance(Duration::from_secs(3000));
    assert_eq!(third.redeem(&party, &of_third, &[]).error(), "invalid_grant");
    assert_eq!(party.refresh("app", bought.refresh_token()).error(), "invalid_grant");
    kept.refresh.map(|token| party.refresh("app", &token).tokens()).unwrap();
}

#[test]
fn of_many_redemptions_at_once_one_succeeds() {
    let app = TestApp::start();
    let (browser, _, _, _) = app.at_browser();
    let other = app.second_instance();
    for _ in 0..4 {
        let request = CodeRequest::new();
        let code = code(&browser.get(&request.path()));
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let (request, code) = (&request, &code);
            let threads: Vec<_> = [&app, &other]
                .into_iter()
                .cycle()
                .take(50)
                .map(|app| scope.spawn(move || request.redeem(&app.relying_party(), code, &[]).status))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| [200, 400, 503].contains(status)), "{statuses:?}");
    }
}

#[test]
fn verifiers_are_not_guessed() {
    let app = TestApp::start();
    let (_, _, request, code) = app.at_browser();
    let party = app.relying_party();
    for nth in 0..3 {
        let guess = format!("{nth}{}", "w".repeat(43));
        assert_eq!(request.redeem(&party, &code, &[("code_verifier", &guess)]).error(), "invalid_grant");
    }
    assert_eq!(request.redeem(&party, &code, &[]).error(), "invalid_grant", "the right one comes too late");
}

#[test]
fn a_code_lives_a_minute() {
    let app = TestApp::start();
    let (browser, _, request, first) = app.at_browser();
    let party = app.relying_party();
    app.advance(Duration::from_secs(59));
    assert_eq!(request.redeem(&party, &first, &[]).status, 200);
    let request = CodeRequest::new();
    let second = code(&browser.get(&request.path()));
    app.advance(Duration::from_secs(60));
    assert_eq!(request.redeem(&party, &second, &[]).error(), "invalid_grant");
}

#[test]
fn nothing_comes_of_a_code_when_what_it_rests_on_is_over() {
    use countersign::admin::{accounts, clients};
    use countersign::secret::PlainSecret;
    type End = fn(&TestApp, &str);
    let ends: [(&str, End, &str); 5] = [
        (
            "the client is disabled and enabled again",
            |app, _| {
                clients::disable(&app.app, "app", "test").unwrap();
                clients::enable(&app.app, "app", "test").unwrap();
                app.app.clients.reload(&app.app.db).unwrap();
            },
            "invalid_grant",
        ),
        (
            "the account is disabled",
            |app, email| {
                assert_eq!(
                    accounts::disable(&app.app, accounts::find(&app.app, email).unwrap().id, "test").unwrap(),
                    0
                );
            },
            "invalid_grant",
        ),
        (
            "the account is disabled and enabled again",
            |app, email| {
                let id = accounts::find(&app.app, email).unwrap().id;
                accounts::disable(&app.app, id, "test").unwrap();
                accounts::enable(&app.app, id, "test").unwrap();
            },
            "invalid_grant",
        ),
        (
            "the password is another",
            |app, email| {
                let account = accounts::find(&app.app, email).unwrap();
                accounts::set_password(&app.app, &account, &PlainSecret::new("hunter-canary-anew"), "test").unwrap();
            },
            "invalid_grant",
        ),
        (
            "the client is disabled",
            |app, _| {
                clients::disable(&app.app, "app", "test").unwrap();
                app.app.clients.reload(&app.app.db).unwrap();
            },
            "invalid_client",
        ),
    ];
    for (what, end, error) in ends {
        let app = TestApp::start();
        let (browser, email, request, code) = app.at_browser();
        end(&app, &email);
        assert_eq!(request.redeem(&app.relying_party(), &code, &[]).error(), error, "{what}");
        if error == "invalid_grant" && !what.contains("client") {
            assert!(
                browser.get(&CodeRequest::new().path()).header("location").unwrap().starts_with("/login?"),
                "{what}"
            );
        }
    }
}

#[test]
fn a_confidential_client_proves_itself_and_may_do_without_pkce_only_with_a_nonce() {
    let app = TestApp::start();
    let (_, email) = app.account();
    let client = |id: &str, optional: bool| {
        let json = serde_json::json!({ "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK], "scope": "openid read", "first_party": true, "pkce_optional": optional });
        app.client(id, json).unwrap()
    };
    let (strict, lax) = (client("strict", false), client("lax", true));
    let browser = Browser::new(&app);
    browser.log_in(&browser.get(&CodeRequest::of("strict", CALLBACK).with("scope", "openid").path()), &email);
    let without = |id: &str, nonce: &str, scope: &str| {
        let request = CodeRequest::of(id, CALLBACK).with("code_challenge", "").with("code_challenge_method", "");
        browser.get(&request.with("nonce", nonce).with("scope", scope).path())
    };
    for (id, nonce, scope) in [("strict", "n", "openid"), ("lax", "", "openid"), ("lax", "n", "read")] {
        assert_eq!(response(&without(id, nonce, scope))["error"], "invalid_request", "{id} {nonce} {scope}");
    }
    let party = app.relying_party();
    let redeem = |id: &str, secret: &str, pairs: &[(&str, &str)]| {
        let mut form = vec![("grant_type", "authorization_code")];
        form.extend(pairs);
        party.form("/token", &[("Authorization", &basic(id, secret))], &form)
    };
    let verifier = "w".repeat(43);
    let bare = || code(&without("lax", "n", "openid"));
    // RFC 9700 §4.8.2: a verifier of a code that had no challenge.
    let code_of_lax = bare();
    for pairs in [&[("code_verifier", verifier.as_str()), ("redirect_uri", CALLBACK)][..], &[]] {
        let mut all = vec![("code", code_of_lax.as_str())];
        all.extend(pairs);
        assert_eq!(redeem("lax", &lax, &all).error(), "invalid_grant", "{pairs:?}");
    }
    assert_eq!(redeem("lax", &lax, &[("code", &bare()), ("redirect_uri", CALLBACK)]).status, 200);
    let request = CodeRequest::of("strict", CALLBACK).with("scope", "openid");
    let code_of_strict = code(&browser.get(&request.path()));
    let pairs = [("code", code_of_strict.as_str()), ("code_verifier", &request.verifier)];
    assert_eq!(redeem("strict", "css_wrong", &pairs).error(), "invalid_client");
    assert_eq!(redeem("lax", &lax, &pairs).error(), "invalid_grant");
    let answer = redeem("strict", &strict, &pairs);
    assert_eq!((answer.status, answer.json().get("refresh_token")), (200, None), "only for those that may use one");
}

#[test]
fn nothing_comes_of_a_code_when_the_person_has_logged_out() {
    let app = TestApp::start();
    let (browser, _, request, code) = app.at_browser();
    crate::browser::Form::of(&browser.get("/logout")).send(&browser, &[]);
    assert_eq!(request.redeem(&app.relying_party(), &code, &[]).error(), "invalid_grant");
    let live = app.database.lines("SELECT CAST(COUNT(*) AS TEXT) AS line FROM grants");
    assert_eq!(live, ["0"]);
}

#[test]
fn whoever_is_told_to_come_back_can() {
    let app = TestApp::start();
    let (_, email) = app.account();
    app.client(
        "long",
        serde_json::json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK],
            "scope": "openid", "first_party": true, "access_token_ttl": 7777 }),
    );
    let (browser, party) = (Browser::new(&app), app.relying_party());
    let request = CodeRequest::of("long", CALLBACK).with("scope", "openid");
    let code = code(&browser.log_in(&browser.get(&request.path()), &email));
    // A life that no key has signed yet is written into its row first, which is not to be had now.
    app.database.execute("ALTER TABLE signing_keys RENAME TO signing_keys_away");
    let refused = request.redeem(&party, &code, &[]);
    app.database.execute("ALTER TABLE signing_keys_away RENAME TO signing_keys");
    assert_eq!((refused.status, refused.error().as_str()), (503, "temporarily_unavailable"));
    assert_eq!(request.redeem(&party, &code, &[]).status, 200);
}

#[test]
fn nothing_comes_of_a_code_that_waits_for_a_log_out() {
    let app = TestApp::start();
    let (_, _, request, code) = app.at_browser();
    let party = app.relying_party();
    let logging_out = app.database.hold("UPDATE browser_sessions SET ended_at = 1", "COMMIT");
    let refused = std::thread::scope(|scope| {
        let redeeming = scope.spawn(|| request.redeem(&party, &code, &[]));
        std::thread::sleep(Duration::from_millis(300));
        drop(logging_out);
        redeeming.join().unwrap()
    });
    assert_eq!(refused.error(), "invalid_grant");
    assert_eq!(app.database.lines("SELECT CAST(COUNT(*) AS TEXT) AS line FROM grants"), ["0"]);
}

#[test]
fn a_code_is_used_up_in_time_and_once_and_its_grant_is_there_then() {
    let app = TestApp::start();
    let (browser, _, request, first) = app.at_browser();
    let tokens = request.redeem(&app.relying_party(), &first, &[]).tokens();
    let id = tokens.claims()["sid"].as_str().unwrap().parse().unwrap();
    let db = &app.app.db;
    let mut grant = db.read(|tx| grants::find(tx, id)).unwrap().unwrap().grant;
    grant.id = GrantId::new(app.app.clock.now(), &Random);
    grant.handle = Handle(Random.bytes());
    grant.status_position = app.app.status.take_position(db, &app.app.clock, Random).unwrap();
    let second = code(&browser.get(&CodeRequest::new().path()));
    let handle = authorization_code::open(&second, &app.app.secrets.load().authorization_code_mac).unwrap();
    let find = || db.read(|tx| authorization_codes::find(tx, handle)).unwrap().unwrap();
    let redeem = |not_after: DatabaseTime| {
        let (code, row, long) = (find().code, grant.clone(), Deadline::after(&app.app.clock, Duration::from_mins(1)));
        db.write_at_once(&long, move |tx| authorization_codes::redeem(tx, &code, &row, not_after)).unwrap()
    };
    let live = || app.database.lines("SELECT CAST(COUNT(*) AS TEXT) AS line FROM grants");
    let read_at = find().read_at;
    std::thread::sleep(Duration::from_millis(2));
    assert!(!redeem(read_at), "never after its time on the database's own clock");
    assert_eq!((find().code.grant_id, live()), (None, vec!["1".to_owned()]));
    let in_time = read_at.plus(Duration::from_mins(1));
    assert!(redeem(in_time));
    assert_eq!((find().code.grant_id, live()), (Some(grant.id), vec!["2".to_owned()]));
    assert!(!redeem(in_time), "made again, as after a lost connection, it changes nothing");
    assert_eq!(live(), ["2"]);
}
