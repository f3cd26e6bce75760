//! Everything that a client can get wrong, and the one right answer to it (RFC 6749 §5.2): code, status, challenge, JSON
//! body, no state changed, never a 500.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::app::{PASSWORD, TestApp};
use crate::relying_party::{Answer, RelyingParty, basic};

/// What every refusal of a protocol endpoint must look like.
#[track_caller]
fn is_refusal(answer: &Answer, status: u16, error: &str, case: &str) {
    assert_eq!((answer.status, answer.error().as_str()), (status, error), "{case}: {}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/json;charset=UTF-8"), "{case}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{case}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{case}");
    // RFC 6749 §5.2: the challenge belongs to 401, and 401 to the Authorization header.
    assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{case}");
    let json = answer.json();
    let description = json["error_description"].as_str().unwrap_or_default();
    let allowed = |byte: u8| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    assert!(description.bytes().all(allowed), "{case}: {description}");
    assert!(
        json.as_object().unwrap().keys().all(|key| ["error", "error_description"].contains(&key.as_str())),
        "{case}"
    );
}

const PASSWORD_FORM: &str = "grant_type=password&client_id=web&username=ada&password=x";

#[test]
fn a_request_that_cannot_be_read_is_refused() {
    let app = TestApp::start();
    app.public_client();
    let party = app.relying_party();
    let big = format!("{PASSWORD_FORM}&scope={}", "a".repeat(65 * 1024));
    let megabyte = format!("grant_type=password&client_id=web&username=ada&password={}", "a".repeat(1024 * 1024));
    let long = format!("grant_type=password&client_id=web&username=ada&password={}", "a".repeat(1025));
    let longer = format!("grant_type=password&client_id=web&username=ada&password={}", "a".repeat(17_000));
    let name = format!("grant_type=password&client_id=web&username={}&password=x", "a".repeat(321));
    let many = format!("{PASSWORD_FORM}{}", "&x=1".repeat(64));
    let cases: &[(&str, &[u8], u16, &str)] = &[
        ("nothing at all", b"", 400, "invalid_client"),
        ("no grant type", b"client_id=web", 400, "invalid_request"),
        ("an empty grant type", b"client_id=web&grant_type=", 400, "invalid_request"),
        ("an unknown grant type", b"client_id=web&grant_type=implicit", 400, "unsupported_grant_type"),
        ("the code grant", b"client_id=web&grant_type=authorization_code&code=x", 400, "unauthorized_client"),
        ("the code grant without a code", b"client_id=web&grant_type=authorization_code", 400, "invalid_request"),
        ("grant type in capitals", b"client_id=web&grant_type=PASSWORD", 400, "unsupported_grant_type"),
        ("no client", b"grant_type=password&username=ada&password=x", 400, "invalid_client"),
        ("an empty client", b"client_id=&grant_type=password&username=ada&password=x", 400, "invalid_client"),
        ("an unknown client", b"client_id=nobody&grant_type=password&username=a&password=x", 400, "invalid_client"),
        ("a client that is a URI", b"client_id=https%3A%2F%2Fapi.example&grant_type=password", 400, "invalid_client"),
        ("no user name", b"client_id=web&grant_type=password&password=x", 400, "invalid_request"),
        ("no password", b"client_id=web&grant_type=password&username=ada", 400, "invalid_request"),
        ("an empty password", b"client_id=web&grant_type=password&username=ada&password=", 400, "invalid_request"),
        ("no refresh token", b"client_id=web&grant_type=refresh_token", 400, "invalid_request"),
        ("an empty refresh token", b"client_id=web&grant_type=refresh_token&refresh_token=", 400, "invalid_request"),
        (
            "a JWT as refresh token",
            b"client_id=web&grant_type=refresh_token&refresh_token=e30.e30.e30",
            400,
            "invalid_grant",
        ),
        (
            "a short refresh_attempt",
            b"client_id=web&grant_type=refresh_token&refresh_token=x&refresh_attempt=short",
            400,
            "invalid_request",
        ),
        ("a doubled parameter", b"client_id=web&client_id=web&grant_type=password", 400, "invalid_request"),
        (
            "a doubled scope",
            b"client_id=web&grant_type=password&username=a&password=x&scope=a&scope=b",
            400,
            "invalid_request",
        ),
        ("a doubled empty parameter", b"client_id=web&grant_type=password&scope=&scope=", 400, "invalid_request"),
        (
            "a NUL in the user name",
            b"client_id=web&grant_type=password&username=a%00b&password=x",
            400,
            "invalid_request",
        ),
        (
            "a line break in the user name",
            b"client_id=web&grant_type=password&username=a%0d%0ab&password=x",
            400,
            "invalid_request",
        ),
        (
            "a NUL in the password",
            b"client_id=web&grant_type=password&username=ada&password=a%00b",
            400,
            "invalid_grant",
        ),
        (
            "invalid UTF-8, encoded",
            b"client_id=web&grant_type=password&username=%ff%fe&password=x",
            400,
            "invalid_request",
        ),
        ("invalid UTF-8, raw", b"client_id=web&grant_type=password&username=\xff&password=x", 400, "invalid_request"),
        (
            "a malformed scope",
            b"client_id=web&grant_type=password&username=a&password=x&scope=a%22b",
            400,
            "invalid_scope",
        ),
        (
            "a scope of two spaces",
            b"client_id=web&grant_type=password&username=a&password=x&scope=a++b",
            400,
            "invalid_scope",
        ),
        (
            "a scope beyond the client's",
            b"client_id=web&grant_type=password&username=a&password=x&scope=admin",
            400,
            "invalid_scope",
        ),
        (
            "a malformed resource",
            b"client_id=web&grant_type=password&username=a&password=x&resource=api",
            400,
            "invalid_target",
        ),
        (
            "a resource with a fragment",
            b"client_id=web&grant_type=password&username=a&password=x&resource=https%3A%2F%2Fapi.example%2F%23f",
            400,
            "invalid_target",
        ),
        (
            "a resource that is not the client's",
            b"client_id=web&grant_type=password&username=a&password=x&resource=https%3A%2F%2Felsewhere.example",
            400,
            "invalid_target",
        ),
        (
            "a grant type that is not the client's",
            b"client_id=web&grant_type=client_credentials",
            400,
            "unauthorized_client",
        ),
        (
            "a public client with a secret",
            b"client_id=web&client_secret=x&grant_type=client_credentials",
            400,
            "invalid_client",
        ),
        (
            "an assertion",
            b"client_id=web&client_assertion=x&client_assertion_type=y&grant_type=password",
            400,
            "invalid_client",
        ),
        ("a user name of 321 bytes", name.as_bytes(), 400, "invalid_request"),
        (
            "a refresh_attempt with a space",
            b"client_id=web&grant_type=refresh_token&refresh_token=x&refresh_attempt=0123456789+abcdef",
            400,
            "invalid_request",
        ),
        ("a body of 65 KiB", big.as_bytes(), 413, "invalid_request"),
        ("a password of a megabyte", megabyte.as_bytes(), 413, "invalid_request"),
        ("a password of 1025 bytes", long.as_bytes(), 400, "invalid_request"),
        ("a password of 17000 bytes", longer.as_bytes(), 400, "invalid_request"),
        ("68 parameters", many.as_bytes(), 400, "invalid_request"),
    ];
    for (case, body, status, error) in cases {
        is_refusal(&party.raw_form("/token", &[], body), *status, error, case);
    }
}

#[test]
fn only_post_and_only_a_form() {
    let app = TestApp::start();
    app.public_client();
    let party = app.relying_party();
    for path in ["/token", "/revoke", "/introspect"] {
        for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"] {
            let answer = party.send(method, path, &[], b"");
            assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method} {path}");
        }
        for content_type in ["application/json", "multipart/form-data; boundary=x", "text/plain", ""] {
            let answer = party.send("POST", path, &[("Content-Type", content_type)], PASSWORD_FORM.as_bytes());
            is_refusal(&answer, 415, "invalid_request", content_type);
        }
    }
    let answer = party.get(&format!("/token?{PASSWORD_FORM}"), &[]);
    assert_eq!(answer.status, 405);
}

#[test]
fn credentials_in_the_query_are_never_read() {
    let app = TestApp::start();
    app.public_client();
    let (_, email) = app.account();
    let secret = app.confidential_client();
    let party = app.relying_party();
    let credentials = format!("/token?grant_type=password&client_id=web&username={email}&password={PASSWORD}");
    is_refusal(&party.raw_form(&credentials, &[], b"grant_type=password"), 400, "invalid_client", "a password");
    let query = format!("/token?client_id=svc&client_secret={secret}");
    is_refusal(&party.raw_form(&query, &[], b"grant_type=client_credentials"), 400, "invalid_client", "a secret");
}

#[test]
fn client_authentication_is_exactly_the_registered_one() {
    let app = TestApp::start();
    app.public_client();
    let secret = app.confidential_client();
    let post_secret = app
        .client("post", serde_json::json!({"token_endpoint_auth_method": "client_secret_post", "grant_types": ["client_credentials"]}))
        .unwrap();
    let party = app.relying_party();
    let form = b"grant_type=client_credentials";
    let (good, wrong) = (basic("svc", &secret), basic("svc", "css_wrong"));
    let unknown = basic("nobody", &secret);
    let other_method = basic("post", &post_secret);
    let of_public = basic("web", "x");
    let no_colon = "Basic bm9jb2xvbg==";
    let cases: &[(&str, &str, &[u8], u16, &str)] = &[
        ("a wrong secret", &wrong, form, 401, "invalid_client"),
        ("an unknown client", &unknown, form, 401, "invalid_client"),
        ("Basic for a client of client_secret_post", &other_method, form, 401, "invalid_client"),
        ("Basic for a public client", &of_public, form, 401, "invalid_client"),
        ("Basic without a colon", no_colon, form, 401, "invalid_client"),
        ("Basic that is not base64", "Basic !!!!", form, 401, "invalid_client"),
        ("Basic without credentials", "Basic", form, 401, "invalid_client"),
        ("Bearer", "Bearer x", form, 401, "invalid_client"),
        (
            "header and body",
            &good,
            b"grant_type=client_credentials&client_id=svc&client_secret=x",
            400,
            "invalid_request",
        ),
        ("header and another client_id", &good, b"grant_type=client_credentials&client_id=web", 400, "invalid_request"),
    ];
    for (case, header, body, status, error) in cases {
        is_refusal(&party.raw_form("/token", &[("Authorization", header)], body), *status, error, case);
    }
    let refused =
        |pairs: &[(&str, &str)], case| is_refusal(&party.form("/token", &[], pairs), 400, "invalid_client", case);
    refused(
        &[("grant_type", "client_credentials"), ("client_id", "svc")],
        "a confidential client that only names itself",
    );
    refused(
        &[("grant_type", "client_credentials"), ("client_id", "svc"), ("client_secret", &secret)],
        "client_secret_post for a client of client_secret_basic",
    );
    refused(&[("grant_type", "refresh_token"), ("client_id", "svc"), ("refresh_token", "x")], "on every grant");
    // The right ones, so that the table above cannot pass on a server that refuses everything.
    party.client_credentials("svc", &secret, &[]).tokens();
    let post = [("grant_type", "client_credentials"), ("client_id", "post"), ("client_secret", &post_secret)];
    party.form("/token", &[], &post).tokens();
    // An unknown client and a wrong secret look the same.
    let answers = [wrong, unknown].map(|header| party.raw_form("/token", &[("Authorization", &header)], form));
    assert_eq!(answers[0].body, answers[1].body);
}

#[test]
fn nothing_that_was_sent_comes_back() {
    let app = TestApp::start();
    app.public_client();
    let party = app.relying_party();
    for value in ["<script>alert(1)</script>", "a\r\nSet-Cookie: x=y", "\u{1b}[31mred", "\"}{\"", "\u{202e}"] {
        for name in ["grant_type", "client_id", "scope", "username", "refresh_token", "resource"] {
            let mut form = vec![("grant_type", "password"), ("client_id", "web"), ("username", "a"), ("password", "x")];
            form.retain(|(known, _)| *known != name);
            form.push((name, value));
            let answer = party.form("/token", &[], &form);
            assert!(answer.status == 400, "{name}: {}", answer.status);
            assert!(!answer.body.contains(value), "{name}: {}", answer.body);
            assert!(answer.header("set-cookie").is_none());
        }
    }
}

/// Sends bytes as they are and returns what comes back until the connection ends.
fn raw(app: &TestApp, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(app.base.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The server may close before it has read everything; what it said counts.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends bytes as they are and returns what comes back first.
fn first_bytes(app: &TestApp, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(app.base.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let _ = stream.write_all(bytes);
    let mut answer = [0; 64];
    let read = stream.read(&mut answer).unwrap_or(0);
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[test]
fn large_heads_and_broken_framing_are_refused() {
    let app = TestApp::start();
    let head = |more: &str| format!("POST /token HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n");
    let large = format!("X-Large: {}\r\nContent-Length: 0\r\n", "a".repeat(17 * 1024));
    assert!(raw(&app, head(&large).as_bytes()).starts_with("HTTP/1.1 431"), "a head of 17 KiB");
    let target = format!("GET /jwks.json?x={} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "a".repeat(17 * 1024));
    assert!(raw(&app, target.as_bytes()).starts_with("HTTP/1.1 431"), "a target of 17 KiB");
    let twice = "Authorization: Basic eDp5\r\nAuthorization: Basic eDp6\r\nContent-Length: 0\r\n";
    let typed = format!("Content-Type: application/x-www-form-urlencoded\r\n{twice}");
    let answer = raw(&app, head(&typed).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("more than one way"), "{answer}");
    let larger = format!("X-Large: {}\r\nContent-Length: 0\r\n", "a".repeat(200 * 1024));
    let answer = raw(&app, head(&larger).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 4") || answer.is_empty(), "a head of 200 KiB: {answer}");
    let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    assert!(raw(&app, format!("{}0\r\n\r\n", head(both)).as_bytes()).starts_with("HTTP/1.1 400"), "two framings");
    let twice = "Content-Length: 5\r\nContent-Length: 6\r\n";
    assert!(raw(&app, head(twice).as_bytes()).starts_with("HTTP/1.1 400"), "two lengths");
    // Chunks without a length are counted as they come.
    let form = "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n";
    let chunk = format!("4000\r\n{}\r\n", "a".repeat(0x4000));
    let body = format!("{}{}0\r\n\r\n", head(form), chunk.repeat(6));
    assert!(raw(&app, body.as_bytes()).starts_with("HTTP/1.1 413"), "96 KiB of chunks");
    // What says that it is too large is not waited for, nor is what never ends.
    let began = std::time::Instant::now();
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let announced = head(&format!("{form}Content-Length: 10000000\r\n"));
    assert!(first_bytes(&app, announced.as_bytes()).starts_with("HTTP/1.1 413"), "ten megabytes announced");
    let endless = format!("{}{}", head(&format!("{form}Transfer-Encoding: chunked\r\n")), chunk.repeat(6));
    assert!(first_bytes(&app, endless.as_bytes()).starts_with("HTTP/1.1 413"), "chunks without an end");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    // And the server still serves.
    assert_eq!(app.relying_party().get("/livez", &[]).status, 200);
}

#[test]
fn a_head_that_never_ends_is_not_waited_for() {
    let app = TestApp::start();
    let began = std::time::Instant::now();
    let answer = raw(&app, b"POST /token HTTP/1.1\r\nHost: x\r\nX-Slow: ");
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[test]
fn a_body_that_never_comes_is_not_waited_for() {
    let app = TestApp::start();
    let head = "POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 50\r\n\r\ngrant";
    let answer = raw(&app, head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[test]
fn no_refusal_changes_anything() {
    let app = TestApp::start();
    let (party, tokens) = app.log_in();
    let secret = app.confidential_client();
    let token = tokens.refresh_token();
    let attempts: &[&dyn Fn(&RelyingParty) -> Answer] = &[
        &|party| party.refresh("nobody", token),
        &|party| party.refresh_with("web", token, &[("scope", "admin")]),
        &|party| party.refresh_with("web", token, &[("scope", "a  b")]),
        &|party| party.refresh_with("web", token, &[("resource", "https://elsewhere.example")]),
        &|party| party.refresh_with("web", token, &[("client_secret", "x")]),
        &|party| party.refresh_with("web", token, &[("refresh_attempt", "short")]),
        &|party| party.refresh_with("web", token, &[("refresh_token", token)]),
        &|party| {
            party.form(
                "/token",
                &[("Authorization", &basic("svc", &secret))],
                &[("grant_type", "refresh_token"), ("refresh_token", token)],
            )
        },
        &|party| {
            party.form("/token", &[], &[("grant_type", "password"), ("client_id", "web"), ("refresh_token", token)])
        },
        &|party| party.send("GET", "/token", &[], b""),
    ];
    let before = app.database.rotations();
    for (nth, attempt) in attempts.iter().enumerate() {
        let answer = attempt(&party);
        assert!((400..500).contains(&answer.status), "{nth}: {} {}", answer.status, answer.body);
        assert_eq!(app.database.rotations(), before, "{nth}");
    }
    party.refresh("web", token).tokens();
    assert_ne!(app.database.rotations(), before, "the comparison sees a change");
}
