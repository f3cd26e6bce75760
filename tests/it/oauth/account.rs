//! What people see and end of their own, at `/account` (ASVS 7.5.2), and how they say who they are.

use std::time::Duration;

use crate::app::TestApp;
use crate::browser::{Browser, CodeRequest, Form, code, response};
use crate::relying_party::Answer;

const SESSION: &str = "countersign-session";
const SAFARI: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                      Version/17.5 Mobile/15E148 Safari/604.1";

#[track_caller]
fn is_logged_in(browser: &Browser) -> bool {
    response(&browser.get(&CodeRequest::new().with("prompt", "none").path())).contains_key("code")
}

/// Leads through the log-in page to the account's own.
#[track_caller]
fn log_in(browser: &Browser, email: &str) -> Answer {
    let done = browser.log_in(&browser.get("/account"), email);
    assert_eq!((done.status, done.header("location")), (303, Some("/account")));
    browser.get("/account")
}

/// The values of the page's buttons of that name.
fn buttons(page: &Answer, name: &str) -> Vec<String> {
    let open = format!("<button type=\"submit\" name=\"{name}\" value=\"");
    page.body.split(&open).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

#[test]
fn a_person_is_led_through_the_log_in_page_and_back() {
    let app = TestApp::start();
    let (_, email) = app.account();
    let browser = Browser::new(&app);
    let led = browser.get("/account");
    let form_page = browser.follow(&led);
    assert!(form_page.body.contains("to see your account"), "{}", form_page.body);
    // Another browser cannot go on with it.
    assert_eq!(Browser::new(&app).get(led.header("location").unwrap()).status, 400);
    let wrong = Form::of(&form_page).send(&browser, &[("username", &email), ("password", "hunter-canary-0815")]);
    assert!(wrong.status == 400 && wrong.body.contains("is wrong"), "{} {}", wrong.status, wrong.body);
    let page = log_in(&browser, &email);
    assert!(page.status == 200 && page.body.contains(&email) && page.body.contains("Firefox, Linux"), "{}", page.body);
    assert!(page.body.contains("127.0.0.0/24") && page.body.contains("this browser"));
    assert!(page.body.contains("Nothing has access"));
    // What was waited for is not there any more.
    assert_eq!(browser.get(led.header("location").unwrap()).header("location"), Some("/account"));
    let id = led.header("location").unwrap().split('=').nth(1).unwrap().to_owned();
    assert_eq!(browser.get(&format!("/consent?request={id}")).status, 400);
}

#[test]
fn a_program_is_told_and_not_led() {
    let app = TestApp::start();
    let browser = Browser::new(&app);
    for (accept, status) in [
        ("application/json", 401),
        ("application/problem+json;q=0.9", 401),
        ("text/html,application/json", 303),
        ("text/html,application/xhtml+xml,*/*;q=0.8", 303),
        ("*/*", 303),
        ("", 303),
    ] {
        let answer = browser.get_with("/account", &[("Accept", accept), ("Sec-Fetch-Site", "none")]);
        assert_eq!(answer.status, status, "{accept}");
        if status == 401 {
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            assert_eq!(answer.header("www-authenticate"), Some("Cookie realm=\"countersign\""));
            assert_eq!(answer.json()["status"], 401);
        }
    }
}

#[test]
fn a_person_sees_every_log_in_and_ends_one_elsewhere() {
    let app = TestApp::start();
    let (here, email, request, first) = app.at_browser();
    let party = app.relying_party();
    let tokens = request.redeem(&party, &first, &[]).tokens();
    let there = Browser::new(&app);
    there.become_another(SAFARI);
    log_in(&there, &email);
    app.advance(Duration::from_secs(60));
    let page = there.get("/account");
    assert!(page.body.contains("Safari, iOS") && page.body.contains("Firefox, Linux"), "{}", page.body);
    let sessions = buttons(&page, "session");
    assert_eq!(sessions.len(), 2);
    let own = buttons(&here.get("/account"), "session");
    let here_is = page.body.split("<li>").find(|item| item.contains("this browser")).unwrap();
    let other = sessions.iter().find(|id| !here_is.contains(*id)).unwrap();
    assert_eq!(own.len(), 2);
    let form = Form::of(&page);
    assert_eq!(form.send(&there, &[("session", other)]).header("location"), Some("/account"));
    assert!(!is_logged_in(&here) && is_logged_in(&there));
    assert_eq!(party.refresh("app", tokens.refresh_token()).error(), "invalid_grant", "what came from it ends with it");
    assert_eq!(buttons(&there.get("/account"), "session").len(), 1);
    // Again is as good as once; and the last one is a log-out.
    assert_eq!(form.send(&there, &[("session", other)]).status, 303);
    let cookie = there.cookie(SESSION).unwrap();
    let out = form.send(&there, &[("session", &buttons(&there.get("/account"), "session")[0])]);
    assert!(out.status == 200 && out.body.contains("You are logged out"));
    assert_eq!(out.header("clear-site-data"), Some("\"cache\", \"storage\""));
    there.set_cookie(SESSION, &cookie);
    assert!(!is_logged_in(&there));
}

#[test]
fn a_person_ends_a_clients_access_and_is_asked_when_it_comes_back() {
    let app = TestApp::start();
    let (browser, _, request, first) = app.at_browser();
    let party = app.relying_party();
    let tokens = request.redeem(&party, &first, &[]).tokens();
    let page = browser.get("/account");
    assert!(page.body.contains("Example App") && page.body.contains("see your e-mail address"), "{}", page.body);
    let grants = buttons(&page, "grant");
    assert_eq!(grants, [tokens.claims()["sid"].as_str().unwrap()]);
    assert_eq!(Form::of(&page).send(&browser, &[("grant", &grants[0])]).status, 303);
    assert_eq!(party.refresh("app", tokens.refresh_token()).error(), "invalid_grant");
    assert!(browser.get("/account").body.contains("Nothing has access"));
    assert_eq!(response(&browser.get(&request.clone().with("prompt", "none").path()))["error"], "consent_required");
}

#[test]
fn nobody_ends_what_is_anothers() {
    let app = TestApp::start();
    let (ada, _, request, first) = app.at_browser();
    let party = app.relying_party();
    let tokens = request.redeem(&party, &first, &[]).tokens();
    let of_ada = ada.get("/account");
    let (_, email) = app.account();
    let eve = Browser::new(&app);
    let form = Form::of(&log_in(&eve, &email));
    for (name, id) in [("session", &buttons(&of_ada, "session")[0]), ("grant", &buttons(&of_ada, "grant")[0])] {
        let answer = form.send(&eve, &[(name, id)]);
        assert_eq!((answer.status, answer.header("location")), (303, Some("/account")), "no word about it: {name}");
    }
    assert!(is_logged_in(&ada));
    party.refresh("app", tokens.refresh_token()).tokens();
    assert!(!eve.get("/account").body.contains("Example App"));
}

#[test]
fn only_the_pages_own_form_ends_anything() {
    let app = TestApp::start();
    let (browser, _, _, _) = app.at_browser();
    let (_, email) = app.account();
    let eve = Browser::new(&app);
    let foreign = Form::of(&log_in(&eve, &email)).field("form_token").to_owned();
    let page = browser.get("/account");
    let (ours, id) = (Form::of(&page).field("form_token").to_owned(), buttons(&page, "session")[0].clone());
    for headers in [&[("Sec-Fetch-Site", "cross-site")][..], &[("Sec-Fetch-Site", "same-site")], &[]] {
        assert_eq!(browser.post_with("/account", headers, &[("form_token", &ours), ("session", &id)]).status, 403);
    }
    for token in [foreign.as_str(), "", &"A".repeat(43)] {
        assert_eq!(browser.post("/account", &[("form_token", token), ("session", &id)]).status, 403);
    }
    for pairs in [
        &[("form_token", ours.as_str())][..],
        &[("form_token", ours.as_str()), ("session", "x")],
        &[("form_token", ours.as_str()), ("session", &id), ("everything", "yes")],
        &[("form_token", ours.as_str()), ("session", &id), ("session", &id)],
    ] {
        assert_eq!(browser.post("/account", pairs).status, 400, "{pairs:?}");
    }
    browser.get(&format!("/account?form_token={ours}&session={id}"));
    assert!(is_logged_in(&browser));
}

#[test]
fn to_end_something_the_log_in_must_be_fresh() {
    let app = TestApp::start();
    let (browser, email, _, _) = app.at_browser();
    app.advance(Duration::from_secs(15 * 60 + 1));
    let page = browser.get("/account");
    assert_eq!(page.status, 200, "to see it an older one is enough");
    let id = buttons(&page, "session")[0].clone();
    let led = Form::of(&page).send(&browser, &[("session", &id)]);
    let asked = browser.follow(&led);
    assert!(asked.body.contains(&email) && asked.body.contains("type=\"password\""), "{}", asked.body);
    assert!(is_logged_in(&browser), "nothing was ended");
    let wrong = browser.log_in_with(&led, &email, "hunter-canary-0815");
    assert!(wrong.status == 400 && is_logged_in(&browser), "a wrong password ends nothing either");
    assert_eq!(browser.log_in(&led, &email).header("location"), Some("/account"));
    let page = browser.get("/account");
    let out = Form::of(&page).send(&browser, &[("session", &buttons(&page, "session")[0])]);
    assert!(out.status == 200 && !is_logged_in(&browser));
}

#[test]
fn a_person_logs_out_everywhere() {
    let app = TestApp::start();
    let (one, email, request, first) = app.at_browser();
    let party = app.relying_party();
    let online = request.redeem(&party, &first, &[]).tokens();
    let kept = CodeRequest::new().with("scope", "openid offline_access");
    let offline = kept.redeem(&party, &code(&one.allow(&one.get(&kept.path()))), &[]).tokens();
    app.public_client();
    let by_password = party.log_in("web", &email).tokens();
    let two = Browser::new(&app);
    let page = log_in(&two, &email);
    assert_eq!((buttons(&page, "session").len(), buttons(&page, "grant").len()), (2, 3));
    let out = Form::of(&page).send(&two, &[("everything", "yes")]);
    assert!(out.status == 200 && out.body.contains("You are logged out"));
    assert!(!is_logged_in(&one) && !is_logged_in(&two));
    for (client, tokens) in [("app", &online), ("app", &offline), ("web", &by_password)] {
        assert_eq!(party.refresh(client, tokens.refresh_token()).error(), "invalid_grant");
    }
    assert_eq!(buttons(&log_in(&two, &email), "session").len(), 1);
}

#[test]
fn whoever_is_not_the_one_who_is_logged_in_says_so() {
    let app = TestApp::start();
    let (browser, form) = app.at_consent();
    let (_, eve) = app.account();
    let asked = browser.get(&format!("/consent?request={}", form.field("request")));
    let link = asked.body.split("<a href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&amp;", "&");
    let page = browser.get(&link);
    assert!(page.body.contains("type=\"password\"") && !page.body.contains("people.test"), "{}", page.body);
    let done = Form::of(&page).send(&browser, &[("username", &eve), ("password", crate::app::PASSWORD)]);
    let now = browser.follow(&done);
    assert!(now.body.contains("Allow access?") && now.body.contains(&eve), "{}", now.body);
    assert!(response(&Form::of(&now).send(&browser, &[("decision", "allow")])).contains_key("code"));
}

fn select() -> CodeRequest {
    CodeRequest::new().with("prompt", "select_account")
}

#[test]
fn a_person_goes_on_as_whoever_is_logged_in_or_as_another() {
    let app = TestApp::start();
    let (browser, ada, _, _) = app.at_browser();
    let party = app.relying_party();
    app.advance(Duration::from_secs(100));
    let before = app.app.clock.now().unix_seconds() - 100;
    let request = select();
    let page = browser.follow(&browser.get(&request.path()));
    assert!(page.body.contains("Which account?") && page.body.contains(&format!("Go on as {ada}")), "{}", page.body);
    let tokens = request.redeem(&party, &code(&Form::of(&page).send(&browser, &[])), &[]).tokens();
    assert_eq!(tokens.claims()["auth_time"], before, "without a password it is no other log-in");
    // Or as another.
    let (_, eve) = app.account();
    let request = select();
    let page = browser.follow(&browser.get(&request.path()));
    let link = page.body.split("<a href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&amp;", "&");
    let form = Form::of(&browser.get(&link));
    let asked = form.send(&browser, &[("username", &eve), ("password", crate::app::PASSWORD)]);
    let of_eve = request.redeem(&party, &code(&browser.allow(&asked)), &[]).tokens();
    assert_ne!(of_eve.claims()["sub"], tokens.claims()["sub"]);
}

#[test]
fn which_account_is_asked_once_and_before_the_rest() {
    let app = TestApp::start();
    let (browser, email, _, _) = app.at_browser();
    let (both, led) = (select().with("prompt", "select_account consent"), |answer: &Answer| {
        answer.header("location").unwrap().split('?').next().unwrap().to_owned()
    });
    let asked = browser.get(&both.path());
    assert_eq!(led(&asked), "/select-account");
    let next = Form::of(&browser.follow(&asked)).send(&browser, &[]);
    assert_eq!(led(&next), "/consent");
    assert!(response(&browser.allow(&next)).contains_key("code"));
    // Whoever logs in for it has said which.
    let nobody = Browser::new(&app);
    assert!(response(&nobody.log_in(&nobody.get(&select().path()), &email)).contains_key("code"));
    for (name, value) in [("prompt", "select_account login"), ("max_age", "0")] {
        let asked = browser.get(&select().with(name, value).path());
        assert_eq!(led(&asked), "/login", "{name}={value}");
        assert!(response(&browser.log_in(&asked, &email)).contains_key("code"));
    }
    assert_eq!(
        response(&browser.get(&select().with("prompt", "none select_account").path()))["error"],
        "invalid_request"
    );
}

#[test]
fn nobody_else_says_which_account() {
    let app = TestApp::start();
    let (browser, _, _, _) = app.at_browser();
    let asked = browser.get(&select().path());
    let form = Form::of(&browser.follow(&asked));
    let id = form.field("request").to_owned();
    let pairs: Vec<(&str, &str)> = form.fields.iter().map(|(name, value)| (&**name, &**value)).collect();
    for headers in [&[("Sec-Fetch-Site", "cross-site")][..], &[]] {
        assert_eq!(browser.post_with("/select-account", headers, &pairs).status, 403);
    }
    assert_eq!(browser.post("/select-account", &[("request", &id), ("form_token", &"A".repeat(43))]).status, 403);
    assert_eq!(Browser::new(&app).post("/select-account", &pairs).status, 400);
    // What one person was shown is not another's.
    let (_, eve) = app.account();
    log_in_as(&browser, &eve);
    assert_eq!(browser.post("/select-account", &pairs).status, 403);
}

fn log_in_as(browser: &Browser, email: &str) {
    browser.log_in(&browser.get(&CodeRequest::new().with("prompt", "login").path()), email);
}

#[test]
fn an_operator_ends_the_log_ins_of_an_account_with_its_grants() {
    let app = TestApp::start();
    let (browser, email, _, _) = app.at_browser();
    let account = countersign::admin::accounts::find(&app.app, &email).unwrap();
    let whose = countersign::admin::grants::Whose::Account(account.id);
    countersign::admin::grants::end(&app.app, whose, false, "test").unwrap();
    assert!(!is_logged_in(&browser));
}
