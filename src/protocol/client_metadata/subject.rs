//! What a client is told of people: under which name, and how the answer is signed (OpenID Connect Registration §2, Core §8).

use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

use super::proof::is_callable;
use super::{ClientMetadataJson, MetadataError, refuse};
use crate::protocol::redirect_uri::{RedirectUri, origin};

/// Whether people have one name for all clients (OpenID Connect Core §8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubjectType {
    /// One name.
    #[default]
    Public,
    /// One for each sector.
    Pairwise,
}

impl SubjectType {
    /// Whether it is the one that need not be said.
    pub fn is_public(&self) -> bool {
        *self == Self::Public
    }
}

/// Algorithms that we sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum OwnAlgorithm {
    /// RFC 7518 §3.3.
    #[serde(rename = "RS256")]
    Rs256,
}

/// What a client is told of people.
#[derive(Clone, Debug)]
pub struct SubjectRules {
    /// Within which nobody has two names; `None` when everybody has one for all clients.
    pub sector: Option<String>,
    /// Where those that belong to the sector are listed.
    pub sector_identifier_uri: Option<String>,
    /// Whether the answer of the userinfo endpoint is signed.
    pub signs_userinfo: bool,
}

impl SubjectRules {
    pub(super) fn parse(json: &ClientMetadataJson, redirect_uris: &[RedirectUri]) -> Result<Self, MetadataError> {
        let uri = json.sector_identifier_uri.clone();
        if uri.as_deref().is_some_and(|uri| !is_callable(uri)) {
            return refuse("sector_identifier_uri", "an https URL without a user or a fragment");
        }
        let host = |uri: &str| Url::parse(uri).ok().and_then(|url| url.host_str().map(str::to_owned));
        // What stands where the host does in a scheme of a program's own (RFC 8252 §7.1) is nobody's.
        let own_host = |uri: &RedirectUri| origin(uri.as_str()).and_then(|_| host(uri.as_str()));
        let mut hosts: Vec<_> = redirect_uris.iter().map(own_host).collect();
        hosts.dedup();
        // OpenID Connect Core §8.1: the host of the sector identifier, or that of all redirect URIs.
        let sector = match (&uri, hosts.as_slice()) {
            (Some(uri), _) => host(uri),
            (None, [Some(one)]) => Some(one.clone()),
            (None, _) => None,
        };
        let pairwise = json.subject_type == SubjectType::Pairwise;
        if pairwise && sector.is_none() {
            return refuse("subject_type", "pairwise needs redirect_uris of one host, or sector_identifier_uri");
        }
        Ok(Self {
            sector: sector.filter(|_| pairwise),
            sector_identifier_uri: uri,
            signs_userinfo: json.userinfo_signed_response_alg.is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::ClientMetadata;

    #[test]
    fn what_stands_where_the_host_does_in_a_scheme_of_a_programs_own_is_no_sector() {
        let sector = |uri: &str| {
            let json =
                format!(r#"{{"subject_type":"pairwise","application_type":"native","redirect_uris":["{uri}"]}}"#);
            ClientMetadata::parse(&json)
                .map(|(_, metadata)| metadata.subjects.sector)
                .map_err(|error| error.to_string())
        };
        assert_eq!(sector("https://bank.example/cb").unwrap().as_deref(), Some("bank.example"));
        let refused = sector("com.evil.app://bank.example/cb").unwrap_err();
        assert!(refused.contains("subject_type"), "{refused}");
    }
}
