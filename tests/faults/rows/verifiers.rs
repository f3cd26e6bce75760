//! F-34: verifiers follow two instances of which one is killed again and again while grants end. Each end that was answered
//! is in force everywhere within seconds, and nothing else is refused.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use countersign_verifier::{Claims, NoOtherClaims, Rejected, Secret, StatusSource, Verifier};

use crate::chance::Chance;
use crate::client::PASSWORD;
use crate::http::{self, Answer};
use crate::instance::{AUDIENCE, Instance, Site};
use crate::report::{Run, span};

/// How soon an end has to be in force, whatever happens to an instance.
const IN_FORCE: Duration = Duration::from_secs(5);
/// How long one request is repeated.
const PATIENCE: Duration = Duration::from_secs(15);

pub fn row(run: &mut Run) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let site = Site::new(run.backend, &[("issuer", &issuer)]);
    let follower = ["clients", "create", "--id", "orders", "--grant", "client_credentials", "--scope", "status.read"];
    let secret = site.command(&follower, "")["client_secret"].as_str().unwrap().to_owned();
    let mut instances = [site.start(), site.start()];
    let addresses = instances.each_ref().map(|instance| instance.address);
    thread::spawn(move || balance(&listener, addresses));
    let verifiers: Vec<Verifier> = (0..run.either(8, 40)).map(|nth| follow(&issuer, &secret, nth)).collect();
    let began = Instant::now();
    while verifiers.iter().any(|verifier| verifier.ready().is_err()) {
        assert!(began.elapsed() < PATIENCE, "the verifiers are not ready");
        thread::sleep(Duration::from_millis(20));
    }

    let mut chance = Chance::new(run.seed);
    let (kills, mut slowest, mut ends) = (run.either(8, 60), Duration::ZERO, 0);
    let mut goes_on: Vec<String> = Vec::new();
    for nth in 1..=kills {
        let [first, second, third] = [(); 3].map(|()| log_in(&instances, &site.emails[0]));
        let refused = verifiers
            .iter()
            .filter(|verifier| [&first, &second, &third].iter().any(|token| outcome(verifier, token).is_err()));
        let refused = refused.count();
        run.must(refused == 0, format_args!("{refused} verifiers refused a good token"));
        let victim = chance.below(2);
        let before = chance.below(2);
        for (which, token) in [&first, &second].into_iter().enumerate() {
            if which == before {
                instances[victim].kill();
            }
            ask(&instances, &http::form("/revoke", None, &[("client_id", "web"), ("token", token)]));
            slowest = slowest.max(until_refused(run, &verifiers, token));
            ends += 1;
        }
        goes_on.push(third);
        instances[victim].start_again(&site);
        run.progress(format_args!("{nth} of {kills} kills"));
    }
    let wrong = goes_on.iter().flat_map(|token| verifiers.iter().map(move |verifier| outcome(verifier, token)));
    let wrong = wrong.filter(|outcome| matches!(outcome, Err(Rejected::Revoked))).count();
    run.must(wrong == 0, format_args!("{wrong} times a grant that goes on was refused"));
    run.figure(format_args!("{kills} kills of 2 instances, {ends} ends, {} verifiers", verifiers.len()));
    run.figure(format_args!("in force everywhere after {} at worst; none missed", span(slowest)));
}

fn follow(issuer: &str, secret: &str, nth: usize) -> Verifier {
    let source = StatusSource::Feed { client_id: "orders".to_owned(), client_secret: Secret::new(secret) };
    let builder = Verifier::builder(issuer, AUDIENCE).status(source).name(&format!("orders-{nth}"));
    builder.build().unwrap()
}

fn outcome(verifier: &Verifier, token: &str) -> Result<Claims, Rejected> {
    verifier.verify::<NoOtherClaims>(token)
}

/// How long it takes until every verifier refuses a token.
fn until_refused(run: &mut Run, verifiers: &[Verifier], token: &str) -> Duration {
    let began = Instant::now();
    let accepts = |verifier: &&Verifier| !matches!(outcome(verifier, token), Err(Rejected::Revoked));
    loop {
        let accept = verifiers.iter().filter(accepts).count();
        if accept == 0 || began.elapsed() > IN_FORCE {
            run.must(
                accept == 0,
                format_args!("{accept} verifiers accept what was revoked {} before", span(began.elapsed())),
            );
            return began.elapsed();
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn log_in(instances: &[Instance], email: &str) -> String {
    let form = [("grant_type", "password"), ("client_id", "web"), ("username", email), ("password", PASSWORD)];
    ask(instances, &http::form("/token", None, &form)).json()["access_token"].as_str().unwrap().to_owned()
}

/// Asks whoever answers, again and again.
fn ask(instances: &[Instance], request: &[u8]) -> Answer {
    let began = Instant::now();
    loop {
        let answered = instances.iter().filter_map(|instance| http::ask(instance.address, request, PATIENCE).ok());
        if let Some(answer) = answered.into_iter().find(|answer| answer.status == 200) {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "nobody answers");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Passes each connection on to an instance that takes it, the other one first each time.
fn balance(listener: &TcpListener, addresses: [SocketAddr; 2]) {
    for (nth, client) in listener.incoming().flatten().enumerate() {
        let order = [addresses[nth % 2], addresses[(nth + 1) % 2]];
        let Some(server) = order.iter().find_map(|address| TcpStream::connect(address).ok()) else { continue };
        let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else { continue };
        for (mut from, mut to) in [(from_client, to_server), (server, client)] {
            thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Both);
            });
        }
    }
}
