//! `[sessions]`: how long log-ins at a browser live, and what they are bound to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;

/// `[sessions]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sessions {
    /// How long a log-in at a browser lives without being used.
    #[serde(with = "duration")]
    pub idle_ttl: Duration,
    /// How long it lives at most.
    #[serde(with = "duration")]
    pub absolute_ttl: Duration,
    /// How long after a log-in what is sensitive needs no password.
    #[serde(with = "duration")]
    pub fresh_for: Duration,
    /// How long a browser may be remembered; zero when none is.
    #[serde(with = "duration")]
    pub remember_ttl: Duration,
    /// What a log-in is bound to.
    pub binding: Binding,
}

/// What a log-in at a browser is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Binding {
    /// To nothing but its cookie.
    Off,
    /// To the kind of browser and of system.
    Normal,
    /// To these and the network.
    Strong,
}
