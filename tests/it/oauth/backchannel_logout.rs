//! Clients are told that somebody logged out (OpenID Connect Back-Channel Logout 1.0).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use countersign::admin;
use countersign::protocol::client_credentials::ClientId;
use countersign::secret::{PlainSecret, decode_base64url};
use countersign::store::accounts::Account;
use countersign::store::logout_notices;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::browser::{Browser, CALLBACK, CodeRequest, Form, code};
use crate::receiver::{DRIP, Receiver, SILENCE};
use crate::relying_party::Tokens;

/// A server that may call a client on this machine.
fn start() -> TestApp {
    TestApp::with(&[("fetch.allow_loopback", "true")])
}

fn client(app: &TestApp, id: &str, uri: &str) {
    app.client(
        id,
        json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code", "refresh_token"],
            "redirect_uris": [CALLBACK], "scope": "openid email offline_access", "first_party": true,
            "backchannel_logout_uri": uri, "backchannel_logout_session_required": true }),
    );
}

/// A person who is logged in at a client: the account, the browser, the ID token, the rest.
struct Given {
    account: Account,
    email: String,
    browser: Browser,
    id_token: String,
    tokens: Tokens,
}

type End = fn(&TestApp, &Given);

fn logged_in(app: &TestApp, client_id: &str, scope: &str) -> Given {
    let (account, email) = app.account();
    let browser = Browser::new(app);
    let request = CodeRequest::of(client_id, CALLBACK).with("scope", scope);
    let done = browser.log_in(&browser.get(&request.path()), &email);
    let answer = request.redeem(&app.relying_party(), &code(&done), &[]);
    let id_token = answer.json()["id_token"].as_str().unwrap().to_owned();
    Given { account, email, browser, id_token, tokens: answer.tokens() }
}

fn log_out(given: &Given) {
    let answer = given.browser.get(&format!("/logout?id_token_hint={}", given.id_token));
    assert!(answer.body.contains("You are logged out"), "{}", answer.body);
}

/// Header and claims of what a client was sent, under the keys that everybody can read.
#[track_caller]
fn verified(app: &TestApp, (line, body): &(String, String)) -> (jsonwebtoken::Header, Value) {
    assert_eq!(line, "POST /out?x=1 HTTP/1.1");
    let token = body.strip_prefix("logout_token=").unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    let jwks = app.relying_party().get("/jwks.json", &[]).json();
    let key = jwks["keys"].as_array().unwrap().iter().find(|key| key["kid"] == *header.kid.as_ref().unwrap()).unwrap();
    let key = DecodingKey::from_rsa_components(key["n"].as_str().unwrap(), key["e"].as_str().unwrap()).unwrap();
    let mut rules = Validation::new(Algorithm::RS256);
    // The clock is the test's.
    rules.validate_exp = false;
    rules.set_audience(&["app"]);
    rules.set_issuer(&[&app.base]);
    (header, jsonwebtoken::decode::<Value>(token, &key, &rules).unwrap().claims)
}

fn claims_of(id_token: &str) -> Value {
    serde_json::from_slice(&decode_base64url(id_token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

fn waiting(app: &TestApp) -> Vec<String> {
    app.database
        .lines("SELECT client_id || ':' || CAST(attempts AS TEXT) AS line FROM logout_notices ORDER BY client_id")
}

#[track_caller]
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Long enough for whatever is due to be sent, were it sent.
fn a_while() {
    std::thread::sleep(Duration::from_millis(2500));
}

#[test]
fn a_client_is_told_by_a_token_that_is_nothing_else() {
    let (app, receiver) = (start(), Receiver::start());
    client(&app, "app", &format!("{}/out?x=1", receiver.base));
    let given = logged_in(&app, "app", "openid email");
    log_out(&given);
    let (header, claims) = verified(&app, &receiver.wait_for(1)[0]);
    assert_eq!((header.typ.as_deref(), header.alg), (Some("logout+jwt"), Algorithm::RS256));
    let members: BTreeSet<_> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["aud", "events", "exp", "iat", "iss", "jti", "sid", "sub"].into(), "no nonce");
    assert_eq!(claims["events"], json!({ "http://schemas.openid.net/event/backchannel-logout": {} }));
    let id_token = claims_of(&given.id_token);
    for claim in ["iss", "aud", "sub", "sid"] {
        assert_eq!(claims[claim], id_token[claim], "{claim}");
    }
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 120);
    eventually("it is not told again", || waiting(&app).is_empty());
    // RFC 8725 §3.12: it opens nothing and logs nobody out.
    let other = logged_in(&app, "app", "openid");
    let token = &receiver.received()[0].1["logout_token=".len()..];
    let asked = other.browser.get(&format!("/logout?id_token_hint={token}"));
    assert!(asked.body.contains("Log out?"), "{}", asked.body);
    let bearer = format!("Bearer {token}");
    assert_eq!(app.relying_party().get("/userinfo", &[("Authorization", &bearer)]).status, 401);
    a_while();
    assert_eq!(receiver.received().len(), 1);
}

#[test]
fn a_client_is_told_whoever_ended_the_log_in() {
    let ends: [(&str, End); 8] = [
        ("the person", |_, given| {
            assert_eq!(Form::of(&given.browser.get("/logout")).send(&given.browser, &[]).status, 200);
        }),
        ("the person, at another browser", |app, given| {
            let other = Browser::new(app);
            other.log_in(&other.get("/account"), &given.email);
            let page = Form::of(&other.get("/account"));
            assert_eq!(page.send(&other, &[("everything", "yes")]).status, 200);
        }),
        ("the person, who ends the access", |_, given| {
            let sid = given.tokens.claims()["sid"].as_str().unwrap().to_owned();
            let page = Form::of(&given.browser.get("/account"));
            assert_eq!(page.send(&given.browser, &[("grant", &sid)]).status, 303);
        }),
        ("another person, who logs in there", |app, given| {
            let anew = CodeRequest::new().with("prompt", "login");
            given.browser.log_in(&given.browser.get(&anew.path()), &app.account().1);
        }),
        ("a new password", |app, given| {
            let password = PlainSecret::new("hunter-canary-anew");
            admin::accounts::set_password(&app.app, &given.account, &password, "test").unwrap();
        }),
        ("the account's end", |app, given| {
            admin::accounts::disable(&app.app, given.account.id, "test").unwrap();
        }),
        ("an operator, all of it", |app, given| {
            let whose = admin::grants::Whose::Account(given.account.id);
            admin::grants::end(&app.app, whose, false, "test").unwrap();
        }),
        ("an operator, this one", |app, given| {
            let sid = given.tokens.claims()["sid"].as_str().unwrap().parse().unwrap();
            admin::grants::end(&app.app, admin::grants::Whose::Grant(sid), false, "test").unwrap();
        }),
    ];
    let (app, receiver) = (start(), Receiver::start());
    client(&app, "app", &format!("{}/out?x=1", receiver.base));
    for (nth, (name, end)) in ends.into_iter().enumerate() {
        let given = logged_in(&app, "app", "openid");
        end(&app, &given);
        let (_, claims) = verified(&app, &receiver.wait_for(nth + 1)[nth]);
        assert_eq!(claims["sid"], given.tokens.claims()["sid"], "{name}");
        assert_eq!(app.relying_party().refresh("app", given.tokens.refresh_token()).error(), "invalid_grant", "{name}");
    }
    // What it does itself it knows; and of a log-in that goes on nobody hears anything.
    let given = logged_in(&app, "app", "openid");
    app.relying_party().revoke("app", given.tokens.refresh_token());
    let anew = CodeRequest::of("app", CALLBACK).with("prompt", "login");
    code(&given.browser.log_in(&given.browser.get(&anew.path()), &given.email));
    assert_eq!(waiting(&app), Vec::<String>::new());
    a_while();
    assert_eq!(receiver.received().len(), 8);
}

#[test]
fn who_has_offline_access_is_told_too_and_goes_on() {
    let (app, receiver) = (start(), Receiver::start());
    client(&app, "app", &format!("{}/out?x=1", receiver.base));
    let given = logged_in(&app, "app", "openid offline_access");
    log_out(&given);
    let (_, claims) = verified(&app, &receiver.wait_for(1)[0]);
    assert_eq!(claims["sid"], given.tokens.claims()["sid"]);
    app.relying_party().refresh("app", given.tokens.refresh_token()).tokens();
    eventually("it knows", || waiting(&app).is_empty());
    // Whoever shows the ID token once more has nobody told once more.
    log_out(&given);
    assert!(waiting(&app).is_empty());
}

#[test]
fn a_client_that_was_away_is_told_when_it_is_back() {
    let (app, receiver) = (start(), Receiver::start());
    client(&app, "app", &format!("{}/out?x=1", receiver.base));
    receiver.answer(503);
    let given = logged_in(&app, "app", "openid");
    log_out(&given);
    let first = receiver.wait_for(1);
    eventually("the try is counted", || waiting(&app) == ["app:1"]);
    app.advance(Duration::from_secs(9));
    a_while();
    assert_eq!(receiver.received().len(), 1, "not before its time");
    app.advance(Duration::from_secs(1));
    receiver.wait_for(2);
    receiver.answer(200);
    app.advance(Duration::from_secs(30));
    let all = receiver.wait_for(3);
    let (one, last) = (verified(&app, &first[0]).1, verified(&app, &all[2]).1);
    assert_eq!((&one["sid"], &one["sub"]), (&last["sid"], &last["sub"]));
    assert_ne!(one["jti"], last["jti"], "each token is another");
    assert_eq!(last["iat"].as_i64().unwrap() - one["iat"].as_i64().unwrap(), 40, "and fresh");
    eventually("it knows", || waiting(&app).is_empty());
    let metrics = app.relying_party().get("/metrics", &[]).body;
    for line in [
        r#"countersign_logout_notices_total{outcome="failed"} 2"#,
        r#"countersign_logout_notices_total{outcome="sent"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line}");
    }
}

#[test]
fn a_client_that_does_not_answer_holds_up_no_other() {
    is_left_in_peace(SILENCE);
}

#[test]
fn a_client_that_goes_on_answering_is_one_that_does_not_answer() {
    is_left_in_peace(DRIP);
}

/// CWE-400: whoever answers like that is given up after three seconds and holds up nobody.
fn is_left_in_peace(answer: u16) {
    let (app, slow, quick) = (start(), Receiver::start(), Receiver::start());
    client(&app, "app", &format!("{}/out?x=1", quick.base));
    slow.answer(answer);
    client(&app, "slow", &format!("{}/out?x=1", slow.base));
    for _ in 0..6 {
        log_out(&logged_in(&app, "slow", "openid"));
    }
    slow.wait_for(1);
    let began = Instant::now();
    log_out(&logged_in(&app, "app", "openid"));
    quick.wait_for(1);
    assert!(began.elapsed() < Duration::from_millis(2900), "before the other was given up: {:?}", began.elapsed());
    // After it did not answer once, it is left in peace with the others, too.
    let failed = r#"countersign_logout_notices_total{outcome="failed"} 1"#;
    eventually("its time is over", || app.relying_party().get("/metrics", &[]).body.contains(failed));
    assert!(waiting(&app).iter().any(|line| line == "slow:1"));
    a_while();
    assert_eq!(slow.received().len(), 1);
}

#[test]
fn nobody_is_called_where_nobody_may_be_called() {
    let (app, receiver) = (TestApp::start(), Receiver::start());
    client(&app, "app", &format!("{}/out?x=1", receiver.base));
    client(&app, "inside", "https://10.0.0.1/out");
    for client_id in ["app", "inside"] {
        log_out(&logged_in(&app, client_id, "openid"));
    }
    eventually("it was tried", || waiting(&app) == ["app:1", "inside:1"]);
    for nth in 2..=9 {
        app.advance(Duration::from_secs(3600));
        let (tried, over) = ([format!("app:{nth}"), format!("inside:{nth}")], nth > 6);
        eventually("it is tried again, and given up", || waiting(&app) == tried || over && waiting(&app).is_empty());
    }
    assert_eq!((waiting(&app).len(), receiver.received().len()), (0, 0));
    let metrics = app.relying_party().get("/metrics", &[]).body;
    assert!(metrics.contains(r#"countersign_logout_notices_total{outcome="given_up"} 2"#), "CWE-918");
}

#[test]
fn two_instances_tell_a_client_once() {
    let (app, receiver) = (start(), Receiver::start());
    client(&app, "app", &format!("{}/out?x=1", receiver.base));
    let settings = [("fetch.allow_loopback", "true"), ("issuer", app.app.issuer.as_str())];
    let _second = TestApp::on(app.database.clone(), app.app.clock.clone(), &settings);
    let people: Vec<_> = (0..8).map(|_| logged_in(&app, "app", "openid")).collect();
    people.iter().for_each(log_out);
    receiver.wait_for(8);
    a_while();
    let told: Vec<_> = receiver.received().iter().map(|one| verified(&app, one).1["sid"].to_string()).collect();
    assert_eq!((told.len(), told.into_iter().collect::<BTreeSet<_>>().len()), (8, 8));
    assert!(waiting(&app).is_empty());
}

#[test]
fn who_does_not_want_to_know_is_not_told() {
    let (app, receiver) = (start(), Receiver::start());
    client(&app, "app", &format!("{}/out?x=1", receiver.base));
    app.client(
        "quiet",
        json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK],
            "scope": "openid", "first_party": true, "client_name": "\"backchannel_logout_uri\":" }),
    );
    log_out(&logged_in(&app, "quiet", "openid"));
    assert!(waiting(&app).is_empty());
    // Nor one that was disabled since.
    receiver.answer(503);
    log_out(&logged_in(&app, "app", "openid"));
    receiver.wait_for(1);
    admin::clients::disable(&app.app, "app", "test").unwrap();
    app.app.clients.reload(&app.app.db).unwrap();
    app.advance(Duration::from_secs(10));
    eventually("nobody waits for it", || waiting(&app).is_empty());
    assert_eq!(receiver.received().len(), 1);
}

#[test]
fn a_notice_is_taken_by_one_alone() {
    let app = start();
    client(&app, "app", "https://app.example/out");
    let given = logged_in(&app, "app", "openid");
    let whose = admin::grants::Whose::Grant(given.tokens.claims()["sid"].as_str().unwrap().parse().unwrap());
    // Due so late that the server itself does not come for it.
    let late = app.app.clock.now().plus(Duration::from_secs(3600));
    admin::grants::end(&app.app, whose, false, "test").unwrap();
    app.database.execute(&format!("UPDATE logout_notices SET attempts = 3, due_at = {}", late.as_micros()));
    let id = ClientId::parse("app").unwrap();
    let notice = app.app.db.read(|tx| logout_notices::find_due(tx, &id, late)).unwrap().unwrap();
    let next = late.plus(Duration::from_secs(10));
    let taken = std::thread::scope(|scope| {
        let claim = || {
            let notice = notice.clone();
            app.app.db.write(move |tx| logout_notices::claim(tx, &notice, next)).unwrap()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(claim)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(|taken| *taken).count()
    });
    assert_eq!(taken, 1);
}

#[test]
fn a_client_that_has_a_name_of_its_own_for_a_person_is_told_by_that_name() {
    let (app, receiver) = (start(), Receiver::start());
    app.client(
        "app",
        json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code", "refresh_token"],
            "redirect_uris": [CALLBACK], "scope": "openid", "first_party": true, "subject_type": "pairwise",
            "backchannel_logout_uri": format!("{}/out?x=1", receiver.base) }),
    );
    let given = logged_in(&app, "app", "openid");
    log_out(&given);
    let (_, claims) = verified(&app, &receiver.wait_for(1)[0]);
    assert_eq!(claims["sub"], claims_of(&given.id_token)["sub"]);
    assert_ne!(claims["sub"], given.account.id.to_string());
}
