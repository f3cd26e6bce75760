//! What anybody may begin: a flood of one thing closes the door to no other.

use std::time::Duration;

use countersign::admin::registration_tokens;
use countersign::secret::Random;

use super::registration::{public, send, text};
use crate::app::TestApp;
use crate::browser::{Browser, CodeRequest, Form};
use crate::relying_party::basic;

/// A site that no other test is in, since they share what counts, and one of its networks.
fn network() -> impl Fn(u16) -> String {
    let [one, two, three, four] = Random.bytes::<4>();
    move |nth| format!("2001:{one:x}{two:02x}:{three:x}{four:02x}:{nth:x}::1")
}

#[test]
fn what_begins_at_one_endpoint_counts_there_alone() {
    let app = TestApp::with(&[("limits.authorize_requests", "2"), ("http.trusted_proxies", "127.0.0.1/32")]);
    app.code_client();
    let (party, here) = (app.relying_party(), network()(1));
    let browser = Browser::new(&app);
    let asked = CodeRequest::new();
    let pairs: Vec<_> = asked.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let begin = || browser.get_with(&asked.path(), &[("Sec-Fetch-Site", "none"), ("X-Forwarded-For", &here)]);
    let push = || party.form("/par", &[("X-Forwarded-For", &here)], &pairs).status;
    let account = || browser.get_with("/account", &[("Sec-Fetch-Site", "none"), ("X-Forwarded-For", &here)]).status;
    let led = |answer: &crate::relying_party::Answer| answer.header("location").unwrap().starts_with("/login?");
    assert_eq!([led(&begin()), led(&begin()), led(&begin())], [true, true, false]);
    assert_eq!([push(), push(), push()], [201, 201, 429]);
    assert_eq!([account(), account(), account()], [303, 303, 429]);
}

#[test]
fn a_good_initial_access_token_waits_for_nobodys_guesses() {
    let settings =
        [("registration.mode", "token"), ("limits.registrations", "2"), ("http.trusted_proxies", "127.0.0.1/32")];
    let app = TestApp::with(&settings);
    let (party, here) = (app.relying_party(), network()(1));
    let created = registration_tokens::create(&app.app, 9, Duration::from_secs(3600), "test").unwrap();
    let call = |method: &str, path: &str, token: &str, body: &serde_json::Value| {
        let bearer = format!("Bearer {token}");
        let headers =
            [("Content-Type", "application/json"), ("Authorization", bearer.as_str()), ("X-Forwarded-For", &here)];
        party.send(method, path, &headers, body.to_string().as_bytes())
    };
    let guess = || call("POST", "/register", "csi_x", &public()).status;
    let register = || call("POST", "/register", created.token.expose(), &public());
    for _ in 0..3 {
        assert_eq!(register().status, 201, "more of them than anybody may");
    }
    assert_eq!(
        [guess(), guess(), guess()],
        [401, 401, 429],
        "they count nothing for it, and it counts nothing for them"
    );
    let answer = register();
    assert_eq!(answer.status, 201, "{}", answer.body);
    // Nor does it keep a client from its registration.
    let told = answer.json();
    let (path, token) = (format!("/register/{}", text(&told, "client_id")), text(&told, "registration_access_token"));
    let mut body = public();
    body["client_id"] = told["client_id"].clone();
    let change = || call("PUT", &path, token, &body).status;
    assert_eq!([change(), change(), change()], [200, 200, 429]);
    assert_eq!(send(&party, "GET", &path, Some(token), &serde_json::Value::Null).status, 200);
}

#[test]
fn wrong_passwords_and_wrong_codes_of_devices_count_by_site() {
    let app = TestApp::with(&[
        ("limits.address_failures", "1"),
        ("limits.user_codes", "1"),
        ("http.trusted_proxies", "127.0.0.1/32"),
    ]);
    app.public_client();
    let (party, here, neighbour) = (app.relying_party(), network(), network());
    let guess = |network: &str, nth: u16| {
        let name = format!("{nth}.{network}@people.test").replace(':', "-");
        let form =
            [("grant_type", "password"), ("client_id", "web"), ("username", &name), ("password", "hunter-canary-0")];
        party.form("/token", &[("X-Forwarded-For", network)], &form).status
    };
    let statuses: Vec<_> = (0..6).map(|nth| guess(&here(nth), nth)).collect();
    assert_eq!(statuses, [400, 400, 400, 400, 429, 429], "four networks' worth");
    assert_eq!(guess(&neighbour(0), 9), 400);
    let browser = Browser::new(&app);
    let form = Form::of(&browser.get("/device"));
    let typed = |network: &str| {
        let headers = [("Sec-Fetch-Site", "same-origin"), ("X-Forwarded-For", network)];
        let pairs = [("form_token", form.field("form_token")), ("user_code", "BBBB-BBBB")];
        browser.post_with("/device", &headers, &pairs).status
    };
    let statuses: Vec<_> = (0..6).map(|nth| typed(&here(nth))).collect();
    assert_eq!(statuses, [400, 400, 400, 400, 429, 429], "four networks' worth");
    assert_eq!(typed(&neighbour(0)), 400);
}

#[test]
fn wrong_secrets_are_answered_so_often_a_minute_and_lock_nobody_out() {
    let app = TestApp::with(&[("limits.client_failures", "3"), ("http.trusted_proxies", "127.0.0.1/32")]);
    let (secret, party, network) = (app.confidential_client(), app.relying_party(), network());
    let ask = |client: &str, secret: &str, nth: u16| {
        let (header, from) = (basic(client, secret), network(nth));
        let headers = [("Authorization", header.as_str()), ("X-Forwarded-For", from.as_str())];
        party.form("/token", &headers, &[("grant_type", "client_credentials")])
    };
    // A client that nobody knows is answered like one that is there.
    for client in ["svc", "unknown"] {
        assert_eq!([1, 2, 3, 4].map(|_| ask(client, "css_wrong", 1).status), [401, 401, 401, 429], "{client}");
        let wait: u64 = ask(client, "css_wrong", 1).header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        assert_eq!(ask(client, "css_wrong", 2).status, 401, "another network");
    }
    assert_eq!((ask("svc", &secret, 1).status, ask("svc", &secret, 2).status), (200, 200));
    app.advance(Duration::from_secs(60));
    assert_eq!(ask("svc", "css_wrong", 1).status, 401);
}
