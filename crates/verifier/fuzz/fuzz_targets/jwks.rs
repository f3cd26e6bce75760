//! JWKS of any bytes: a set that is taken has a key.
#![no_main]

use countersign_verifier::KeySet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(keys) = KeySet::parse(bytes) {
        assert!((1..=16).contains(&keys.kids().count()));
        assert!(keys.kids().all(|kid| (1..=128).contains(&kid.len())));
    }
});
