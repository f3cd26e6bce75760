//! Identifiers with a type each, sortable by age (UUID version 7, RFC 9562 §5.7). An id is a name, never a secret:
//! whatever must not be guessed lives in [`crate::secret`].

use std::fmt;
use std::str::FromStr;

use uuid::{Builder, Uuid};

use crate::clock::Timestamp;
use crate::secret::Random;

/// The text is not an identifier of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an identifier")]
pub struct NotAnId;

fn new_uuid(now: Timestamp, random: &Random) -> Uuid {
    let millis = u64::try_from(now.as_micros().div_euclid(1000)).unwrap_or(0);
    Builder::from_unix_timestamp_millis(millis, &random.bytes()).into_uuid()
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh identifier that sorts after those made earlier.
            pub fn new(now: Timestamp, random: &Random) -> Self {
                Self(new_uuid(now, random))
            }

            /// The 16 bytes that the database stores.
            pub fn as_bytes(&self) -> &[u8] {
                self.0.as_bytes()
            }

            /// From the 16 bytes that the database stores.
            ///
            /// # Errors
            /// [`NotAnId`] when there are not 16 of them.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, NotAnId> {
                Uuid::from_slice(bytes).map(Self).map_err(|_| NotAnId)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0.as_hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            /// Accepts the one spelling that [`fmt::Display`] writes.
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let id = Uuid::try_parse(text).map(Self).map_err(|_| NotAnId)?;
                if id.to_string() == text { Ok(id) } else { Err(NotAnId) }
            }
        }
    )*};
}

ids! {
    /// A person who can log in. Its text is the `sub` of that person's tokens (RFC 9068 §2.2).
    AccountId
    /// What one account allowed one client on one device. Its text is the `sid` of the grant's tokens.
    GrantId
    /// One account that is logged in at one browser.
    SessionId
    /// One browser that remembers a log-in.
    RememberedId
    /// One client secret among the at most two that a client may have.
    ClientSecretId
    /// One request, in logs and in the bodies of 5xx answers.
    TraceId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_and_its_bytes_and_has_one_spelling() {
        let id = AccountId::new(Timestamp::from_micros(1_700_000_000_000_000), &Random);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(AccountId::from_slice(id.as_bytes()), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse::<AccountId>(), Err(NotAnId));
        assert_eq!(AccountId::from_slice(&[1, 2, 3]), Err(NotAnId));
    }

    #[test]
    fn later_ids_sort_after_earlier_ones() {
        let early = GrantId::new(Timestamp::from_micros(1_000_000), &Random);
        let late = GrantId::new(Timestamp::from_micros(9_000_000), &Random);
        assert!(early < late);
    }
}
