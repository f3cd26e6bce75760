//! Scopes (RFC 6749 §3.3): a set of case-sensitive tokens, order of no meaning.

use std::collections::BTreeSet;
use std::fmt;

use crate::reason::{Refusal, RequestRefusal};

/// The most bytes that a scope may have; it travels in every token.
const MAX_BYTES: usize = 1024;

/// A set of scope tokens, written in alphabetical order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope(BTreeSet<String>);

impl Scope {
    /// Reads space-delimited scope tokens.
    ///
    /// # Errors
    /// [`RequestRefusal::MalformedScope`] for a character outside RFC 6749 §3.3 or more than 1 KiB.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        // RFC 6749 §3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E ), tokens divided by one space.
        let token_byte = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        let well_formed = |token: &str| !token.is_empty() && token.bytes().all(token_byte);
        if text.len() > MAX_BYTES || !text.split(' ').all(well_formed) {
            return Err(RequestRefusal::MalformedScope.into());
        }
        Ok(Self(text.split(' ').map(str::to_owned).collect()))
    }

    /// From what the database holds, which [`fmt::Display`] wrote; an empty text is the empty set.
    ///
    /// # Errors
    /// As [`Scope::parse`].
    pub fn from_stored(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() { Ok(Self::default()) } else { Self::parse(text) }
    }

    /// Each scope token, in alphabetical order.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether that scope token is in it.
    pub fn contains(&self, token: &str) -> bool {
        self.0.contains(token)
    }

    /// The tokens given, each of which is well formed.
    pub fn of<'t>(tokens: impl Iterator<Item = &'t str>) -> Self {
        Self(tokens.map(str::to_owned).collect())
    }

    /// Every token of either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).cloned().collect())
    }

    /// Every token of both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// Whether every token of this scope is one of `other`'s.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, token) in self.0.iter().enumerate() {
            if nth > 0 {
                f.write_str(" ")?;
            }
            f.write_str(token)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_a_set() {
        let scope = Scope::parse("write read read").unwrap();
        assert_eq!(scope.to_string(), "read write");
        assert!(Scope::parse("read").unwrap().is_within(&scope));
        assert!(!Scope::parse("read admin").unwrap().is_within(&scope));
    }

    #[test]
    fn a_scope_outside_the_grammar_is_refused() {
        for text in ["", " ", "a  b", " a", "a ", "a\tb", "a\"b", "a\\b", "ä", "a\u{0}", "a\nb"] {
            assert!(Scope::parse(text).is_err(), "{text:?}");
        }
        assert!(Scope::parse(&"a".repeat(1025)).is_err());
    }
}
