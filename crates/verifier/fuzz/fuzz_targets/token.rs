//! Tokens of any bytes: nothing but what the issuer signed is accepted.
#![no_main]

use std::sync::LazyLock;

use countersign_verifier::testing::TestIssuer;
use countersign_verifier::{NoOtherClaims, Verifier, bearer};
use libfuzzer_sys::fuzz_target;

static GOOD: LazyLock<(String, Verifier)> = LazyLock::new(|| {
    let issuer = TestIssuer::new("https://as.example", "https://orders.example");
    (issuer.token().sub("usr_1").scope("read").sign(), issuer.verifier())
});

fuzz_target!(|bytes: &[u8]| {
    let (good, verifier) = &*GOOD;
    let _ = bearer([bytes]);
    if let Ok(text) = std::str::from_utf8(bytes) {
        // Parts of the good token, so that the fuzzer gets further than the first check.
        let mut parts = good.split('.');
        let (header, payload, signature) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        for token in [
            text.to_owned(),
            format!("{text}.{payload}.{signature}"),
            format!("{header}.{text}.{signature}"),
            format!("{header}.{payload}.{text}"),
        ] {
            let accepted = verifier.verify::<NoOtherClaims>(&token).is_ok();
            assert!(!accepted || token == *good);
        }
    }
});
