//! What those who verify do with a JWKS when nobody has told them otherwise: how long they keep it, and whether a token
//! with a `kid` that is not in it makes them look again. As read in their sources; the basis of every promise about
//! rotation.

use std::time::Duration;

/// How long anyone on the way may keep a JWKS while it can reach us: our `max-age` and `stale-while-revalidate` (RFC 9111 §5.2.2.1,
/// RFC 5861 §3).
pub const MAX_AGE: Duration = seconds(360);

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3600)
}

/// What a consumer does on meeting a `kid` that it has no key for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownKid {
    /// It rejects the token.
    Reject,
    /// It fetches the JWKS again, unless it has done so within this time.
    Refetch(Duration),
    /// It rejects the token and fetches the JWKS beside that, unless it has done so within this time.
    RejectAndRefetch(Duration),
}

/// What a consumer keeps, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// The JWKS; a fetch replaces what was there.
    Set(Duration),
    /// Each key; one that is no longer in the JWKS stays for its own time.
    EachKey(Duration),
    /// Each key, and beneath them a JWKS that is kept until something makes it look again.
    EachKeyOverSet(Duration),
    /// The JWKS, until something makes it look again.
    SetForEver,
    /// Each key, for as long as the process lives.
    EachKeyForEver,
}

/// A kind of consumer.
#[derive(Clone, Copy, Debug)]
pub struct Consumer {
    /// Its name.
    pub name: &'static str,
    /// What it keeps.
    pub cache: Cache,
    /// What it does about an unknown `kid`.
    pub unknown_kid: UnknownKid,
    /// Whether it goes on with what it has when the JWKS cannot be fetched.
    pub survives_outage: bool,
    /// For how long it goes back to the JWKS before the last for a key that the last lacks.
    pub last_known_good: Duration,
    /// What makes it forget a key at once.
    pub remedy: &'static str,
}

const fn consumer(name: &'static str, cache: Cache, unknown_kid: UnknownKid, remedy: &'static str) -> Consumer {
    Consumer { name, cache, unknown_kid, survives_outage: false, last_known_good: Duration::ZERO, remedy }
}

const fn surviving(consumer: Consumer) -> Consumer {
    Consumer { survives_outage: true, ..consumer }
}

use Cache::{EachKey, EachKeyForEver, EachKeyOverSet, Set, SetForEver};
use UnknownKid::{Refetch, Reject, RejectAndRefetch};

const RESTART: &str = "restart it";

/// The consumers, with the settings that they come with.
pub const CONSUMERS: [Consumer; 21] = [
    surviving(consumer("PyJWT PyJWKClient", Set(seconds(300)), Refetch(seconds(30)), RESTART)),
    consumer("PyJWT, cache_keys=True", EachKeyForEver, Refetch(seconds(30)), RESTART),
    consumer("jose (Node)", Set(seconds(600)), Refetch(seconds(30)), RESTART),
    consumer("jwks-rsa (Node)", EachKey(seconds(600)), Refetch(seconds(0)), RESTART),
    consumer("jwks-rsa-java", EachKeyOverSet(hours(10)), Refetch(seconds(0)), RESTART),
    surviving(consumer("go-oidc v3", SetForEver, Refetch(seconds(0)), RESTART)),
    surviving(consumer("Kubernetes (go-oidc v2)", SetForEver, Refetch(seconds(300)), RESTART)),
    surviving(consumer("jwx Cache (Go)", Set(seconds(900)), Reject, RESTART)),
    surviving(consumer("keyfunc (Go)", Set(hours(1)), Refetch(seconds(300)), RESTART)),
    consumer("Spring NimbusJwtDecoder", Set(seconds(300)), Refetch(seconds(0)), RESTART),
    surviving(consumer("Spring reactive decoder", SetForEver, Refetch(seconds(0)), RESTART)),
    Consumer {
        last_known_good: hours(1),
        ..surviving(consumer(
            ".NET IdentityModel",
            Set(seconds(45_360)),
            RejectAndRefetch(seconds(300)),
            "turn off its last known good keys and restart it",
        ))
    },
    consumer("Envoy jwt_authn", Set(seconds(600)), Reject, "push its configuration"),
    surviving(consumer("Istio", Set(seconds(1200)), Reject, "restart istiod")),
    surviving(consumer("NGINX reference configuration", Set(hours(12)), Reject, "purge its cache")),
    consumer("lua-resty-openidc", EachKey(hours(24)), Refetch(seconds(0)), "invalidate its caches"),
    surviving(consumer("mod_auth_openidc", Set(hours(1)), Refetch(seconds(60)), RESTART)),
    consumer("AWS HTTP API", Set(hours(2)), Reject, "make its authorizer anew"),
    surviving(consumer("axum-jwt-auth (Rust)", Set(hours(1)), Reject, RESTART)),
    surviving(consumer("tower-oauth2-resource-server (Rust)", Set(seconds(60)), Reject, RESTART)),
    surviving(consumer("jwt-authorizer (Rust)", SetForEver, Refetch(seconds(600)), RESTART)),
];

impl Consumer {
    /// How long it accepts a key that has left the JWKS: when no token of another key comes, and when one does. `None`
    /// for as long as it runs.
    pub fn forgets(&self) -> (Option<Duration>, Option<Duration>) {
        let quiet = match self.cache {
            Set(life) | EachKey(life) => Some(life + self.last_known_good),
            EachKeyOverSet(_) | SetForEver | EachKeyForEver => None,
        };
        let poked = match (self.cache, self.unknown_kid) {
            (EachKeyOverSet(life), _) => Some(life),
            (EachKey(_) | EachKeyForEver, _) | (_, Reject) => quiet,
            (_, Refetch(pause) | RejectAndRefetch(pause)) => {
                let poked = pause + self.last_known_good;
                Some(quiet.map_or(poked, |quiet| quiet.min(poked)))
            }
        };
        (quiet, poked)
    }

    /// Whether it may lack a key that has been published for this long.
    pub fn may_lack(&self, published_for: Duration) -> bool {
        let age = match (self.unknown_kid, self.cache) {
            // It looks again for a key that it lacks, unless it has just looked.
            (Refetch(pause), _) => Some(pause),
            (Reject | RejectAndRefetch(_), Set(life) | EachKey(life)) => Some(life),
            (Reject | RejectAndRefetch(_), SetForEver | EachKeyForEver | EachKeyOverSet(_)) => None,
        };
        // A JWKS is kept on the way as long as we allow.
        age.is_none_or(|age| published_for < age + MAX_AGE)
    }

    /// How long it may reject a good token whose key was published at the moment of signing; `None` for as long as it runs.
    pub fn learns_within(&self) -> Option<Duration> {
        match (self.unknown_kid, self.cache) {
            (Refetch(pause) | RejectAndRefetch(pause), _) => Some(pause + MAX_AGE),
            (Reject, Set(life) | EachKey(life)) => Some(life + MAX_AGE),
            (Reject, SetForEver | EachKeyForEver | EachKeyOverSet(_)) => None,
        }
    }
}
