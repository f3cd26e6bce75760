//! F-25: clients that send slowly, or not at all, or do not read. F-26: a flood of log-ins.

use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{refresh_time, work_for};
use crate::client::{ANSWER_LIMIT, PASSWORD};
use crate::fleet::{Fleet, Pace};
use crate::http;
use crate::instance::{Site, targets};
use crate::report::{Run, span};
use crate::watch::Gauge;

/// The most memory that a server may take under either attack.
const MOST_MIB: u64 = 256;

/// Connections that misbehave, held until they are dropped.
struct Crowd {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Crowd {
    /// Opens that many of each kind and feeds them one byte a second for as long as the server lets them.
    fn gather(address: SocketAddr, (idle, slow, deaf): (usize, usize, usize)) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let open = |count: usize, first: &[u8]| -> Vec<TcpStream> {
                let streams = (0..count).filter_map(|_| http::connect(address, Duration::from_secs(5)).ok());
                let streams = streams.map(|mut stream| {
                    stream.set_nonblocking(true).unwrap();
                    let _ = stream.write_all(first);
                    stream
                });
                streams.collect()
            };
            let silent = open(idle, b"");
            let head = open(slow, b"POST /token HTTP/1.1\r\nHost: id.example\r\nX-Slow: ");
            let body = open(
                slow,
                b"POST /token HTTP/1.1\r\nHost: id.example\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                  Content-Length: 60000\r\n\r\n",
            );
            let large = format!("GET / HTTP/1.1\r\nHost: id.example\r\nX-Slow: {}", "a".repeat(20_000));
            let second = open(slow, &[http::get("/jwks.json"), large.into_bytes()].concat());
            let unread = open(
                slow,
                b"POST /nowhere HTTP/1.1\r\nHost: id.example\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n",
            );
            // Some 400 KB of requests at once, and again each second.
            let unread_requests = http::get("/jwks.json").repeat(10_000);
            let deaf = open(deaf, &unread_requests);
            let mut fed: Vec<TcpStream> = [head, body, second, unread].into_iter().flatten().collect();
            while !stopped.load(Ordering::SeqCst) {
                fed.retain_mut(|stream| match stream.write(b"a") {
                    Ok(_) => true,
                    Err(error) => error.kind() == ErrorKind::WouldBlock,
                });
                for mut stream in &deaf {
                    let _ = stream.write(&unread_requests);
                }
                thread::sleep(Duration::from_secs(1));
            }
            drop((silent, deaf));
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub fn slow_clients(run: &mut Run) {
    let site = Site::new(run.backend, &[]);
    let instance = site.start();
    let clients = Fleet::log_in(&targets(std::slice::from_ref(&instance)), &site.emails, 8, run.seed);
    let fleet = Fleet::start(clients, &Pace::every(50..150), run.seed);
    let began = Instant::now();
    work_for(run, &fleet, Duration::from_secs(2), "quiet");
    let (quiet, gauge) = (instance.usage(), Gauge::start(instance.pid()));
    let struck_at = Instant::now();
    let sizes = run.either((600, 100, 40), (5_000, 1_000, 200));
    let crowd = Crowd::gather(instance.address, sizes);
    work_for(run, &fleet, Duration::from_secs(3), "a crowd of slow clients");
    let crowded = instance.usage();
    // They hold on; it is for the server to let them go: heads after 5 s, bodies after 10, unread answers after 15.
    let mut let_go = None;
    while struck_at.elapsed() < Duration::from_secs(40) && let_go.is_none() {
        work_for(run, &fleet, Duration::from_millis(500), "waiting for the crowd to be let go");
        let_go = (instance.usage().files <= quiet.files + 10).then(|| struck_at.elapsed());
    }
    let eased_at = Instant::now();
    drop(crowd);
    let clients = fleet.settle();
    let most = gauge.end();
    let after = instance.usage();
    run.figure(format_args!(
        "{} idle, {} slow in each of first head, second head, body, and body that nobody reads, {} deaf",
        sizes.0, sizes.1, sizes.2
    ));
    run.figure(format_args!("{} files quiet, {} crowded, {} after", quiet.files, crowded.files, after.files));
    run.figure(format_args!("let go after {}", let_go.map_or("never".to_owned(), span)));
    run.figure(format_args!("{} MiB quiet, {} at most", quiet.resident_mib, most.resident_mib));
    run.figure(format_args!(
        "refresh p99 {} quiet, {} crowded",
        span(refresh_time(&clients, (began, struck_at), 0.99)),
        span(refresh_time(&clients, (struck_at, eased_at), 0.99))
    ));
    run.must(crowded.files > quiet.files + sizes.1, "the crowd was not let in at all");
    run.must(let_go.is_some(), "slow clients were not let go within 40 s");
    run.must(most.resident_mib < MOST_MIB, format_args!("it took {} MiB", most.resident_mib));
    run.judge(&clients, &site.database);
}

pub fn log_in_flood(run: &mut Run) {
    let site = Site::new(run.backend, &[]);
    let instance = site.start();
    let clients = Fleet::log_in(&targets(std::slice::from_ref(&instance)), &site.emails, 8, run.seed);
    let fleet = Fleet::start(clients, &Pace::every(20..80), run.seed);
    let began = Instant::now();
    work_for(run, &fleet, Duration::from_secs(2), "quiet");
    let gauge = Gauge::start(instance.pid());
    let flood_at = Instant::now();
    let waves = run.either(2, 20);
    let (mut tried, mut turned_away) = (Vec::new(), Vec::new());
    for wave in 1..=waves {
        for (status, took) in wave_of_guesses(instance.address, 500, wave) {
            match status {
                400 => tried.push(took),
                503 => turned_away.push(took),
                other => run.must(false, format_args!("a guess was answered {other}")),
            }
        }
        run.progress(format_args!("wave {wave} of {waves}"));
    }
    let over_at = Instant::now();
    let clients = fleet.settle();
    let most = gauge.end();
    let worst = |times: &[Duration]| span(times.iter().copied().max().unwrap_or_default());
    run.figure(format_args!("{waves} waves of 500 log-ins at once"));
    run.figure(format_args!("{} judged, the last after {}", tried.len(), worst(&tried)));
    run.figure(format_args!("{} turned away, the last after {}", turned_away.len(), worst(&turned_away)));
    run.figure(format_args!("at most {} MiB", most.resident_mib));
    run.figure(format_args!(
        "refresh p99 {} quiet, {} flooded",
        span(refresh_time(&clients, (began, flood_at), 0.99)),
        span(refresh_time(&clients, (flood_at, over_at), 0.99))
    ));
    run.must(!turned_away.is_empty(), "the flood was no flood");
    run.must(tried.iter().chain(&turned_away).all(|took| *took <= ANSWER_LIMIT), "I9: a guess waited too long");
    run.must(most.resident_mib < MOST_MIB, format_args!("it took {} MiB", most.resident_mib));
    run.judge(&clients, &site.database);
}

/// Log-ins of names that nobody has, all at once: status and time of each; 0 when there was no answer.
fn wave_of_guesses(address: SocketAddr, count: usize, wave: usize) -> Vec<(u16, Duration)> {
    let guess = |nth: usize| {
        let name = format!("nobody-{wave}-{nth}@people.test");
        let pairs = [("grant_type", "password"), ("client_id", "web"), ("username", &name), ("password", PASSWORD)];
        let began = Instant::now();
        let answer = http::ask(address, &http::form("/token", None, &pairs), Duration::from_secs(20));
        (answer.map_or(0, |answer| answer.status), began.elapsed())
    };
    thread::scope(|scope| {
        let guesses: Vec<_> = (0..count).map(|nth| scope.spawn(move || guess(nth))).collect();
        guesses.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
