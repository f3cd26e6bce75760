//! What verifying elsewhere costs, and how soon an end is in force at a hundred verifiers.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use countersign::admin::clients;
use countersign::protocol::client_metadata::{ClientMetadata, ClientMetadataJson};
use countersign::secret::decode_base64url;
use countersign_verifier::testing::TestIssuer;
use countersign_verifier::{Claims, NoOtherClaims, Rejected, Secret, StatusSource, Verifier};
use serde_json::Value;

use crate::driver::quantile;
use crate::plan::Plan;
use crate::report::{Report, Wanted};
use crate::subject::{Backend, Ground, PUBLIC_CLIENT};

const AUDIENCE: &str = "https://api.example";

/// `verify` against the bare signature, and the look at the status by itself.
pub(super) fn verify(plan: &Plan, report: &mut Report) {
    const EACH: u32 = 20_000;
    let issuer = TestIssuer::new("https://as.example", AUDIENCE);
    let verifier = issuer.verifier();
    let token = issuer.token().scope("read write").roles(&["reader"]).claim("pad", "x".repeat(90)).sign();
    let jwks: Value = serde_json::from_str(&issuer.jwks()).expect("a JWKS");
    let number =
        |member: &str| decode_base64url(jwks["keys"][0][member].as_str().expect("a number")).expect("base64url");
    let components = RsaPublicKeyComponents { n: number("n"), e: number("e") };
    let key: ParsedPublicKey = components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).expect("a key");
    let (message, signature) = token.rsplit_once('.').expect("a signature");
    let signature = decode_base64url(signature).expect("base64url");
    let timed = |work: &dyn Fn()| {
        let began = Instant::now();
        (0..EACH).for_each(|_| work());
        began.elapsed().as_secs_f64() / f64::from(EACH)
    };
    let bare = || assert!(key.verify_sig(std::hint::black_box(message.as_bytes()), &signature).is_ok());
    let whole = || assert!(verifier.verify::<NoOtherClaims>(std::hint::black_box(&token)).is_ok());
    let claims: Claims = verifier.verify(&token).expect("a good token");
    let look = || assert!(verifier.recheck(std::hint::black_box(&claims)).is_ok());
    let (mut ratios, mut looks) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        let (bare, whole) = (timed(&bare), timed(&whole));
        let look = timed(&look);
        eprintln!("    bare {:.1} µs   verify {:.1} µs   status {:.0} ns", bare * 1e6, whole * 1e6, look * 1e9);
        ratios.push(whole / bare);
        looks.push(look * 1e9);
    }
    report.reached(
        format!("verify, {} bytes ÷ its RSA signature alone", token.len()),
        ratios,
        "",
        Wanted::AtMost(1.25, 1.15),
    );
    report.reached("end and status of a verified token looked at again", looks, "ns", Wanted::AtMost(100.0, 60.0));
}

/// What stands between verifiers and instances, as a load balancer would: each connection goes to an instance that takes it.
struct Balancer {
    instances: Mutex<Vec<u16>>,
    turn: AtomicU16,
    /// Bytes that came back on connections that asked for the feed.
    feed_bytes: AtomicU64,
    jwks_requests: AtomicU64,
    stops: AtomicBool,
}

impl Balancer {
    fn start(port: u16, instances: Vec<u16>) -> Arc<Self> {
        let balancer = Arc::new(Self {
            instances: Mutex::new(instances),
            turn: AtomicU16::new(0),
            feed_bytes: AtomicU64::new(0),
            jwks_requests: AtomicU64::new(0),
            stops: AtomicBool::new(false),
        });
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the issuer's port");
        let accepting = balancer.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.stops.load(Ordering::Relaxed) {
                    return;
                }
                let balancer = accepting.clone();
                std::thread::spawn(move || balancer.carry(client));
            }
        });
        balancer
    }

    fn connect(&self) -> Option<TcpStream> {
        let instances = self.instances.lock().expect("instances").clone();
        let first = usize::from(self.turn.fetch_add(1, Ordering::Relaxed));
        let mut ports = (0..instances.len()).map(|nth| instances[(first + nth) % instances.len()]);
        ports.find_map(|port| TcpStream::connect(("127.0.0.1", port)).ok())
    }

    fn carry(&self, mut client: TcpStream) {
        let Some(mut server) = self.connect() else { return };
        let (Ok(mut from_client), Ok(mut to_server)) = (client.try_clone(), server.try_clone()) else { return };
        let is_feed = Arc::new(AtomicBool::new(false));
        std::thread::scope(|scope| {
            let follows = is_feed.clone();
            scope.spawn(move || {
                let mut buffer = [0; 16 * 1024];
                while let Ok(read @ 1..) = from_client.read(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer[..read]);
                    if text.starts_with("GET /status/events") {
                        follows.store(true, Ordering::Relaxed);
                    }
                    if text.starts_with("GET /jwks.json") {
                        self.jwks_requests.fetch_add(1, Ordering::Relaxed);
                    }
                    if to_server.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
                let _ = to_server.shutdown(Shutdown::Both);
            });
            let mut buffer = [0; 16 * 1024];
            while let Ok(read @ 1..) = server.read(&mut buffer) {
                if is_feed.load(Ordering::Relaxed) {
                    self.feed_bytes.fetch_add(read as u64, Ordering::Relaxed);
                }
                if client.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        });
    }
}

/// One form, answered; its status and body.
fn post(port: u16, path: &str, form: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(15))).ok()?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: load\r\nconnection: close\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: {}\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

/// Repeats what was not answered, as a client does whose instance went away.
fn post_until_answered(port: u16, path: &str, form: &str) -> String {
    loop {
        match post(port, path, form) {
            Some((200, body)) => return body,
            Some((503, _)) | None => std::thread::sleep(Duration::from_millis(50)),
            Some((status, body)) => panic!("{path}: {status} {body}"),
        }
    }
}

/// What verifiers learn: how soon, with an instance killed in the middle, and what it costs.
pub(super) fn fleet(plan: &Plan, report: &mut Report) {
    let (verifiers, revocations) = if plan.rounds < 5 { (25, 200) } else { (100, 1000) };
    let ground = Ground::new(Backend::Postgres, 1);
    let metadata: ClientMetadataJson =
        serde_json::from_value(serde_json::json!({ "grant_types": ["client_credentials"], "scope": "status.read" }))
            .expect("metadata");
    let metadata = ClientMetadata::try_from(metadata).expect("metadata");
    let secret = clients::create(&ground.app, "orders", metadata, "test").expect("a client").1.expect("a secret");
    let refresh_tokens = ground.add_grants(revocations);
    let mut instances = vec![ground.serve_another(), ground.serve_another()];
    let port = ground.issuer_port();
    let balancer = Balancer::start(port, instances.iter().map(|instance| instance.port).collect());
    let issuer = format!("http://127.0.0.1:{port}");
    let all: Vec<Verifier> = (0..verifiers)
        .map(|nth| {
            let source =
                StatusSource::Feed { client_id: "orders".to_owned(), client_secret: Secret::new(secret.expose()) };
            let builder = Verifier::builder(&issuer, AUDIENCE).status(source);
            builder.name(&format!("orders-{nth}")).build().expect("a verifier")
        })
        .collect();
    let began = Instant::now();
    while all.iter().any(|verifier| verifier.ready().is_err()) {
        assert!(began.elapsed() < Duration::from_mins(1), "the verifiers are not ready");
        std::thread::sleep(Duration::from_millis(20));
    }
    eprintln!("    {verifiers} verifiers ready after {:.2} s", began.elapsed().as_secs_f64());
    let tokens: Vec<String> = refresh_tokens.iter().map(|token| access_token(port, token)).collect();
    let verified: Vec<Claims> = tokens.iter().map(|token| all[0].verify(token).expect("a good token")).collect();
    let mut waits = watch(&all, &verified, revocations, |nth| {
        if nth == revocations / 2 {
            eprintln!("    one of two instances is killed");
            drop(instances.remove(0));
        }
        post_until_answered(port, "/revoke", &format!("client_id={PUBLIC_CLIENT}&token={}", tokens[nth]));
    });
    let missed = all
        .iter()
        .flat_map(|verifier| tokens.iter().map(move |token| verifier.verify::<NoOtherClaims>(token)))
        .filter(|outcome| outcome.as_ref().err() != Some(&Rejected::Revoked))
        .count();
    let what = |figure: &str| format!("revoked to refused at {verifiers} verifiers, an instance killed: {figure}");
    report.reached(what("p50"), vec![quantile(&mut waits, 0.5) / 1000.0], "s", Wanted::AtMost(0.3, 0.1));
    report.reached(what("p99"), vec![quantile(&mut waits, 0.99) / 1000.0], "s", Wanted::AtMost(2.0, 1.0));
    report.reached(what("longest"), vec![quantile(&mut waits, 1.0) / 1000.0], "s", Wanted::AtMost(5.0, 3.0));
    report.reached(
        "tokens revoked and not refused, of all verifiers",
        vec![missed as f64],
        "",
        Wanted::AtMost(0.0, 0.0),
    );
    bytes_per_hour(&ground, &balancer, &all, report);
    random_kids(&balancer, &all, &tokens, report);
    balancer.stops.store(true, Ordering::Relaxed);
}

fn access_token(port: u16, refresh_token: &str) -> String {
    let form = format!("grant_type=refresh_token&client_id={PUBLIC_CLIENT}&refresh_token={refresh_token}");
    let json: Value = serde_json::from_str(&post_until_answered(port, "/token", &form)).expect("JSON");
    json["access_token"].as_str().expect("an access token").to_owned()
}

/// Revokes one token after the other and notes, for each and each verifier, how many microseconds after the answer it was
/// refused for the first time.
fn watch(all: &[Verifier], verified: &[Claims], revocations: usize, mut revoke: impl FnMut(usize)) -> Vec<u32> {
    let revoked_at: Vec<Mutex<Option<Instant>>> = (0..revocations).map(|_| Mutex::new(None)).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut waits = Vec::new();
            // Those that were revoked and are not refused everywhere yet: which token, at whom.
            let mut open: Vec<(usize, Instant, Vec<usize>)> = Vec::new();
            let mut next = 0;
            let mut last_step = Instant::now();
            loop {
                while let Some(at) = revoked_at.get(next).and_then(|cell| *cell.lock().expect("a time")) {
                    open.push((next, at, (0..all.len()).collect()));
                    next += 1;
                    last_step = Instant::now();
                }
                for (token, at, waiting) in &mut open {
                    waiting.retain(|nth| {
                        let refused = all[*nth].recheck(&verified[*token]).is_err();
                        if refused {
                            waits.push(u32::try_from(at.elapsed().as_micros()).unwrap_or(u32::MAX));
                            last_step = Instant::now();
                        }
                        !refused
                    });
                }
                open.retain(|(_, _, waiting)| !waiting.is_empty());
                let finished = done.load(Ordering::Acquire) && open.is_empty() && next == revocations;
                if finished || last_step.elapsed() > Duration::from_mins(1) {
                    return waits;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        for (nth, cell) in revoked_at.iter().enumerate() {
            revoke(nth);
            *cell.lock().expect("a time") = Some(Instant::now());
            // About twenty a second.
            std::thread::sleep(Duration::from_millis(45));
        }
        done.store(true, Ordering::Release);
        watcher.join().expect("the watcher")
    })
}

/// The feed's bytes for each verifier, at ten revocations a second, each with its clearing later.
fn bytes_per_hour(ground: &Ground, balancer: &Balancer, all: &[Verifier], report: &mut Report) {
    const SECONDS: u64 = 30;
    let port = ground.issuer_port();
    let tokens = ground.add_grants(10 * SECONDS as usize);
    let before = balancer.feed_bytes.load(Ordering::Relaxed);
    let began = Instant::now();
    for (nth, token) in tokens.iter().enumerate() {
        post_until_answered(port, "/revoke", &format!("client_id={PUBLIC_CLIENT}&token={token}"));
        let due = Duration::from_millis(100) * u32::try_from(nth + 1).expect("few");
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
    let took = began.elapsed();
    // As if all of them had been over for as long as it takes.
    ground.execute("UPDATE status_bits SET ended_at = 0");
    std::thread::sleep(Duration::from_secs(12));
    let cleared_for = began.elapsed().saturating_sub(took);
    let bytes = (balancer.feed_bytes.load(Ordering::Relaxed) - before) as f64 / all.len() as f64;
    // What comes while bits are cleared and nothing is revoked would have come beside the rest anyway.
    let beats = cleared_for.as_secs_f64() / 2.0 * 50.0;
    let hourly = (bytes - beats) / took.as_secs_f64() * 3600.0 / 1e6;
    report.reached(
        "feed for each verifier at ten revocations a second",
        vec![hourly],
        "MB an hour",
        Wanted::AtMost(6.0, 4.0),
    );
}

/// Tokens that name keys that nobody has.
fn random_kids(balancer: &Balancer, all: &[Verifier], tokens: &[String], report: &mut Report) {
    let before = balancer.jwks_requests.load(Ordering::Relaxed);
    let (_, rest) = tokens[0].split_once('.').expect("a header");
    for nth in 0..400 {
        let header = format!(r#"{{"alg":"RS256","typ":"at+jwt","kid":"nobody-{nth}"}}"#);
        let token = format!("{}.{rest}", countersign::secret::encode_base64url(header.as_bytes()));
        let outcome = all[0].verify::<NoOtherClaims>(&token);
        assert!(outcome.is_err(), "a key that nobody has");
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_secs(2));
    let fetches = balancer.jwks_requests.load(Ordering::Relaxed) - before;
    report.reached("fetches of the JWKS for 400 unknown kids", vec![fetches as f64], "", Wanted::AtMost(5.0, 4.0));
}
