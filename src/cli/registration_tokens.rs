//! `countersign registration-tokens …`

use std::time::Duration;

use clap::Subcommand;
use serde_json::json;

use super::output::Output;
use super::{CommandError, Makes, actor};
use crate::admin::registration_tokens;
use crate::app::App;

#[derive(Subcommand)]
pub(super) enum RegistrationTokensCommand {
    /// Make a token that lets somebody register clients; it is shown now and never again.
    Create {
        /// How many clients.
        #[arg(long, default_value_t = 1)]
        uses: u32,
        /// For how long, such as 24h.
        #[arg(long, default_value = "24h", value_parser = humantime::parse_duration)]
        expires_in: Duration,
    },
    /// Make every token worthless. Clients that were registered stay.
    RevokeAll,
}

pub(super) fn run(
    command: &RegistrationTokensCommand,
    open: impl FnOnce(Makes) -> Result<App, CommandError>,
    output: &Output,
) -> Result<(), CommandError> {
    match command {
        RegistrationTokensCommand::Create { uses, expires_in } => {
            let created = registration_tokens::create(&open(Makes::Nothing)?, *uses, *expires_in, &actor())?;
            output.row(&json!({
                "initial_access_token": created.token.expose(),
                "uses": uses,
                "expires_at": created.expires_at.to_string(),
            }));
        }
        RegistrationTokensCommand::RevokeAll => {
            let revoked = registration_tokens::revoke_all(&open(Makes::Nothing)?, &actor())?;
            output.either(&json!({ "revoked": revoked }), || format!("revoked {revoked}"));
        }
    }
    Ok(())
}
