//! F-16: every instance is killed in the middle of a step of a signing key, at each statement of each step. Held there by a
//! trigger that waits for a lock of ours.

use std::thread;
use std::time::Duration;

use super::rotation::{AGE, NOTICED, kid_of, states};
use super::{eventually, instances_on};
use crate::client::ANSWER_LIMIT;
use crate::http;
use crate::instance::{Instance, Site};
use crate::report::Run;

/// A step: what makes it due, and the statements that it is made of, each as the table and the rows that it is about.
struct Step {
    name: &'static str,
    due: &'static str,
    statements: &'static [(&'static str, &'static str)],
    /// The states of the keys before and after.
    before: &'static [&'static str],
    after: &'static [&'static str],
}

const AUDIT: (&str, &str) = ("INSERT ON audit_events", "true");
const EPOCH: (&str, &str) = ("UPDATE ON epochs", "OLD.value <> NEW.value");

const STEPS: [Step; 3] = [
    Step {
        name: "generate",
        due: "DELETE FROM signing_keys WHERE state = 'standby'",
        statements: &[("INSERT ON signing_keys", "true"), EPOCH, AUDIT],
        before: &["active"],
        after: &["active", "standby"],
    },
    Step {
        name: "rotate",
        due: AGE,
        statements: &[
            ("UPDATE ON signing_keys", "OLD.state = 'active' AND NEW.state = 'retiring'"),
            ("UPDATE ON signing_keys", "OLD.state = 'standby' AND NEW.state = 'active'"),
            ("INSERT ON signing_keys", "true"),
            EPOCH,
            AUDIT,
        ],
        before: &["active", "standby"],
        after: &["retiring", "active", "standby"],
    },
    Step {
        name: "retire",
        due: "UPDATE signing_keys SET retiring_at = retiring_at - 172800000000 WHERE state = 'retiring'",
        statements: &[("UPDATE ON signing_keys", "OLD.state = 'retiring' AND NEW.state = 'retired'"), EPOCH, AUDIT],
        before: &["retiring", "active", "standby"],
        after: &["active", "standby"],
    },
];

pub fn row(run: &mut Run) {
    let site = Site::new(run.backend, &[]);
    site.database.execute(
        "CREATE FUNCTION hold_here() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM pg_advisory_xact_lock_shared(16); RETURN NEW; END $$",
    );
    let mut instances: Vec<Instance> = (0..instances_on(run.backend)).map(|_| site.start()).collect();
    let mut kills = 0;
    for step in &STEPS {
        for (statement, rows) in step.statements {
            let place = format!("{}, {statement} where {rows}", step.name);
            prepare(&site, step);
            let before = states(&site);
            let held = site.database.hold_place(16);
            // In one transaction, so that nobody takes the step before it can be held.
            let trigger = format!(
                "CREATE TRIGGER held BEFORE {statement} FOR EACH ROW WHEN ({rows}) EXECUTE FUNCTION hold_here()"
            );
            site.database.execute(&format!("BEGIN; {}; {NOTICED}; {trigger}; COMMIT", step.due));
            let due = states(&site);
            let reached = eventually(|| site.database.waits_at_place()).is_some();
            run.must(reached, format_args!("{place}: nobody came there"));
            for instance in &mut instances {
                instance.kill();
                kills += 1;
            }
            drop(held);
            let table = statement.rsplit(' ').next().unwrap_or_default();
            site.database.execute(&format!("DROP TRIGGER held ON {table}; DELETE FROM instances"));
            run.must(states(&site) == due, format_args!("{place}: half a step was left behind: {before} to {due}"));
            for instance in &mut instances {
                instance.start_again(&site);
            }
            let taken = eventually(|| states(&site) == step.after.join(" ")).is_some();
            run.must(taken, format_args!("{place}: the keys are {} afterwards", states(&site)));
            for instance in &instances {
                run.must(serves(instance, &site), format_args!("{place}: an instance does not serve"));
            }
            run.progress(format_args!("{place}"));
        }
    }
    run.figure(format_args!(
        "{kills} kills at {} statements",
        STEPS.iter().map(|step| step.statements.len()).sum::<usize>()
    ));
}

/// Has the keys be as they are before the step.
fn prepare(site: &Site, step: &Step) {
    if step.name == "rotate" {
        site.database.execute("DELETE FROM signing_keys WHERE state = 'retiring'");
    }
    if step.name == "retire" && !states(site).contains("retiring") {
        site.database.execute(&format!("{AGE}; {NOTICED}"));
        assert!(eventually(|| states(site) == step.before.join(" ")).is_some(), "{}", states(site));
        // Every instance follows.
        thread::sleep(Duration::from_millis(1200));
    }
}

/// Whether it signs with a key that it publishes.
fn serves(instance: &Instance, site: &Site) -> bool {
    let own = http::form("/token", Some(&http::basic("svc", &site.secret)), &[("grant_type", "client_credentials")]);
    let token =
        http::ask(instance.address, &own, ANSWER_LIMIT).ok().map(|answer| answer.json()["access_token"].clone());
    let kid = token.as_ref().and_then(|token| token.as_str()).map(kid_of);
    let jwks = instance.get("/jwks.json").map(|answer| answer.json().to_string());
    kid.is_some_and(|kid| jwks.is_some_and(|jwks| jwks.contains(&kid)))
}
