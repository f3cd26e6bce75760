//! Codes without a browser for apps of our own (draft-ietf-oauth-first-party-apps).

use std::time::Duration;

use countersign::admin;
use countersign::secret::PlainSecret;

use crate::app::{AUDIENCE, PASSWORD, TestApp, WRONG_PASSWORD};
use crate::browser::{Browser, CALLBACK, CodeRequest};
use crate::client_key::ClientKey;
use crate::relying_party::{Answer, RelyingParty, basic};

const PATH: &str = "/authorize-challenge";

/// The public first-party client `own`.
fn own(app: &TestApp) {
    app.client(
        "own",
        serde_json::json!({
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
            "redirect_uris": ["com.example.app:/cb"],
            "application_type": "native",
            "scope": "openid email read",
            "audiences": [AUDIENCE],
            "first_party": true, "authorization_challenge": true,
        }),
    );
}

/// A request of `own`: what /authorize would be asked, less what is for browsers.
fn request() -> CodeRequest {
    let request = CodeRequest::of("own", "").with("redirect_uri", "").with("response_type", "").with("state", "");
    request.with("scope", "openid email")
}

fn ask(party: &RelyingParty, request: &CodeRequest, more: &[(&str, &str)]) -> Answer {
    let mut form: Vec<(&str, &str)> = request.parameters.iter().map(|(name, value)| (&**name, &**value)).collect();
    form.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    form.extend(more.iter().filter(|(_, value)| !value.is_empty()));
    party.form(PATH, &[], &form)
}

fn log_in(party: &RelyingParty, request: &CodeRequest, email: &str) -> Answer {
    ask(party, request, &[("username", email), ("password", PASSWORD)])
}

#[track_caller]
fn code(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("set-cookie"), None, "there is no browser");
    let json = answer.json();
    assert_eq!(json.as_object().unwrap().len(), 1);
    json["authorization_code"].as_str().unwrap().to_owned()
}

fn redeem(party: &RelyingParty, request: &CodeRequest, code: &str, more: &[(&str, &str)]) -> Answer {
    let mut all = vec![("redirect_uri", "")];
    all.extend(more);
    request.redeem(party, code, &all)
}

#[track_caller]
fn session(answer: &Answer) -> String {
    assert_eq!((answer.status, answer.error().as_str()), (400, "insufficient_authorization"), "{}", answer.body);
    answer.json()["auth_session"].as_str().unwrap().to_owned()
}

#[test]
fn an_app_of_our_own_logs_a_person_in_and_gets_its_tokens() {
    let app = TestApp::start();
    own(&app);
    let (party, (account, email)) = (app.relying_party(), app.account());
    let request = request();
    let first = code(&log_in(&party, &request, &email));
    let answer = redeem(&party, &request, &first, &[]);
    let tokens = answer.tokens();
    assert_eq!(tokens.scope, "email openid");
    let claims = tokens.claims();
    assert_eq!((&claims["sub"], &claims["client_id"]), (&account.id.to_string().into(), &"own".into()));
    assert_eq!(claims["amr"], serde_json::json!(["pwd"]));
    let id_token = answer.json()["id_token"].as_str().unwrap().to_owned();
    let payload = countersign::secret::decode_base64url(id_token.split('.').nth(1).unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&payload).unwrap()["nonce"], "n-0S6_WzA2Mj");
    let bearer = format!("Bearer {}", tokens.access);
    assert_eq!(party.get("/userinfo", &[("Authorization", &bearer)]).json()["email"], email);
    let tokens = party.refresh("own", tokens.refresh_token()).tokens();
    // A code that comes back ends what it bought, as any does.
    assert_eq!(redeem(&party, &request, &first, &[]).error(), "invalid_grant");
    assert_eq!(party.refresh("own", tokens.refresh_token()).error(), "invalid_grant");
}

#[test]
fn an_app_may_ask_in_steps() {
    let app = TestApp::start();
    own(&app);
    let (party, (_, email)) = (app.relying_party(), app.account());
    let request = request();
    let name = session(&ask(&party, &request, &[]));
    let go_on = |more: &[(&str, &str)]| {
        let mut form = vec![("client_id", "own"), ("auth_session", name.as_str())];
        form.extend(more);
        party.form(PATH, &[], &form)
    };
    assert_eq!(session(&go_on(&[])), name);
    assert_eq!(session(&go_on(&[("username", &email)])), name);
    assert_eq!(session(&go_on(&[("username", &email), ("password", WRONG_PASSWORD)])), name);
    // What began it counts: neither another scope nor another challenge takes its place.
    let other = self::request();
    let challenge = &other.parameters.iter().find(|(name, _)| name == "code_challenge").unwrap().1;
    let pairs =
        [("username", email.as_str()), ("password", PASSWORD), ("scope", "read"), ("code_challenge", challenge)];
    let first = code(&go_on(&pairs));
    assert_eq!(redeem(&party, &other, &first, &[]).error(), "invalid_grant");
    assert_eq!(redeem(&party, &request, &first, &[]).tokens().scope, "email openid");
    assert_eq!(go_on(&[("username", &email), ("password", PASSWORD)]).error(), "invalid_session", "once");
    assert_eq!(go_on(&[]).error(), "invalid_session");
}

#[test]
fn what_an_app_goes_on_with_is_its_own_and_lasts_half_an_hour() {
    let app = TestApp::start();
    own(&app);
    app.client(
        "second",
        serde_json::json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code"],
            "redirect_uris": [CALLBACK], "scope": "openid email", "first_party": true, "authorization_challenge": true }),
    );
    let (party, (_, email)) = (app.relying_party(), app.account());
    let name = session(&ask(&party, &request(), &[]));
    let go_on = |client_id: &str, name: &str| {
        let form = [("client_id", client_id), ("auth_session", name), ("username", &email), ("password", PASSWORD)];
        party.form(PATH, &[], &form)
    };
    for (client_id, name) in [("second", name.as_str()), ("own", "x"), ("own", &name[1..])] {
        assert_eq!(go_on(client_id, name).error(), "invalid_session", "{client_id} {name}");
    }
    // It is no browser's, nor is a browser's an app's.
    let browser = Browser::new(&app);
    let asked = browser.get(&CodeRequest::of("second", CALLBACK).with("scope", "openid").path());
    assert_eq!(browser.get(&format!("/login?request={name}")).status, 400);
    let waiting = asked.header("location").unwrap().strip_prefix("/login?request=").unwrap();
    assert_eq!(go_on("second", waiting).error(), "invalid_session");
    app.advance(Duration::from_secs(30 * 60 - 1));
    code(&go_on("own", &name));
    let late = session(&ask(&party, &request(), &[]));
    app.advance(Duration::from_secs(30 * 60));
    assert_eq!(go_on("own", &late).error(), "invalid_session");
}

#[test]
fn of_many_answers_to_one_session_one_gets_a_code() {
    let app = TestApp::start();
    own(&app);
    let (party, (_, email)) = (app.relying_party(), app.account());
    let name = session(&ask(&party, &request(), &[]));
    let form = [("client_id", "own"), ("auth_session", name.as_str()), ("username", &email), ("password", PASSWORD)];
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = || app.relying_party().form(PATH, &[], &form).status;
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 400, 429, 503].contains(status)), "{statuses:?}");
}

#[test]
fn only_a_first_party_client_that_proves_itself_may_ask() {
    let app = TestApp::start();
    own(&app);
    let (party, (_, email)) = (app.relying_party(), app.account());
    app.code_client();
    let secret = app
        .client(
            "server",
            serde_json::json!({ "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK],
                "scope": "openid email", "first_party": true, "authorization_challenge": true, "pkce_optional": true }),
        )
        .unwrap();
    app.client(
        "tool",
        serde_json::json!({ "token_endpoint_auth_method": "none", "grant_types": ["password"], "scope": "openid email",
            "first_party": true, "authorization_challenge": true }),
    );
    app.client(
        "page",
        serde_json::json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code"],
            "redirect_uris": [CALLBACK], "scope": "openid email", "first_party": true }),
    );
    let typed = [("username", email.as_str()), ("password", PASSWORD)];
    for (client_id, error) in [
        ("app", "unauthorized_client"),
        ("page", "unauthorized_client"),
        ("tool", "unauthorized_client"),
        ("nobody", "invalid_client"),
        ("server", "invalid_client"),
        ("", "invalid_client"),
    ] {
        let mut more = vec![("client_id", client_id)];
        more.extend(typed);
        assert_eq!(ask(&party, &request(), &more).error(), error, "{client_id}");
    }
    let request = CodeRequest::of("server", "").with("redirect_uri", "").with("client_id", "");
    let headers = basic("server", &secret);
    let of_server = |request: &CodeRequest| {
        let mut form: Vec<(&str, &str)> = request.parameters.iter().map(|(name, value)| (&**name, &**value)).collect();
        form.extend(typed);
        party.form(PATH, &[("Authorization", &headers)], &form)
    };
    code(&of_server(&request));
    let bare = request.with("code_challenge", "").with("code_challenge_method", "");
    assert_eq!(of_server(&bare).error(), "invalid_request", "with PKCE, whatever it may do elsewhere");
    admin::clients::disable(&app.app, "own", "test").unwrap();
    app.app.clients.reload(&app.app.db).unwrap();
    assert_eq!(log_in(&party, &self::request(), &email).error(), "invalid_client");
}

#[test]
fn what_cannot_be_asked_here_is_refused() {
    let app = TestApp::start();
    own(&app);
    let (party, (_, email)) = (app.relying_party(), app.account());
    let typed = [("username", email.as_str()), ("password", PASSWORD)];
    let long = "a".repeat(1025);
    for (more, error) in [
        (&[("code_challenge", "")][..], "invalid_request"),
        (&[("code_challenge_method", "plain")], "invalid_request"),
        (&[("code_challenge_method", "")], "invalid_request"),
        (&[("response_type", "token")], "unsupported_response_type"),
        (&[("scope", "admin")], "invalid_scope"),
        (&[("resource", "https://evil.example")], "invalid_target"),
        (&[("prompt", "consent")], "redirect_to_web"),
        (&[("prompt", "select_account")], "redirect_to_web"),
        (&[("prompt", "none")], "redirect_to_web"),
        (&[("id_token_hint", "x")], "redirect_to_web"),
        (&[("request", "x")], "invalid_request"),
        (&[("request_uri", "urn:x")], "invalid_request"),
        (&[("claims", r#"{"id_token":{"acr":{"essential":true,"values":["aal1"]}}}"#)], "redirect_to_web"),
        (&[("auth_session", "x")], "invalid_session"),
        (&[("password", &long)], "invalid_request"),
    ] {
        let mut all = more.to_vec();
        all.extend(typed.iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name)));
        let answer = ask(&party, &request(), &all);
        assert_eq!((answer.status, answer.error().as_str()), (400, error), "{more:?}");
        assert!(answer.json().get("auth_session").is_none(), "{more:?}");
    }
    code(&ask(&party, &request(), &[("prompt", "login"), ("response_type", "code"), typed[0], typed[1]]));
    assert_eq!(party.get(PATH, &[]).status, 405);
    let doubled = format!("client_id=own&username=a&username=b&password={PASSWORD}");
    assert_eq!(party.raw_form(PATH, &[], doubled.as_bytes()).error(), "invalid_request");
    let origin = party.form(PATH, &[("Origin", "https://app.example")], &[("client_id", "own")]);
    assert_eq!(origin.header("access-control-allow-origin"), None);
}

#[test]
fn nobody_is_told_who_has_an_account_and_the_limits_hold() {
    let app = TestApp::with(&[("limits.login_failures", "3")]);
    own(&app);
    let party = app.relying_party();
    let ((_, known), (disabled, disabled_email)) = (app.account(), app.account());
    admin::accounts::disable(&app.app, disabled.id, "test").unwrap();
    let refused = |email: &str, password: &str| {
        let answer = ask(&party, &request(), &[("username", email), ("password", password)]);
        let name = answer.json()["auth_session"].as_str().unwrap_or("-").to_owned();
        (answer.status, answer.body.replace(&name, "NAME"), answer.header("retry-after").is_some())
    };
    let wrong = refused(&known, WRONG_PASSWORD);
    assert!(wrong.0 == 400 && wrong.1.contains("insufficient_authorization"), "{}", wrong.1);
    assert_eq!(refused("nobody@people.test", PASSWORD), wrong);
    assert_eq!(refused(&disabled_email, PASSWORD), wrong);
    for _ in 0..2 {
        refused(&known, WRONG_PASSWORD);
        refused("nobody@people.test", WRONG_PASSWORD);
    }
    let waits = refused(&known, PASSWORD);
    assert!(waits.0 == 429 && waits.2 && waits.1.contains("temporarily_unavailable"), "{}", waits.1);
    assert_eq!(refused("nobody@people.test", PASSWORD), waits);
    // The same count as everywhere.
    app.public_client();
    assert_eq!(party.log_in("web", &known).status, 429);
}

#[test]
fn what_apps_begin_is_kept_within_bounds() {
    let app = TestApp::with(&[("limits.authorize_requests", "3"), ("http.trusted_proxies", "127.0.0.1/32")]);
    own(&app);
    let (party, (_, email), request) = (app.relying_party(), app.account(), request());
    let [one, two, three, four, ..] = countersign::secret::Random.bytes::<4>();
    let network = format!("2001:db8:{one:x}{two:02x}:{three:x}{four:02x}::1");
    let elsewhere = format!("2001:db8:{two:x}{one:02x}:{four:x}{three:02x}:1::1");
    let from = |network: &str, more: &[(&str, &str)]| {
        let mut form: Vec<(&str, &str)> = request.parameters.iter().map(|(name, value)| (&**name, &**value)).collect();
        form.extend(more);
        party.form(PATH, &[("X-Forwarded-For", network)], &form)
    };
    let kept = || app.database.lines("SELECT CAST(COUNT(*) AS TEXT) AS line FROM authorize_requests");
    for _ in 0..3 {
        session(&from(&network, &[]));
    }
    assert_eq!(kept(), ["3"]);
    // Whoever asks for more goes on without, and a person who has typed all of it is let in.
    let more = from(&network, &[]);
    assert_eq!((more.status, more.error().as_str()), (400, "insufficient_authorization"));
    assert!(more.json().get("auth_session").is_none(), "{}", more.body);
    assert_eq!(kept(), ["3"]);
    code(&from(&network, &[("username", &email), ("password", PASSWORD)]));
    // Nor does one who begins with too much fill anything.
    let long = "a".repeat(9000);
    let much = from(&elsewhere, &[("login_hint", &long)]);
    assert!(much.status == 400 && much.json().get("auth_session").is_none(), "{}", much.body);
    assert_eq!(kept(), ["3"]);
    session(&from(&elsewhere, &[]));
}

#[test]
fn of_those_who_go_on_at_once_one_gets_a_code_and_the_others_make_nothing() {
    let app = TestApp::with(&[("passwords.threads", "4")]);
    own(&app);
    let (party, (_, email)) = (app.relying_party(), app.account());
    for round in 1..=3 {
        let name = session(&ask(&party, &request(), &[]));
        let form = [("client_id", "own"), ("auth_session", &name), ("username", &email), ("password", PASSWORD)];
        let answers: Vec<_> = std::thread::scope(|scope| {
            let running: Vec<_> = (0..4).map(|_| scope.spawn(|| app.relying_party().form(PATH, &[], &form))).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
        let mut others = answers.iter().filter(|answer| answer.status != 200);
        assert!(others.all(|answer| answer.error() == "invalid_session"), "{answers:?}");
        let count = |table: &str| app.database.lines(&format!("SELECT CAST(COUNT(*) AS TEXT) AS line FROM {table}"));
        assert_eq!(count("browser_sessions"), [round.to_string()]);
        assert_eq!(count("authorization_codes"), [round.to_string()]);
    }
}

#[test]
fn everything_that_such_a_code_is_bound_to_must_be_shown() {
    let app = TestApp::start();
    own(&app);
    app.code_client();
    let (party, (_, email)) = (app.relying_party(), app.account());
    let request = request();
    let first = code(&log_in(&party, &request, &email));
    for more in [
        &[("client_id", "app")][..],
        &[("redirect_uri", "com.example.app:/cb")],
        &[("redirect_uri", CALLBACK)],
        &[("code_verifier", "")],
        &[("code_verifier", &"w".repeat(43))],
    ] {
        let mut all = vec![("redirect_uri", "")];
        all.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
        all.extend(more);
        assert_eq!(request.redeem(&party, &first, &all).error(), "invalid_grant", "{more:?}");
    }
    redeem(&party, &request, &first, &[]).tokens();
    let late = code(&log_in(&party, &request, &email));
    app.advance(Duration::from_secs(60));
    assert_eq!(redeem(&party, &request, &late, &[]).error(), "invalid_grant");
}

#[test]
fn nothing_comes_of_such_a_code_when_what_it_rests_on_is_over() {
    type End = fn(&TestApp, &str);
    let ends: [(&str, End); 3] = [
        ("the account is disabled", |app, email| {
            let id = admin::accounts::find(&app.app, email).unwrap().id;
            admin::accounts::disable(&app.app, id, "test").unwrap();
        }),
        ("the password is another", |app, email| {
            let account = admin::accounts::find(&app.app, email).unwrap();
            admin::accounts::set_password(&app.app, &account, &PlainSecret::new("hunter-canary-anew"), "test").unwrap();
        }),
        ("the log-in is ended", |app, _| {
            let now = app.app.clock.now().as_micros();
            app.database.execute(&format!("UPDATE browser_sessions SET ended_at = {now}"));
        }),
    ];
    for (what, end) in ends {
        let app = TestApp::start();
        own(&app);
        let (party, (_, email)) = (app.relying_party(), app.account());
        let request = request();
        let of_first = code(&log_in(&party, &request, &email));
        end(&app, &email);
        assert_eq!(redeem(&party, &request, &of_first, &[]).error(), "invalid_grant", "{what}");
    }
}

#[test]
fn such_a_code_is_bound_to_the_key_that_its_request_showed() {
    let app = TestApp::start();
    own(&app);
    let (party, (_, email)) = (app.relying_party(), app.account());
    let (key, thief) = (ClientKey::p256(), ClientKey::p256());
    let none = serde_json::json!({});
    let at = |key: &ClientKey, path: &str| key.proof(&app, ("POST", path), &none);
    let send = |path: &str, proof: &str, form: &[(&str, &str)]| party.form(path, &[("DPoP", proof)], form);
    let request = request();
    let asked: Vec<_> = request.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let typed = [("username", email.as_str()), ("password", PASSWORD)];
    let whole = [&asked[..], &typed].concat();
    assert_eq!(send(PATH, &at(&key, "/token"), &whole).error(), "invalid_dpop_proof", "for somewhere else");
    let jkt = thief.thumbprint();
    let both = [&whole[..], &[("dpop_jkt", jkt.as_str())]].concat();
    assert_eq!(send(PATH, &at(&key, PATH), &both).error(), "invalid_dpop_proof", "they do not agree");

    let redeem_by = |code: &str, key: &ClientKey| {
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", "own"),
            ("code", code),
            ("code_verifier", &request.verifier),
        ];
        send("/token", &at(key, "/token"), &form)
    };
    // At once, and in steps: what began it counts.
    let at_once = code(&send(PATH, &at(&key, PATH), &whole));
    let name = session(&send(PATH, &at(&key, PATH), &asked));
    let go_on = [("client_id", "own"), ("auth_session", name.as_str()), typed[0], typed[1]];
    assert_eq!(send(PATH, &at(&thief, PATH), &go_on).error(), "invalid_dpop_proof");
    let in_steps = code(&party.form(PATH, &[], &go_on));
    for bound in [at_once, in_steps] {
        assert_eq!(redeem(&party, &request, &bound, &[]).error(), "invalid_grant", "no proof at all");
        assert_eq!(redeem_by(&bound, &thief).error(), "invalid_grant");
        let answer = redeem_by(&bound, &key);
        assert_eq!(answer.json()["token_type"], "DPoP");
        assert_eq!(answer.tokens().claims()["cnf"]["jkt"], key.thumbprint());
    }
}
