//! Initial access tokens (RFC 7591 §1.2), as operators hand them out: each lets somebody register a few clients for a while.

use std::time::Duration;

use serde_json::json;

use super::{AdminError, Trail};
use crate::app::App;
use crate::clock::Timestamp;
use crate::secret::{Digest, PlainSecret, new_initial_access_token};
use crate::store::initial_access_tokens;

/// The most registrations that one token may be good for.
const MAX_USES: u32 = 10_000;
/// The longest life of one.
const MAX_LIFE: Duration = Duration::from_hours(365 * 24);

/// A token that was just made.
pub struct Created {
    /// Shown now and never again.
    pub token: PlainSecret,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

/// Makes a token.
///
/// # Errors
/// [`AdminError::RegistrationToken`]; the store's own reasons.
pub fn create(app: &App, uses: u32, life: Duration, actor: &str) -> Result<Created, AdminError> {
    let Some(kept_uses) = i32::try_from(uses).ok().filter(|_| (1..=MAX_USES).contains(&uses)) else {
        return Err(AdminError::RegistrationToken("it is good for 1 to 10000 registrations"));
    };
    if life < Duration::from_secs(1) || life > MAX_LIFE {
        return Err(AdminError::RegistrationToken("it lives for 1s to 365d"));
    }
    let token = new_initial_access_token(&app.random);
    let (digest, now) = (Digest::sha256(token.expose().as_bytes()), app.clock.now());
    let (expires_at, trail) = (now.plus(life), Trail::of(app, actor));
    app.db.write(move |tx| {
        initial_access_tokens::insert(tx, &digest, kept_uses, (now, expires_at))?;
        let details = json!({ "uses": uses, "expires_at": expires_at.to_string() });
        trail.note(tx, "registration_token_made", &"", details)
    })?;
    Ok(Created { token, expires_at })
}

/// Makes every token worthless; says how many there were. Clients that were registered stay.
///
/// # Errors
/// The store's own reasons.
pub fn revoke_all(app: &App, actor: &str) -> Result<usize, AdminError> {
    let trail = Trail::of(app, actor);
    let revoked = app.db.write(move |tx| {
        let revoked = initial_access_tokens::remove_all(tx)?;
        trail.note(tx, "registration_tokens_revoked", &"", json!({ "revoked": revoked }))?;
        Ok(revoked)
    })?;
    Ok(revoked)
}
