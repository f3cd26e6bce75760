//! `countersign keys simulate`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::CommandError;
use super::output::{Output, span_text, table};
use crate::app::schedule;
use crate::keys::rehearsal::{Findings, Rehearsal, picture};
use crate::keys::schedule::Schedule;
use crate::settings::Settings;

#[derive(Args)]
pub(super) struct Arguments {
    /// How long a key signs; as set if left out, like all that follow.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    rotate_every: Option<Duration>,
    /// How long a key is published before it signs.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    publish_lead: Option<Duration>,
    /// How long a key stays published after it signed last.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    retain: Option<Duration>,
    /// Life of an access token.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    access_ttl: Option<Duration>,
    /// Instances of the server.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    instances: u8,
    /// Rotations when they are due; one more follows as soon as it is allowed.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rotations: u32,
    /// The signing key is found to be compromised this long after the first rotation.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    compromise_after: Option<Duration>,
    /// The JWKS cannot be fetched for this long, from each change of the keys on.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    outage: Duration,
    /// Tokens to verify: fewer prove nothing.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(10_000..))]
    tokens: u64,
    /// Where chance begins: the same number gives the same findings.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Draw the timeline into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Rehearses a plan. Good tokens that are rejected make the command fail, and so does a schedule that a server refuses.
pub(super) fn run(arguments: &Arguments, settings: &Settings, output: &Output) -> Result<(), CommandError> {
    let set = schedule(settings);
    let rehearsal = Rehearsal {
        schedule: Schedule {
            rotate_every: arguments.rotate_every.unwrap_or(set.rotate_every),
            publish_lead: arguments.publish_lead.unwrap_or(set.publish_lead),
            retain: arguments.retain.unwrap_or(set.retain),
            usual_life: arguments.access_ttl.unwrap_or(set.usual_life),
        },
        instances: usize::from(arguments.instances),
        rotations: arguments.rotations,
        compromise_after: arguments.compromise_after,
        outage: arguments.outage,
        tokens: arguments.tokens,
        seed: arguments.seed,
    };
    let findings = rehearsal.run(|done| output.progress(done));
    if let Some(file) = &arguments.svg {
        let written = std::fs::write(file, picture::svg(&findings));
        written.map_err(|source| CommandError::Write { file: file.clone(), source })?;
    }
    output.either(&serde_json::to_value(&findings).unwrap_or_default(), || {
        format!("{}\n\n{}", picture::text(&findings), findings_table(&findings))
    });
    if let Some(file) = &arguments.svg {
        output.line(&format!("\nThe timeline is in {}.", file.display()));
    }
    if findings.rejected > 0 {
        return Err(CommandError::GoodTokensRejected { rejected: findings.rejected, tokens: findings.tokens });
    }
    rehearsal.schedule.check()?;
    output.line("\nNo good token was rejected.");
    Ok(())
}

fn findings_table(findings: &Findings) -> String {
    let span = |seconds: f64| span_text(Some(Duration::from_secs_f64(seconds.max(0.0))));
    let rows = findings.consumers.iter().map(|finding| {
        let longest = finding.rejects.iter().map(|(from, to)| to - from).max_by(f64::total_cmp);
        vec![
            finding.consumer.to_owned(),
            finding.tokens.to_string(),
            finding.rejected.to_string(),
            longest.map_or_else(String::new, span),
            finding.accepts_thief_for.map_or_else(String::new, span),
        ]
    });
    let head = ["verifier", "tokens", "good ones rejected", "for as long as", "accepts a thief for"];
    table(head.map(str::to_owned).to_vec(), rows)
}
