//! Devices without a browser (RFC 8628): codes, the page that a person types one into, and what the device is told.

use std::time::Duration;

use countersign::admin;
use countersign::secret::PlainSecret;

use crate::app::{AUDIENCE, PASSWORD, TestApp};
use crate::browser::{Browser, CALLBACK, CodeRequest, Form, code};
use crate::relying_party::{Answer, RelyingParty, basic};

pub const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// What a device was told.
pub struct Codes {
    pub device: String,
    pub user: String,
    pub complete: String,
}

/// The public client `tv`.
pub fn tv(app: &TestApp) {
    app.client(
        "tv",
        serde_json::json!({
            "client_name": "Living Room",
            "token_endpoint_auth_method": "none",
            "grant_types": [GRANT, "refresh_token"],
            "scope": "openid read offline_access",
            "audiences": [AUDIENCE, "https://other.example"],
            "first_party": true,
        }),
    );
}

#[track_caller]
pub fn begin(party: &RelyingParty, scope: &str) -> Codes {
    let answer = party.form("/device_authorization", &[], &[("client_id", "tv"), ("scope", scope)]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let json = answer.json();
    let text = |name: &str| json[name].as_str().unwrap().to_owned();
    Codes { device: text("device_code"), user: text("user_code"), complete: text("verification_uri_complete") }
}

pub fn poll(party: &RelyingParty, device_code: &str) -> Answer {
    party.form("/token", &[], &[("grant_type", GRANT), ("client_id", "tv"), ("device_code", device_code)])
}

/// Types a code on the page.
#[track_caller]
pub fn enter(browser: &Browser, user_code: &str) -> Answer {
    Form::of(&browser.get("/device")).send(browser, &[("user_code", user_code)])
}

/// The page that asks, for whoever has logged in.
#[track_caller]
pub fn consent(browser: &Browser, entered: &Answer, email: &str) -> Form {
    let step = browser.follow(entered);
    let asked = browser.log_in(&step, email);
    Form::of(&browser.follow(&asked))
}

/// A device that a person has let in at a browser.
fn let_in(app: &TestApp, scope: &str) -> (Browser, String, Codes) {
    tv(app);
    let (_, email) = app.account();
    let (browser, codes) = (Browser::new(app), begin(&app.relying_party(), scope));
    let form = consent(&browser, &enter(&browser, &codes.user), &email);
    let done = form.send(&browser, &[("decision", "allow")]);
    assert!(done.status == 200 && done.body.contains("Go back to your device"), "{}", done.body);
    (browser, email, codes)
}

#[test]
fn a_person_types_the_code_and_the_device_gets_its_tokens() {
    let app = TestApp::with(&[("cache.url", "memory:")]);
    tv(&app);
    let (party, browser, (account, email)) = (app.relying_party(), Browser::new(&app), app.account());
    let answer = party.form("/device_authorization", &[], &[("client_id", "tv"), ("scope", "openid read")]);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let json = answer.json();
    let user_code = json["user_code"].as_str().unwrap();
    let expected = serde_json::json!({
        "device_code": json["device_code"], "user_code": user_code, "expires_in": 900, "interval": 5,
        "verification_uri": format!("{}/device", app.base),
        "verification_uri_complete": format!("{}/device?user_code={user_code}", app.base),
    });
    assert_eq!(json, expected);
    let device_code = json["device_code"].as_str().unwrap();
    assert!(device_code.starts_with("csd_") && device_code.len() > 60);
    assert_eq!(poll(&party, device_code).error(), "authorization_pending");
    // However the person spells it.
    let typed = user_code.to_lowercase().replace('-', " ");
    let entered = enter(&browser, &typed);
    let login = browser.follow(&entered);
    let asked = browser.log_in(&login, &email);
    let page = browser.follow(&asked);
    for said in ["Living Room", email.as_str(), user_code, "know who you are", "read", "in front of you"] {
        assert!(page.body.contains(said), "{said}: {}", page.body);
    }
    app.advance(Duration::from_secs(5));
    assert_eq!(poll(&party, device_code).error(), "authorization_pending");
    let done = Form::of(&page).send(&browser, &[("decision", "allow")]);
    assert!(done.status == 200 && done.body.contains("Go back to your device"), "{}", done.body);
    // The answer is there at once, whatever the pace.
    let answer = poll(&party, device_code);
    let tokens = answer.tokens();
    assert_eq!(tokens.scope, "openid read");
    assert_eq!(tokens.claims()["sub"], account.id.to_string());
    assert_eq!(tokens.claims()["amr"], serde_json::json!(["pwd"]));
    assert!(answer.json()["id_token"].is_string());
    party.refresh("tv", tokens.refresh_token()).tokens();
    assert_eq!(poll(&party, device_code).error(), "invalid_grant", "once");
}

#[test]
fn the_code_in_the_link_is_filled_in_and_still_sent_off_by_the_person() {
    let app = TestApp::start();
    let (browser, email, _) = let_in(&app, "openid");
    let party = app.relying_party();
    let codes = begin(&party, "openid");
    let page = browser.get(codes.complete.strip_prefix(&app.base).unwrap());
    assert!(page.body.contains(&format!("value=\"{}\"", codes.user)), "{}", page.body);
    assert_eq!(poll(&party, &codes.device).error(), "authorization_pending", "a link alone does nothing");
    let entered = Form::of(&page).send(&browser, &[("user_code", &codes.user)]);
    // Whoever is logged in and has allowed it before is asked about this device, first party or not.
    let asked = browser.follow(&entered);
    assert!(asked.status == 200 && asked.body.contains(&codes.user) && asked.body.contains(&email), "{}", asked.body);
    assert_eq!(Form::of(&asked).send(&browser, &[("decision", "deny")]).status, 200);
    assert_eq!(poll(&party, &codes.device).error(), "access_denied");
    assert_eq!(poll(&party, &codes.device).error(), "access_denied", "for good");
    for hostile in ["%22%3E%3Cscript%3E", "AAAA-AAAA", "%ff", ""] {
        let page = browser.get(&format!("/device?user_code={hostile}"));
        assert!(
            page.status == 200 && page.body.contains("name=\"user_code\" type=\"text\" value=\"\""),
            "{}",
            page.body
        );
    }
}

#[test]
fn a_device_that_asks_too_often_is_told_to_slow_down() {
    // Redis goes by its own clock, which nobody moves.
    let app = TestApp::with(&[("cache.url", "memory:")]);
    tv(&app);
    let party = app.relying_party();
    let codes = begin(&party, "openid");
    let after = |seconds: u64| {
        app.advance(Duration::from_secs(seconds));
        poll(&party, &codes.device).error()
    };
    assert_eq!(after(0), "authorization_pending");
    assert_eq!(after(5), "authorization_pending");
    assert_eq!(after(1), "slow_down");
    assert_eq!(after(10), "authorization_pending", "five seconds longer");
    assert_eq!(after(5), "slow_down", "from now on");
    assert_eq!(after(15), "authorization_pending");
    // Another client's questions do not slow the device down.
    app.client("other", serde_json::json!({ "token_endpoint_auth_method": "none", "grant_types": [GRANT] }));
    app.advance(Duration::from_secs(15));
    for _ in 0..5 {
        let form = [("grant_type", GRANT), ("client_id", "other"), ("device_code", codes.device.as_str())];
        assert_eq!(party.form("/token", &[], &form).error(), "invalid_grant");
    }
    assert_eq!(after(0), "authorization_pending");
}

#[test]
fn what_a_device_may_not_have_is_refused_from_the_start() {
    let app = TestApp::start();
    tv(&app);
    app.public_client();
    let secret = app.client("box", serde_json::json!({ "grant_types": [GRANT], "scope": "read" })).unwrap();
    let party = app.relying_party();
    let ask = |pairs: &[(&str, &str)]| party.form("/device_authorization", &[], pairs);
    assert_eq!(ask(&[("client_id", "web")]).error(), "unauthorized_client");
    assert_eq!(ask(&[("client_id", "nobody")]).error(), "invalid_client");
    assert_eq!(ask(&[("client_id", "box")]).error(), "invalid_client", "a confidential client proves itself");
    assert_eq!(ask(&[]).error(), "invalid_client");
    assert_eq!(ask(&[("client_id", "tv"), ("scope", "admin")]).error(), "invalid_scope");
    assert_eq!(ask(&[("client_id", "tv"), ("scope", "openid"), ("scope", "read")]).error(), "invalid_request");
    assert_eq!(ask(&[("client_id", "tv"), ("resource", "https://evil.example")]).error(), "invalid_target");
    assert_eq!(party.get("/device_authorization", &[]).status, 405);
    let header = basic("box", &secret);
    let answer = party.form("/device_authorization", &[("Authorization", &header)], &[]);
    let device_code = answer.json()["device_code"].as_str().unwrap().to_owned();
    let of_box = |pairs: &[(&str, &str)], headers: &[(&str, &str)]| party.form("/token", headers, pairs).error();
    let form = [("grant_type", GRANT), ("device_code", device_code.as_str())];
    assert_eq!(of_box(&form, &[("Authorization", &header)]), "authorization_pending");
    let wrong = basic("box", "css_wrong");
    assert_eq!(of_box(&form, &[("Authorization", &wrong)]), "invalid_client");
    let bare = [("grant_type", GRANT), ("device_code", &device_code), ("client_id", "box")];
    assert_eq!(of_box(&bare, &[]), "invalid_client");
    // Others may neither ask about it nor have it.
    assert_eq!(poll(&party, &device_code).error(), "invalid_grant");
    let of_web = [("grant_type", GRANT), ("device_code", &device_code), ("client_id", "web")];
    assert_eq!(of_box(&of_web, &[]), "unauthorized_client");
    for forged in ["", "x", "csd_", &device_code[..40], &device_code.replace("csd_", "csc_")] {
        let error = poll(&party, forged).error();
        assert_eq!(error, if forged.is_empty() { "invalid_request" } else { "invalid_grant" }, "{forged}");
    }
}

#[test]
fn a_device_may_ask_for_less_than_it_was_given() {
    let app = TestApp::start();
    let (_, _, codes) = let_in(&app, "read");
    let party = app.relying_party();
    let ask = |resource: &str| {
        let form = [("grant_type", GRANT), ("client_id", "tv"), ("device_code", &codes.device), ("resource", resource)];
        party.form("/token", &[], &form)
    };
    assert_eq!(ask("https://evil.example").error(), "invalid_target");
    assert_eq!(ask(AUDIENCE).tokens().claims()["aud"], serde_json::json!([AUDIENCE]), "and a mistake uses nothing up");
}

#[test]
fn of_many_questions_at_once_one_succeeds() {
    let app = TestApp::start();
    let (browser, _, mut codes) = let_in(&app, "openid");
    let other = app.second_instance();
    for _ in 0..4 {
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let codes = &codes;
            let threads: Vec<_> = [&app, &other]
                .into_iter()
                .cycle()
                .take(20)
                .map(|app| scope.spawn(move || poll(&app.relying_party(), &codes.device).status))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| [200, 400, 503].contains(status)), "{statuses:?}");
        codes = begin(&app.relying_party(), "openid");
        let form = Form::of(&browser.follow(&enter(&browser, &codes.user)));
        assert_eq!(form.send(&browser, &[("decision", "allow")]).status, 200);
    }
    let grants = app.database.lines("SELECT CAST(COUNT(*) AS TEXT) AS line FROM grants");
    assert_eq!(grants, ["4"]);
}

#[test]
fn of_many_answers_at_once_one_counts() {
    let app = TestApp::start();
    tv(&app);
    let (party, (_, email)) = (app.relying_party(), app.account());
    let codes = begin(&party, "openid");
    let browsers: Vec<(Browser, Form)> = (0..8)
        .map(|_| {
            let browser = Browser::new(&app);
            let form = consent(&browser, &enter(&browser, &codes.user), &email);
            (browser, form)
        })
        .collect();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let answer = |nth: usize| if nth.is_multiple_of(2) { "allow" } else { "deny" };
        let threads: Vec<_> = browsers
            .iter()
            .enumerate()
            .map(|(nth, (browser, form))| scope.spawn(move || form.send(browser, &[("decision", answer(nth))]).status))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
}

#[test]
fn a_quarter_of_an_hour_and_no_longer() {
    let app = TestApp::start();
    let (browser, _, codes) = let_in(&app, "openid");
    let party = app.relying_party();
    let (late, never) = (begin(&party, "openid"), begin(&party, "openid"));
    let form = Form::of(&browser.follow(&enter(&browser, &late.user)));
    app.advance(Duration::from_secs(899));
    assert_eq!(poll(&party, &never.device).error(), "authorization_pending");
    poll(&party, &codes.device).tokens();
    app.advance(Duration::from_secs(1));
    assert_eq!(poll(&party, &never.device).error(), "expired_token");
    assert_eq!(form.send(&browser, &[("decision", "allow")]).status, 400, "too late to say yes");
    assert_eq!(poll(&party, &late.device).error(), "expired_token");
    assert_eq!(enter(&browser, &never.user).status, 400);
    // Swept away, it was over all the same.
    app.database.execute("DELETE FROM device_codes");
    assert_eq!(poll(&party, &never.device).error(), "expired_token");
}

#[test]
fn devices_that_are_over_are_swept_away() {
    use countersign::store::device_codes;
    let app = TestApp::start();
    tv(&app);
    begin(&app.relying_party(), "openid");
    let now = app.app.clock.now();
    let sweep = |at: countersign::clock::Timestamp| {
        app.app.db.write(move |tx| device_codes::remove_expired(tx, at, 10)).unwrap()
    };
    assert_eq!(sweep(now.plus(Duration::from_secs(900))), 0);
    assert_eq!(sweep(now.plus(Duration::from_secs(901))), 1);
}

#[test]
fn a_code_is_typed_into_our_own_page_by_a_person_who_does_not_guess() {
    let app = TestApp::with(&[("limits.user_codes", "3"), ("http.trusted_proxies", "127.0.0.1/32")]);
    tv(&app);
    let codes = begin(&app.relying_party(), "openid");
    let browser = Browser::new(&app);
    let form = Form::of(&browser.get("/device"));
    let pairs = [("form_token", form.field("form_token")), ("user_code", codes.user.as_str())];
    for headers in [&[("Sec-Fetch-Site", "cross-site")][..], &[("Origin", "https://evil.example")], &[]] {
        assert_eq!(browser.post_with("/device", headers, &pairs).status, 403, "{headers:?}");
    }
    assert_eq!(form.send(&Browser::new(&app), &[("user_code", &codes.user)]).status, 403, "another browser");
    assert_eq!(browser.post("/device", &[("user_code", &codes.user)]).status, 403, "no form of ours");
    let [one, two, three, four, ..] = countersign::secret::Random.bytes::<4>();
    let network = format!("2001:db8:{one:x}{two:02x}:{three:x}{four:02x}::1");
    let elsewhere = format!("2001:db8:{two:x}{one:02x}:{four:x}{three:02x}::1");
    let from = |network: &str, user_code: &str| {
        let headers = [("Sec-Fetch-Site", "same-origin"), ("X-Forwarded-For", network)];
        browser.post_with("/device", &headers, &[("form_token", form.field("form_token")), ("user_code", user_code)])
    };
    // What is no code at all is no guess, and a right one is none either.
    for _ in 0..5 {
        let answer = from(&network, "x");
        assert!(answer.status == 400 && answer.body.contains("No device waits"), "{}", answer.body);
        assert_eq!(from(&network, &codes.user).status, 303);
    }
    let wrong = if codes.user == "BBBB-BBBB" { "CCCC-CCCC" } else { "BBBB-BBBB" };
    for _ in 0..3 {
        assert_eq!(from(&network, wrong).status, 400);
    }
    let waits = from(&network, &codes.user);
    assert!(waits.status == 429 && waits.body.contains("Too many attempts."), "{}", waits.body);
    assert!(waits.header("retry-after").is_some());
    assert_eq!(from(&elsewhere, &codes.user).status, 303);
}

#[test]
fn devices_without_end_fill_nothing() {
    let app = TestApp::with(&[("limits.device_codes", "3"), ("http.trusted_proxies", "127.0.0.1/32")]);
    tv(&app);
    let [one, two, three, four, ..] = countersign::secret::Random.bytes::<4>();
    let from = |last: u8| {
        let address = format!("2001:db8:{one:x}{two:02x}:{three:x}{four:02x}::{last:x}");
        app.relying_party().form("/device_authorization", &[("X-Forwarded-For", &address)], &[("client_id", "tv")])
    };
    for last in 1..=3 {
        assert_eq!(from(last).status, 200);
    }
    let answer = from(4);
    assert_eq!((answer.status, answer.error().as_str()), (429, "temporarily_unavailable"));
    assert_eq!(app.database.lines("SELECT CAST(COUNT(*) AS TEXT) AS line FROM device_codes"), ["3"]);
}

#[test]
fn a_step_of_a_device_belongs_to_the_browser_that_typed_its_code() {
    let app = TestApp::start();
    tv(&app);
    let (_, email) = app.account();
    let (person, other) = (Browser::new(&app), Browser::new(&app));
    let codes = begin(&app.relying_party(), "openid");
    let entered = enter(&person, &codes.user);
    assert_eq!(other.get(entered.header("location").unwrap()).status, 400);
    let form = consent(&person, &entered, &email);
    assert_eq!(form.send(&other, &[("decision", "allow")]).status, 400);
    // A yes without the form of ours, and to a device whose name was made up.
    let name = form.field("request").to_owned();
    let forced = [("request", name.as_str()), ("form_token", "x"), ("decision", "allow")];
    assert_eq!(person.post("/consent", &forced).status, 403);
    let renamed = format!("{}.BBBBBBBB", name.split('.').next().unwrap());
    let forced = [("request", renamed.as_str()), ("form_token", form.field("form_token")), ("decision", "allow")];
    assert_eq!(person.post("/consent", &forced).status, 400);
    assert_eq!(poll(&app.relying_party(), &codes.device).error(), "authorization_pending");
}

#[test]
fn nothing_comes_of_a_yes_when_what_it_rests_on_is_over() {
    type End = fn(&TestApp, &Browser, &str);
    let ends: [(&str, End, &str); 6] = [
        (
            "the person logs out",
            |_, browser, _| drop(Form::of(&browser.get("/logout")).send(browser, &[])),
            "invalid_grant",
        ),
        (
            "somebody else logs in there",
            |app, browser, _| {
                app.code_client();
                let (_, eve) = app.account();
                browser.log_in(&browser.get(&CodeRequest::new().with("prompt", "login").path()), &eve);
            },
            "invalid_grant",
        ),
        (
            "the account is disabled",
            |app, _, email| {
                let id = admin::accounts::find(&app.app, email).unwrap().id;
                admin::accounts::disable(&app.app, id, "test").unwrap();
            },
            "invalid_grant",
        ),
        (
            "the password is another",
            |app, _, email| {
                let account = admin::accounts::find(&app.app, email).unwrap();
                admin::accounts::set_password(&app.app, &account, &PlainSecret::new("hunter-canary-anew"), "test")
                    .unwrap();
            },
            "invalid_grant",
        ),
        (
            "the client is disabled",
            |app, _, _| {
                admin::clients::disable(&app.app, "tv", "test").unwrap();
                app.app.clients.reload(&app.app.db).unwrap();
            },
            "invalid_client",
        ),
        (
            "the client is disabled and enabled again",
            |app, _, _| {
                admin::clients::disable(&app.app, "tv", "test").unwrap();
                admin::clients::enable(&app.app, "tv", "test").unwrap();
                app.app.clients.reload(&app.app.db).unwrap();
            },
            "invalid_grant",
        ),
    ];
    for (what, end, error) in ends {
        let app = TestApp::start();
        let (browser, email, codes) = let_in(&app, "openid offline_access");
        end(&app, &browser, &email);
        let party = app.relying_party();
        assert_eq!(poll(&party, &codes.device).error(), error, "{what}");
        assert_eq!(poll(&party, &codes.device).error(), error, "{what}, for good");
        assert_eq!(app.database.lines("SELECT CAST(COUNT(*) AS TEXT) AS line FROM grants"), ["0"], "{what}");
    }
}

#[test]
fn a_yes_to_a_device_allows_its_client_nothing_elsewhere() {
    let app = TestApp::start();
    let (_, email) = app.account();
    app.client(
        "both",
        serde_json::json!({ "token_endpoint_auth_method": "none", "grant_types": [GRANT, "authorization_code"],
            "redirect_uris": [CALLBACK], "scope": "openid" }),
    );
    let (party, browser) = (app.relying_party(), Browser::new(&app));
    let begun = party.form("/device_authorization", &[], &[("client_id", "both")]).json();
    let form = consent(&browser, &enter(&browser, begun["user_code"].as_str().unwrap()), &email);
    assert_eq!(form.send(&browser, &[("decision", "allow")]).status, 200);
    let request = CodeRequest::of("both", CALLBACK).with("scope", "openid");
    let asked = browser.get(&request.path());
    assert!(asked.header("location").unwrap().starts_with("/consent?"), "{asked:?}");
    assert!(!code(&browser.allow(&asked)).is_empty());
    // And a no to a device takes nothing back.
    let begun = party.form("/device_authorization", &[], &[("client_id", "both")]).json();
    let form = Form::of(&browser.follow(&enter(&browser, begun["user_code"].as_str().unwrap())));
    assert_eq!(form.send(&browser, &[("decision", "deny")]).status, 200);
    assert!(!code(&browser.get(&request.path())).is_empty());
}

#[test]
fn a_stolen_database_holds_neither_code() {
    let app = TestApp::start();
    tv(&app);
    let (_, email) = app.account();
    let (browser, codes) = (Browser::new(&app), begin(&app.relying_party(), "openid"));
    let asked = browser.follow(&enter(&browser, &codes.user));
    let form = Form::of(&browser.follow(&asked));
    let dump = app.database.dump();
    let letters = codes.user.replace('-', "");
    for needle in [&codes.user, &letters, &codes.device, form.field("request")] {
        let hex: String = needle.bytes().map(|byte| format!("{byte:02x}")).collect();
        for needle in [needle.as_bytes(), hex.as_bytes()] {
            assert!(!dump.windows(needle.len()).any(|window| window == needle));
        }
    }
    form.send(&browser, &[("username", &email), ("password", PASSWORD)]);
}
