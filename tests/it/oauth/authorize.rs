//! The authorization endpoint (RFC 6749 §4.1.1, RFC 7636, RFC 9207, OpenID Connect Core §3.1.2).

use std::time::Duration;

use crate::app::TestApp;
use crate::browser::{Browser, CALLBACK, CodeRequest, code, response};

#[test]
fn a_person_logs_in_and_allows_it_and_the_client_gets_its_tokens() {
    let app = TestApp::start();
    let (_, email, request, code) = app.at_browser();
    let party = app.relying_party();
    let answer = request.redeem(&party, &code, &[]);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let tokens = answer.tokens();
    assert_eq!(tokens.scope, "email openid");
    let claims = tokens.claims();
    let id_token = answer.json()["id_token"].as_str().unwrap().to_owned();
    let part = |nth: usize| -> serde_json::Value {
        let text = id_token.split('.').nth(nth).unwrap();
        serde_json::from_slice(&countersign::secret::decode_base64url(text).unwrap()).unwrap()
    };
    let now = app.app.clock.now().unix_seconds();
    assert_eq!(part(0)["typ"], "JWT", "never taken for an access token");
    let at_hash = countersign::secret::Digest::sha256(tokens.access.as_bytes());
    let expected = serde_json::json!({
        "iss": app.base, "sub": claims["sub"], "aud": "app", "exp": now + 600, "iat": now, "auth_time": now,
        "nonce": "n-0S6_WzA2Mj", "acr": "aal1", "amr": ["pwd"], "sid": claims["sid"],
        "at_hash": countersign::secret::encode_base64url(&at_hash.as_bytes()[..16]),
    });
    assert_eq!(part(1), expected);
    let authorization = format!("Bearer {}", tokens.access);
    let known = party.get("/userinfo", &[("Authorization", &authorization)]).json();
    assert_eq!(known, serde_json::json!({ "sub": claims["sub"], "email": email, "email_verified": false }));
    let refreshed = party.refresh("app", tokens.refresh_token());
    assert!(refreshed.json()["id_token"].is_string(), "OpenID Connect Core §12.2");
    refreshed.tokens();
}

#[test]
fn whoever_is_logged_in_and_has_allowed_it_sees_no_page() {
    let app = TestApp::start();
    let (browser, _, _, _) = app.at_browser();
    let request = CodeRequest::new().with("state", "again");
    let answer = browser.get(&request.path());
    assert_eq!(response(&answer)["state"], "again");
    assert_eq!(request.redeem(&app.relying_party(), &code(&answer), &[]).status, 200);
    // More than was allowed is asked about.
    let more = browser.get(&CodeRequest::new().with("scope", "openid email read").path());
    assert!(more.header("location").unwrap().starts_with("/consent?"));
    browser.allow(&more);
    assert!(response(&browser.get(&CodeRequest::new().with("scope", "read").path())).contains_key("code"));
}

#[test]
fn nothing_is_sent_to_a_uri_that_nobody_registered() {
    let app = TestApp::start();
    app.code_client();
    let browser = Browser::new(&app);
    let broken = [
        ("response_type", "token"),
        ("scope", "unknown"),
        ("code_challenge", ""),
        ("prompt", "none"),
        ("request", "x"),
    ];
    for uri in [
        "https://evil.example/",
        "https://app.example/cb/",
        "https://app.example/cb?x",
        "javascript:alert(1)",
        "//app.example/cb",
    ] {
        let asked = CodeRequest::new().with("redirect_uri", uri);
        for (name, value) in broken.into_iter().chain([("state", "s")]) {
            let answer = browser.get(&asked.clone().with(name, value).path());
            assert_eq!((answer.status, answer.header("location")), (400, None), "{uri} {name}");
            assert!(answer.header("content-type").unwrap().starts_with("text/html"));
            assert!(!answer.body.contains("evil.example"), "nothing that was sent is shown");
        }
    }
    for asked in [
        CodeRequest::new().with("client_id", "nobody"),
        CodeRequest::new().with("client_id", ""),
        CodeRequest::new().and("client_id", "app"),
        CodeRequest::new().and("redirect_uri", CALLBACK),
        CodeRequest::new().and("redirect_uri", "https://evil.example/"),
    ] {
        let answer = browser.get(&asked.path());
        assert_eq!((answer.status, answer.header("location")), (400, None), "{}", asked.path());
    }
    countersign::admin::clients::disable(&app.app, "app", "test").unwrap();
    app.app.clients.reload(&app.app.db).unwrap();
    assert_eq!(browser.get(&CodeRequest::new().path()).status, 400);
}

#[test]
fn what_is_wrong_with_a_request_is_told_to_its_client() {
    let app = TestApp::start();
    app.code_client();
    let browser = Browser::new(&app);
    let asked = CodeRequest::new;
    for (asked, error) in [
        (asked().with("response_type", ""), "invalid_request"),
        (asked().with("response_type", "token"), "unsupported_response_type"),
        (asked().with("response_type", "code token"), "unsupported_response_type"),
        (asked().with("response_type", "code id_token"), "unsupported_response_type"),
        (asked().with("response_mode", "fragment"), "invalid_request"),
        (asked().with("code_challenge", ""), "invalid_request"),
        (asked().with("code_challenge_method", ""), "invalid_request"),
        (asked().with("code_challenge_method", "plain"), "invalid_request"),
        (asked().with("code_challenge", "short"), "invalid_request"),
        (asked().with("code_challenge", "").with("code_challenge_method", ""), "invalid_request"),
        (asked().with("scope", "openid admin"), "invalid_scope"),
        (asked().with("scope", "\""), "invalid_scope"),
        (asked().with("resource", "https://other.example"), "invalid_target"),
        (asked().with("resource", "nowhere"), "invalid_target"),
        (asked().and("scope", "openid"), "invalid_request"),
        (asked().and("nonce", "twice"), "invalid_request"),
        (asked().and("response_type", "code"), "invalid_request"),
        (asked().with("prompt", "none login"), "invalid_request"),
        (asked().with("prompt", "create"), "invalid_request"),
        (asked().with("max_age", "-1"), "invalid_request"),
        (asked().with("nonce", &"n".repeat(513)), "invalid_request"),
        (asked().with("registration", "{}"), "registration_not_supported"),
        (asked().with("prompt", "none"), "login_required"),
    ] {
        let answer = response(&browser.get(&asked.path()));
        assert_eq!(answer["error"], error, "{}", asked.path());
        assert_eq!(answer["state"], "af0ifjsldkj");
        assert_eq!(answer["iss"], app.base, "RFC 9207");
        assert!(!answer.contains_key("code"));
    }
}

#[test]
fn a_client_asks_only_if_it_was_registered_to() {
    let app = TestApp::start();
    app.client(
        "app",
        serde_json::json!({ "token_endpoint_auth_method": "none", "grant_types": ["password"], "redirect_uris": [CALLBACK],
            "scope": "openid email" }),
    );
    let answer = response(&Browser::new(&app).get(&CodeRequest::new().path()));
    assert_eq!(answer["error"], "unauthorized_client");
}

#[test]
fn the_state_goes_back_byte_for_byte() {
    let app = TestApp::start();
    app.code_client();
    let browser = Browser::new(&app);
    let printable: String = (' '..='~').collect();
    for state in [printable.as_str(), "ä€😀", "&code=x&iss=https://evil.example#", "a+b%20c", &"s".repeat(2048)] {
        let answer = browser.get(&CodeRequest::new().with("prompt", "none").with("state", state).path());
        assert_eq!(response(&answer)["state"], state);
    }
    for state in ["a\r\nSet-Cookie: x=y", "\u{0}", &"s".repeat(2049)] {
        let answer = browser.get(&CodeRequest::new().with("state", state).path());
        let answer = response(&answer);
        assert_eq!((answer["error"].as_str(), answer.get("state")), ("invalid_request", None));
    }
}

#[test]
fn a_request_means_the_same_by_post() {
    let app = TestApp::start();
    app.code_client();
    let browser = Browser::new(&app);
    // Another site's form comes without our cookies and leads to a link, with which they come.
    let sent: Vec<_> = CodeRequest::new().and("scope", "openid").parameters;
    let pairs: Vec<(&str, &str)> = sent.iter().map(|(name, value)| (&**name, &**value)).collect();
    let led = browser.post_with("/authorize", &[("Sec-Fetch-Site", "cross-site")], &pairs);
    assert_eq!((led.status, led.header("set-cookie")), (303, None), "a log-in that is under way goes on");
    assert_eq!(response(&browser.follow(&led))["error"], "invalid_request", "what was there twice still is");
    browser.get(&CodeRequest::new().path());
    for asked in [
        CodeRequest::new(),
        CodeRequest::new().with("prompt", "none"),
        CodeRequest::new().and("scope", "openid"),
        CodeRequest::new().with("redirect_uri", "https://evil.example/"),
        CodeRequest::new().with("code_challenge_method", "plain"),
    ] {
        let pairs: Vec<(&str, &str)> = asked.parameters.iter().map(|(name, value)| (&**name, &**value)).collect();
        // Another site's form may begin a log-in.
        let posted = browser.post_with("/authorize", &[("Sec-Fetch-Site", "cross-site")], &pairs);
        let got = browser.get(&asked.path());
        let place = |answer: &crate::relying_party::Answer| {
            answer.header("location").map(|text| text.split("request=").next().unwrap().to_owned())
        };
        assert_eq!((posted.status, place(&posted)), (got.status, place(&got)), "{}", asked.path());
    }
    let json = app.relying_party().send("POST", "/authorize", &[("Content-Type", "application/json")], b"{}");
    assert_eq!((json.status, json.header("location")), (415, None));
    let put = app.relying_party().send("PUT", "/authorize", &[], b"");
    assert_eq!((put.status, put.header("allow")), (405, Some("GET, POST")));
    let preflight = app.relying_party().send("OPTIONS", "/authorize", &[("Origin", "https://app.example")], b"");
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (405, None));
}

#[test]
fn prompt_none_never_shows_a_page() {
    let app = TestApp::start();
    app.code_client();
    let (_, email) = app.account();
    let browser = Browser::new(&app);
    let silent =
        |scope: &str| response(&browser.get(&CodeRequest::new().with("prompt", "none").with("scope", scope).path()));
    assert_eq!(silent("openid")["error"], "login_required");
    let asked = browser.log_in(&browser.get(&CodeRequest::new().path()), &email);
    assert_eq!(silent("openid")["error"], "consent_required");
    browser.allow(&asked);
    assert!(silent("openid").contains_key("code"));
    assert_eq!(silent("openid read")["error"], "consent_required");
    app.advance(Duration::from_secs(60));
    let old = browser.get(&CodeRequest::new().with("prompt", "none").with("max_age", "59").path());
    assert_eq!(response(&old)["error"], "login_required");
}

#[test]
fn a_log_in_is_as_recent_as_the_client_wants_it() {
    let app = TestApp::start();
    let (browser, email, _, _) = app.at_browser();
    app.advance(Duration::from_secs(100));
    for (name, value, asks) in
        [("max_age", "100", false), ("max_age", "99", true), ("max_age", "0", true), ("prompt", "login", true)]
    {
        let before = app.app.clock.now().unix_seconds();
        let session = browser.cookie("countersign-session");
        let request = CodeRequest::new().with(name, value);
        let answer = browser.get(&request.path());
        if !asks {
            assert!(response(&answer).contains_key("code"), "{name}={value}");
            continue;
        }
        // Whoever turns back leaves everything as it was.
        assert!(response(&browser.get(&CodeRequest::new().path())).contains_key("code"));
        assert_eq!(browser.cookie("countersign-session"), session);
        app.advance(Duration::from_secs(1));
        let done = browser.log_in(&answer, &email);
        assert_ne!(browser.cookie("countersign-session"), session, "a new one with each log-in");
        let tokens = request.redeem(&app.relying_party(), &code(&done), &[]).tokens();
        assert_eq!(tokens.claims()["auth_time"], before + 1, "{name}={value}");
        app.advance(Duration::from_secs(100));
    }
    app.client(
        "strict",
        serde_json::json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code"],
            "redirect_uris": [CALLBACK], "scope": "openid", "default_max_age": 10, "first_party": true }),
    );
    let strict = CodeRequest::of("strict", CALLBACK).with("scope", "openid");
    assert!(browser.get(&strict.path()).header("location").unwrap().starts_with("/login?"), "the client's own default");
    assert!(
        response(&browser.get(&strict.with("max_age", "1000").path())).contains_key("code"),
        "the request goes first"
    );
}

#[test]
fn a_client_that_anybody_could_be_asks_every_time() {
    let app = TestApp::start();
    let (_, email) = app.account();
    let client = |id: &str, members: serde_json::Value| {
        let mut json = serde_json::json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code"], "scope": "read" });
        json.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        app.client(id, json)
    };
    client(
        "native",
        serde_json::json!({ "redirect_uris": ["http://127.0.0.1/cb", "com.example.app:/cb"], "application_type": "native", "first_party": true }),
    );
    client("own", serde_json::json!({ "redirect_uris": [CALLBACK], "first_party": true }));
    let browser = Browser::new(&app);
    let own = CodeRequest::of("own", CALLBACK).with("scope", "read");
    let done = browser.log_in(&browser.get(&own.path()), &email);
    assert!(response(&done).contains_key("code"), "nobody is asked about our own");
    for uri in ["http://127.0.0.1:51004/cb", "com.example.app:/cb"] {
        for _ in 0..2 {
            let asked = browser.get(&CodeRequest::of("native", uri).with("scope", "read").path());
            let allowed = browser.allow(&asked);
            assert!(allowed.header("location").unwrap().starts_with(&format!("{uri}?code=")), "{allowed:?}");
        }
    }
    let asked = browser.get(&own.clone().with("prompt", "consent").path());
    assert!(asked.header("location").unwrap().starts_with("/consent?"), "unless the client wants it");
    assert!(response(&browser.get(&own.with("prompt", "none").path())).contains_key("code"));
}

#[test]
fn an_answer_by_form_holds_what_one_by_query_holds() {
    let app = TestApp::start();
    let (browser, _, _, _) = app.at_browser();
    let request = CodeRequest::new().with("response_mode", "form_post").with("state", "\"><script>alert(1)</script>");
    let page = browser.get(&request.path());
    assert_eq!(page.status, 200);
    let form = crate::browser::Form::of(&page);
    assert_eq!(
        (form.action.as_str(), form.field("iss"), form.field("state")),
        (CALLBACK, app.base.as_str(), "\"><script>alert(1)</script>")
    );
    assert!(!page.body.contains("<script>alert"), "{}", page.body);
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.contains("form-action 'self' https://app.example;") && policy.contains("script-src 'self'"),
        "{policy}"
    );
    assert_eq!(request.redeem(&app.relying_party(), form.field("code"), &[]).status, 200);
    let refused = browser.get(&CodeRequest::new().with("response_mode", "form_post").with("scope", "admin").path());
    assert_eq!(crate::browser::Form::of(&refused).field("error"), "invalid_scope");
}

#[test]
fn requests_without_end_fill_nothing() {
    let app = TestApp::with(&[("limits.authorize_requests", "3"), ("http.trusted_proxies", "127.0.0.1/32")]);
    app.code_client();
    let browser = Browser::new(&app);
    let [one, two, three, four, ..] = countersign::secret::Random.bytes::<4>();
    let asked = CodeRequest::new();
    let pairs: Vec<(&str, &str)> = asked.parameters.iter().map(|(name, value)| (&**name, &**value)).collect();
    let from = |last: u8| {
        let address = format!("2001:db8:{one:x}{two:02x}:{three:x}{four:02x}::{last:x}");
        browser.post_with("/authorize", &[("X-Forwarded-For", &address)], &pairs)
    };
    browser.set_cookie("countersign-browser", &countersign::secret::encode_base64url(&[1; 32]));
    for last in 1..=3 {
        assert!(from(last).header("location").unwrap().starts_with("/login?"));
    }
    assert_eq!(response(&from(4))["error"], "temporarily_unavailable", "the same network");
    let large = CodeRequest::new().with("resource", "").with("ui_locales", &"x ".repeat(4100));
    assert_eq!(response(&browser.get(&large.path()))["error"], "invalid_request", "8 KiB");
    let elsewhere = browser.post_with("/authorize", &[("X-Forwarded-For", "192.0.2.1")], &pairs);
    assert!(elsewhere.header("location").unwrap().starts_with("/login?"));
    let kept = app.database.lines("SELECT CAST(COUNT(*) AS TEXT) AS line FROM authorize_requests");
    assert_eq!(kept, ["4"]);
}

#[test]
fn one_log_in_gets_no_codes_without_end() {
    let app = TestApp::with(&[("limits.codes", "3")]);
    let (browser, _, _, _) = app.at_browser();
    for _ in 0..2 {
        assert!(response(&browser.get(&CodeRequest::new().path())).contains_key("code"));
    }
    assert_eq!(response(&browser.get(&CodeRequest::new().path()))["error"], "temporarily_unavailable");
}

#[test]
fn what_was_allowed_stays_allowed_until_the_person_says_no() {
    let app = TestApp::start();
    let (browser, _, _, _) = app.at_browser();
    let less = CodeRequest::new().with("scope", "openid").with("prompt", "consent");
    browser.allow(&browser.get(&less.path()));
    let silent =
        |scope: &str| response(&browser.get(&CodeRequest::new().with("prompt", "none").with("scope", scope).path()));
    assert!(silent("openid email").contains_key("code"), "having allowed less again takes nothing back");
    let form = crate::browser::Form::of(&browser.follow(&browser.get(&less.path())));
    assert_eq!(response(&form.send(&browser, &[("decision", "deny")]))["error"], "access_denied");
    assert_eq!(silent("openid")["error"], "consent_required", "a no does");
}

/// OpenID Connect Core §3.1.2.1: what an OP may do without, or need not know, is no mistake.
#[test]
fn what_is_only_a_wish_fails_no_request() {
    let app = TestApp::start();
    app.code_client();
    let (_, email) = app.account();
    for (name, value) in [
        ("display", "page"),
        ("display", "popup"),
        ("display", "wap"),
        ("ui_locales", "se"),
        ("claims_locales", "se"),
        ("acr_values", "urn:mace:incommon:iap:silver 1"),
        ("extra", "foobar"),
        ("scope", "email openid"),
        ("nonce", &"n".repeat(64)),
        ("nonce", &"n".repeat(512)),
        ("nonce", ""),
    ] {
        let (browser, request) = (Browser::new(&app), CodeRequest::new().with(name, value));
        let begun = browser.get(&request.path());
        let done = browser.log_in(&begun, &email);
        let done = if response_is_due(&done) { done } else { browser.allow(&done) };
        assert_eq!(request.redeem(&app.relying_party(), &code(&done), &[]).status, 200, "{name}={value}");
    }
    let page = Browser::new(&app);
    let page = page.follow(&page.get(&CodeRequest::new().with("login_hint", &email).path()));
    assert!(page.body.contains(&format!("value=\"{email}\"")), "{}", page.body);
}

/// Whether a redirect leads to the client already.
fn response_is_due(answer: &crate::relying_party::Answer) -> bool {
    answer.header("location").is_some_and(|to| to.starts_with(CALLBACK))
}

#[test]
fn a_state_that_was_not_sent_is_not_sent_back() {
    let app = TestApp::start();
    let (browser, ..) = app.at_browser();
    let answer = response(&browser.get(&CodeRequest::new().with("state", "").path()));
    assert!(answer.contains_key("code") && !answer.contains_key("state"), "{answer:?}");
}

/// RFC 6749 §3.1.2: a query of its own is kept, and is a part of what is compared.
#[test]
fn a_redirect_uri_keeps_its_own_query_and_takes_no_other() {
    let app = TestApp::start();
    let uri = "https://app.example/cb?foo=bar";
    app.client(
        "query",
        serde_json::json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code"], "redirect_uris": [uri, CALLBACK],
            "scope": "openid" }),
    );
    let (_, email) = app.account();
    let (browser, request) = (Browser::new(&app), CodeRequest::of("query", uri).with("scope", "openid"));
    let done = browser.allow(&browser.log_in(&browser.get(&request.path()), &email));
    let location = done.header("location").unwrap();
    assert!(location.starts_with(&format!("{uri}&code=")) && location.matches("foo=").count() == 1, "{location}");
    for other in ["https://app.example/cb?foo=baz", "https://app.example/cb?foo=bar&x=y", "https://app.example/cb?"] {
        let answer = browser.get(&request.clone().with("redirect_uri", other).path());
        assert_eq!((answer.status, answer.header("location")), (400, None), "{other}");
    }
    // OpenID Connect Core §3.1.2.1: two are registered, so it has to say which.
    let silent = browser.get(&request.with("redirect_uri", "").path());
    assert_eq!((silent.status, silent.header("location")), (400, None));
}

/// OpenID Connect Core §3.1.2.1: `redirect_uri` is required there, also of a client that has a single one.
#[test]
fn an_openid_request_names_where_it_is_answered() {
    let app = TestApp::start();
    app.code_client();
    let browser = Browser::new(&app);
    let asked = CodeRequest::new().with("redirect_uri", "");
    let page = browser.get(&asked.path());
    assert_eq!((page.status, page.header("location")), (400, None), "{}", page.body);
    let pairs: Vec<_> = asked.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(app.relying_party().form("/par", &[], &pairs).error(), "invalid_request");
    let plain = asked.clone().with("scope", "read");
    assert!(browser.get(&plain.path()).header("location").unwrap().starts_with("/login?"), "OAuth 2.1 §2.3.2");
    let other_word = asked.with("scope", "openid2");
    assert_eq!(response(&browser.get(&other_word.path()))["error"], "invalid_scope", "another word");
}
