//! Why settings were refused; each message names the key or file and shows no secret.

use std::io;
use std::path::PathBuf;

/// Settings that a server must not start with.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Unknown key, wrong type, or not TOML; the message names the key.
    #[error("settings: {0}")]
    Unreadable(String),
    /// A file named on the command line is not there.
    #[error("settings: no such file: {0}")]
    NoSuchFile(PathBuf),
    /// A value outside its rule.
    #[error("settings: {key}: {rule}")]
    Rule {
        /// The setting.
        key: &'static str,
        /// The rule it broke.
        rule: &'static str,
    },
    /// A secret's file cannot be read.
    #[error("settings: {key}: cannot read {path}: {source}")]
    UnreadableSecret {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("settings: {key}: cannot read {path}: {source}")]
    UnreadableFile {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A secret is short, or is one that everybody knows.
    #[error("settings: {key}: the password in it is weak or well known; use a random one")]
    WeakSecret {
        /// The setting.
        key: &'static str,
    },
}

impl SettingsError {
    /// Only the first line of what a parser says: the next ones quote the file, secrets and all.
    pub(super) fn unreadable(error: &config::ConfigError) -> Self {
        Self::Unreadable(error.to_string().lines().next().unwrap_or_default().to_owned())
    }
}
