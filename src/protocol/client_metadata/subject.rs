//! What a client is told of people: under which name, and how the answer is signed (OpenID Connect Registration §2, Core §8).

use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

use super::proof::is_callable;
use super::{ClientMetadataJson, MetadataError, refuse};
use crate::protocol::jose::OwnAlgorithm;
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

/// What a client is told of people.
#[derive(Clone, Debug)]
pub struct SubjectRules {
    /// Within which nobody has two names; `None` when everybody has one for all clients.
    pub sector: Option<String>,
    /// Where those that belong to the sector are listed.
    pub sector_identifier_uri: Option<String>,
    /// The answer of the userinfo endpoint is signed, by this algorithm when the client was registered and by that of the
    /// key that signs at any time.
    pub userinfo_alg: Option<OwnAlgorithm>,
    /// By which ID tokens were signed when the client was registered, if it asked.
    pub id_token_alg: Option<OwnAlgorithm>,
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
            userinfo_alg: json.userinfo_signed_response_alg,
            id_token_alg: json.id_token_signed_response_alg,
        })
    }

    /// Whether what is asked for is what we sign by: nobody is promised an algorithm that he does not get.
    ///
    /// # Errors
    /// [`MetadataError::Member`].
    pub fn refuse_other_algorithms(&self, ours: &[OwnAlgorithm]) -> Result<(), MetadataError> {
        // OpenID Connect Registration §2: the algorithm that the client requires.
        for (member, wanted) in
            [("id_token_signed_response_alg", self.id_token_alg), ("userinfo_signed_response_alg", self.userinfo_alg)]
        {
            match wanted.filter(|wanted| !ours.contains(wanted)) {
                None => {}
                Some(OwnAlgorithm::Rs256) => {
                    return refuse(member, "this server signs by PS256 alone: that, or nothing");
                }
                Some(OwnAlgorithm::Ps256) => {
                    return refuse(member, "this server signs by RS256 alone: that, or nothing");
                }
            }
        }
        Ok(())
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
