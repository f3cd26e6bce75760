//! F-28: a client is gone in the middle of its request, at every byte of it, and while it is worked on.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::instances_on;
use crate::chance::Chance;
use crate::client::Honest;
use crate::fleet::Fleet;
use crate::http;
use crate::instance::{Instance, Site, targets};
use crate::proxy;
use crate::report::Run;

pub fn row(run: &mut Run) {
    let site = Site::new(run.backend, &[]);
    let instances: Vec<Instance> = (0..instances_on(run.backend)).map(|_| site.start()).collect();
    let clients = Fleet::log_in(&targets(&instances), &site.emails, run.either(24, 48), run.seed);
    let before: usize = instances.iter().map(|instance| instance.usage().files).sum();
    let (stop, gone) = (AtomicBool::new(false), AtomicU64::new(0));
    let wanted = run.either(150, 4_000);
    let mut seeds = Chance::new(run.seed);
    let clients: Vec<Honest> = thread::scope(|scope| {
        let working: Vec<_> = clients
            .into_iter()
            .map(|client| {
                let (stop, gone, chance, instances) = (&stop, &gone, Chance::new(seeds.next()), &instances);
                scope.spawn(move || leave_and_return(client, instances, chance, stop, gone))
            })
            .collect();
        while gone.load(Ordering::Relaxed) < wanted && working.iter().any(|thread| !thread.is_finished()) {
            thread::sleep(Duration::from_millis(50));
            run.progress(format_args!("{} of {wanted} requests left", gone.load(Ordering::Relaxed)));
        }
        stop.store(true, Ordering::SeqCst);
        working.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    run.figure(format_args!("{} requests left in the middle", gone.load(Ordering::Relaxed)));
    let settled = Instant::now();
    let files = || instances.iter().map(|instance| instance.usage().files).sum::<usize>();
    // An honest client keeps a connection to each instance.
    let most = before + 10 + clients.len() * instances.len();
    while files() > most && settled.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(100));
    }
    let after = files();
    run.figure(format_args!("{before} open files before, {after} after"));
    run.must(after <= most, "connections of clients that are gone stay open");
    run.judge(&clients, &site.database);
}

/// Sends a request as far as some byte and resets the connection, or sends all of it and resets a moment later; then
/// refreshes with the same token as if nothing had been.
fn leave_and_return(
    mut client: Honest,
    instances: &[Instance],
    mut chance: Chance,
    stop: &AtomicBool,
    gone: &AtomicU64,
) -> Honest {
    while !stop.load(Ordering::SeqCst) {
        let Some(token) = client.token() else { return client };
        let pairs = [("grant_type", "refresh_token"), ("client_id", "web"), ("refresh_token", token)];
        let request = http::form("/token", None, &pairs);
        let far = if chance.happens(0.5) { request.len() } else { chance.below(request.len()) };
        let address = instances[chance.below(instances.len())].address;
        if let Ok(mut stream) = http::connect(address, Duration::from_secs(5)) {
            let _ = stream.write_all(&request[..far]);
            thread::sleep(chance.between(Duration::ZERO, Duration::from_millis(6)));
            proxy::reset(stream);
            gone.fetch_add(1, Ordering::Relaxed);
        }
        if !client.refresh() {
            return client;
        }
        // A client that is just served does not come again at once, so its lost request is over before it does.
        thread::sleep(chance.between(Duration::from_millis(300), Duration::from_millis(600)));
    }
    client.refresh();
    client
}
