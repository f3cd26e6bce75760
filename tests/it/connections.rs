//! What a client may do with one connection.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::app::TestApp;

fn connect(app: &TestApp) -> TcpStream {
    let stream = TcpStream::connect(app.base.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn post(form: &str, more: &str) -> String {
    format!(
        "POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n{more}Content-Length: \
         {}\r\n\r\n{form}",
        form.len()
    )
}

/// The status of each answer until the server closes the connection.
fn statuses(mut stream: TcpStream) -> Vec<String> {
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    answers.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].to_owned()).collect()
}

#[test]
fn requests_that_are_sent_without_waiting_are_answered_one_after_the_other() {
    let app = TestApp::start();
    let (party, tokens) = app.log_in();
    let refresh = |token: &str| format!("grant_type=refresh_token&client_id=web&refresh_token={token}");
    let rounds = 100;
    let round = format!(
        "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n{}GET /nowhere HTTP/1.1\nHost: x\n\n{}",
        post("grant_type=unheard_of&client_id=web", ""),
        post(&refresh("csr_forged"), ""),
    );
    let last = post(&refresh(tokens.refresh_token()), "Connection: close\r\n");
    let mut stream = connect(&app);
    let sender = {
        let mut stream = stream.try_clone().unwrap();
        let (all, last) = (round.repeat(rounds), last.clone());
        std::thread::spawn(move || stream.write_all(format!("{all}{last}").as_bytes()).unwrap())
    };
    let mut answered = statuses(stream.try_clone().unwrap());
    sender.join().unwrap();
    assert_eq!(answered.pop().as_deref(), Some("200"));
    assert_eq!(answered, ["200", "400", "404", "400"].repeat(rounds));
    // The same, byte by byte.
    stream = connect(&app);
    let again = party.refresh("web", tokens.refresh_token()).tokens();
    let last = post(&refresh(again.refresh_token()), "Connection: close\r\n");
    for byte in format!("{round}{last}").bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(statuses(stream), ["200", "400", "404", "400", "200"]);
}

#[test]
fn a_body_is_read_whole_whatever_is_in_it_and_however_it_comes() {
    let app = TestApp::start();
    let began = Instant::now();
    let lines = format!("grant_type=unheard_of&client_id=web&x={}", "a\r\n\r\n\n\n".repeat(2000));
    for piece in [1, 7, 1500, usize::MAX] {
        let mut stream = connect(&app);
        stream.set_nodelay(true).unwrap();
        for piece in post(&lines, "Connection: close\r\n").as_bytes().chunks(piece) {
            stream.write_all(piece).unwrap();
        }
        assert_eq!(statuses(stream), ["400"], "in pieces of {piece}");
    }
    assert!(began.elapsed() < Duration::from_secs(9), "the body was waited for in vain");
}

#[test]
fn a_client_that_has_said_all_and_closes_its_half_is_answered() {
    let app = TestApp::start();
    let mut stream = connect(&app);
    stream.write_all(post("grant_type=refresh_token&client_id=web&refresh_token=csr_forged", "").as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(statuses(stream), ["400"]);
}

#[test]
fn posts_that_are_sent_without_waiting_are_all_served_on_one_connection() {
    let app = TestApp::start();
    let forged = post("grant_type=refresh_token&client_id=web&refresh_token=csr_forged", "");
    let last = post("grant_type=unheard_of&client_id=web", "Connection: close\r\n");
    let mut stream = connect(&app);
    stream.write_all(format!("{}{last}", forged.repeat(20)).as_bytes()).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 400").count(), 21);
    assert_eq!(answers.to_lowercase().matches("connection: close").count(), 1, "only the last was asked to close");
}

#[test]
fn large_bodies_are_served_on_one_connection_sent_ahead_or_one_by_one() {
    let app = TestApp::start();
    for size in [7_900, 8_192, 9_000, 20_000, 40_000, 64_000] {
        let form = "a=b&".repeat(size / 4);
        let [request, last] = ["", "Connection: close\r\n"].map(|more| post(&form, more));
        let mut ahead = connect(&app);
        let mut sender = ahead.try_clone().unwrap();
        let all = format!("{}{last}", request.repeat(4));
        let sending = std::thread::spawn(move || sender.write_all(all.as_bytes()).unwrap());
        let mut answers = String::new();
        ahead.read_to_string(&mut answers).unwrap();
        sending.join().unwrap();
        assert_eq!(answers.matches("HTTP/1.1 400").count(), 5, "{size}");
        assert_eq!(answers.to_lowercase().matches("connection: close").count(), 1, "{size}");
        let mut stream = connect(&app);
        for _ in 0..4 {
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = [0; 4096];
            let read = stream.read(&mut answer).unwrap();
            assert!(answer[..read].starts_with(b"HTTP/1.1 400"), "{size}");
        }
        stream.write_all(last.as_bytes()).unwrap();
        assert_eq!(statuses(stream), ["400"], "{size}");
    }
}

#[test]
fn a_body_in_chunks_may_be_followed_at_once() {
    let app = TestApp::start();
    let chunked = "POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                   Transfer-Encoding: chunked\r\n\r\n";
    let chunks = "3\r\na=b\r\n0\r\n\r\n";
    let [next, last] = ["", "Connection: close\r\n"].map(|more| post("grant_type=unheard_of&client_id=web", more));
    let mut stream = connect(&app);
    stream.write_all(format!("{chunked}{chunks}{next}").repeat(3).as_bytes()).unwrap();
    stream.write_all(last.as_bytes()).unwrap();
    assert_eq!(statuses(stream), ["400"; 7]);
    let mut stream = connect(&app);
    stream.set_nodelay(true).unwrap();
    let began = Instant::now();
    let (head, body) = last.split_at(last.len() - 35);
    for piece in [chunked.to_owned(), format!("{chunks}{head}"), body.to_owned()] {
        stream.write_all(piece.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(30));
    }
    assert_eq!(statuses(stream), ["400"; 2]);
    assert!(began.elapsed() < Duration::from_secs(5), "it was waited for in vain");
}

#[test]
fn a_body_that_nobody_wants_does_not_cost_the_connection() {
    let app = TestApp::start();
    let mut stream = connect(&app);
    stream.set_nodelay(true).unwrap();
    let form = "a=b";
    for (method, path, more) in
        [("POST", "/nowhere", ""), ("PUT", "/token", ""), ("POST", "/jwks.json", "Connection: close\r\n")]
    {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {}\r\n\r\n", form.len());
        stream.write_all(head.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        stream.write_all(form.as_bytes()).unwrap();
    }
    assert_eq!(statuses(stream), ["404", "405", "405"]);
}

#[test]
fn empty_lines_before_a_request_are_passed_over() {
    let app = TestApp::start();
    let mut stream = connect(&app);
    stream.write_all(b"\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    stream.write_all(b"\r\n\r\n\n\n").unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!((&answer[..], statuses(stream)), (&b"HTTP/1.1 200"[..], vec!["200".to_owned()]));
}

#[test]
fn a_body_in_chunks_is_read_however_they_are_cut() {
    let app = TestApp::start();
    let mut stream = connect(&app);
    stream.set_nodelay(true).unwrap();
    let head =
        "POST /token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let began = Instant::now();
    let large = "a".repeat(0x9000);
    let pieces = [
        head,
        "Transfer-Encoding: chunked\r\n\r\n",
        "29\r\ngrant_type=unheard_of&client_id=web&x=\n\r",
        "\n",
        "\r\n",
        "9000\r\n",
        &large,
        "\r\n0\r\n",
        "\r\n",
    ];
    for piece in pieces {
        stream.write_all(piece.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(statuses(stream), ["400"]);
    assert!(began.elapsed() < Duration::from_secs(5), "it was waited for in vain");
}

#[test]
fn nobody_holds_a_connection_by_beginning_something() {
    let app = TestApp::start();
    let get = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    let chunked = "HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nabc";
    let begun = [
        format!("{get}G"),
        format!("{get}\r\n\r\n{get}P"),
        format!("{get}GET /livez HTTP/1.1\r\nHost: x\r\nX-Large: {}", "a".repeat(20_000)),
        format!("POST /nowhere {chunked}"),
        format!("POST /token {chunked}"),
        format!("POST /nowhere {}", chunked.replace("ffff", "2\r\n\n\n\r\nffff")),
        format!("GET /livez {chunked}"),
    ];
    std::thread::scope(|scope| {
        for (begun, silent) in begun.iter().flat_map(|begun| [(begun, false), (begun, true)]) {
            let app = &app;
            scope.spawn(move || {
                let mut stream = connect(app);
                stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
                stream.write_all(begun.as_bytes()).unwrap();
                let (began, mut buffer) = (Instant::now(), [0; 4096]);
                // Whoever holds on sends a byte now and then, or nothing.
                let closed = |read: std::io::Result<usize>| match read {
                    Ok(read) => read == 0,
                    Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
                };
                while !closed(stream.read(&mut buffer)) {
                    if !silent {
                        let _ = stream.write_all(b"a");
                    }
                    assert!(
                        began.elapsed() < Duration::from_secs(20),
                        "still open: {}, silent: {silent}",
                        &begun[..60]
                    );
                }
            });
        }
    });
}

#[test]
fn what_begins_no_request_holds_no_connection_whatever_came_before() {
    let app = TestApp::start();
    let fixed = |body: &str| format!("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let chunked = |chunks: &str| format!("POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    let pairs = [
        (fixed("aaaaaaaaaaaaaa"), "\r\n\r\n"),
        (fixed("aaaaaaaaaaaaaaaaaaaa\n"), "\n"),
        (fixed("aaaaaaaaaaaaaaaaaaaa\n"), "\r\n"),
        (chunked("5\r\nabcde\r\n0\r\n\r\n"), "\r\n"),
        (chunked("1\r\na\r\n0\r\n\r\n"), "\n\n\n\n\n"),
    ];
    std::thread::scope(|scope| {
        for (request, rest) in &pairs {
            let app = &app;
            scope.spawn(move || {
                let mut stream = connect(app);
                stream.write_all(request.as_bytes()).unwrap();
                std::thread::sleep(Duration::from_millis(300));
                stream.write_all(rest.as_bytes()).unwrap();
                // It is read to its end, or the read times out after 20 s.
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                assert_eq!(answer.matches("HTTP/1.1 404").count(), 1, "{request:?}, then {rest:?}: {answer}");
            });
        }
    });
}

#[test]
fn a_client_that_idles_and_then_sends_slowly_is_answered() {
    let app = TestApp::start();
    let chunks = "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
    let get = "GET /livez HTTP/1.1\r\nHost: x\r\n";
    let firsts = [
        format!("{get}\r\n"),
        format!("{get}{chunks}"),
        format!("POST /x HTTP/1.1\r\nHost: x\r\n{chunks}"),
        format!("{get}\r\n\r\n"),
    ];
    std::thread::scope(|scope| {
        for first in &firsts {
            let app = &app;
            scope.spawn(move || {
                let mut stream = connect(app);
                stream.write_all(first.as_bytes()).unwrap();
                std::thread::sleep(Duration::from_millis(4500));
                for piece in ["GET /livez HT", "TP/1.1\r\nHost: x\r\nConnection: cl", "ose\r\n\r\n"] {
                    stream.write_all(piece.as_bytes()).unwrap();
                    std::thread::sleep(Duration::from_millis(1200));
                }
                assert_eq!(statuses(stream).len(), 2, "{first:?}");
            });
        }
    });
}

#[test]
fn a_client_that_reads_late_gets_every_answer() {
    const COUNT: usize = 600;
    let app = TestApp::start();
    let mut stream = connect(&app);
    let mut writer = stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let get = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";
        let last = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        writer.write_all((get.repeat(COUNT) + last).as_bytes()).unwrap();
    });
    std::thread::sleep(Duration::from_secs(8));
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).unwrap();
    sending.join().unwrap();
    let answers = String::from_utf8_lossy(&answers);
    assert_eq!(answers.matches("HTTP/1.1 200").count(), COUNT + 1);
}
