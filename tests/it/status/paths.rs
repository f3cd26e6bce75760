//! Every path that ends something, and what must be seen of it elsewhere.

use countersign::admin;
use countersign::secret::{PlainSecret, decode_base64url, encode_base64url};
use countersign::store::accounts::Account;
use countersign::store::grants::EndedBy;
use serde_json::Value;

use super::{claims, eventually, feed, follower, head, is_over, place};
use crate::app::{AUDIENCE, PASSWORD, TestApp};
use crate::browser::{Browser, CALLBACK, CodeRequest, Form, code};
use crate::relying_party::{RelyingParty, Tokens};

const REMEMBERED: &str = "countersign-remembered";
const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// By which way a person lets a client in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A code that the browser brings back.
    Code,
    /// A device that shows a code (RFC 8628).
    Device,
}

/// What was given before it ended.
struct Given {
    party: RelyingParty,
    account: Account,
    browser: Browser,
    request: CodeRequest,
    code: String,
    tokens: Tokens,
    /// Of the client `svc` for itself.
    machine: String,
    secret: String,
}

/// A path that ends something.
struct Path {
    name: &'static str,
    /// Takes it.
    end: fn(&TestApp, &Given),
    /// Whether it is the person's token that ends, or the machine's.
    of_person: bool,
    /// Whether the list has its bit; what has none is out of the JWKS, or cut off one by one.
    has_bit: bool,
    /// The kind of cut-off in the feed, if there is one.
    cut: Option<&'static str>,
}

const PATHS: [Path; 15] = [
    Path { name: "log-out by the refresh token", end: revoke_refresh, of_person: true, has_bit: true, cut: None },
    Path { name: "revocation by the access token", end: revoke_access, of_person: true, has_bit: true, cut: None },
    Path {
        name: "revocation of a machine's token",
        end: revoke_machine,
        of_person: false,
        has_bit: false,
        cut: Some("jti"),
    },
    Path { name: "a spent refresh token comes back", end: replay, of_person: true, has_bit: true, cut: None },
    Path { name: "an authorization code comes back", end: replay_code, of_person: true, has_bit: true, cut: None },
    Path { name: "a remembered browser is copied", end: copy_browser, of_person: true, has_bit: true, cut: None },
    Path { name: "the person logs out", end: log_out, of_person: true, has_bit: true, cut: None },
    Path { name: "the person ends a client's access", end: end_at_account, of_person: true, has_bit: true, cut: None },
    Path { name: "somebody else logs in there", end: take_browser, of_person: true, has_bit: true, cut: None },
    Path { name: "the account is disabled", end: disable_account, of_person: true, has_bit: true, cut: Some("sub") },
    Path { name: "the password is changed", end: change_password, of_person: true, has_bit: true, cut: None },
    Path { name: "an operator ends grants", end: end_grants, of_person: true, has_bit: true, cut: None },
    Path {
        name: "the person's client is disabled",
        end: disable_web,
        of_person: true,
        has_bit: true,
        cut: Some("client_id"),
    },
    Path {
        name: "the machine's client is disabled",
        end: disable_svc,
        of_person: false,
        has_bit: true,
        cut: Some("client_id"),
    },
    Path { name: "the signing key is compromised", end: compromise, of_person: true, has_bit: false, cut: Some("kid") },
];

fn revoke_refresh(_: &TestApp, given: &Given) {
    assert_eq!(given.party.revoke("web", given.tokens.refresh_token()).status, 200);
}

fn revoke_access(_: &TestApp, given: &Given) {
    assert_eq!(given.party.revoke("web", &given.tokens.access).status, 200);
}

fn revoke_machine(_: &TestApp, given: &Given) {
    let header = crate::relying_party::basic("svc", &given.secret);
    let answer = given.party.form("/revoke", &[("Authorization", &header)], &[("token", &given.machine)]);
    assert_eq!(answer.status, 200);
}

fn replay(_: &TestApp, given: &Given) {
    let second = given.party.refresh("web", given.tokens.refresh_token()).tokens();
    given.party.refresh("web", second.refresh_token()).tokens();
    assert_eq!(given.party.refresh("web", given.tokens.refresh_token()).error(), "invalid_grant");
}

fn replay_code(_: &TestApp, given: &Given) {
    assert_eq!(given.request.redeem(&given.party, &given.code, &[]).error(), "invalid_grant");
}

fn copy_browser(app: &TestApp, given: &Given) {
    let remembered = decode_base64url(&given.browser.cookie(REMEMBERED).unwrap()).unwrap();
    let thief = Browser::new(app);
    // A secret of that series that it no longer has.
    thief.set_cookie(REMEMBERED, &encode_base64url(&[&remembered[..16], &[7; 32]].concat()));
    thief.get("/account");
}

fn log_out(_: &TestApp, given: &Given) {
    let page = Form::of(&given.browser.get("/logout"));
    assert_eq!(page.send(&given.browser, &[]).status, 200);
}

fn end_at_account(_: &TestApp, given: &Given) {
    let page = Form::of(&given.browser.get("/account"));
    let sid = given.tokens.claims()["sid"].as_str().unwrap().to_owned();
    assert_eq!(page.send(&given.browser, &[("grant", &sid)]).status, 303);
}

fn take_browser(app: &TestApp, given: &Given) {
    let anew = given.request.clone().with("prompt", "login");
    given.browser.log_in(&given.browser.get(&anew.path()), &app.account().1);
}

fn disable_account(app: &TestApp, given: &Given) {
    assert_eq!(admin::accounts::disable(&app.app, given.account.id, "test").unwrap(), 1);
}

fn change_password(app: &TestApp, given: &Given) {
    let password = PlainSecret::new("hunter-canary-anew");
    assert_eq!(admin::accounts::set_password(&app.app, &given.account, &password, "test").unwrap(), 1);
}

fn end_grants(app: &TestApp, given: &Given) {
    let whose = admin::grants::Whose::Account(given.account.id);
    assert_eq!(admin::grants::end(&app.app, whose, false, "test").unwrap().grants, 1);
}

fn disable_web(app: &TestApp, _: &Given) {
    admin::clients::disable(&app.app, "web", "test").unwrap();
}

fn disable_svc(app: &TestApp, _: &Given) {
    admin::clients::disable(&app.app, "svc", "test").unwrap();
}

fn compromise(app: &TestApp, given: &Given) {
    let kid = given.tokens.jose_header()["kid"].as_str().unwrap().to_owned();
    admin::keys::compromise(&app.app, &kid, false, "test").unwrap();
}

fn given(app: &TestApp, way: Way) -> Given {
    app.client(
        "web",
        serde_json::json!({
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "password", "refresh_token", DEVICE],
            "redirect_uris": [CALLBACK],
            "scope": "read write",
            "audiences": [AUDIENCE],
            "first_party": true,
        }),
    );
    let secret = app.confidential_client();
    let (account, email) = app.account();
    let (party, browser) = (app.relying_party(), Browser::new(app));
    let request = CodeRequest::of("web", CALLBACK).with("scope", "read write");
    let form = Form::of(&browser.follow(&browser.get(&request.path())));
    let code = code(&form.send(&browser, &[("username", &email), ("password", PASSWORD), ("remember", "yes")]));
    let tokens = match way {
        Way::Code => request.redeem(&party, &code, &[]).tokens(),
        Way::Device => by_device(&party, &browser),
    };
    let machine = party.client_credentials("svc", &secret, &[]).tokens().access;
    Given { party, account, browser, request, code, tokens, machine, secret }
}

/// The tokens of a device that whoever is logged in at the browser lets in.
fn by_device(party: &RelyingParty, browser: &Browser) -> Tokens {
    let begun = party.form("/device_authorization", &[], &[("client_id", "web")]).json();
    let page = Form::of(&browser.get("/device"));
    let entered = page.send(browser, &[("user_code", begun["user_code"].as_str().unwrap())]);
    assert_eq!(Form::of(&browser.follow(&entered)).send(browser, &[("decision", "allow")]).status, 200);
    let device_code = begun["device_code"].as_str().unwrap();
    party.form("/token", &[], &[("grant_type", DEVICE), ("client_id", "web"), ("device_code", device_code)]).tokens()
}

#[test]
fn every_path_that_ends_something_reaches_the_list_the_feed_and_introspection() {
    for path in PATHS {
        reaches_everybody(&path, Way::Code);
    }
}

#[test]
fn every_path_that_ends_something_ends_what_a_device_was_given() {
    // A device code that comes back buys nothing and ends nothing: its answer may have been lost.
    for path in PATHS.iter().filter(|path| path.of_person && path.name != path_of(EndedBy::CodeReplay)) {
        reaches_everybody(path, Way::Device);
    }
}

fn reaches_everybody(path: &Path, way: Way) {
    let app = TestApp::start();
    let (given, watcher) = (given(&app, way), follower(&app));
    let asks = app
        .client("api", serde_json::json!({ "grant_types": ["client_credentials"], "audiences": [AUDIENCE] }))
        .unwrap();
    let token = if path.of_person { &given.tokens.access } else { &given.machine };
    let is_active = || given.party.introspect("api", &asks, token).json()["active"] == true;
    let before = head(&app, &watcher);
    assert!(is_active() && !is_over(&app, token), "{}: it is in force before", path.name);

    (path.end)(&app, &given);

    // Introspection and the endpoints learn of clients and keys at the next look, at most a second later.
    eventually(path.name, || !is_active());
    eventually(path.name, || head(&app, &watcher) > before);
    let changes: Vec<Value> = feed(&app, &watcher, Some(before))
        .into_iter()
        .filter(|(name, _)| name == "change")
        .map(|(_, data)| data)
        .collect();
    if path.has_bit {
        eventually(path.name, || is_over(&app, token));
        let (list, idx) = place(&claims(token));
        let number = list.rsplit('/').next().unwrap().parse::<u64>().unwrap() * (1 << 20) + idx as u64;
        let told = || {
            let all = feed(&app, &watcher, Some(before));
            all.iter().any(|(_, data)| data["set"].as_array().is_some_and(|set| set.contains(&number.into())))
        };
        eventually(path.name, told);
    }
    let cuts: Vec<&str> = changes
        .iter()
        .flat_map(|change| change["cut"].as_array().into_iter().flatten())
        .map(|cut| cut["k"].as_str().unwrap())
        .collect();
    assert_eq!(cuts, Vec::from_iter(path.cut), "{}", path.name);
}

/// The path that ends a grant for this reason. Whoever adds a reason is told here to add a path.
const fn path_of(by: EndedBy) -> &'static str {
    match by {
        EndedBy::Replay => "a spent refresh token comes back",
        EndedBy::Revocation => "log-out by the refresh token",
        EndedBy::Operator => "an operator ends grants",
        EndedBy::PasswordChange => "the password is changed",
        EndedBy::AccountDisabled => "the account is disabled",
        EndedBy::ClientDisabled => "the person's client is disabled",
        EndedBy::LogOut => "the person logs out",
        EndedBy::CodeReplay => "an authorization code comes back",
        EndedBy::Person => "the person ends a client's access",
    }
}

#[test]
fn every_reason_for_the_end_of_a_grant_has_a_path() {
    use EndedBy::{
        AccountDisabled, ClientDisabled, CodeReplay, LogOut, Operator, PasswordChange, Person, Replay, Revocation,
    };
    for by in
        [Replay, Revocation, Operator, PasswordChange, AccountDisabled, ClientDisabled, LogOut, CodeReplay, Person]
    {
        assert!(PATHS.iter().any(|path| path.name == path_of(by)), "{by:?}");
    }
}

#[test]
fn what_was_not_ended_goes_on() {
    let app = TestApp::start();
    let given = given(&app, Way::Code);
    let (other, email) = app.account();
    let others = given.party.log_in("web", &email).tokens();
    admin::accounts::disable(&app.app, given.account.id, "test").unwrap();
    eventually("it is over", || is_over(&app, &given.tokens.access));
    assert!(!is_over(&app, &others.access) && !is_over(&app, &given.machine));
    assert_ne!(other.id, given.account.id);
    // A client that is disabled and enabled again gets tokens that are in force.
    admin::clients::disable(&app.app, "svc", "test").unwrap();
    admin::clients::enable(&app.app, "svc", "test").unwrap();
    app.app.clients.reload(&app.app.db).unwrap();
    app.advance(std::time::Duration::from_secs(2));
    let fresh = given.party.client_credentials("svc", &given.secret, &[]).tokens().access;
    assert!(is_over(&app, &given.machine) && !is_over(&app, &fresh));
}
