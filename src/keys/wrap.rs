//! Private halves at rest: AES-256-GCM under a key derived from the master key, bound to the key's name, its purpose and
//! the master key's version, so that no two rows can be swapped (ASVS 11.3.3).

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

use super::generate::GeneratedKey;
use super::jwks::thumbprint;
use super::master::{MasterKey, Purpose};
use super::{KeysError, sign};
use crate::clock::Timestamp;
use crate::store::signing_keys::{KeyState, StoredKey};

fn aad(kid: &str, version: u8) -> Vec<u8> {
    format!("{kid}|signing_key|{version}").into_bytes()
}

fn cipher(master: &MasterKey, version: u8) -> Option<RandomizedNonceKey> {
    let key = master.derive(version, Purpose::SigningKeyWrap)?;
    RandomizedNonceKey::new(&AES_256_GCM, key.expose()).ok()
}

/// The row of a new key, after seeing it sign and verify.
pub(super) fn stored(
    master: &MasterKey,
    key: &GeneratedKey,
    (position, state): (u32, KeyState),
    now: Timestamp,
) -> Result<StoredKey, KeysError> {
    let kid = thumbprint(&key.modulus, &key.exponent);
    let unusable = |why| KeysError::Unusable { kid: kid.clone(), why };
    let version = master.version();
    // Room for the tag from the start, so that the plain key is not left behind in a smaller allocation.
    let mut sealed = Vec::with_capacity(key.pkcs8.len() + AES_256_GCM.tag_len());
    sealed.extend_from_slice(&key.pkcs8);
    let nonce = cipher(master, version)
        .ok_or_else(|| unusable("no cipher"))?
        .seal_in_place_append_tag(Aad::from(aad(&kid, version)), &mut sealed)
        .map_err(|_| unusable("it cannot be encrypted"))?;
    let mut wrapped = nonce.as_ref().to_vec();
    wrapped.append(&mut sealed);
    let stored = StoredKey {
        kid: kid.clone(),
        position,
        state,
        modulus: key.modulus.clone(),
        exponent: key.exponent.clone(),
        wrapped: Some(wrapped),
        key_version: version,
        published_at: now,
        activated_at: (state == KeyState::Active).then_some(now),
    };
    sign::ActiveKey::new(&stored, unwrap(master, &stored)?)?;
    Ok(stored)
}

/// The private half of a row, as PKCS#8 DER.
pub(super) fn unwrap(master: &MasterKey, key: &StoredKey) -> Result<Zeroizing<Vec<u8>>, KeysError> {
    let wrong = || KeysError::WrongMasterKey { kid: key.kid.clone() };
    let gone = || KeysError::Unusable { kid: key.kid.clone(), why: "its private half is gone" };
    let wrapped = key.wrapped.as_ref().ok_or_else(gone)?;
    let (nonce, sealed) = wrapped.split_at_checked(NONCE_LEN).ok_or_else(wrong)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| wrong())?;
    let mut opened = Zeroizing::new(sealed.to_vec());
    let length = cipher(master, key.key_version)
        .ok_or_else(wrong)?
        .open_in_place(nonce, Aad::from(aad(&key.kid, key.key_version)), &mut opened)
        .map_err(|_| wrong())?
        .len();
    opened.truncate(length);
    Ok(opened)
}
