//! The end of grants by operators, and of many grants, to its last one.

use std::time::Duration;

use countersign::admin;
use countersign::clock::Clock;
use serde_json::{Value, json};

use super::{claims, eventually, feed, follower, head, is_over, place};
use crate::app::TestApp;
use crate::cli;
use crate::relying_party::basic;

/// Runs `countersign grants end …` on the database of a server.
fn end(app: &TestApp, arguments: &[&str]) -> (Option<i32>, Value, String) {
    let all: Vec<&str> = ["--json", "grants", "end"].iter().chain(arguments).copied().collect();
    let mut command = cli::command(app.database.folder.path(), Some(&app.database), &all);
    command.env("COUNTERSIGN__KEYS__MASTER_KEY_FILE", app.database.folder.path().join("master.key"));
    let output = cli::run(command, "");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default(), error)
}

#[test]
fn an_operator_ends_a_grant_and_hears_where_it_is_in_force() {
    let app = TestApp::start();
    let secret = follower(&app);
    let (party, tokens) = app.log_in();
    let say = |verifier: &str, name: &str, seq: i64| {
        let body = json!({ "verifier": verifier, "name": name, "seq": seq }).to_string();
        let answer =
            party.send("POST", "/status/receipts", &[("Authorization", &basic("orders", &secret))], body.as_bytes());
        assert_eq!(answer.status, 204, "{}", answer.body);
    };
    let (here, gone, left) = ("AAAAAAAAAAAAAAAAAAAAAA", "BBBBBBBBBBBBBBBBBBBBBA", "CCCCCCCCCCCCCCCCCCCCCA");
    let before = head(&app, &secret);
    say(here, "orders-1", before);
    say(gone, "orders-2", before);
    say(left, "orders-3", before);
    let goodbye = json!({ "verifier": left, "seq": before, "leaves": true }).to_string();
    party.send("POST", "/status/receipts", &[("Authorization", &basic("orders", &secret))], goodbye.as_bytes());
    app.database.execute("UPDATE status_receipts SET at = at - 60000000 WHERE name = 'orders-2'");
    let sid = tokens.claims()["sid"].as_str().unwrap().to_owned();
    let (code, json, error) = std::thread::scope(|scope| {
        let command = scope.spawn(|| end(&app, &[&sid, "--wait"]));
        // A verifier that follows does what it is asked.
        eventually("it is asked to say how far it is", || {
            let changes = feed(&app, &secret, Some(before));
            let asked = changes.iter().find(|(_, data)| data["ack"] == true);
            if let Some((_, data)) = asked {
                say(here, "orders-1", data["n"].as_i64().unwrap());
            }
            asked.is_some()
        });
        command.join().unwrap()
    });
    assert_eq!(code, Some(0), "{error}");
    assert_eq!((&json["ended_grants"], &json["verifiers"], &json["in_force_at"]), (&json!(1), &json!(2), &json!(1)));
    assert_eq!(json["unreachable"][0]["name"], "orders-2");
    assert!(json["after_seconds"].as_f64().unwrap() < 10.0);
    eventually("it is over", || is_over(&app, &tokens.access));
    let audit = "SELECT event || ' ' || subject AS line FROM audit_events WHERE event LIKE 'grant%'";
    assert_eq!(app.database.lines(audit), [format!("grant_ended {sid}")]);
    // What is over already stays so.
    let (code, json, _) = end(&app, &[&sid]);
    assert_eq!((code, &json["ended_grants"]), (Some(0), &json!(0)));
}

#[test]
fn an_operator_hears_of_a_verifier_that_can_be_reached_and_does_not_follow() {
    let app = TestApp::start();
    let secret = follower(&app);
    let (party, tokens) = app.log_in();
    let body = json!({ "verifier": "AAAAAAAAAAAAAAAAAAAAAA", "name": "orders-1", "seq": 0 }).to_string();
    party.send("POST", "/status/receipts", &[("Authorization", &basic("orders", &secret))], body.as_bytes());
    let (code, json, error) = end(&app, &[tokens.claims()["sid"].as_str().unwrap(), "--wait"]);
    assert_eq!((code, &json["lagging"][0]["name"]), (Some(1), &json!("orders-1")), "{error}");
    assert!(error.contains("not known yet at 1 of the verifiers"), "{error}");
    let (code, _, error) = end(&app, &["019b76da-b7a0-7f54-862e-b767cf0b8482"]);
    assert!(code == Some(1) && error.contains("there is no such grant"), "{error}");
    assert_eq!(end(&app, &[]).0, Some(2));
}

#[test]
fn an_operator_waits_a_moment_for_a_verifier_that_has_just_come() {
    let app = TestApp::start();
    let secret = follower(&app);
    let (party, tokens) = app.log_in();
    let sid = tokens.claims()["sid"].as_str().unwrap().to_owned();
    let (_, json, _) = std::thread::scope(|scope| {
        let before = head(&app, &secret);
        let command = scope.spawn(|| end(&app, &[&sid, "--wait"]));
        eventually("it is asked to say how far it is", || {
            let changes = feed(&app, &secret, Some(before));
            let asked = changes.iter().find(|(_, data)| data["ack"] == true);
            if let Some((_, data)) = asked {
                let receipt = json!({ "verifier": "AAAAAAAAAAAAAAAAAAAAAA", "name": "orders-1", "seq": data["n"] });
                let header = basic("orders", &secret);
                party.send("POST", "/status/receipts", &[("Authorization", &header)], receipt.to_string().as_bytes());
            }
            asked.is_some()
        });
        command.join().unwrap()
    });
    assert_eq!((&json["verifiers"], &json["in_force_at"]), (&json!(1), &json!(1)), "it had not been heard of before");
    // Nobody follows, and that is no failure.
    app.database.execute("DELETE FROM status_receipts");
    let (code, json, _) = end(&app, &[&sid, "--wait"]);
    assert_eq!((code, &json["verifiers"]), (Some(0), &json!(0)));
}

#[test]
fn a_log_in_that_was_under_way_when_the_password_changed_ends_too() {
    let app = TestApp::start();
    let (party, tokens) = app.log_in();
    let account = admin::accounts::list(&app.app, None, 1).unwrap().remove(0);
    // As the row is when it was committed a moment after: for credentials that the account has no more.
    admin::accounts::set_password(
        &app.app,
        &account,
        &countersign::secret::PlainSecret::new("hunter-canary-anew"),
        "test",
    )
    .unwrap();
    // Nobody looks again before the row is as it would be.
    app.database.execute("UPDATE outbox SET due_at = due_at + 3600000000");
    app.database.execute("UPDATE grants SET ended_at = NULL, ended_by = NULL");
    app.database.execute("DELETE FROM status_bits");
    let second = app.second_instance();
    assert!(!is_over(&second, &tokens.access));
    app.database.execute("UPDATE outbox SET due_at = due_at - 3615000000");
    eventually("somebody looked again", || is_over(&second, &tokens.access));
    eventually("all is done", || app.database.lines("SELECT task AS line FROM outbox").is_empty());
    assert_eq!(party.refresh("web", tokens.refresh_token()).error(), "invalid_grant");
    // Of an account that was disabled, for that reason.
    admin::accounts::disable(&app.app, account.id, "test").unwrap();
    app.database.execute("UPDATE grants SET ended_at = NULL, ended_by = NULL");
    app.database.execute("UPDATE outbox SET due_at = due_at - 15000000");
    let ended_by = "SELECT ended_by AS line FROM grants WHERE ended_by IS NOT NULL";
    eventually("it ends again", || !app.database.lines(ended_by).is_empty());
    assert_eq!(app.database.lines(ended_by), ["account_disabled"]);
}

#[test]
fn all_grants_of_a_client_end_though_instances_come_and_go() {
    const GRANTS: usize = 5000;
    let app = TestApp::start();
    let secret = follower(&app);
    let (_, tokens) = app.log_in();
    let before = head(&app, &secret);
    let now = Clock::system().now().as_micros();
    let account = app.database.lines("SELECT CAST(COUNT(*) AS TEXT) AS line FROM accounts");
    assert_eq!(account, ["1"]);
    // As many as take a few steps, each with a place that nobody else has, in a list that is not leased from.
    for part in 0..10 {
        let rows: Vec<String> = (0..GRANTS / 10)
            .map(|nth| {
                let nth = part * GRANTS / 10 + nth;
                let bytes = |mark: u8| {
                    let hex = format!("01{mark:02x}{nth:028x}");
                    if app.database.url.starts_with("sqlite:") {
                        format!("X'{hex}'")
                    } else {
                        format!("'\\x{hex}'::bytea")
                    }
                };
                format!("SELECT {} AS id, {} AS handle, {} AS position", bytes(1), bytes(2), (1 << 20) + nth)
            })
            .collect();
        app.database.execute(&format!(
            "INSERT INTO grants (id, handle, account_id, client_id, scope, audiences, amr, auth_time, created_at, generation, \
             winner, siblings, rotated_at, idle_expires_at, expires_at, status_position) \
             SELECT many.id, many.handle, accounts.id, 'web', '', '[]', '[]', 0, 1, 1, 0, 1, 1, {now}, {now}, many.position \
             FROM accounts, ({}) AS many",
            rows.join(" UNION ALL ")
        ));
    }
    admin::clients::disable(&app.app, "web", "test").unwrap();
    // Another begins beside this one, and this one ends in the middle.
    let second = app.second_instance();
    drop(app);
    let left = || second.database.lines("SELECT CAST(COUNT(*) AS TEXT) AS line FROM grants WHERE ended_at IS NULL");
    eventually("all are over", || left() == ["0"]);
    second.database.execute("UPDATE outbox SET due_at = due_at - 15000000");
    eventually("all is done", || second.database.lines("SELECT task AS line FROM outbox").is_empty());
    eventually("it is over", || is_over(&second, &tokens.access));
    second.settle_status();
    let set: usize =
        feed(&second, &secret, Some(before)).iter().map(|(_, data)| data["set"].as_array().map_or(0, Vec::len)).sum();
    // Each of them, the one that logged in, and the place of the client itself.
    assert_eq!(set, GRANTS + 2);
    let (_, idx) = place(&claims(&tokens.access));
    assert!(idx < 1 << 20);
}

#[test]
fn a_client_that_is_disabled_twice_is_cut_off_once() {
    let app = TestApp::start();
    let secret = follower(&app);
    app.public_client();
    let before = head(&app, &secret);
    admin::clients::disable(&app.app, "web", "test").unwrap();
    app.advance(Duration::from_secs(5));
    admin::clients::disable(&app.app, "web", "test").unwrap();
    app.settle_status();
    let all = feed(&app, &secret, Some(before));
    let cuts: Vec<&Value> = all.iter().flat_map(|(_, data)| data["cut"].as_array().into_iter().flatten()).collect();
    let uncut: Vec<&Value> = all.iter().flat_map(|(_, data)| data["uncut"].as_array().into_iter().flatten()).collect();
    assert_eq!((cuts.len(), uncut), (2, vec![cuts[0]]), "the second takes the place of the first");
    assert_eq!(all[0].1["cuts"], json!([cuts[1]]), "and is what those hear who come now");
}

#[test]
fn a_log_in_at_a_client_that_is_being_disabled_ends_too_and_one_after_it_was_enabled_does_not() {
    let app = TestApp::start();
    let (party, _) = app.log_in();
    let (_, email) = app.account();
    admin::clients::disable(&app.app, "web", "test").unwrap();
    // An instance that has not heard of it yet makes no grant.
    let late = party.log_in("web", &email);
    assert!(late.status == 400, "{}", late.body);
    // One that was being made at that moment.
    app.database.execute("UPDATE clients SET disabled_at = NULL");
    let under_way = party.log_in("web", &email).tokens();
    app.database.execute("UPDATE clients SET disabled_at = not_before");
    app.database.execute("UPDATE outbox SET due_at = due_at - 15000000");
    app.advance(Duration::from_secs(1));
    eventually("somebody looked again", || is_over(&app, &under_way.access));
    admin::clients::enable(&app.app, "web", "test").unwrap();
    app.app.clients.reload(&app.app.db).unwrap();
    let after = party.log_in("web", &email).tokens();
    let nothing = if app.database.url.starts_with("sqlite:") { "X''" } else { "''" };
    app.database.execute(&format!(
        "INSERT INTO outbox (id, task, subject, due_at, done_to) \
         SELECT id, 'end_grants_of_client', '9000000000000000 web', 0, {nothing} FROM grants ORDER BY id LIMIT 1"
    ));
    eventually("it is done", || app.database.lines("SELECT task AS line FROM outbox").is_empty());
    assert!(!is_over(&app, &after.access), "it was granted after the client was enabled again");
}

#[test]
fn many_tokens_of_a_machine_that_are_revoked_one_by_one_end_together_in_the_end() {
    let app = TestApp::start();
    let watcher = follower(&app);
    let secret = app.confidential_client();
    let party = app.relying_party();
    let token = || party.client_credentials("svc", &secret, &[]).tokens().access;
    let revoke = |token: &str| {
        let answer = party.form("/revoke", &[("Authorization", &basic("svc", &secret))], &[("token", token)]);
        assert_eq!(answer.status, 200);
    };
    let cuts = || {
        app.settle_status();
        feed(&app, &watcher, None)[0].1["cuts"].as_array().unwrap().len()
    };
    let (first, second, third) = (token(), token(), token());
    revoke(&first);
    assert_eq!(cuts(), 1);
    let many: Vec<String> = (0..2000).map(|nth| format!("('jti', 'x{nth}', 0, 9000000000)")).collect();
    app.database.execute(&format!("INSERT INTO cutoffs (kind, value, not_before, until) VALUES {}", many.join(", ")));
    revoke(&second);
    assert_eq!(cuts(), 1, "no more cut-offs");
    assert!(is_over(&app, &second) && is_over(&app, &third), "all that it has for itself");
    assert_eq!(party.introspect("svc", &secret, &second).body, r#"{"active":false}"#);
    let is_active = |token: &str| party.introspect("svc", &secret, token).json()["active"] == true;
    assert!(!is_active(&third), "here as elsewhere");
    let before = head(&app, &watcher);
    revoke(&third);
    assert_eq!(head(&app, &watcher), before, "it is over already");
    app.app.clients.reload(&app.app.db).unwrap();
    let fresh = token();
    assert!(!is_over(&app, &fresh) && is_active(&fresh), "what it asks for anew is good");
}

#[test]
fn a_token_that_verifiers_still_take_can_be_revoked() {
    let app = TestApp::start();
    let (party, tokens) = app.log_in();
    app.advance(Duration::from_secs(610));
    assert_eq!(party.revoke("web", &tokens.access).status, 200);
    eventually("it is over", || is_over(&app, &tokens.access));
}

#[test]
fn a_cut_off_is_never_moved_back() {
    let app = TestApp::start();
    app.public_client();
    let nbf = || app.database.lines("SELECT CAST(not_before AS TEXT) AS line FROM cutoffs WHERE kind = 'client_id'");
    admin::clients::disable(&app.app, "web", "test").unwrap();
    // As a machine whose clock is ahead had it.
    app.database.execute("UPDATE cutoffs SET not_before = not_before + 1000, until = until + 1000");
    let ahead = nbf();
    admin::clients::enable(&app.app, "web", "test").unwrap();
    admin::clients::disable(&app.app, "web", "test").unwrap();
    assert_eq!(nbf(), ahead);
}
