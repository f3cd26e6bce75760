//! The feed: who may follow, what is said, and that nobody misses anything.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use countersign::admin;
use serde_json::{Value, json};

use super::{claims, eventually, feed, follower, head, place};
use crate::app::TestApp;
use crate::relying_party::basic;

/// A stream of server-sent events.
struct Stream {
    reader: BufReader<TcpStream>,
}

impl Stream {
    fn open(app: &TestApp, secret: &str, since: Option<i64>) -> Self {
        let mut stream = TcpStream::connect(app.base.trim_start_matches("http://")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let query = since.map_or_else(String::new, |since| format!("?since={since}"));
        let header = basic("orders", secret);
        write!(stream, "GET /status/events{query} HTTP/1.1\r\nHost: a\r\nAuthorization: {header}\r\n\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        while line.trim() != "" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        Self { reader }
    }

    /// The next event that is no beat: its name and data; `None` at the end.
    fn next(&mut self) -> Option<(String, String)> {
        let (mut name, mut data) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            // The sizes of chunks stand between.
            if let Some(value) = line.strip_prefix("event: ") {
                value.trim().clone_into(&mut name);
            } else if let Some(value) = line.strip_prefix("data: ") {
                value.trim().clone_into(&mut data);
            } else if line == "\n" && !name.is_empty() {
                if name != "beat" {
                    return Some((name, data));
                }
                name.clear();
            }
        }
    }

    fn next_change(&mut self) -> Value {
        loop {
            let (name, data) = self.next().expect("the stream goes on");
            if name == "change" {
                return serde_json::from_str(&data).unwrap();
            }
        }
    }
}

#[test]
fn only_clients_with_the_scope_may_follow() {
    let app = TestApp::start();
    let secret = follower(&app);
    let plain = app.confidential_client();
    let party = app.relying_party();
    let ask = |header: Option<String>| {
        let headers: Vec<(&str, &str)> = header.iter().map(|header| ("Authorization", header.as_str())).collect();
        party.get("/status/events?wait=0", &headers)
    };
    let answer = ask(None);
    assert_eq!((answer.status, answer.error()), (401, "invalid_client".to_owned()));
    assert!(answer.header("www-authenticate").unwrap().starts_with("Basic "));
    assert_eq!(ask(Some(basic("orders", "hunter-canary-0815"))).status, 401);
    let answer = ask(Some(basic("svc", &plain)));
    assert_eq!((answer.status, answer.error()), (403, "unauthorized_client".to_owned()));
    assert_eq!(ask(Some(basic("orders", &secret))).status, 200);
    let receipt = party.send("POST", "/status/receipts", &[("Authorization", &basic("svc", &plain))], b"{}");
    assert_eq!(receipt.status, 403);
    assert_eq!(party.get("/status/events?since=x", &[("Authorization", &basic("orders", &secret))]).status, 400);
}

#[test]
fn whoever_follows_hears_of_an_end_at_once_and_of_every_one_in_order() {
    let app = TestApp::start();
    let secret = follower(&app);
    let (party, tokens) = app.log_in();
    let mut stream = Stream::open(&app, &secret, None);
    let (name, hello) = stream.next().unwrap();
    let hello: Value = serde_json::from_str(&hello).unwrap();
    assert_eq!((name.as_str(), &hello["lists"], &hello["cuts"]), ("hello", &json!(2), &json!([])));
    party.revoke("web", &tokens.access);
    let change = stream.next_change();
    let (_, idx) = place(&claims(&tokens.access));
    assert_eq!(change["set"], json!([idx]));
    assert_eq!(change["n"].as_i64(), hello["n"].as_i64().map(|n| n + 1));
    let (_, email) = app.account();
    let devices: Vec<_> = (0..6).map(|_| party.log_in("web", &email).tokens().access).collect();
    std::thread::scope(|scope| {
        for device in &devices {
            scope.spawn(|| party.clone().revoke("web", device));
        }
    });
    let mut told: Vec<Value> = (0..6).map(|_| stream.next_change()).collect();
    let numbers: Vec<i64> = told.iter().map(|change| change["n"].as_i64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    let mut expected: Vec<Value> = devices.iter().map(|token| json!([place(&claims(token)).1])).collect();
    told = told.into_iter().map(|change| change["set"].clone()).collect();
    told.sort_by_key(ToString::to_string);
    expected.sort_by_key(ToString::to_string);
    assert_eq!(told, expected);
}

#[test]
fn whoever_comes_back_to_any_instance_misses_nothing() {
    let app = TestApp::start();
    let secret = follower(&app);
    let (party, tokens) = app.log_in();
    let before = head(&app, &secret);
    let second = app.second_instance();
    party.revoke("web", &tokens.access);
    // What the other instance has not heard of yet when it is asked is not from the future.
    let mut elsewhere = Stream::open(&second, &secret, Some(before));
    assert_eq!(elsewhere.next().unwrap().0, "hello");
    let change = elsewhere.next_change();
    assert_eq!(change["n"], before + 1);
    let after = head(&app, &secret);
    let mut again = Stream::open(&second, &secret, Some(after));
    assert_eq!(again.next().unwrap().0, "hello");
    admin::clients::disable(&second.app, "web", "test").unwrap();
    let change = again.next_change();
    assert_eq!((&change["n"], &change["cut"][0]["k"]), (&json!(after + 1), &json!("client_id")));
    for unknown in [after + 1000, -1] {
        let mut lost = Stream::open(&app, &secret, Some(unknown));
        assert_eq!(lost.next().unwrap().0, "reset");
        assert!(lost.next().is_none(), "the stream ends");
        assert_eq!(feed(&app, &secret, Some(unknown))[0].0, "reset");
    }
}

#[test]
fn whoever_lacks_a_change_that_is_kept_no_more_begins_with_the_lists() {
    let app = TestApp::start();
    let secret = follower(&app);
    app.public_client();
    let ((_, email), party) = (app.account(), app.relying_party());
    let before = head(&app, &secret);
    for _ in 0..4 {
        party.revoke("web", &party.log_in("web", &email).tokens().access);
    }
    assert_eq!(head(&app, &secret), before + 4);
    // A clock that was wrong for a moment had them swept.
    app.database.execute(&format!("DELETE FROM status_changes WHERE seq = {}", before + 2));
    let second = app.second_instance();
    let names = |since| feed(&second, &secret, Some(since)).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(before), ["reset"]);
    let after = names(before + 2);
    assert_eq!(after.iter().filter(|name| *name == "change").count(), 2, "{after:?}");
}

#[test]
fn a_change_that_is_committed_late_comes_late_and_is_not_missed() {
    let app = TestApp::start();
    let secret = follower(&app);
    let (party, first) = app.log_in();
    let (_, email) = app.account();
    let second = party.log_in("web", &email).tokens();
    let before = head(&app, &secret);
    let mut stream = Stream::open(&app, &secret, Some(before));
    // Somebody has taken the next number and does not commit.
    let release = app.database.hold("UPDATE status_feed SET seq = seq", "COMMIT");
    std::thread::scope(|scope| {
        let revocations =
            [&first.access, &second.access].map(|token| scope.spawn(|| party.clone().revoke("web", token)));
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(head(&app, &secret), before, "nothing is known of it before it is committed");
        drop(release);
        assert!(revocations.into_iter().all(|revocation| revocation.join().unwrap().status == 200));
    });
    let numbers = [stream.next_change(), stream.next_change()].map(|change| change["n"].as_i64().unwrap());
    assert_eq!(numbers, [before + 1, before + 2]);
}

#[test]
fn whoever_asks_and_waits_is_answered_by_the_next_change_and_not_by_a_checkpoint() {
    let app = TestApp::start();
    let secret = follower(&app);
    let (party, tokens) = app.log_in();
    let seen = head(&app, &secret);
    let path = format!("/status/events?since={seen}&wait=20");
    let ask = || app.relying_party().get(&path, &[("Authorization", &basic("orders", &secret))]).json();
    let began = std::time::Instant::now();
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(ask);
        std::thread::sleep(Duration::from_millis(300));
        // A checkpoint is signed meanwhile.
        app.advance(Duration::from_secs(11));
        app.settle_status();
        std::thread::sleep(Duration::from_millis(600));
        assert!(!asking.is_finished(), "it waits");
        party.revoke("web", &tokens.access);
        asking.join().unwrap()
    });
    assert!(began.elapsed() < Duration::from_secs(10));
    let names: Vec<&str> =
        answer["events"].as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["hello", "ckpt", "change", "beat"]);
}

#[test]
fn checkpoints_are_signed_and_say_what_the_state_is() {
    let app = TestApp::start();
    let secret = follower(&app);
    let (party, tokens) = app.log_in();
    admin::clients::disable(&app.app, "web", "test").unwrap();
    let seen = head(&app, &secret);
    let mut stream = Stream::open(&app, &secret, Some(seen));
    app.advance(Duration::from_secs(11));
    let checkpoint = loop {
        let (name, data) = stream.next().unwrap();
        if name == "ckpt" {
            break data;
        }
    };
    let said = claims(&checkpoint);
    assert_eq!(said["iss"], app.app.issuer);
    let (view, _) = app.app.status.view().unwrap();
    let (lists, cuts) = view.digests();
    assert_eq!((&said["lists"], &said["cuts"]), (&json!(lists), &json!(cuts)));
    assert!(said["seq"].as_i64().unwrap() >= seen);
    let kid = tokens.jose_header()["kid"].clone();
    let header = countersign::secret::decode_base64url(checkpoint.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!((&header["typ"], &header["kid"]), (&json!("status-checkpoint+jwt"), &kid));
    drop(party);
}

#[test]
fn whoever_is_disabled_follows_no_more_and_a_server_that_stops_lets_everyone_go() {
    let app = TestApp::start();
    let secret = follower(&app);
    let mut stream = Stream::open(&app, &secret, None);
    assert_eq!(stream.next().unwrap().0, "hello");
    admin::clients::disable(&app.app, "orders", "test").unwrap();
    while let Some((name, _)) = stream.next() {
        assert!(["change", "ckpt"].contains(&name.as_str()), "of itself: {name}");
    }
    let app = TestApp::start();
    let secret = follower(&app);
    let mut stream = Stream::open(&app, &secret, None);
    assert_eq!(stream.next().unwrap().0, "hello");
    drop(app);
    assert!(stream.next().is_none());
}

#[test]
fn a_client_that_follows_leaves_most_connections_to_others() {
    let app = TestApp::with(&[("http.max_connections", "8")]);
    let secret = follower(&app);
    let mut streams: Vec<Stream> = (0..2).map(|_| Stream::open(&app, &secret, None)).collect();
    let ask = || app.relying_party().get("/status/events?wait=0", &[("Authorization", &basic("orders", &secret))]);
    let refused = ask();
    assert_eq!((refused.status, refused.error()), (503, "temporarily_unavailable".to_owned()));
    assert!(refused.header("retry-after").is_some());
    drop(streams.pop());
    // It is noticed with the next beat.
    eventually("there is room again", || ask().status == 200);
}

#[test]
fn an_instance_that_does_not_know_says_nothing() {
    let app = TestApp::start();
    let secret = follower(&app);
    assert!(feed(&app, &secret, None).iter().any(|(name, _)| name == "beat"));
    app.app.db.hang_hook(Box::new(|_| countersign::store::faults::Fate::FailBefore));
    app.advance(Duration::from_secs(3));
    eventually("it says so", || {
        let answer = app.relying_party().get("/status/events?wait=0", &[("Authorization", &basic("orders", &secret))]);
        answer.status == 503
    });
    let iat = |app: &TestApp| super::list(&app.relying_party(), "/status/0").0["iat"].as_i64().unwrap();
    let before = iat(&app);
    app.advance(Duration::from_mins(1));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(iat(&app), before, "a list is as old as what it says");
}

#[test]
fn receipts_are_kept_and_those_of_others_are_not_overwritten() {
    let app = TestApp::start();
    let secret = follower(&app);
    let other =
        app.client("billing", json!({ "grant_types": ["client_credentials"], "scope": "status.read" })).unwrap();
    let party = app.relying_party();
    let send = |client: (&str, &str), body: &str| {
        party.send("POST", "/status/receipts", &[("Authorization", &basic(client.0, client.1))], body.as_bytes()).status
    };
    let receipt =
        |seq: i64| json!({ "verifier": "AAAAAAAAAAAAAAAAAAAAAA", "name": "orders-1", "seq": seq }).to_string();
    app.database.execute("UPDATE status_feed SET seq = 7");
    assert_eq!(send(("orders", &secret), &receipt(4)), 204);
    assert_eq!(send(("orders", &secret), &receipt(7)), 204);
    assert_eq!(send(("orders", &secret), &receipt(8)), 400, "nobody can have come to that");
    assert_eq!(send(("billing", &other), &receipt(7)), 400, "it is another client's");
    let farewell = receipt(7).replace('}', r#","leaves":true}"#);
    assert_eq!(send(("billing", &other), &farewell), 400, "it is another client's still");
    let kept =
        app.database.lines("SELECT name || ' ' || client_id || ' ' || CAST(seq AS TEXT) AS line FROM status_receipts");
    assert_eq!(kept, ["orders-1 orders 7"]);
    // One client is not as many verifiers as it likes.
    let row = |nth: u32| format!("('{nth:016}', 'billing', 'b', 0, 9000000000000000)");
    let many: Vec<String> = (0..1000).map(row).collect();
    let columns = "status_receipts (verifier, client_id, name, seq, at)";
    app.database.execute(&format!("INSERT INTO {columns} VALUES {}", many.join(", ")));
    let another = receipt(1).replace("AAAAAAAAAAAAAAAAAAAAAA", "AQAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(send(("billing", &other), &another), 400);
    assert_eq!(send(("orders", &secret), &another), 204, "another client may");
    let long = json!({ "verifier": "AAAAAAAAAAAAAAAAAAAAAA", "name": "n".repeat(200), "seq": 1 }).to_string();
    for bad in
        ["", "{}", "[]", r#"{"verifier":"AA","seq":1}"#, &receipt(-1), &long, &receipt(1).replace("orders-1", r"a\n")]
    {
        assert_eq!(send(("orders", &secret), bad), 400, "{bad}");
    }
}

#[test]
fn a_million_bytes_of_nothing_are_not_read_as_a_receipt() {
    let app = TestApp::start();
    let secret = follower(&app);
    let mut stream = TcpStream::connect(app.base.trim_start_matches("http://")).unwrap();
    let header = basic("orders", &secret);
    write!(
        stream,
        "POST /status/receipts HTTP/1.1\r\nHost: a\r\nAuthorization: {header}\r\nContent-Length: 1000000\r\n\r\n"
    )
    .unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}
