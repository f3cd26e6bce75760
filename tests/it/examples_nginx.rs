//! The example of nginx before the gate, attacked: what the service behind is told, and what becomes of answers that nginx
//! itself would make a 500 of.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use countersign::clock::Clock;

use crate::app::{TestApp, TestDatabase};
use crate::examples::{Example, Kind, Service, challenge, eventually, log_in};
use crate::relying_party::Answer;

/// A service that does as it is told and says what it was told: its port, and the heads of its requests.
fn service() -> (u16, Receiver<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, heads) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut head = Vec::new();
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap_or(0) > 0 && line.trim() != "" {
                head.push(line.trim().to_lowercase());
                line.clear();
            }
            let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            if !head.is_empty() {
                let _ = told.send(head);
            }
        }
    });
    (port, heads)
}

fn prepared() -> (TestApp, Example) {
    let app = TestApp::on(Arc::new(TestDatabase::prepared()), Clock::system(), &[]);
    let example = Example::new("nginx", Kind::Nginx, &app);
    example.run("prepare", [0; 3]);
    app.app.clients.reload(&app.app.db).unwrap();
    (app, example)
}

#[track_caller]
fn is_ready(service: &Service) {
    eventually(service, Duration::from_secs(10), "it is not ready", || service.health() == 200);
}

fn times(answer: &Answer, name: &str) -> usize {
    answer.headers.get_all(name).iter().count()
}

#[test]
fn the_service_is_told_what_the_gate_says_and_nothing_that_a_client_says() {
    let (app, example) = prepared();
    let (port, heads) = service();
    // Its first mention is the upstream's.
    let nginx = example.start_with(|text| text.replacen(&behind(&text), &format!("127.0.0.1:{port}"), 1));
    is_ready(&nginx);
    let token = log_in(&app.relying_party(), "read write");
    let header = format!("Bearer {token}");
    let claims: serde_json::Value =
        serde_json::from_slice(&countersign::secret::decode_base64url(token.split('.').nth(1).unwrap()).unwrap())
            .unwrap();
    let forged = [
        ("X-Auth-Subject", "usr_root"),
        ("x-auth-SUBJECT", "usr_root"),
        ("X-Auth-Client-Id", "root"),
        ("X-Auth-Scope", "admin"),
        ("X-Auth-Roles", "admin"),
        ("X-Auth-Grant", "grant"),
        ("X_Auth_Subject", "usr_root"),
    ];
    let told = |head: &[String]| -> Vec<String> {
        head.iter().filter(|line| line.contains("auth") || line.contains("root")).cloned().collect()
    };

    let all: Vec<_> = forged.iter().copied().chain([("Authorization", header.as_str())]).collect();
    for (method, body) in [("GET", &b""[..]), ("POST", b"an order"), ("DELETE", b"")] {
        // What it asks for is its own business and no demand.
        let answer = nginx.caller.send(method, "/orders/7?scope=admin&optional=true", &all, body);
        assert_eq!(answer.status, 200, "{method} {}", nginx.log());
        let head = heads.recv_timeout(Duration::from_secs(5)).unwrap();
        assert!(head[0].starts_with(&format!("{} /orders/7?scope=admin", method.to_lowercase())), "{head:?}");
        let text = |name: &str| claims[name].as_str().unwrap().to_lowercase();
        let expected = [
            format!("x-auth-subject: {}", text("sub")),
            "x-auth-client-id: web".to_owned(),
            "x-auth-scope: read write".to_owned(),
            format!("x-auth-grant: {}", text("sid")),
        ];
        assert_eq!(told(&head), expected, "an account without roles has no such header");
    }

    // Where no token is needed nobody is somebody.
    assert_eq!(nginx.caller.get("/", &all).status, 200);
    assert_eq!(told(&heads.recv_timeout(Duration::from_secs(5)).unwrap()), Vec::<String>::new());
    assert_eq!(nginx.caller.get("/orders?optional=true", &forged).status, 401);
    for inner in ["/_gate", "/_gate?scope=read", "/verify", "/metrics"] {
        assert_eq!(nginx.caller.get(inner, &[("Authorization", &header)]).status, 404, "{inner}");
    }
    assert!(heads.try_recv().is_err(), "what is refused does not get there");
}

#[test]
fn refusals_arrive_as_the_gate_means_them() {
    let (app, example) = prepared();
    let nginx = example.start();
    is_ready(&nginx);
    let (writer, reader) = (log_in(&app.relying_party(), "read write"), log_in(&app.relying_party(), "read"));
    assert_eq!(nginx.orders("HEAD", &reader).status, 200);
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let lacks = nginx.orders(method, &reader);
        assert_eq!((lacks.status, times(&lacks, "www-authenticate")), (403, 1), "{method}");
        assert_eq!(challenge(&lacks), r#"Bearer error="insufficient_scope", scope="write""#);
        assert_ne!(nginx.orders(method, &writer).status, 403, "{method}");
    }
    for headers in [&[][..], &[("Authorization", "Bearer nonsense")]] {
        let answer = nginx.caller.get("/orders", headers);
        assert_eq!((answer.status, times(&answer, "www-authenticate")), (401, 1));
    }
    let header = format!("Bearer {writer}");
    let twice = [("Authorization", header.as_str()), ("Authorization", header.as_str())];
    assert_eq!(nginx.caller.get("/orders", &twice).status, 400);
    // This one nginx takes for an Authorization, and the gate does not.
    let unread = nginx.caller.get("/orders", &[("Authorization", "Bearer a b")]);
    assert_eq!((unread.status, challenge(&unread)), (400, r#"Bearer error="invalid_request""#.to_owned()));
    assert_eq!(unread.header("retry-after"), None);
}

#[test]
fn without_a_gate_nobody_is_let_through_and_nobody_is_logged_out() {
    let (app, example) = prepared();
    let token = log_in(&app.relying_party(), "read write");
    // Nobody listens at port 9.
    let away = example.start_with(|text| text.replace("http://gate/verify", "http://127.0.0.1:9/verify"));
    let answer = away.orders("GET", &token);
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")), "{}", away.log());
    assert_eq!(answer.header("www-authenticate"), None);
    assert_eq!(away.caller.get("/", &[]).status, 200);

    // What the gate does not understand is no demand of nothing, and waiting does not help.
    let misspelt = example.start_with(|text| text.replace("verify?scope=", "verify?scopes="));
    is_ready(&misspelt);
    let answer = misspelt.orders("GET", &token);
    assert_eq!((answer.status, answer.header("retry-after")), (500, None), "{}", misspelt.log());
}

/// Where the service of the configuration is.
fn behind(configuration: &str) -> String {
    let (_, orders) = configuration.split_once("upstream orders {").unwrap();
    orders.split_once("server ").unwrap().1.split(';').next().unwrap().to_owned()
}
