//! Log-ins whose cookie comes from elsewhere (`sessions.binding`).

use std::time::Duration;

use crate::app::{PASSWORD, TestApp};
use crate::browser::{Browser, CodeRequest, Form, response};

const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 \
                      Safari/537.36";
const NEWER_FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const SESSION: &str = "countersign-session";
const REMEMBERED: &str = "countersign-remembered";

/// A server behind a proxy that says where people are.
fn start(binding: &str) -> TestApp {
    TestApp::with(&[("sessions.binding", binding), ("http.trusted_proxies", "127.0.0.1/32")])
}

/// What comes of a silent request from there.
fn silently(browser: &Browser, address: &str) -> String {
    let headers = [("Sec-Fetch-Site", "none"), ("X-Forwarded-For", address)];
    let answer = browser.get_with(&CodeRequest::new().with("prompt", "none").path(), &headers);
    let mut response = response(&answer);
    response
        .remove("error")
        .unwrap_or_else(|| if response.contains_key("code") { "code".to_owned() } else { String::new() })
}

/// A person who has logged in with a browser from a network, and is remembered there.
fn logged_in(app: &TestApp, address: &str) -> (Browser, String) {
    app.code_client();
    let (_, email) = app.account();
    let browser = Browser::new(app);
    log_in(&browser, &email, address);
    let asked = browser.get(&CodeRequest::new().path());
    if asked.header("location").unwrap().starts_with("/consent") {
        browser.allow(&asked);
    }
    (browser, email)
}

fn log_in(browser: &Browser, email: &str, address: &str) {
    let form = Form::of(&browser.follow(&browser.get(&CodeRequest::new().with("prompt", "login").path())));
    let mut pairs: Vec<(&str, &str)> = form.fields.iter().map(|(name, value)| (&**name, &**value)).collect();
    pairs.extend([("username", email), ("password", PASSWORD), ("remember", "yes")]);
    let headers = [("Sec-Fetch-Site", "same-origin"), ("X-Forwarded-For", address)];
    let done = browser.post_with("/login", &headers, &pairs);
    assert_eq!(done.status, 303, "{}", done.body);
    if done.header("location").unwrap().starts_with("/consent") {
        let page = browser.get_with(done.header("location").unwrap(), &[("X-Forwarded-For", address)]);
        let form = Form::of(&page);
        let mut pairs: Vec<(&str, &str)> = form.fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        pairs.push(("decision", "allow"));
        response(&browser.post_with("/consent", &headers, &pairs));
    }
}

#[test]
fn another_kind_of_browser_has_to_log_in_and_another_network_does_not() {
    let app = start("normal");
    let (browser, email) = logged_in(&app, "192.0.2.7");
    assert_eq!(silently(&browser, "198.51.100.7"), "code", "people move");
    browser.become_another(NEWER_FIREFOX);
    assert_eq!(silently(&browser, "192.0.2.7"), "code", "and browsers are renewed");
    let copy = Browser::new(&app);
    copy.become_another(CHROME);
    copy.set_cookie(SESSION, &browser.cookie(SESSION).unwrap());
    assert_eq!(silently(&copy, "192.0.2.7"), "login_required");
    let asked = copy.follow(&copy.get(&CodeRequest::new().path()));
    assert!(asked.body.contains("type=\"password\"") && !asked.body.contains(&email), "nor is it told whose it is");
    assert!(copy.get("/account").header("location").unwrap().starts_with("/login?request="));
    let form_token = Form::of(&browser.get("/account")).field("form_token").to_owned();
    let led = copy.post("/account", &[("form_token", &form_token), ("everything", "yes")]);
    assert!(led.header("location").unwrap().starts_with("/login?request="));
    assert_eq!(silently(&browser, "192.0.2.7"), "code", "whoever is where the person logged in goes on");
}

#[test]
fn where_it_is_strong_another_network_has_to_log_in_too() {
    let app = start("strong");
    let (browser, email) = logged_in(&app, "192.0.2.7");
    assert_eq!(silently(&browser, "192.0.2.200"), "code", "the rest of an address is its holder's to choose");
    assert_eq!(silently(&browser, "198.51.100.7"), "login_required");
    assert_eq!(silently(&browser, "192.0.2.7"), "code", "and back again");
    // The password is all that it takes, and the log-in is there from then on.
    log_in(&browser, &email, "198.51.100.7");
    assert_eq!(silently(&browser, "198.51.100.7"), "code");
    assert_eq!(silently(&browser, "192.0.2.7"), "login_required");
}

#[test]
fn where_it_is_off_a_cookie_is_all_that_counts() {
    let app = start("off");
    let (browser, _) = logged_in(&app, "192.0.2.7");
    browser.become_another(CHROME);
    assert_eq!(silently(&browser, "198.51.100.7"), "code");
}

#[test]
fn what_is_remembered_is_bound_like_the_log_in() {
    let app = start("normal");
    let (browser, _) = logged_in(&app, "192.0.2.7");
    let copy = Browser::new(&app);
    copy.become_another(CHROME);
    copy.set_cookie(REMEMBERED, &browser.cookie(REMEMBERED).unwrap());
    app.advance(Duration::from_secs(24 * 60 * 60));
    assert_eq!(silently(&copy, "192.0.2.7"), "login_required");
    browser.set_cookie(SESSION, "");
    assert_eq!(silently(&browser, "198.51.100.7"), "code");
}
