//! What is measured, one function for each question.

mod rows;
mod storm;
mod verifiers;

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use countersign::clock::Deadline;
use countersign::store::Write;
use countersign::store::grants::{self, Rotation};
use countersign::token::refresh_token::RefreshToken;

use crate::callers::{Codes, Devices, Person, Reader, Service, Signed};
use crate::control;
use crate::driver::{Caller, Pace, Seen, Until, drive, quantile};
use crate::plan::Plan;
use crate::report::{Report, Wanted};
use crate::subject::{Backend, Cost, Ground, PASSWORD, PUBLIC_CLIENT, Process, SERVICE_CLIENT, cost_of_postgres, get};

/// Connections that the figures are about.
const CLIENTS: usize = 32;
const MB: f64 = 1e6;

type Measure = fn(&Plan, &mut Report);

/// Measures what the plan wants and prints it.
pub fn run(plan: &Plan) {
    let mut report = Report::default();
    let each: [(&str, Measure); 12] = [
        ("start", start),
        ("memory", memory),
        ("jwks", jwks),
        ("client_credentials", client_credentials),
        ("refresh", refresh),
        ("code_exchange", code_exchange),
        ("group_commit", group_commit),
        ("password", password),
        ("flood", flood),
        ("one_token", one_token),
        ("refetch", storm::refetch),
        ("verify", verifiers::verify),
    ];
    for (name, measure) in each {
        if plan.wants(name) {
            eprintln!("{name}");
            measure(plan, &mut report);
        }
    }
    if plan.has(Backend::Postgres) && plan.wants("verifiers") {
        eprintln!("verifiers");
        verifiers::fleet(plan, &mut report);
    }
    for backend in &plan.backends {
        if plan.wants("scale") {
            eprintln!("scale on {}", backend.name());
            rows::scale(plan, &mut report, *backend);
        }
        if plan.wants("sweep") {
            eprintln!("sweep on {}", backend.name());
            rows::sweep(plan, &mut report, *backend);
        }
        if plan.wants("bytes") {
            eprintln!("bytes on {}", backend.name());
            rows::bytes_per_grant(&mut report, *backend);
        }
    }
    report.deliver(&Path::new(env!("CARGO_MANIFEST_DIR")).join("target"));
}

/// One side of a comparison.
struct Side<'p, C> {
    name: String,
    process: &'p Process,
    callers: Option<Vec<C>>,
    /// What else works for it.
    beside: fn() -> Cost,
    seen: Vec<Seen>,
    cpu: Duration,
}

impl<'p, C: Caller + 'static> Side<'p, C> {
    fn new(name: impl Into<String>, process: &'p Process, callers: Vec<C>) -> Self {
        let (name, callers) = (name.into(), Some(callers));
        Self { name, process, callers, beside: Cost::default, seen: Vec::new(), cpu: Duration::ZERO }
    }

    fn with_postgres(self, backend: Backend) -> Self {
        if backend == Backend::Postgres { Self { beside: cost_of_postgres, ..self } } else { self }
    }

    fn spent(&self) -> Duration {
        self.process.cost().cpu + (self.beside)().cpu
    }

    fn go(&mut self, span: Duration) -> Seen {
        let callers = self.callers.take().expect("callers");
        let (seen, callers) = drive(self.process.port, callers, Pace::AtOnce, Until::Passed(span));
        self.callers = Some(callers);
        seen
    }

    /// A round; its rate.
    fn round(&mut self, span: Duration) -> f64 {
        let before = self.spent();
        let seen = self.go(span);
        self.cpu += self.spent().saturating_sub(before);
        let rate = seen.rate();
        eprintln!("    {:<44} {rate:>9.0}/s", self.name);
        self.seen.push(seen);
        rate
    }

    fn report(self, report: &mut Report) {
        let mut all = Seen::default();
        for seen in self.seen {
            all.wanted.extend(seen.wanted);
            all.refused.extend(seen.refused);
            all.broken += seen.broken;
            all.took += seen.took;
        }
        report.saw(self.name, &mut all, self.cpu, self.process.resident());
    }
}

/// Takes turns, the first of each pair changing; the ratio of each pair.
fn duel<A: Caller + 'static, B: Caller + 'static>(
    plan: &Plan,
    report: &mut Report,
    mut subject: Side<'_, A>,
    mut control: Side<'_, B>,
) -> Vec<f64> {
    let warm_up = plan.round / 4;
    subject.go(warm_up);
    control.go(warm_up);
    let ratios = (0..plan.rounds)
        .map(|round| {
            let (mine, least) = if round % 2 == 0 {
                let mine = subject.round(plan.round);
                (mine, control.round(plan.round))
            } else {
                let least = control.round(plan.round);
                (subject.round(plan.round), least)
            };
            mine / least
        })
        .collect();
    subject.report(report);
    control.report(report);
    ratios
}

fn many<C>(count: usize, make: impl Fn() -> C) -> Vec<C> {
    (0..count).map(|_| make()).collect()
}

/// A device for each connection, each with a share of the tokens.
fn devices(tokens: &[String], count: usize) -> Vec<Devices> {
    let share = tokens.len().div_ceil(count);
    tokens.chunks(share).map(|tokens| Devices::new(PUBLIC_CLIENT, tokens.to_vec())).collect()
}

/// From the start of the process to the first JWKS, with keys that exist; and what the program weighs.
fn start(plan: &Plan, report: &mut Report) {
    let ground = Ground::new(Backend::Sqlite, 0);
    let times = (0..plan.rounds * 5)
        .map(|_| {
            let began = Instant::now();
            let process = ground.serve(&[]);
            let took = began.elapsed();
            drop(process);
            took.as_secs_f64() * 1000.0
        })
        .collect();
    report.reached("start to the first JWKS, keys existing", times, "ms", Wanted::AtMost(100.0, 20.0));
    let bytes = std::fs::metadata(env!("CARGO_BIN_EXE_countersign")).expect("the program").len();
    report.reached("stripped binary", vec![bytes as f64 / MB], "MB", Wanted::AtMost(30.0, 20.0));
}

/// Resident memory idle and after many token requests, half in a client's own name, half refreshes.
fn memory(plan: &Plan, report: &mut Report) {
    let ground = Ground::new(Backend::Sqlite, 1);
    let tokens = ground.add_grants(CLIENTS);
    let server = ground.serve(&[]);
    std::thread::sleep(Duration::from_secs(2));
    let idle = server.resident() as f64;
    report.reached("idle memory on SQLite", vec![idle / MB], "MB", Wanted::AtMost(40.0, 20.0));
    let service = || Service::new(SERVICE_CLIENT, &ground.service_secret);
    let half = Until::Answered(plan.requests / 2);
    let (mut refreshed, _) = drive(server.port, devices(&tokens, CLIENTS), Pace::AtOnce, half);
    let (mut served, _) = drive(server.port, many(CLIENTS, service), Pace::AtOnce, half);
    std::thread::sleep(Duration::from_secs(2));
    let after = server.resident();
    report.saw("refresh, for the memory after it", &mut refreshed, Duration::ZERO, after);
    report.saw("client_credentials, for the memory after it", &mut served, Duration::ZERO, after);
    let what = format!("memory after {} token requests ÷ idle", plan.requests);
    report.reached(what, vec![after as f64 / idle], "", Wanted::AtMost(1.5, 1.2));
}

/// The JWKS against the same answer from the least server that can give it: once with the same head and body, once with
/// the body alone.
fn jwks(plan: &Plan, report: &mut Report) {
    let ground = Ground::new(Backend::Sqlite, 0);
    let server = ground.serve(&[]);
    let (head, body) = get(server.port, "/jwks.json").expect("the JWKS");
    for (head, what) in [(head, "same head and body"), (String::new(), "body alone")] {
        let control = Process::control("bytes", &[head.as_bytes(), b"\r\n\r\n", &body].concat());
        let reader = || Reader("/jwks.json");
        let subject = Side::new("JWKS", &server, many(CLIENTS, reader));
        let least = Side::new(format!("control: bare actix, {what}"), &control, many(CLIENTS, reader));
        let ratios = duel(plan, report, subject, least);
        report.reached(format!("JWKS ÷ bare actix, {what}"), ratios, "", Wanted::AtLeast(0.85, 0.95));
    }
}

fn client_credentials(plan: &Plan, report: &mut Report) {
    let ground = Ground::new(Backend::Sqlite, 0);
    let server = ground.serve(&[]);
    let control = Process::control("signatures", &[]);
    let service = || Service::new(SERVICE_CLIENT, &ground.service_secret);
    let subject = Side::new("client_credentials", &server, many(CLIENTS, service));
    let least = Side::new("control: bare actix, one signature", &control, many(CLIENTS, Signed::new));
    let ratios = duel(plan, report, subject, least);
    report.reached("client_credentials ÷ bare signing actix", ratios, "", Wanted::AtLeast(0.80, 0.92));
}

fn refresh(plan: &Plan, report: &mut Report) {
    for backend in &plan.backends {
        let ground = Ground::new(*backend, CLIENTS);
        let tokens = ground.add_grants(CLIENTS);
        let server = ground.serve(&[]);
        let control = Process::control("signatures", &[]);
        let name = format!("refresh on {}", backend.name());
        let subject = Side::new(&name, &server, devices(&tokens, CLIENTS)).with_postgres(*backend);
        let least = Side::new(format!("control beside {name}"), &control, many(CLIENTS, Signed::new));
        let ratios = duel(plan, report, subject, least);
        let wanted = match backend {
            Backend::Sqlite => Wanted::AtLeast(0.55, 0.70),
            Backend::Postgres => Wanted::AtLeast(0.25, 0.40),
        };
        report.reached(format!("{name}, {CLIENTS} clients ÷ bare signing actix"), ratios, "", wanted);
    }
}

/// A code for an access token and an ID token, two signatures, against a server that signs one.
fn code_exchange(plan: &Plan, report: &mut Report) {
    for backend in &plan.backends {
        let ground = Ground::new(*backend, CLIENTS);
        // As many as a server could exchange that does nothing but sign.
        let seconds = (plan.round.as_secs() as usize + 1) * (plan.rounds + 1);
        let codes = ground.add_codes(seconds * 4000);
        let server = ground.serve(&[]);
        let control = Process::control("signatures", &[]);
        let name = format!("code exchange on {}", backend.name());
        let callers = codes.chunks(codes.len().div_ceil(CLIENTS)).map(|codes| Codes::new(codes.to_vec())).collect();
        let subject = Side::new(&name, &server, callers).with_postgres(*backend);
        let least = Side::new(format!("control beside {name}"), &control, many(CLIENTS, Signed::new));
        let ratios = duel(plan, report, subject, least).into_iter().map(|ratio| ratio * 2.0).collect();
        report.reached(format!("{name} ÷ half of bare signing actix"), ratios, "", Wanted::AtLeast(0.5, 0.7));
    }
}

/// The rotation's own statement, durable, from many threads: as they come, so that what waits together is committed
/// together, against one after the other, each in a transaction of its own.
fn group_commit(plan: &Plan, report: &mut Report) {
    if !plan.has(Backend::Sqlite) {
        return;
    }
    let ground = Ground::new(Backend::Sqlite, 1);
    let secrets = ground.app.secrets.load();
    let keys = &secrets.refresh_token_mac;
    let handles: Vec<_> = ground
        .add_grants(CLIENTS)
        .iter()
        .map(|token| RefreshToken::open(token, keys).expect("a token of ours").handle)
        .collect();
    let found: Vec<_> = handles
        .iter()
        .map(|handle| ground.app.db.read(|tx| grants::find_by_handle(tx, *handle)).expect("a grant").expect("a grant"))
        .collect();
    // Each thread moves its own grant on; generations go on across rounds.
    let generations: Vec<_> = (0..CLIENTS).map(|_| std::sync::atomic::AtomicU32::new(1)).collect();
    let in_threads = |work: &(dyn Fn(usize, u32) + Sync)| {
        let began = Instant::now();
        let counts: u32 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..CLIENTS)
                .map(|nth| {
                    let generation = &generations[nth];
                    scope.spawn(move || {
                        let mut count = 0;
                        while began.elapsed() < plan.round {
                            work(nth, generation.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
                            count += 1;
                        }
                        count
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("a thread")).sum()
        });
        f64::from(counts) / began.elapsed().as_secs_f64()
    };
    let deadline = Deadline::after(&ground.app.clock, Duration::from_hours(24));
    let together = |nth: usize, from: u32| {
        let (id, idle) = (found[nth].grant.id, found[nth].grant.idle_expires_at);
        let not_after = found[nth].read_at.plus(Duration::from_hours(24));
        let rotated_at = ground.app.clock.now();
        let to = Rotation { generation: from + 1, winner: 1, siblings: 1, rotated_at, attempt: None };
        let rotate = move |tx: &mut Write<'_>| grants::rotation::rotate(tx, (id, from), &to, idle, not_after);
        assert!(ground.app.db.write_one(&deadline, rotate).expect("a write"), "a lost update");
    };
    // Nobody waits beside the one whose turn it is, so nothing can be shared.
    let turn = Mutex::new(());
    let one_by_one = |nth: usize, from: u32| {
        let _mine = turn.lock().expect("a turn");
        together(nth, from);
    };
    let ratios = (0..plan.rounds)
        .map(|_| {
            let (grouped, single) = (in_threads(&together), in_threads(&one_by_one));
            eprintln!("    together {grouped:>9.0}/s   one by one {single:>9.0}/s");
            grouped / single
        })
        .collect();
    let what = format!("group commit ÷ one transaction each on SQLite, {CLIENTS} clients");
    report.reached(what, ratios, "", Wanted::AtLeast(2.5, 4.0));
}

/// Log-ins against nothing but hashing on as many threads.
fn password(plan: &Plan, report: &mut Report) {
    for backend in &plan.backends {
        let ground = Ground::new(*backend, 16);
        let server = ground.serve(&[]);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let name = format!("password log-in on {}", backend.name());
        let people = ground.people.iter().map(|(_, email)| Person::new(PUBLIC_CLIENT, email, PASSWORD)).collect();
        let mut side = Side::new(&name, &server, people).with_postgres(*backend);
        side.go(plan.round / 4);
        let ratios = (0..plan.rounds)
            .map(|_| {
                let mine = side.round(plan.round);
                let least = control::hash_rate(threads, plan.round);
                eprintln!("    {:<44} {least:>9.1}/s", "control: Argon2id alone");
                mine / least
            })
            .collect();
        side.report(report);
        report.reached(format!("{name} ÷ bare Argon2id on {threads} threads"), ratios, "", Wanted::AtLeast(0.88, 0.95));
    }
}

/// What readers and refreshing devices notice of five times as many log-ins as can be served.
fn flood(plan: &Plan, report: &mut Report) {
    const READS_A_SECOND: f64 = 200.0;
    const REFRESHES_A_SECOND: f64 = 100.0;
    const PEOPLE: usize = 400;
    let ground = Ground::new(Backend::Sqlite, 40);
    let server = ground.serve(&[]);
    let span = plan.round * 2;
    let pace = |count: usize, rate: f64| Pace::Every(Duration::from_secs_f64(count as f64 / rate));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let capacity = control::hash_rate(threads, Duration::from_secs(2));
    let people = || -> Vec<_> {
        (0..PEOPLE).map(|nth| Person::new(PUBLIC_CLIENT, &ground.people[nth % 40].1, PASSWORD)).collect()
    };
    let mut tokens = ground.add_grants(CLIENTS * (plan.rounds * 2 + 1));
    let mut both = |flooded: bool| {
        let mine = tokens.split_off(tokens.len() - CLIENTS);
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let readers = many(8, || Reader("/jwks.json"));
                drive(server.port, readers, pace(8, READS_A_SECOND), Until::Passed(span)).0
            });
            let logging_in = flooded.then(|| {
                scope.spawn(|| drive(server.port, people(), pace(PEOPLE, capacity * 5.0), Until::Passed(span)).0)
            });
            let devices = devices(&mine, CLIENTS);
            let refreshed = drive(server.port, devices, pace(CLIENTS, REFRESHES_A_SECOND), Until::Passed(span)).0;
            let log_ins = logging_in.map(|thread| thread.join().expect("log-ins"));
            (reading.join().expect("readers"), refreshed, log_ins)
        })
    };
    both(false);
    let (mut reads, mut refreshes, mut excess) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        let (mut calm_reads, mut calm_refreshes, _) = both(false);
        let (mut hard_reads, mut hard_refreshes, log_ins) = both(true);
        let mut log_ins = log_ins.expect("a flood");
        let p99 = |seen: &mut Seen| quantile(&mut seen.wanted, 0.99);
        let (r0, r1) = (p99(&mut calm_reads), p99(&mut hard_reads));
        let (f0, f1) = (p99(&mut calm_refreshes), p99(&mut hard_refreshes));
        let refused = quantile(&mut log_ins.refused, 0.99);
        eprintln!(
            "    JWKS p99 {r0:.2} → {r1:.2} ms   refresh p99 {f0:.2} → {f1:.2} ms   {:.0} log-ins/s served, \
             {} refused in {refused:.1} ms (p99)",
            log_ins.rate(),
            log_ins.refused.len()
        );
        reads.push(r1 / r0);
        refreshes.push(f1 / f0);
        excess.push(refused);
    }
    report.reached("JWKS p99 under a log-in flood ÷ calm", reads, "", Wanted::AtMost(3.0, 2.0));
    report.reached("refresh p99 under a log-in flood ÷ calm", refreshes, "", Wanted::AtMost(4.0, 2.5));
    report.reached("log-ins in excess refused within (p99)", excess, "ms", Wanted::AtMost(100.0, 30.0));
}

/// 64 presentations of one token at once, at two instances where the database allows that.
fn one_token(plan: &Plan, report: &mut Report) {
    const PRESENTATIONS: usize = 64;
    for backend in &plan.backends {
        let ground = Ground::new(*backend, 1);
        let first = ground.serve(&[]);
        let second = (*backend == Backend::Postgres).then(|| ground.serve_another());
        let ports = [first.port, second.as_ref().map_or(first.port, |second| second.port)];
        let (mut winners, mut longest) = (Vec::new(), Vec::new());
        for token in ground.add_grants(plan.rounds * 4) {
            let waits = std::thread::scope(|scope| {
                let halves: Vec<_> = ports
                    .iter()
                    .map(|port| {
                        let token = &token;
                        scope.spawn(move || {
                            let callers = many(PRESENTATIONS / 2, || Devices::new(PUBLIC_CLIENT, vec![token.clone()]));
                            drive(*port, callers, Pace::AtOnce, Until::Answered(PRESENTATIONS as u64 / 2)).0
                        })
                    })
                    .collect();
                let mut all = Vec::new();
                for half in halves {
                    let seen = half.join().expect("presentations");
                    assert_eq!(seen.broken, 0, "a connection broke");
                    all.extend(seen.wanted);
                    all.extend(seen.refused);
                }
                all
            });
            longest.push(f64::from(waits.into_iter().max().unwrap_or(0)) / 1000.0);
            // Every winner would have moved the generation on.
            let secrets = ground.app.secrets.load();
            let keys = &secrets.refresh_token_mac;
            let handle = RefreshToken::open(&token, keys).expect("a token of ours").handle;
            let found = ground.app.db.read(|tx| grants::find_by_handle(tx, handle)).expect("a read").expect("a grant");
            assert!(found.grant.ended_at.is_none(), "a repeat ended the grant");
            winners.push(f64::from(found.grant.rotation.generation - 1));
        }
        let what = format!("winners of {PRESENTATIONS} presentations of one token, {}", backend.name());
        report.reached(what, winners, "", Wanted::AtMost(1.0, 1.0));
        let what = format!("the longest wait among them, {}", backend.name());
        report.reached(what, longest, "ms", Wanted::AtMost(1000.0, 50.0));
    }
}
