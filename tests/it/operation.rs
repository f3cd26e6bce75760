//! Running it: health, metrics, headers, logs, stopping.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::app::{Backend, PASSWORD, TestApp, TestDatabase, backend};
use crate::cli::{Served, command};
use crate::relying_party::RelyingParty;

#[test]
fn health_tells_the_truth() {
    let app = TestApp::start();
    let party = app.relying_party();
    assert_eq!((party.get("/livez", &[]).status, party.get("/livez", &[]).body.as_str()), (200, "ok\n"));
    let ready = party.get("/readyz", &[]);
    assert_eq!(ready.status, 200);
    assert_eq!(
        ready.json(),
        serde_json::json!({"status": "ready", "database": "up", "signing_keys": "up", "cache": "up"})
    );
}

#[test]
fn without_its_database_a_server_is_not_ready_and_serves_its_documents() {
    let app = TestApp::start();
    let party = app.relying_party();
    let drop_all = if backend() == Backend::Postgres { "DROP SCHEMA public CASCADE" } else { "DROP TABLE epochs" };
    app.database.execute(drop_all);
    let noticed = (0..50).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        party.get("/readyz", &[]).status == 503
    });
    assert!(noticed, "within five seconds");
    assert_eq!(party.get("/readyz", &[]).json()["database"], "down");
    for path in ["/livez", "/jwks.json", "/.well-known/oauth-authorization-server"] {
        assert_eq!(party.get(path, &[]).status, 200, "{path}");
    }
    assert!(party.get("/metrics", &[]).body.contains(r#"countersign_part_up{part="database"} 0"#));
}

#[test]
fn without_redis_a_server_is_degraded_and_logs_people_in() {
    let app = TestApp::with(&[("cache.url", "redis://127.0.0.1:1/")]);
    let (party, tokens) = app.log_in();
    party.refresh("web", tokens.refresh_token()).tokens();
    let ready = party.get("/readyz", &[]);
    assert_eq!((ready.status, ready.json()["status"].as_str()), (200, Some("degraded")));
}

#[test]
fn what_happens_is_counted() {
    let app = TestApp::start();
    let (party, tokens) = app.log_in();
    party.refresh("web", tokens.refresh_token()).tokens();
    party.refresh("web", "csr_x");
    party.get("/nowhere/in/particular", &[]);
    party.get("/introspect", &[]);
    let metrics = party.get("/metrics", &[]);
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        r#"countersign_access_tokens_total{grant_type="password"} 1"#,
        r#"countersign_access_tokens_total{grant_type="refresh_token"} 1"#,
        r#"countersign_refusals_total{endpoint="/token",error_id="grant.not_authentic"} 1"#,
        r#"countersign_refusals_total{endpoint="/introspect",error_id="request.method_not_allowed"} 1"#,
        r#"countersign_http_requests_total{endpoint="/token",status="200"} 2"#,
        r#"countersign_http_requests_total{endpoint="/token",status="400"} 1"#,
        r#"countersign_http_requests_total{endpoint="other",status="404"} 1"#,
        r#"countersign_http_request_seconds_count{endpoint="/token"} 3"#,
        r#"countersign_lane_waiting{lane="hash"} 0"#,
        r#"countersign_part_up{part="database"} 1"#,
    ] {
        assert!(metrics.body.contains(line), "{line}\n{}", metrics.body);
    }
}

#[test]
fn every_answer_has_the_headers_that_protect_it() {
    let app = TestApp::start();
    let party = app.relying_party();
    for (method, path) in [
        ("GET", "/jwks.json"),
        ("GET", "/readyz"),
        ("GET", "/openapi.json"),
        ("GET", "/metrics"),
        ("GET", "/nowhere"),
        ("GET", "/token"),
        ("POST", "/token"),
        ("TRACE", "/jwks.json"),
    ] {
        let answer = party.send(method, path, &[], b"");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{method} {path}");
        }
        assert!(answer.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
        assert!(answer.header("server").is_none() && answer.header("strict-transport-security").is_none());
        assert!(answer.header("cache-control").is_some());
    }
    let secure = TestApp::with(&[("issuer", "https://id.example")]);
    let answer = secure.relying_party().get("/jwks.json", &[]);
    assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000; includeSubDomains"));
}

#[test]
fn an_endpoint_is_counted_as_itself_however_its_path_is_spelt() {
    let app = TestApp::start();
    let party = app.relying_party();
    assert_eq!(party.form("/%74oken", &[], &[("grant_type", "unheard_of")]).status, 400);
    let metrics = party.get("/metrics", &[]).body;
    assert!(metrics.contains(r#"countersign_http_requests_total{endpoint="/token",status="400"} 1"#), "{metrics}");
}

/// The niceness of each thread of that name in a process.
fn niceness(pid: u32, name: &str) -> Vec<i32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let stat = threads.filter_map(|thread| std::fs::read_to_string(thread.unwrap().path().join("stat")).ok());
    // proc_pid_stat(5): the name in brackets, then the state, which is field 3; niceness is field 19.
    stat.filter(|stat| stat.contains(&format!("({name})")))
        .map(|stat| stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap().parse().unwrap())
        .collect()
}

#[test]
fn hashing_gives_way_to_everything_else() {
    let database = TestDatabase::prepared();
    let mut serve = command(database.folder.path(), Some(&database), &["serve"]);
    serve.env("COUNTERSIGN__KEYS__MASTER_KEY_FILE", "master.key").env("COUNTERSIGN__PASSWORDS__THREADS", "3");
    let served = Served::start(serve, 3);
    assert_eq!(RelyingParty::new(&served.base).get("/livez", &[]).status, 200);
    assert_eq!(niceness(served.child.id(), "lane-hash"), [10; 3]);
    let others = niceness(served.child.id(), "lane-token");
    assert!(!others.is_empty() && others.iter().all(|niceness| *niceness == 0), "{others:?}");
}

#[test]
fn a_request_that_waits_behind_threads_that_are_held_up_is_told_so_in_time() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    let (_, email) = app.account();
    let mut devices = vec![first];
    devices.extend((0..20).map(|_| party.log_in("web", &email).tokens()));
    let release = app.database.hold_grants();
    let (told, tells) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for device in &devices {
            let (told, party) = (told.clone(), app.relying_party());
            scope.spawn(move || drop(told.send(party.refresh("web", device.refresh_token()))));
        }
        // There are more of them than threads, and none of these is free before the lock is.
        let refused = tells.recv_timeout(Duration::from_secs(2)).unwrap();
        assert_eq!((refused.status, refused.error().as_str()), (503, "temporarily_unavailable"));
        assert!(refused.header("retry-after").is_some());
        drop(release);
    });
    let metrics = party.get("/metrics", &[]).body;
    let waits =
        metrics.lines().find_map(|line| line.strip_prefix(r#"countersign_lane_wait_seconds_count{lane="token"} "#));
    assert!(waits.unwrap().parse::<u32>().unwrap() >= 16, "{metrics}");
}

#[test]
fn what_is_not_here_is_a_problem_and_not_a_page() {
    let app = TestApp::start();
    let answer = app.relying_party().get("/nowhere?x=%3Cscript%3E", &[]);
    assert_eq!((answer.status, answer.header("content-type")), (404, Some("application/problem+json")));
    assert_eq!(answer.json()["status"], 404);
}

#[test]
fn metrics_may_have_a_port_of_their_own() {
    let database = TestDatabase::prepared();
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = probe.local_addr().unwrap().to_string();
    drop(probe);
    let mut serve = command(database.folder.path(), Some(&database), &["serve"]);
    serve.env("COUNTERSIGN__HTTP__METRICS_LISTEN", &address).env("COUNTERSIGN__KEYS__MASTER_KEY_FILE", "master.key");
    let served = Served::start(serve, 3);
    let (public, private) = (RelyingParty::new(&served.base), RelyingParty::new(&format!("http://{address}")));
    assert_eq!((public.get("/metrics", &[]).status, public.get("//metrics", &[]).status), (404, 404));
    assert!(private.get("/metrics", &[]).body.contains("countersign_http_requests_total"));
    assert_eq!((private.get("/token", &[]).status, private.get("/jwks.json", &[]).status), (404, 404));
    assert_eq!(public.get("/jwks.json", &[]).status, 200);
}

#[test]
fn a_request_that_runs_when_the_server_is_told_to_stop_is_finished() {
    let database = TestDatabase::prepared();
    let mut serve = command(database.folder.path(), Some(&database), &["serve"]);
    serve.env("COUNTERSIGN__HTTP__DRAIN", "1s").env("COUNTERSIGN__KEYS__MASTER_KEY_FILE", "master.key");
    let mut served = Served::start(serve, 3);
    let party = RelyingParty::new(&served.base);
    let mut slow = TcpStream::connect(served.base.trim_start_matches("http://")).unwrap();
    slow.write_all(b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 12\r\n\r\nclien").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let told = Instant::now();
    served.terminate();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(party.get("/readyz", &[]).json()["status"], "unready", "first it turns requests away");
    std::thread::sleep(Duration::from_millis(1200));
    slow.write_all(b"t_id=x").unwrap();
    slow.write_all(b"y").unwrap();
    let mut answer = String::new();
    slow.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let _ = slow.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("invalid_request"), "{answer:?}");
    assert_eq!(served.child.wait().unwrap().code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(15));
    assert!(TcpStream::connect(served.base.trim_start_matches("http://")).is_err());
}

#[test]
fn a_refusal_is_logged_once_by_name_and_a_secret_never() {
    let app = TestApp::start();
    let (party, first) = app.log_in();
    let sid = first.claims()["sid"].as_str().unwrap().to_owned();
    let second = party.refresh("web", first.refresh_token()).tokens();
    app.advance(Duration::from_secs(61));
    party.refresh("web", first.refresh_token());
    party.refresh("web", second.refresh_token());
    let log = std::fs::read_to_string(crate::app::log_file()).unwrap();
    let lines: Vec<Value> =
        log.lines().filter(|line| line.contains(&sid)).map(|line| serde_json::from_str(line).unwrap()).collect();
    let lines: Vec<_> = lines.into_iter().filter(|line| line["fields"]["error_id"].is_string()).collect();
    let ids: Vec<_> = lines.iter().map(|line| line["fields"]["error_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["grant.replayed", "grant.ended"]);
    assert_eq!(lines[0]["level"], "WARN");
    assert!(lines[0]["fields"]["trace"].is_string());
    assert!(!log.contains(first.refresh_token()) && !log.contains(&first.access));
    // Not even one that was sent as something else.
    for (name, value) in [("client_id", first.refresh_token()), ("username", PASSWORD), ("scope", PASSWORD)] {
        let mut form = vec![("grant_type", "password"), ("client_id", "web"), ("username", "a"), ("password", "x")];
        form.retain(|(known, _)| *known != name);
        form.push((name, value));
        assert!(party.form("/token", &[], &form).status >= 400);
    }
    let log = std::fs::read_to_string(crate::app::log_file()).unwrap();
    assert!(!log.contains(first.refresh_token()) && !log.contains(PASSWORD));
}

/// The events of a piece of code: each with its level and the names of its fields.
fn events_in(code: &str) -> Vec<(String, (String, BTreeSet<String>))> {
    let with_level = code.split("tracing::").skip(1).filter_map(|rest| rest.split_once("!(event = \""));
    let read = |(level, rest): (&str, &str)| {
        let (event, rest) = rest.split_once('"').unwrap();
        let fields =
            rest.split_once(");").unwrap().0.split(',').map(|field| field.trim().trim_start_matches(['%', '?']));
        let named = fields.map(|field| field.split(['=', ' ']).next().unwrap().to_owned());
        let named = named.filter(|name| !name.is_empty() && !name.starts_with('"')).collect();
        (event.to_owned(), (level.to_owned(), named))
    };
    with_level.filter(|(level, _)| level.len() < 6).map(read).collect()
}

#[test]
fn every_event_of_the_log_is_in_the_operators_table() {
    let (mut logged, mut files) = (BTreeMap::new(), vec![std::path::PathBuf::from("src")]);
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let code = std::fs::read_to_string(&path).unwrap();
            let events = events_in(&code);
            assert_eq!(events.len(), code.matches("event = \"").count(), "{}", path.display());
            for (event, (level, fields)) in events {
                let (known, all) = logged.entry(event).or_insert_with(|| (level.clone(), BTreeSet::new()));
                assert_eq!(*known, level, "{}", path.display());
                all.extend(fields);
            }
        }
    }
    let page = std::fs::read_to_string("docs/OPERATIONS.md").unwrap();
    let (_, table) =
        page.split_once("| `event` | level | fields | what happened | what to do |\n|---|---|---|---|---|\n").unwrap();
    let names = |cell: &str| -> BTreeSet<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let mut listed = BTreeMap::new();
    for row in table.lines().take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [event, level, fields, happened, to_do] = cells.as_slice() else { panic!("{row}") };
        assert!(!happened.is_empty() && !to_do.is_empty(), "{row}");
        let twice = listed.insert(event.trim_matches('`').to_owned(), ((*level).to_owned(), names(fields)));
        assert!(twice.is_none(), "{row}");
    }
    assert_eq!(listed, logged);
}
