//! Logout tokens (OpenID Connect Back-Channel Logout §2.4): that somebody logged out, for the client alone. Never an ID token:
//! `typ` and `events` differ, and there is no `nonce`.

use std::time::Duration;

use serde::Serialize;

use super::issue::{JTI_BYTES, sign};
use crate::app::App;
use crate::id::GrantId;
use crate::keys::{KeysError, TokenType};
use crate::protocol::client_credentials::ClientId;
use crate::secret::encode_base64url;

/// Back-Channel Logout §2.4: preferably at most two minutes.
const LIFE: Duration = Duration::from_mins(2);

#[derive(Serialize)]
struct LogoutClaims<'a> {
    iss: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
    sub: &'a str,
    sid: String,
    events: Events,
}

/// RFC 8417 §2.2: what happened, with nothing more to say of it.
#[derive(Serialize)]
struct Events {
    #[serde(rename = "http://schemas.openid.net/event/backchannel-logout")]
    logout: Nothing,
}

#[derive(Serialize)]
struct Nothing {}

/// The token that tells a client that the log-in behind a grant is over.
///
/// # Errors
/// [`KeysError`].
pub fn issue(app: &App, client_id: &ClientId, (subject, grant_id): (&str, GrantId)) -> Result<String, KeysError> {
    let now = app.clock.now();
    let claims = LogoutClaims {
        iss: &app.issuer,
        aud: client_id.as_str(),
        iat: now.unix_seconds(),
        exp: now.plus(LIFE).unix_seconds(),
        jti: encode_base64url(&app.random.bytes::<JTI_BYTES>()),
        // As in the ID tokens of the same grant.
        sub: subject,
        sid: grant_id.to_string(),
        events: Events { logout: Nothing {} },
    };
    // RFC 8725 §3.11: a type of its own.
    sign(app, TokenType::LogoutToken, &claims, LIFE)
}
