//! F-20: the master key file cannot be read, is cut off, is another one or is gone, while servers run, when keys are to be
//! loaded again, when one is to rotate, and at a start.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::rotation::{self, AGE, NOTICED};
use super::{eventually, instances_on};
use crate::client::ANSWER_LIMIT;
use crate::fleet::{Fleet, Pace};
use crate::http;
use crate::instance::{Instance, Site, put_back, targets};
use crate::report::Run;

/// Servers read the file every five seconds.
const SURELY_READ: Duration = Duration::from_secs(6);

/// What happens to the file.
struct Fault {
    name: &'static str,
    /// Given the file and another master key's text.
    damage: fn(&Path, &str),
    /// What a start says of it.
    said: &'static str,
}

const FAULTS: [Fault; 4] = [
    Fault {
        name: "unreadable",
        damage: |file, _| fs::set_permissions(file, fs::Permissions::from_mode(0o000)).unwrap(),
        said: "cannot be used",
    },
    Fault { name: "cut off", damage: |file, _| fs::write(file, "1 c29tZXRoaW5n").unwrap(), said: "is malformed" },
    Fault {
        name: "another one",
        damage: |file, other| fs::write(file, other).unwrap(),
        said: "does not open under this master key",
    },
    Fault { name: "gone", damage: |file, _| fs::remove_file(file).unwrap(), said: "there is no master key at" },
];

pub fn row(run: &mut Run) {
    let site = Site::new(run.backend, &[]);
    let file = site.folder().join("keys/master.key");
    let good = fs::read_to_string(&file).unwrap();
    site.command(&["keys", "new-master-key", "other.key"], "");
    let other = fs::read_to_string(site.folder().join("other.key")).unwrap();
    let instances: Vec<Instance> = (0..instances_on(run.backend)).map(|_| site.start()).collect();
    let clients = Fleet::log_in(&targets(&instances), &site.emails, 8, run.seed);
    let fleet = Fleet::start(clients, &Pace::every(50..200), run.seed);
    let mut refused = 0;
    for Fault { name, damage, said } in FAULTS {
        let before = rotation::keys(&site);
        damage(&file, &other);
        super::work_for(run, &fleet, SURELY_READ, name);
        let serving = |instance: &Instance| instance.is_ready() && signs(instance, &site).is_some();
        run.must(instances.iter().all(serving), format_args!("{name}: a server that runs does not serve"));
        site.database.execute(NOTICED);
        thread::sleep(Duration::from_millis(1500));
        run.must(instances.iter().all(serving), format_args!("{name}: not after it looked at the keys again"));
        let began = Instant::now();
        site.database.execute(&format!("{AGE}; {NOTICED}"));
        let after = rotation::wait_for_rotation(&site, &before, began);
        run.must(
            after.is_some_and(|after| after.active == [before.next.as_str()]),
            format_args!("{name}: no key took over"),
        );
        let new = |instance: &Instance| signs(instance, &site).as_ref() == Some(&before.next);
        run.must(instances.iter().all(new), format_args!("{name}: a server does not sign with the new key"));
        match site.fails_to_start() {
            None => run.must(false, format_args!("{name}: a server started")),
            Some((code, line)) => {
                let clear = code == Some(1) && line.contains(said) && line.trim().lines().count() == 1;
                run.must(clear, format_args!("{name}: a start ended with {code:?} and said: {line}"));
                let secret = [&good, &other].iter().any(|key| line.contains(key.trim().split_at(2).1));
                run.must(!secret, format_args!("{name}: a start told the key"));
                refused += 1;
            }
        }
        let _ = fs::remove_file(&file);
        put_back(&file, &good);
        let back = eventually(|| instances.iter().all(serving));
        run.must(back.is_some(), format_args!("{name}: not well with the file put back"));
    }
    let clients = fleet.settle();
    run.figure(format_args!("4 faults of the file, 4 rotations meanwhile; {refused} starts refused"));
    run.judge(&clients, &site.database);
    drop(instances);
    run.must(site.fails_to_start().is_none(), "it does not start with the file put back");
}

/// The key that it signs with.
fn signs(instance: &Instance, site: &Site) -> Option<String> {
    let own = http::form("/token", Some(&http::basic("svc", &site.secret)), &[("grant_type", "client_credentials")]);
    let answer = http::ask(instance.address, &own, ANSWER_LIMIT).ok()?;
    answer.json()["access_token"].as_str().map(rotation::kid_of)
}
