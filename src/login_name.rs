//! The names that people log in with: an e-mail address or a user name, and the key under which either is looked up.

use std::fmt;

use unicode_normalization::UnicodeNormalization as _;

use crate::protocol::params::has_control_characters;

/// The most bytes of a user name.
const MAX_USERNAME_BYTES: usize = 64;
/// The most bytes of an e-mail address (RFC 5321 §4.5.3.1: 64 + 1 + 255).
const MAX_EMAIL_BYTES: usize = 320;

/// The key of a name: its NFKC form with case folded (Unicode Standard §3.13, D146), so that every spelling of a name
/// that looks the same is one name. Holds personal data: never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LoginKey(String);

impl LoginKey {
    /// The key of any text, whether or not it would be allowed as a name.
    pub fn of(text: &str) -> Self {
        let fold = |text: &str| caseless::default_case_fold_str(text).nfkc().collect::<String>();
        let decomposed: String = text.trim().nfd().collect();
        Self(fold(&fold(&decomposed)))
    }

    /// The text that the database compares.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it can only be the key of an e-mail address: a user name has no `@`.
    pub fn is_email(&self) -> bool {
        self.0.contains('@')
    }
}

impl fmt::Debug for LoginKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoginKey(…)")
    }
}

/// A name that an account may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not of the form `local@domain`.
    #[error("the e-mail address is not one: local@domain, at most {MAX_EMAIL_BYTES} bytes, no spaces")]
    NotAnEmail,
    /// Not a user name.
    #[error("the user name must have 1 to {MAX_USERNAME_BYTES} bytes, no spaces and no @")]
    NotAUsername,
}

fn is_plain(text: &str) -> bool {
    !has_control_characters(text) && !text.chars().any(char::is_whitespace)
}

/// The key of an e-mail address.
///
/// # Errors
/// [`NameError::NotAnEmail`].
pub fn parse_email(text: &str) -> Result<LoginKey, NameError> {
    let well_formed = text.len() <= MAX_EMAIL_BYTES
        && is_plain(text)
        && text
            .rsplit_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !local.contains('@'));
    let key = LoginKey::of(text);
    if well_formed && key.is_email() { Ok(key) } else { Err(NameError::NotAnEmail) }
}

/// The key of a user name.
///
/// # Errors
/// [`NameError::NotAUsername`].
pub fn parse_username(text: &str) -> Result<LoginKey, NameError> {
    let key = LoginKey::of(text);
    let well_formed =
        !text.is_empty() && text.len() <= MAX_USERNAME_BYTES && is_plain(text) && !key.as_str().is_empty();
    if well_formed && !key.is_email() { Ok(key) } else { Err(NameError::NotAUsername) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_that_look_the_same_have_one_key() {
        for (one, other) in [
            ("Ada@Example.COM", "ada@example.com"),
            ("\u{212b}sa", "\u{e5}sa"),
            ("Straße", "STRASSE"),
            ("ﬁnn", "FINN"),
            ("e\u{301}va", "\u{c9}VA"),
            (" ada ", "ada"),
        ] {
            assert!(LoginKey::of(one) == LoginKey::of(other), "{one} {other}");
        }
        assert!(LoginKey::of("ada") != LoginKey::of("adb"));
    }

    #[test]
    fn names_are_checked() {
        for text in ["", "ada", "@example.com", "ada@", "a b@example.com", "a@b@c", "a\u{0}@b"] {
            assert!(parse_email(text).is_err(), "{text:?}");
        }
        // A full-width commercial at folds to '@'.
        for text in ["", "a@b", "a b", "a\u{ff20}b", "\u{7}"] {
            assert!(parse_username(text).is_err(), "{text:?}");
        }
        assert!(parse_email("ada@example.com").is_ok() && parse_username("ada").is_ok());
    }
}
