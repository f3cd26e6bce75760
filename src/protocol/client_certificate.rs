//! The certificate of a client as a trusted proxy passes it on (RFC 9440, or the escaped PEM of nginx and others): what it says of
//! its holder. Refuses to know who vouches for it; the proxy does.

use std::str::FromStr as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

use super::client_metadata::CertificateName;
use crate::secret::{Digest, encode_base64url};

/// The most bytes of the header.
const MAX_BYTES: usize = 16 * 1024;
/// RFC 5280 §4.2.1.6.
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

/// A client's certificate.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    der: Vec<u8>,
    subject: String,
    names: Vec<CertificateName>,
    /// Whether the proxy trusts whoever issued it.
    is_verified: bool,
}

impl ClientCertificate {
    /// Reads the header; `None` for what is no certificate. `is_verified` is what the proxy says of its issuer.
    pub fn parse(header: &str, is_verified: bool) -> Option<Self> {
        if header.len() > MAX_BYTES {
            return None;
        }
        let der = decode(header)?;
        let certificate = Certificate::from_der(&der).ok()?;
        let subject = certificate.tbs_certificate.subject.to_string();
        let extensions = certificate.tbs_certificate.extensions.unwrap_or_default();
        let alternative = extensions.iter().find(|extension| extension.extn_id == SUBJECT_ALT_NAME);
        let names = match alternative {
            None => Vec::new(),
            Some(extension) => {
                let SubjectAltName(names) = SubjectAltName::from_der(extension.extn_value.as_bytes()).ok()?;
                names.iter().filter_map(alternative_name).collect()
            }
        };
        Some(Self { der, subject, names, is_verified })
    }

    /// The certificate itself.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its `x5t#S256` (RFC 8705 §3.1).
    pub fn thumbprint(&self) -> String {
        encode_base64url(Digest::sha256(&self.der).as_bytes())
    }

    /// Whether it says what a client was registered with, and a trusted issuer says so too (RFC 8705 §2.1).
    pub fn is_of(&self, name: &CertificateName) -> bool {
        // RFC 8705 §2.1: PKI; anybody can write any name into a certificate of their own.
        if !self.is_verified {
            return false;
        }
        match name {
            // RFC 4514 leaves room for spelling; both are spelt by one writer.
            CertificateName::SubjectDn(text) => Name::from_str(text).is_ok_and(|dn| dn.to_string() == self.subject),
            CertificateName::SanDns(_) | CertificateName::SanUri(_) => self.names.contains(name),
        }
    }
}

fn alternative_name(name: &GeneralName) -> Option<CertificateName> {
    if let GeneralName::DnsName(dns) = name {
        return Some(CertificateName::SanDns(dns.to_string()));
    }
    if let GeneralName::UniformResourceIdentifier(uri) = name {
        return Some(CertificateName::SanUri(uri.to_string()));
    }
    None
}

/// RFC 9440 §2.1: base64 between colons. Otherwise PEM, escaped as in a URL.
fn decode(header: &str) -> Option<Vec<u8>> {
    let header = header.trim();
    if let Some(encoded) = header.strip_prefix(':').and_then(|rest| rest.strip_suffix(':')) {
        return STANDARD.decode(encoded).ok();
    }
    let pem = percent_decode_str(header).decode_utf8().ok()?;
    let body = pem.trim().strip_prefix("-----BEGIN CERTIFICATE-----")?.split_once("-----END CERTIFICATE-----")?.0;
    let encoded: String = body.chars().filter(|character| !character.is_ascii_whitespace()).collect();
    STANDARD.decode(encoded).ok()
}
