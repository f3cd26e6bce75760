//! F-33: PostgreSQL is well, but the way to it is not: connections are cut after so many bytes, slow, silent, reset.

use std::time::{Duration, Instant};

use super::{must_recover, work_for};
use crate::chance::Chance;
use crate::fleet::{Fleet, Pace};
use crate::http;
use crate::instance::{Site, targets};
use crate::proxy::{Faults, Kind, Proxy};
use crate::report::{Run, span};
use crate::watch::{Watch, failed, percentile};

pub fn row(run: &mut Run) {
    let site = Site::new(run.backend, &[]);
    let mut url: url::Url = site.database.url().parse().unwrap();
    let server = ([127, 0, 0, 1], url.port().unwrap()).into();
    let proxy = Proxy::start(Kind::Bytes, server, run.seed);
    url.set_port(Some(proxy.address.port())).unwrap();
    let through = [("COUNTERSIGN__DATABASE__URL", url.as_str())];
    let instances = [site.start_with(&through), site.start_with(&through)];
    let clients = Fleet::log_in(&targets(&instances), &site.emails, run.either(12, 32), run.seed);
    let fleet = Fleet::start(clients, &Pace::every(50..300).with_revokes(0.02), run.seed);
    let documents = Watch::start(instances[0].address, http::get("/jwks.json"), Duration::from_millis(50));
    let mut chance = Chance::new(run.seed);

    let cuts = run.either(4, 60);
    for nth in 1..=cuts {
        // From the middle of the handshake to some dozens of statements.
        let after = 1_000 + chance.below(40_000) as u64;
        proxy.set(Faults { cut_after: Some(after), ..Faults::default() });
        work_for(run, &fleet, Duration::from_millis(400), "connections are cut");
        run.progress(format_args!("{nth} of {cuts} cuts"));
    }
    proxy.set(Faults { bytes_per_second: Some(20_000), ..Faults::default() });
    work_for(run, &fleet, run.either(Duration::from_secs(1), Duration::from_secs(15)), "connections are slow");
    proxy.set(Faults { frozen: true, ..Faults::default() });
    work_for(run, &fleet, run.either(Duration::from_secs(2), Duration::from_secs(20)), "connections are silent");
    proxy.set(Faults::default());
    proxy.reset();
    let ended_at = Instant::now();
    work_for(run, &fleet, Duration::from_secs(3), "all is well");

    let clients = fleet.settle();
    run.figure(format_args!("{cuts} times cut, then slow, silent and reset"));
    let documents = documents.end();
    run.must(failed(&documents) == 0, "the JWKS was not always served");
    run.figure(format_args!("JWKS {} times served, p99 {}", documents.len(), span(percentile(&documents, 0.99))));
    must_recover(run, &clients, ended_at);
    run.judge(&clients, &site.database);
}
