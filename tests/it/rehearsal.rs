//! Plans of rotation, rehearsed: the default harms nobody, and unsafe ones harm whom they must.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign::keys::consumers::CONSUMERS;
use countersign::keys::rehearsal::{Findings, Rehearsal, picture};
use countersign::keys::schedule::Schedule;

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

const DEFAULT: Rehearsal = Rehearsal {
    schedule: Schedule {
        rotate_every: Duration::from_hours(90 * 24),
        publish_lead: DAY,
        retain: DAY,
        usual_life: Duration::from_mins(10),
    },
    instances: 3,
    rotations: 3,
    compromise_after: None,
    outage: Duration::ZERO,
    tokens: 100_000,
    seed: 1,
};

fn victims(findings: &Findings) -> BTreeSet<&'static str> {
    findings.consumers.iter().filter(|finding| finding.rejected > 0).map(|finding| finding.consumer).collect()
}

fn with(schedule: impl FnOnce(&mut Schedule)) -> Findings {
    let mut rehearsal = DEFAULT;
    schedule(&mut rehearsal.schedule);
    rehearsal.run(|_| {})
}

#[test]
fn the_default_schedule_harms_no_kind_of_consumer() {
    for seed in 1..=5 {
        let findings = Rehearsal { seed, ..DEFAULT }.run(|_| {});
        assert_eq!(findings.rejected, 0, "seed {seed}: {:?}", victims(&findings));
        assert!(findings.tokens > 90_000);
        assert!(findings.consumers.iter().all(|finding| finding.tokens > 4000));
    }
}

#[test]
fn the_default_schedule_survives_the_loss_of_a_key_in_the_middle_of_its_turn() {
    let findings = Rehearsal { compromise_after: Some(30 * DAY), ..DEFAULT }.run(|_| {});
    assert_eq!(findings.rejected, 0, "{:?}", victims(&findings));
    let accepts = |name: &str| {
        findings.consumers.iter().find(|finding| finding.consumer == name).unwrap().accepts_thief_for.unwrap_or(0.0)
    };
    // A cache on the way may be five minutes old, an instance a minute late.
    assert!((60.0..=1200.0 + 360.0).contains(&accepts("Istio")), "{}", accepts("Istio"));
    assert!(accepts("lua-resty-openidc") > 12.0 * 3600.0, "{}", accepts("lua-resty-openidc"));
    assert!(accepts("tower-oauth2-resource-server (Rust)") <= 60.0 + 360.0);
}

#[test]
fn a_key_that_signs_at_once_harms_those_who_do_not_look_again() {
    let victims = victims(&with(|schedule| schedule.publish_lead = Duration::ZERO));
    for name in [
        "Istio",
        "Envoy jwt_authn",
        "NGINX reference configuration",
        "AWS HTTP API",
        "jwx Cache (Go)",
        ".NET IdentityModel",
    ] {
        assert!(victims.contains(name), "{name} is harmed: {victims:?}");
    }
}

#[test]
fn a_lead_of_an_hour_harms_only_those_who_keep_a_jwks_longer() {
    let findings = with(|schedule| schedule.publish_lead = 60 * MINUTE);
    let victims = victims(&findings);
    for name in ["NGINX reference configuration", "AWS HTTP API", ".NET IdentityModel"] {
        assert!(victims.contains(name), "{name} is harmed: {victims:?}");
    }
    for name in
        ["PyJWT PyJWKClient", "jose (Node)", "Istio", "Envoy jwt_authn", "go-oidc v3", "Spring NimbusJwtDecoder"]
    {
        assert!(!victims.contains(name), "{name} is not harmed: {victims:?}");
    }
}

#[test]
fn a_key_stays_as_long_as_its_tokens_live_whatever_is_set() {
    for usual_life in [Duration::from_mins(10), Duration::from_hours(3)] {
        let findings = with(|schedule| {
            schedule.retain = Duration::ZERO;
            schedule.usual_life = usual_life;
        });
        assert_eq!(findings.rejected, 0, "{usual_life:?}: {:?}", victims(&findings));
    }
}

#[test]
fn an_outage_of_the_jwks_harms_those_who_forget_what_they_had() {
    let findings = Rehearsal { outage: 30 * MINUTE, ..DEFAULT }.run(|_| {});
    let rejected = |name: &str| findings.consumers.iter().find(|one| one.consumer == name).unwrap().rejected;
    let forgetful = rejected("jose (Node)").min(rejected("Spring NimbusJwtDecoder"));
    assert!(forgetful > 1000, "{forgetful}");
    // All but those that begin to verify within the outage go on.
    for name in ["Istio", "NGINX reference configuration", "keyfunc (Go)", "jwx Cache (Go)", "mod_auth_openidc"] {
        assert!(rejected(name) * 20 < forgetful, "{name}: {}, {forgetful}", rejected(name));
    }
}

#[test]
fn the_same_seed_gives_the_same_findings_and_a_picture() {
    let run = || with(|schedule| schedule.publish_lead = 60 * MINUTE);
    let (one, other) = (run(), run());
    assert_eq!(serde_json::to_value(&one).unwrap(), serde_json::to_value(&other).unwrap());
    let text = picture::text(&one);
    assert!(text.contains('#') && text.contains('.') && text.contains("days"), "{text}");
    let svg = picture::svg(&one);
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    assert_eq!(svg.matches("<svg ").count(), 1);
}

#[test]
fn the_page_for_verifiers_says_what_the_models_say() {
    let page = std::fs::read_to_string("docs/VERIFYING.md").unwrap();
    let span = |span: Option<Duration>| match span.map(|span| span.as_secs()) {
        None => "as long as it runs".to_owned(),
        Some(0) => "at once".to_owned(),
        Some(seconds @ 1..60) => format!("{seconds} s"),
        Some(seconds @ 60..3600) => format!("{} min", seconds / 60),
        Some(3900) => "1 h 5 min".to_owned(),
        Some(seconds) if seconds % 3600 == 0 => format!("{} h", seconds / 3600),
        Some(seconds) => format!("{}.{} h", seconds / 3600, seconds % 3600 / 360),
    };
    for consumer in &CONSUMERS {
        let start = format!("| {}", consumer.name);
        let row = page.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no row {start}"));
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (quiet, poked) = consumer.forgets();
        let meeting_it = cells[2].split(", of which").next().unwrap();
        assert_eq!(meeting_it, span(poked), "{row}");
        assert_eq!(cells[3], span(quiet), "{row}");
    }
}
