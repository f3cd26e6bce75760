//! Where the issuer's documents are: its metadata (RFC 8414), or what was given by hand.

use serde::Deserialize;

use super::Endpoints;
use super::http::{Fault, Http};
use crate::{issuer_url, json};

/// The most bytes of metadata.
const MAX_BYTES: usize = 256 * 1024;
const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: Option<String>,
    status_list_aggregation_endpoint: Option<String>,
    status_events_endpoint: Option<String>,
    status_receipts_endpoint: Option<String>,
}

/// What the issuer says of itself; what was given by hand stays.
pub(super) async fn discover(http: &Http, issuer: &str, given: &Endpoints) -> Result<Endpoints, Fault> {
    let mut outcome = Err("metadata");
    for url in addresses(issuer) {
        outcome = match http.get(&url, "application/json", None, MAX_BYTES).await {
            Ok(document) => parse(&document.body.unwrap_or_default(), issuer),
            Err(fault) => Err(fault),
        };
        if outcome.is_ok() {
            break;
        }
    }
    let found = outcome?;
    let given = given.clone();
    Ok(Endpoints {
        jwks_uri: found.jwks_uri,
        status_list_aggregation_endpoint: given
            .status_list_aggregation_endpoint
            .or(found.status_list_aggregation_endpoint),
        status_events_endpoint: given.status_events_endpoint.or(found.status_events_endpoint),
        status_receipts_endpoint: given.status_receipts_endpoint.or(found.status_receipts_endpoint),
    })
}

/// RFC 8414 §3.1: between host and path; and behind the path, where a server that knows of no host has it (§5).
fn addresses(issuer: &str) -> Vec<String> {
    let issuer = issuer.trim_end_matches('/');
    let host_ends = issuer.find("://").and_then(|at| issuer.get(at + 3..)?.find('/').map(|slash| at + 3 + slash));
    let inserted = host_ends.and_then(|at| issuer.split_at_checked(at));
    let inserted = inserted.map(|(host, path)| format!("{host}{WELL_KNOWN}{path}"));
    inserted.into_iter().chain([format!("{issuer}{WELL_KNOWN}")]).collect()
}

fn parse(body: &[u8], issuer: &str) -> Result<Endpoints, Fault> {
    let metadata: Metadata = json::parse(body).ok_or("metadata")?;
    // RFC 8414 §3.3: the issuer must be identical, or one issuer could speak for another.
    if metadata.issuer != issuer {
        let said: String = metadata.issuer.chars().take(200).collect();
        tracing::warn!(expected = issuer, ?said, "the metadata are another issuer's; each character counts");
        return Err("other_issuer");
    }
    let found = Endpoints {
        jwks_uri: Some(metadata.jwks_uri.ok_or("metadata")?),
        status_list_aggregation_endpoint: metadata.status_list_aggregation_endpoint,
        status_events_endpoint: metadata.status_events_endpoint,
        status_receipts_endpoint: metadata.status_receipts_endpoint,
    };
    let safe = found.all().all(|url| issuer_url::permitted(url).is_ok());
    if safe { Ok(found) } else { Err("metadata") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_issuer_is_compared_exactly_and_addresses_are_safe() {
        let found = |issuer: &str, jwks_uri: &str| {
            parse(format!(r#"{{"issuer":"{issuer}","jwks_uri":"{jwks_uri}"}}"#).as_bytes(), "https://as.example")
        };
        assert!(found("https://as.example", "https://as.example/jwks.json").is_ok());
        assert_eq!(found("https://as.example/", "https://as.example/jwks.json"), Err("other_issuer"));
        assert_eq!(found("https://evil.example", "https://as.example/jwks.json"), Err("other_issuer"));
        assert_eq!(found("https://as.example", "http://as.example/jwks.json"), Err("metadata"));
        assert_eq!(parse(br#"{"issuer":"https://as.example"}"#, "https://as.example"), Err("metadata"));
    }

    #[test]
    fn the_well_known_path_is_that_of_the_rfc() {
        assert_eq!(addresses("https://as.example"), ["https://as.example/.well-known/oauth-authorization-server"]);
        assert_eq!(
            addresses("https://as.example/tenant"),
            [
                "https://as.example/.well-known/oauth-authorization-server/tenant",
                "https://as.example/tenant/.well-known/oauth-authorization-server",
            ]
        );
    }
}
