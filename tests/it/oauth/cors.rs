//! Which pages of other origins may read which answers (Fetch Standard §3.3, RFC 9700 §2.6): those that the client concerned
//! registered, byte for byte, and no others.

use crate::app::TestApp;
use crate::browser::{CALLBACK, CodeRequest};
use crate::relying_party::{Answer, RelyingParty};

const OURS: &str = "https://spa.example";
const OTHERS: &str = "https://other.example:8443";

/// Origins that are not [`OURS`], however much they look like it.
const FOREIGN: [&str; 14] = [
    "https://evil.example",
    "null",
    "*",
    "https://spa.example.evil.example",
    "https://evil.spa.example",
    "https://evilspa.example",
    "https://spa.exampl",
    "http://spa.example",
    "https://spa.example:443",
    "https://spa.example:8443",
    "https://SPA.example",
    "HTTPS://spa.example",
    "https://spa.example/",
    "https://spa.example, https://spa.example",
];

const PATHS: [&str; 5] = ["/token", "/userinfo", "/revoke", "/device_authorization", "/par"];

/// Two public clients with origins of their own; an account of theirs.
fn clients(app: &TestApp) -> String {
    for (id, origins) in [("spa", vec![OURS, "http://localhost:5173"]), ("other", vec![OTHERS])] {
        app.client(
            id,
            serde_json::json!({
                "token_endpoint_auth_method": "none",
                "grant_types": ["authorization_code", "password", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
                "redirect_uris": [CALLBACK],
                "scope": "openid email",
                "allowed_origins": origins,
            }),
        );
    }
    app.account().1
}

fn reader(answer: &Answer) -> Option<&str> {
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert!(answer.headers.get_all("access-control-allow-origin").iter().count() <= 1);
    answer.header("access-control-allow-origin")
}

/// A preflight for a POST with all that a page may send.
fn preflight(party: &RelyingParty, path: &str, origin: &str) -> Answer {
    let headers = [
        ("Origin", origin),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization,content-type,dpop"),
    ];
    party.send("OPTIONS", path, &headers, b"")
}

#[test]
fn a_preflight_is_answered_for_an_origin_that_some_client_registered() {
    let app = TestApp::start();
    clients(&app);
    let party = app.relying_party();
    for path in PATHS {
        for origin in [OURS, OTHERS, "http://localhost:5173"] {
            let answer = preflight(&party, path, origin);
            assert_eq!((answer.status, reader(&answer)), (204, Some(origin)), "{path}");
            assert_eq!(answer.header("access-control-allow-headers"), Some("Authorization, Content-Type, DPoP"));
            assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
            assert_eq!(answer.header("access-control-max-age"), Some("600"));
            assert_eq!(answer.header("vary"), Some("Origin"));
        }
        for origin in FOREIGN {
            let answer = preflight(&party, path, origin);
            assert_eq!((answer.status, reader(&answer)), (405, None), "{path} {origin}");
            assert_eq!(answer.header("vary"), Some("Origin"), "{path} {origin}");
        }
        let plain = party.send("OPTIONS", path, &[("Origin", OURS)], b"");
        assert_eq!((plain.status, reader(&plain)), (405, None), "not a preflight");
        let twice = [("Origin", OURS), ("Origin", OURS), ("Access-Control-Request-Method", "POST")];
        assert_eq!(reader(&party.send("OPTIONS", path, &twice, b"")), None, "{path}");
    }
    countersign::admin::clients::disable(&app.app, "spa", "test").unwrap();
    app.app.clients.reload(&app.app.db).unwrap();
    assert_eq!(preflight(&party, "/token", OURS).status, 405);
    assert_eq!(preflight(&party, "/token", OTHERS).status, 204);
}

#[test]
fn an_answer_is_read_by_the_pages_of_its_own_client() {
    let app = TestApp::start();
    let email = clients(&app);
    let party = app.relying_party();
    let log_in = |origin: &str, password: &str| {
        let form =
            [("grant_type", "password"), ("client_id", "spa"), ("username", email.as_str()), ("password", password)];
        party.form("/token", &[("Origin", origin)], &form)
    };
    let answer = log_in(OURS, crate::app::PASSWORD);
    assert_eq!(reader(&answer), Some(OURS));
    assert_eq!(answer.header("vary"), Some("Origin"));
    assert_eq!(answer.header("access-control-expose-headers"), Some("WWW-Authenticate, DPoP-Nonce, Retry-After"));
    let tokens = answer.tokens();
    let refused = log_in(OURS, crate::app::WRONG_PASSWORD);
    assert_eq!((refused.error().as_str(), reader(&refused)), ("invalid_grant", Some(OURS)), "what is wrong, too");
    let bearer = format!("Bearer {}", tokens.access);
    let revoke = |origin: &str, token: &str| {
        party.form("/revoke", &[("Origin", origin)], &[("client_id", "spa"), ("token", token)])
    };
    let device = |origin: &str| party.form("/device_authorization", &[("Origin", origin)], &[("client_id", "spa")]);
    let pushed = CodeRequest::of("spa", CALLBACK);
    let pairs: Vec<_> = pushed.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let push = |origin: &str| party.form("/par", &[("Origin", origin)], &pairs);
    let known = |origin: &str| party.get("/userinfo", &[("Origin", origin), ("Authorization", &bearer)]);
    assert_eq!(reader(&known(OURS)), Some(OURS));
    assert_eq!((reader(&device(OURS)), reader(&revoke(OURS, "x"))), (Some(OURS), Some(OURS)));
    assert_eq!((push(OURS).status, reader(&push(OURS))), (201, Some(OURS)));
    let wrong = party.form("/par", &[("Origin", OURS)], &[("client_id", "spa")]);
    assert_eq!((wrong.status, reader(&wrong)), (400, Some(OURS)));
    // Whoever may not read it gets the ordinary answer.
    for origin in FOREIGN.into_iter().chain([OTHERS]) {
        let answers = [log_in(origin, crate::app::PASSWORD), known(origin), device(origin), revoke(origin, "x")];
        for answer in answers {
            assert_eq!((answer.status, reader(&answer)), (200, None), "{origin}");
            assert_eq!(answer.header("vary"), Some("Origin"), "{origin}");
        }
        let pushed = push(origin);
        assert_eq!((pushed.status, reader(&pushed)), (201, None), "{origin}");
    }
    let plain = party.log_in("spa", &email);
    assert_eq!((plain.status, reader(&plain), plain.header("vary")), (200, None, Some("Origin")));
    // A token that is over says so to its own client's pages, and nothing to others.
    app.advance(std::time::Duration::from_secs(3600));
    let (late, foreign) = (known(OURS), known(OTHERS));
    assert_eq!((late.status, reader(&late)), (401, Some(OURS)));
    assert_eq!((foreign.status, reader(&foreign)), (401, None));
    let forged = format!("{bearer}x");
    assert_eq!(reader(&party.get("/userinfo", &[("Origin", OURS), ("Authorization", &forged)])), None);
    assert_eq!(reader(&party.get("/userinfo", &[("Origin", OURS)])), None);
    assert_eq!(reader(&revoke(OURS, tokens.refresh_token())), Some(OURS));
}

#[test]
fn nobody_elses_page_reads_what_is_not_for_pages() {
    let app = TestApp::start();
    let email = clients(&app);
    let party = app.relying_party();
    let secret = app.confidential_client();
    let browser = crate::browser::Browser::new(&app);
    browser.log_in(&browser.get(&CodeRequest::of("spa", CALLBACK).with("scope", "openid").path()), &email);
    let authorize = CodeRequest::of("spa", CALLBACK).path();
    for path in
        [&authorize, "/login", "/consent", "/logout", "/device", "/introspect", "/status/events", "/assets/style.css"]
    {
        for method in ["OPTIONS", "GET"] {
            let headers = [("Origin", OURS), ("Access-Control-Request-Method", "GET")];
            assert_eq!(reader(&party.send(method, path, &headers, b"")), None, "{method} {path}");
        }
    }
    let header = crate::relying_party::basic("svc", &secret);
    let headers = [("Authorization", header.as_str()), ("Origin", OURS)];
    assert_eq!(reader(&party.form("/introspect", &headers, &[("token", "x")])), None);
    // Documents are everybody's.
    for path in ["/jwks.json", "/.well-known/openid-configuration", "/status", "/status/0", "/openapi.json"] {
        let answer = party.get(path, &[("Origin", "https://evil.example")]);
        assert_eq!((answer.status, reader(&answer)), (200, Some("*")), "{path}");
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("cross-origin"), "{path}");
    }
}
