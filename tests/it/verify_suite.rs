//! `countersign verify-suite`: it finds what a careless service lets through, and what a broken one refuses.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::Output;

use serde_json::Value;

use crate::cli;

/// A service that answers each token with what `judge` says, on a port of its own.
fn service(judge: fn(&str) -> u16) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/orders", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut token = String::new();
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap_or(0) > 0 && line.trim() != "" {
                if let Some(value) = line.to_lowercase().starts_with("authorization: ").then(|| line[15..].trim()) {
                    value.trim_start_matches("Bearer ").clone_into(&mut token);
                }
                line.clear();
            }
            let status = judge(&token);
            let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = reader.get_mut().write_all(answer.as_bytes());
        }
    });
    url
}

fn play(target: &str, more: &[&str]) -> (Output, Value) {
    let folder = tempfile::tempdir().unwrap();
    // A port of the system's choice would not be known to a service; here nobody asks.
    let arguments =
        ["--json", "verify-suite", "--target", target, "--audience", "https://orders.example", "--patience", "2s"];
    let listen = ["--listen", "127.0.0.1:0"];
    let all: Vec<&str> = arguments.iter().chain(&listen).chain(more).copied().collect();
    let output = cli::run(cli::command(folder.path(), None, &all), "");
    let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output, json)
}

fn faults(json: &Value) -> Vec<&str> {
    let cases = json["cases"].as_array().unwrap().iter();
    cases.filter(|case| !case["fault"].is_null()).map(|case| case["name"].as_str().unwrap()).collect()
}

#[test]
fn a_service_that_takes_everything_is_told_of_every_bad_token() {
    let (output, json) = play(&service(|_| 200), &[]);
    assert_eq!(output.status.code(), Some(1));
    let found = faults(&json);
    for name in ["alg_none", "hs256_public_key_pem", "jwk_in_header", "id_token", "aud_other", "expired", "revoked"] {
        assert!(found.contains(&name), "{name}");
    }
    assert!(!found.contains(&"good"));
    let wrong = json["wrong"].as_u64().unwrap();
    let (_, strict) = play(&service(|_| 200), &["--strict"]);
    assert!(wrong >= 50 && strict["wrong"].as_u64().unwrap() >= wrong + 10);
}

#[test]
fn a_service_that_looks_at_nothing_but_the_number_of_parts_is_found_out_and_one_that_falls_over_too() {
    let (_, json) = play(&service(|token| if token.matches('.').count() == 2 { 200 } else { 500 }), &[]);
    let found = faults(&json);
    assert!(found.contains(&"alg_none") && found.contains(&"four_parts"), "{found:?}");
    let four = json["cases"].as_array().unwrap().iter().find(|case| case["name"] == "four_parts").unwrap();
    assert_eq!((&four["fault"], &four["answer"]), (&"fails".into(), &"500".into()));
}

#[test]
fn a_service_that_takes_not_even_a_good_token_is_told_so() {
    let (output, _) = play(&service(|_| 401), &[]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("not even a good token: 401; does it trust the issuer"), "{error}");
}

#[test]
fn the_tokens_can_be_had_for_a_trial_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--json", "verify-suite", "--export", "--audience", "https://orders.example"];
    let output = cli::run(cli::command(folder.path(), None, &arguments), "");
    assert!(output.status.success());
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["jwks"]["keys"].as_array().unwrap().len(), 2);
    assert!(json["cases"].as_array().unwrap().len() > 80);
    assert!(json["cases"][0]["token"].as_str().unwrap().split('.').count() == 3);
    assert!(json["at"].as_i64().unwrap() > 1_700_000_000);
    assert_eq!(json["jwks"]["keys"][0]["alg"], "RS256");
    let output = cli::run(cli::command(folder.path(), None, &[&arguments[..], &["--algorithm", "PS256"]].concat()), "");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["jwks"]["keys"][0]["alg"], "PS256");
}
