//! What operators do. The command line calls these rules now; whatever else comes will call the same ones.

pub mod accounts;
pub mod clients;
pub mod grants;
pub mod keys;
pub mod registration_tokens;

use serde_json::Value;

use crate::app::{App, StartError};
use crate::keys::MasterKeyError;
use crate::keys::life::LifeError;
use crate::keys::situation::NotNow;
use crate::login_name::NameError;
use crate::password_hash::HashError;
use crate::protocol::client_metadata::MetadataError;
use crate::store::audit_log::{self, AuditEvent};
use crate::store::{self, Write};

/// Why an operator's action was refused; nothing was changed, but for [`AdminError::MasterKeyNotEverywhere`].
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// A name that cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The e-mail address, user name or `client_id` belongs to another.
    #[error("{0} is taken")]
    Taken(&'static str),
    /// There is no such thing.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The password has too few characters.
    #[error("the password is too short: at least {0} characters")]
    PasswordTooShort(usize),
    /// The password has too many bytes.
    #[error("the password is too long: at most {0} bytes")]
    PasswordTooLong(usize),
    /// The password says who it belongs to.
    #[error("the password contains the account's own name or this service's")]
    PasswordNamesItsOwner,
    /// A role that cannot be one.
    #[error("a role must have 1 to 64 characters of A-Z a-z 0-9 - . _ : /")]
    MalformedRole,
    /// Claims that no account may have.
    #[error("claims: {0}")]
    Claims(&'static str),
    /// A `client_id` that cannot be one.
    #[error("a client_id must have 1 to 128 characters of A-Z a-z 0-9 - . _ ~ and not look like an account's sub")]
    MalformedClientId,
    /// Metadata that cannot be a client's.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A registration token that cannot be.
    #[error("registration token: {0}")]
    RegistrationToken(&'static str),
    /// Public clients have no secret.
    #[error("a public client has no secret")]
    PublicClientHasNoSecret,
    /// Two secrets are in force already.
    #[error("two secrets are in force already: drop the old one first")]
    TwoSecretsInForce,
    /// Only one secret is in force.
    #[error("only one secret is in force: there is no old one to drop")]
    NoOldSecret,
    /// A signing key does not take that step.
    #[error(transparent)]
    Keys(#[from] LifeError),
    /// The master key is not in a file that could be added to.
    #[error(
        "the master key is in keys.master_key: add version {version} to it at every instance, restart them, run this again"
    )]
    MasterKeyIsASetting {
        /// The version to add.
        version: u8,
    },
    /// Some instances could not read what is encrypted under it. The file has the version; no key is under it yet.
    #[error(
        "{lacking} of {live} instances do not have this version {version} of the master key: copy the file to them and run \
         this again"
    )]
    MasterKeyNotEverywhere {
        /// The version.
        version: u8,
        /// How many lack it.
        lacking: usize,
        /// Of how many.
        live: usize,
    },
    /// The master key's own reason.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The keys could not be loaded.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The hash could not be made.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The store's own reason.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl AdminError {
    fn not_now(error: NotNow) -> Self {
        Self::Keys(error.into())
    }
}

/// A conflict of rows means that a name is taken.
fn taken(what: &'static str) -> impl Fn(store::Error) -> AdminError {
    move |error| match error {
        store::Error::Conflict(_) => AdminError::Taken(what),
        store::Error::Busy(_)
        | store::Error::Disconnected(_)
        | store::Error::Unavailable(_)
        | store::Error::Expired
        | store::Error::Corrupt { .. } => error.into(),
    }
}

/// What an operator's command leaves in the audit trail, for the transaction that does it.
struct Trail {
    id: [u8; 16],
    actor: String,
}

impl Trail {
    fn of(app: &App, actor: &str) -> Self {
        Self { id: app.random.bytes(), actor: actor.to_owned() }
    }

    /// Notes what was done, once (OWASP ASVS 5.0 §16.3.3): it is there if the change is, and not if the change is not.
    fn note(
        &self,
        tx: &mut Write<'_>,
        event: &'static str,
        subject: &impl ToString,
        details: Value,
    ) -> Result<(), store::Error> {
        let event = AuditEvent { actor: self.actor.clone(), event, subject: subject.to_string(), details };
        audit_log::record(tx, self.id, &event)
    }
}
