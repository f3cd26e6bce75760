//! Lists of any bytes: none is unpacked beyond its bound, none is taken that the issuer did not sign.
#![no_main]

use std::sync::LazyLock;

use countersign_verifier::status::Follower;
use countersign_verifier::status_list::{self, LIST_BYTES};
use countersign_verifier::testing::TestIssuer;
use countersign_verifier::KeySet;
use libfuzzer_sys::fuzz_target;

static KEYS: LazyLock<(String, KeySet)> = LazyLock::new(|| {
    let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    (issuer.status_list(), KeySet::parse(issuer.jwks().as_bytes()).unwrap())
});

fuzz_target!(|bytes: &[u8]| {
    let (signed, keys) = &*KEYS;
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(bits) = status_list::decode(text, LIST_BYTES) {
        assert!(bits.len() <= LIST_BYTES);
    }
    let mut parts = signed.split('.');
    let (header, payload, signature) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    for token in [text.to_owned(), format!("{header}.{text}.{signature}"), format!("{header}.{payload}.{text}")] {
        let taken = Follower::new("https://as.example").take_list(0, &token, keys).is_ok();
        assert!(!taken || token == *signed);
    }
});
