//! `countersign grants …`

use std::time::Duration;

use clap::Subcommand;
use serde_json::json;

use super::output::Output;
use super::{CommandError, Makes, actor, pause};
use crate::admin::grants::{self, Ended, InForce, Whose};
use crate::admin::{AdminError, accounts};
use crate::app::App;
use crate::clock::Deadline;
use crate::id::GrantId;
use crate::store::status_receipts::Receipt;

/// How often it is looked how far an end has come.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);
/// How long is waited at most for verifiers that can be reached.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long somebody has to say something of themselves who was never heard of before.
const NEWCOMERS: Duration = Duration::from_secs(1);

#[derive(Subcommand)]
pub(super) enum GrantsCommand {
    /// End a grant, or all of an account: refresh tokens at once, access tokens wherever verifiers follow. Exits with 1 if
    /// with `--wait` somebody who can be reached does not know after ten seconds.
    End {
        /// The grant: the `sid` of its tokens. Or name an account by --account.
        #[arg(required_unless_present = "account", conflicts_with = "account")]
        grant: Option<GrantId>,
        /// All grants of this account, and its log-ins at browsers: its identifier, e-mail address or user name.
        #[arg(long)]
        account: Option<String>,
        /// Wait until every verifier that can be reached knows, ten seconds at most, and say how long it took.
        #[arg(long)]
        wait: bool,
    },
}

pub(super) fn run(
    command: &GrantsCommand,
    open: impl FnOnce(Makes) -> Result<App, CommandError>,
    output: &Output,
) -> Result<(), CommandError> {
    let GrantsCommand::End { grant, account, wait } = command;
    let app = &open(Makes::Nothing)?;
    let whose = match (grant, account) {
        (Some(id), _) => Whose::Grant(*id),
        (None, Some(name)) => Whose::Account(accounts::find(app, name)?.id),
        (None, None) => return Err(CommandError::Usage("a grant or an account is wanted")),
    };
    let began = app.clock.monotonic();
    let ended = grants::end(app, whose, *wait, &actor())?;
    if !wait {
        output.either(&json!({ "ended_grants": ended.grants }), || ended_text(ended));
        return Ok(());
    }
    let in_force = wait_until_known(app, ended)?;
    let took = app.clock.monotonic().saturating_sub(began);
    report(output, ended, &in_force, took);
    match in_force.lagging.len() {
        0 => Ok(()),
        lagging => Err(CommandError::VerifiersLag { lagging }),
    }
}

fn wait_until_known(app: &App, ended: Ended) -> Result<InForce, AdminError> {
    let patience = Deadline::after(&app.clock, LONGEST_WAIT);
    let newcomers = Deadline::after(&app.clock, NEWCOMERS);
    loop {
        let in_force = grants::in_force(app, ended.seq)?;
        let everywhere = in_force.lagging.is_empty() && (in_force.at > 0 || newcomers.has_passed());
        if everywhere || patience.has_passed() {
            return Ok(in_force);
        }
        pause(BETWEEN_LOOKS);
    }
}

fn report(output: &Output, ended: Ended, in_force: &InForce, took: Duration) {
    let InForce { at, lagging, unreachable } = in_force;
    let of = at + lagging.len() + unreachable.len();
    let described = |receipt: &Receipt| json!({ "name": receipt.name, "client_id": receipt.client_id, "since": receipt.at.to_string() });
    let json = json!({
        "ended_grants": ended.grants,
        "verifiers": of,
        "in_force_at": at,
        "lagging": lagging.iter().map(described).collect::<Vec<_>>(),
        "unreachable": unreachable.iter().map(described).collect::<Vec<_>>(),
        "after_seconds": took.as_secs_f64(),
    });
    output.either(&json, || {
        let mut text = format!(
            "{}; in force at {at} of {} after {:.2} s",
            ended_text(ended),
            counted(of, "verifier"),
            took.as_secs_f64()
        );
        let since = unreachable.iter().map(|receipt| receipt.at).min();
        if let Some(since) = since {
            text = format!("{text}, {} unreachable since {since} or later", unreachable.len());
        }
        for (receipts, state) in [(lagging, "does not know yet"), (unreachable, "unreachable")] {
            for Receipt { name, client_id, at, .. } in receipts {
                text = format!("{text}\n  {name} ({client_id}) {state}, last heard of at {at}");
            }
        }
        text
    });
}

fn ended_text(ended: Ended) -> String {
    match ended.grants {
        0 => "nothing was in force any more".to_owned(),
        grants => format!("ended {}", counted(grants, "grant")),
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
