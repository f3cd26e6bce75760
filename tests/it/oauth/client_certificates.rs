//! Clients with certificates, behind a proxy that verifies them (RFC 8705, RFC 9440).

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign::secret::{Digest, encode_base64url};
use serde_json::json;

use crate::app::TestApp;
use crate::browser::{Browser, CALLBACK, CodeRequest, code};
use crate::relying_party::Answer;

const SETTINGS: [(&str, &str); 3] = [
    ("http.trusted_proxies", "127.0.0.1/32"),
    ("http.client_certificate_header", "client-cert"),
    ("http.client_verified_header", "client-verify"),
];

/// A self-signed certificate by the machine's openssl, DER.
fn certificate(subject: &str, names: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (key, cert) = (folder.path().join("key.pem"), folder.path().join("cert.der"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-outform",
            "DER",
        ])
        .args(["-subj", subject, "-addext", &format!("subjectAltName={names}")])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::read(cert).unwrap()
}

fn header(der: &[u8]) -> String {
    format!(":{}:", STANDARD.encode(der))
}

fn ask(app: &TestApp, client_id: &str, certificate: Option<&str>) -> Answer {
    ask_with(app, client_id, certificate, Some("SUCCESS"))
}

fn ask_with(app: &TestApp, client_id: &str, certificate: Option<&str>, verified: Option<&str>) -> Answer {
    let mut headers: Vec<_> = certificate.iter().map(|value| ("Client-Cert", *value)).collect();
    headers.extend(verified.map(|value| ("Client-Verify", value)));
    app.relying_party().form("/token", &headers, &[("grant_type", "client_credentials"), ("client_id", client_id)])
}

#[test]
fn a_client_is_known_by_a_name_in_its_certificate() {
    let app = TestApp::with(&SETTINGS);
    let der =
        certificate("/C=DE/O=Example, Inc./CN=shop", "DNS:shop.example,URI:https://shop.example/id,DNS:other.example");
    let stranger = certificate("/C=DE/O=Example, Inc./CN=shop2", "DNS:shop.example.evil");
    for (id, member, value) in [
        ("dn", "tls_client_auth_subject_dn", r"CN=shop,O=Example\, Inc.,C=DE"),
        ("dns", "tls_client_auth_san_dns", "shop.example"),
        ("uri", "tls_client_auth_san_uri", "https://shop.example/id"),
    ] {
        let secret = app.client(
            id,
            json!({ "token_endpoint_auth_method": "tls_client_auth", "grant_types": ["client_credentials"],
            "scope": "jobs", "tls_client_certificate_bound_access_tokens": true, member: value }),
        );
        assert_eq!(secret, None);
        let tokens = ask(&app, id, Some(&header(&der))).tokens();
        let thumbprint = encode_base64url(Digest::sha256(&der).as_bytes());
        assert_eq!(tokens.claims()["cnf"], json!({ "x5t#S256": thumbprint }), "{id}");
        // As nginx passes it on.
        let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(&der));
        let escaped: String =
            url::form_urlencoded::byte_serialize(pem.as_bytes()).collect::<String>().replace('+', "%20");
        assert_eq!(ask(&app, id, Some(&escaped)).status, 200, "{id}");
        for wrong in [None, Some(header(&stranger)), Some(":AAAA:".to_owned()), Some("x".to_owned())] {
            let answer = ask(&app, id, wrong.as_deref());
            assert_eq!(
                (answer.error().as_str(), answer.json()["error_description"].as_str()),
                ("invalid_client", Some("client authentication failed")),
                "{id}"
            );
        }
        for verdict in [None, Some("NONE"), Some("FAILED:self-signed certificate"), Some("1"), Some("")] {
            let answer = ask_with(&app, id, Some(&header(&der)), verdict);
            assert_eq!(answer.error(), "invalid_client", "anybody can write that name into a certificate: {verdict:?}");
        }
        assert_eq!(ask_with(&app, id, Some(&header(&der)), Some("0")).status, 200, "as HAProxy says it");
        let twice = app.relying_party().form(
            "/token",
            &[("Client-Cert", &header(&der)), ("Client-Cert", &header(&der)), ("Client-Verify", "SUCCESS")],
            &[("grant_type", "client_credentials"), ("client_id", id)],
        );
        assert_eq!(twice.error(), "invalid_client", "a proxy may have judged the other one");
    }
}

#[test]
fn a_client_is_known_by_the_certificate_that_it_registered() {
    let app = TestApp::with(&SETTINGS);
    let (der, other) = (certificate("/CN=a", "DNS:a.example"), certificate("/CN=a", "DNS:a.example"));
    let jwk = json!({ "kty": "EC", "crv": "P-256", "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
        "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA", "x5c": [STANDARD.encode(&der)] });
    app.client(
        "own",
        json!({ "token_endpoint_auth_method": "self_signed_tls_client_auth", "grant_types": ["client_credentials"],
        "scope": "jobs", "jwks": { "keys": [jwk] } }),
    );
    assert_eq!(ask(&app, "own", Some(&header(&der))).status, 200);
    for wrong in [None, Some(header(&other))] {
        assert_eq!(ask(&app, "own", wrong.as_deref()).error(), "invalid_client");
    }
}

#[test]
fn the_header_of_anyone_but_a_trusted_proxy_is_a_forgery() {
    let der = certificate("/CN=shop", "DNS:shop.example");
    let metadata = json!({ "token_endpoint_auth_method": "tls_client_auth", "grant_types": ["client_credentials"], "scope": "jobs",
        "tls_client_auth_san_dns": "shop.example" });
    let elsewhere = [("http.trusted_proxies", "192.0.2.0/24"), SETTINGS[1], SETTINGS[2]];
    for settings in [&elsewhere[..], &[]] {
        let app = TestApp::with(settings);
        app.client("shop", metadata.clone());
        assert_eq!(ask(&app, "shop", Some(&header(&der))).error(), "invalid_client", "{settings:?}");
    }
    let app = TestApp::with(&SETTINGS);
    let document = app.relying_party().get("/.well-known/openid-configuration", &[]).json();
    assert!(document["token_endpoint_auth_methods_supported"].as_array().unwrap().contains(&json!("tls_client_auth")));
    assert_eq!(document["tls_client_certificate_bound_access_tokens"], true);
}

#[test]
fn tokens_that_are_bound_to_a_certificate_open_nothing_without_it() {
    let app = TestApp::with(&SETTINGS);
    let (der, other) = (certificate("/CN=a", "DNS:a.example"), certificate("/CN=b", "DNS:b.example"));
    app.client(
        "app",
        json!({ "token_endpoint_auth_method": "none", "grant_types": ["authorization_code", "refresh_token"],
        "redirect_uris": [CALLBACK], "scope": "openid email", "tls_client_certificate_bound_access_tokens": true }),
    );
    let (_, email) = app.account();
    let (browser, request, party) = (Browser::new(&app), CodeRequest::new(), app.relying_party());
    let code = code(&browser.allow(&browser.log_in(&browser.get(&request.path()), &email)));
    assert_eq!(request.redeem(&party, &code, &[]).error(), "invalid_request", "no certificate");
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", "app"),
        ("code", code.as_str()),
        ("redirect_uri", CALLBACK),
        ("code_verifier", request.verifier.as_str()),
    ];
    let answer = party.form("/token", &[("Client-Cert", &header(&der))], &form);
    assert_eq!(answer.json()["token_type"], "Bearer", "RFC 8705 §3");
    let tokens = answer.tokens();
    let authorization = format!("Bearer {}", tokens.access);
    let ask = |certificate: Option<&[u8]>| {
        let shown = certificate.map(header);
        let mut headers = vec![("Authorization", authorization.as_str())];
        headers.extend(shown.iter().map(|value| ("Client-Cert", value.as_str())));
        party.get("/userinfo", &headers).status
    };
    assert_eq!([ask(Some(&der)), ask(Some(&other)), ask(None)], [200, 401, 401]);
    // The refresh token of a public client neither (RFC 8705 §4).
    let refresh = |certificate: &[u8]| {
        let form = [("grant_type", "refresh_token"), ("client_id", "app"), ("refresh_token", tokens.refresh_token())];
        party.form("/token", &[("Client-Cert", &header(certificate))], &form)
    };
    assert_eq!(refresh(&other).error(), "invalid_grant");
    assert_eq!(refresh(&der).status, 200);
}
