//! Proofs of any bytes, with paths of any bytes: nothing but what the holder of the key signed for that path is accepted.
#![no_main]

use std::sync::LazyLock;

use countersign_verifier::testing::{TestHolder, TestIssuer};
use countersign_verifier::{NoOtherClaims, Request, Verifier};
use libfuzzer_sys::fuzz_target;

static GOOD: LazyLock<(String, String, Verifier)> = LazyLock::new(|| {
    let (issuer, holder) = (TestIssuer::new("https://as.example", "https://orders.example"), TestHolder::new());
    let token = issuer.token().bound_to(&holder).sign();
    let proof = holder.proof("GET", "https://orders.example/orders", &token, issuer.now());
    (format!("DPoP {token}"), proof, issuer.verifier_with(|builder| builder.dpop("https://orders.example")))
});

fuzz_target!(|bytes: &[u8]| {
    let (authorization, good, verifier) = &*GOOD;
    let accepts = |path: &str, proof: &[u8]| {
        let request = Request::new("GET", path).authorization([authorization]).dpop([proof]);
        verifier.verify_request::<NoOtherClaims>(&request).is_ok()
    };
    assert!(!accepts("/orders", bytes) || bytes == good.as_bytes());
    if let Ok(text) = std::str::from_utf8(bytes) {
        // Parts of the good proof, so that the fuzzer gets further than the first check.
        let mut parts = good.split('.');
        let (header, payload, signature) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        for proof in [
            format!("{text}.{payload}.{signature}"),
            format!("{header}.{text}.{signature}"),
            format!("{header}.{payload}.{text}"),
        ] {
            assert!(!accepts("/orders", proof.as_bytes()) || proof == *good);
        }
        // Other spellings of the path are the same path; the proof is used up by the first of them.
        accepts(text, good.as_bytes());
    }
});
