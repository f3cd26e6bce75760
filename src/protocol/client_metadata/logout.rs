//! Where a client is told that somebody logged out, as it is registered (OpenID Connect Back-Channel Logout §2.2, Front-Channel
//! Logout §2).

use super::json::ClientMetadataJson;
use super::{MetadataError, refuse};
use crate::protocol::logout::LogoutUri;
use crate::protocol::redirect_uri::RedirectUri;

/// Where a client is told that somebody logged out: called there, and shown in a frame.
pub(super) type LogoutUris = (Option<LogoutUri>, Option<LogoutUri>);

pub(super) fn parse(json: &ClientMetadataJson, redirect_uris: &[RedirectUri]) -> Result<LogoutUris, MetadataError> {
    let backchannel = parse_uri(
        ("backchannel_logout_uri", json.backchannel_logout_uri.as_deref()),
        ("backchannel_logout_session_required", json.backchannel_logout_session_required),
    )?;
    let frontchannel = parse_uri(
        ("frontchannel_logout_uri", json.frontchannel_logout_uri.as_deref()),
        ("frontchannel_logout_session_required", json.frontchannel_logout_session_required),
    )?;
    // Front-Channel Logout §2: scheme, host and port of a redirect URI, so that nobody frames others.
    if frontchannel.as_ref().is_some_and(|uri| !uri.is_beside(redirect_uris)) {
        return refuse("frontchannel_logout_uri", "of the scheme, host and port of one of the redirect_uris");
    }
    Ok((backchannel, frontchannel))
}

fn parse_uri(
    (member, uri): (&'static str, Option<&str>),
    (required_member, required): (&'static str, bool),
) -> Result<Option<LogoutUri>, MetadataError> {
    match uri {
        Some(uri) => LogoutUri::parse(uri, required).map(Some).or_else(|rule| refuse(member, rule)),
        None if required => refuse(required_member, "true only beside the URI that is told"),
        None => Ok(None),
    }
}
