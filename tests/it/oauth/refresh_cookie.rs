//! Refresh tokens in a cookie that no script reads: for a page of our own, and for requests that only its pages can make.

use std::time::Duration;

use crate::app::{PASSWORD, TestApp};
use crate::browser::{Browser, CALLBACK, CodeRequest, code};
use crate::relying_party::Answer;

const OURS: &str = "https://spa.example";
const COOKIE: &str = "countersign-refresh.spa";

/// The public clients `spa` and `spb`, each of an origin of its own, and a person: the e-mail address.
fn clients(app: &TestApp) -> String {
    for (id, origins) in [("spa", vec![OURS]), ("spb", vec!["https://spb.example"]), ("same", vec![])] {
        app.client(
            id,
            serde_json::json!({
                "token_endpoint_auth_method": "none",
                "grant_types": ["authorization_code", "password", "refresh_token"],
                "redirect_uris": [CALLBACK],
                "scope": "openid",
                "first_party": true,
                "allowed_origins": origins,
                "refresh_cookie": true,
            }),
        );
    }
    app.account().1
}

/// A request of the page at [`OURS`].
fn from_page(browser: &Browser, path: &str, pairs: &[(&str, &str)]) -> Answer {
    browser.post_with(path, &[("Origin", OURS), ("Countersign-Refresh", "cookie")], pairs)
}

fn refresh(browser: &Browser) -> Answer {
    from_page(browser, "/token", &[("grant_type", "refresh_token"), ("client_id", "spa")])
}

/// A browser at whose page somebody has logged in.
fn at_page(app: &TestApp) -> Browser {
    let email = clients(app);
    let browser = Browser::new(app);
    let form = [("grant_type", "password"), ("client_id", "spa"), ("username", &email), ("password", PASSWORD)];
    assert_eq!(from_page(&browser, "/token", &form).status, 200);
    browser
}

fn set_cookies(answer: &Answer) -> Vec<&str> {
    answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect()
}

#[test]
fn a_page_never_sees_a_refresh_token_and_resumes_by_its_cookie() {
    let app = TestApp::with(&[("issuer", "https://id.example")]);
    let email = clients(&app);
    let (browser, request) = (Browser::new(&app), CodeRequest::of("spa", CALLBACK).with("scope", "openid"));
    let code = code(&browser.log_in(&browser.get(&request.path()), &email));
    let pairs = [
        ("grant_type", "authorization_code"),
        ("client_id", "spa"),
        ("code", code.as_str()),
        ("code_verifier", &request.verifier),
    ];
    let answer = from_page(&browser, "/token", &pairs);
    let name = format!("__Host-{COOKIE}");
    let mut before = String::new();
    let mut seen = |answer: &Answer| {
        assert_eq!((answer.status, answer.json().get("refresh_token")), (200, None), "{}", answer.body);
        assert!(!answer.body.contains("csr_"), "{}", answer.body);
        let value = browser.cookie(&name).unwrap();
        assert!(value.starts_with("csr_") && value != before, "another one each time");
        let expected = format!("{name}={value}; HttpOnly; SameSite=Strict; Secure; Path=/; Max-Age=1209600");
        assert_eq!(set_cookies(answer), [expected]);
        assert_eq!(answer.header("access-control-allow-origin"), Some(OURS));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        before = value;
    };
    seen(&answer);
    // The page is loaded anew and has nothing but the browser's cookies.
    for _ in 0..3 {
        seen(&refresh(&browser));
    }
    let kept = browser.cookie(&name).unwrap();
    seen(&refresh(&browser));
    seen(&refresh(&browser));
    // A cookie that was carried off and used later ends the grant, as a token would.
    app.advance(Duration::from_secs(120));
    browser.set_cookie(&name, &kept);
    assert_eq!(refresh(&browser).error(), "invalid_grant");
}

#[test]
fn only_a_page_of_the_clients_own_makes_the_cookie_work() {
    let app = TestApp::start();
    let browser = at_page(&app);
    let before = app.database.rotations();
    let mark = ("Countersign-Refresh", "cookie");
    for headers in [
        &[][..],
        &[mark],
        &[("Origin", OURS)],
        &[("Origin", OURS), ("Countersign-Refresh", "")],
        &[("Origin", OURS), ("Countersign-Refresh", "1")],
        &[("Origin", OURS), mark, mark],
        &[("Origin", "null"), mark],
        &[("Origin", "https://evil.example"), mark],
        &[("Origin", "https://spb.example"), mark],
        &[("Origin", "https://spa.example.evil.example"), mark],
        &[("Origin", "http://spa.example"), mark],
        &[("Origin", OURS), ("Origin", OURS), mark],
        &[("Origin", &app.base), mark],
    ] {
        let refreshed = [("grant_type", "refresh_token"), ("client_id", "spa")];
        let answer = browser.post_with("/token", headers, &refreshed);
        assert_eq!((answer.status, answer.error().as_str()), (403, "invalid_request"), "{headers:?}");
        let revoked = browser.post_with("/revoke", headers, &[("client_id", "spa")]);
        assert_eq!((revoked.status, set_cookies(&revoked).len()), (403, 0), "{headers:?}");
        // Nor does anybody plant a cookie of somebody else's log-in.
        let (_, eve) = app.account();
        let planted = [("grant_type", "password"), ("client_id", "spa"), ("username", &eve), ("password", PASSWORD)];
        let planted = browser.post_with("/token", headers, &planted);
        assert_eq!((planted.status, set_cookies(&planted).len()), (403, 0), "{headers:?}");
    }
    assert_eq!(app.database.rotations(), before, "nothing was changed");
    assert_eq!(refresh(&browser).status, 200);
}

#[test]
fn the_cookie_alone_counts_and_only_its_own_clients() {
    let app = TestApp::start();
    let browser = at_page(&app);
    let token = browser.cookie(COOKIE).unwrap();
    let before = app.database.rotations();
    let in_form = [("grant_type", "refresh_token"), ("client_id", "spa"), ("refresh_token", token.as_str())];
    assert_eq!(from_page(&browser, "/token", &in_form).error(), "invalid_request", "beside it");
    let bare = Browser::new(&app);
    assert_eq!(from_page(&bare, "/token", &in_form).error(), "invalid_request", "in its place");
    assert_eq!(refresh(&bare).error(), "invalid_grant", "without it");
    // Another client's cookie is another's, whatever it holds.
    bare.set_cookie("countersign-refresh.spb", &token);
    assert_eq!(refresh(&bare).error(), "invalid_grant");
    let of_spb = [("Origin", "https://spb.example"), ("Countersign-Refresh", "cookie")];
    let pairs = [("grant_type", "refresh_token"), ("client_id", "spb")];
    assert_eq!(bare.post_with("/token", &of_spb, &pairs).error(), "invalid_grant");
    for planted in ["", "x", "csr_x", &token[..20]] {
        bare.set_cookie(COOKIE, planted);
        assert_eq!(refresh(&bare).error(), "invalid_grant", "{planted}");
    }
    bare.set_cookie("x", &format!("y; {COOKIE}={token}"));
    bare.set_cookie(COOKIE, &token);
    assert_eq!(refresh(&bare).error(), "invalid_grant", "two of them could be read differently");
    assert_eq!(app.database.rotations(), before, "nothing was changed");
    assert_eq!(refresh(&browser).status, 200);
    // A client without the cookie is not touched by it.
    app.public_client();
    let plain = browser.post_with("/token", &[], &[("grant_type", "refresh_token"), ("client_id", "web")]);
    assert_eq!(plain.error(), "invalid_request");
}

#[test]
fn a_log_out_of_the_page_ends_the_grant_and_clears_the_cookie() {
    let app = TestApp::start();
    let browser = at_page(&app);
    let token = browser.cookie(COOKIE).unwrap();
    let answer = from_page(&browser, "/revoke", &[("client_id", "spa")]);
    assert_eq!(answer.status, 200);
    assert_eq!(set_cookies(&answer), [format!("{COOKIE}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0")]);
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    browser.set_cookie(COOKIE, &token);
    assert_eq!(refresh(&browser).error(), "invalid_grant");
    // Once more, and without any cookie: there is nothing to end.
    assert_eq!(from_page(&browser, "/revoke", &[("client_id", "spa")]).status, 200);
    assert_eq!(from_page(&Browser::new(&app), "/revoke", &[("client_id", "spa")]).status, 200);
    app.public_client();
    assert_eq!(app.relying_party().form("/revoke", &[], &[("client_id", "web")]).error(), "invalid_request");
    let secret = app.confidential_client();
    let header = crate::relying_party::basic("svc", &secret);
    let introspected = app.relying_party().form("/introspect", &[("Authorization", &header)], &[]);
    assert_eq!(introspected.error(), "invalid_request");
}

#[test]
fn credentials_are_for_pages_with_a_cookie_alone() {
    let app = TestApp::start();
    let email = clients(&app);
    app.client(
        "plain",
        serde_json::json!({ "token_endpoint_auth_method": "none", "grant_types": ["password", "refresh_token"],
            "scope": "openid", "allowed_origins": ["https://plain.example", OURS] }),
    );
    let party = app.relying_party();
    let preflight = |path: &str, origin: &str, wanted: &str| {
        let headers =
            [("Origin", origin), ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", wanted)];
        let answer = party.send("OPTIONS", path, &headers, b"");
        let said = |name: &str| answer.header(name).map(str::to_owned);
        (said("access-control-allow-credentials"), said("access-control-allow-headers"))
    };
    let (yes, usual) = (Some("true".to_owned()), "Authorization, Content-Type, DPoP");
    let with_mark = format!("{usual}, Countersign-Refresh");
    for path in ["/token", "/revoke"] {
        for wanted in ["countersign-refresh", "content-type, Countersign-Refresh"] {
            assert_eq!(preflight(path, OURS, wanted), (yes.clone(), Some(with_mark.clone())));
            assert_eq!(preflight(path, "https://plain.example", wanted), (None, Some(usual.to_owned())));
            assert_eq!(preflight(path, "https://evil.example", wanted), (None, None));
        }
        assert_eq!(preflight(path, OURS, "content-type"), (None, Some(usual.to_owned())));
    }
    for path in ["/userinfo", "/device_authorization"] {
        assert_eq!(preflight(path, OURS, "countersign-refresh"), (None, Some(usual.to_owned())));
    }
    let form = [("grant_type", "password"), ("client_id", "plain"), ("username", &email), ("password", PASSWORD)];
    let answer = Browser::new(&app).post_with("/token", &[("Origin", OURS), ("Countersign-Refresh", "cookie")], &form);
    assert_eq!(answer.header("access-control-allow-origin"), Some(OURS));
    assert_eq!(answer.header("access-control-allow-credentials"), None, "another client of the same origin");
    assert!(set_cookies(&answer).is_empty() && answer.json()["refresh_token"].is_string());
    let bearer = format!("Bearer {}", answer.tokens().access);
    let known = party.get("/userinfo", &[("Origin", OURS), ("Authorization", &bearer)]);
    assert_eq!(known.header("access-control-allow-credentials"), None);
}

#[test]
fn a_client_without_origins_is_served_where_this_server_is() {
    let app = TestApp::start();
    let email = clients(&app);
    let browser = Browser::new(&app);
    let form = [("grant_type", "password"), ("client_id", "same"), ("username", &email), ("password", PASSWORD)];
    let ask = |origin: &str, pairs: &[(&str, &str)]| {
        browser.post_with("/token", &[("Origin", origin), ("Countersign-Refresh", "cookie")], pairs)
    };
    assert_eq!(ask(OURS, &form).status, 403);
    assert_eq!(ask(&app.base, &form).status, 200);
    assert_eq!(ask(&app.base, &[("grant_type", "refresh_token"), ("client_id", "same")]).status, 200);
    assert!(browser.cookie("countersign-refresh.same").unwrap().starts_with("csr_"));
}
