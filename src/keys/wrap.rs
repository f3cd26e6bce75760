//! Private halves at rest: AES-256-GCM under a key derived from the master key, bound to the key's name, its purpose and
//! the master key's version, so that no two rows can be swapped (ASVS 11.3.3). A key for another algorithm than RS256 is bound
//! to that, too: nothing that does not know of it can sign with it. A standby is under a key of its own, so
//! that whoever gets hold of what opens the active key has not got the one that will replace it. The row of a verify-only
//! key holds its thumbprint instead: proof that we wrote the row.

use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

use super::generate::KeyPair;
use super::jwks::thumbprint;
use super::master::{MasterKey, Purpose};
use super::{KeysError, sign};
use crate::clock::Timestamp;
use crate::protocol::jose::OwnAlgorithm;
use crate::store::signing_keys::{KeyOrigin, KeyState, StoredKey};

fn purpose_of(key: &StoredKey) -> Purpose {
    match (key.origin, key.state) {
        (KeyOrigin::VerifyOnly, _) => Purpose::VerifyOnlyProof,
        (_, KeyState::Standby) => Purpose::StandbyKeyWrap,
        (_, KeyState::Active | KeyState::Retiring | KeyState::Retired | KeyState::Compromised) => {
            Purpose::SigningKeyWrap
        }
    }
}

fn aad(key: &StoredKey, purpose: Purpose, version: u8) -> Vec<u8> {
    let purpose = match purpose {
        Purpose::StandbyKeyWrap => "standby_key",
        Purpose::VerifyOnlyProof => "verify_only_key",
        Purpose::SigningKeyWrap
        | Purpose::VersionCheck
        | Purpose::RefreshTokenMac
        | Purpose::ClientSecretHash
        | Purpose::LoginAttemptKey
        | Purpose::AuthorizationCodeMac
        | Purpose::DeviceCodeMac
        | Purpose::UserCodeMac
        | Purpose::FormMac
        | Purpose::RememberedMac
        | Purpose::DpopNonceMac => "signing_key",
    };
    let bound = format!("{}|{purpose}|{version}", key.kid);
    match key.algorithm {
        // As it was when there was no other.
        OwnAlgorithm::Rs256 => bound.into_bytes(),
        OwnAlgorithm::Ps256 => format!("{bound}|PS256").into_bytes(),
    }
}

fn cipher(master: &MasterKey, version: u8, purpose: Purpose) -> Option<RandomizedNonceKey> {
    let key = master.derive(version, purpose)?;
    RandomizedNonceKey::new(&AES_256_GCM, key.expose()).ok()
}

/// Encrypts `plain` for a row under the version of the master key that is in force.
fn seal(master: &MasterKey, key: StoredKey, purpose: Purpose, plain: &[u8]) -> Result<StoredKey, KeysError> {
    let unusable = |why| KeysError::Unusable { kid: key.kid.clone(), why };
    let version = master.version();
    // Room for the tag from the start, so that the plain key is not left behind in a smaller allocation.
    let mut sealed = Vec::with_capacity(plain.len() + AES_256_GCM.tag_len());
    sealed.extend_from_slice(plain);
    let nonce = cipher(master, version, purpose)
        .ok_or_else(|| unusable("no cipher"))?
        .seal_in_place_append_tag(Aad::from(aad(&key, purpose, version)), &mut sealed)
        .map_err(|_| unusable("it cannot be encrypted"))?;
    let mut wrapped = nonce.as_ref().to_vec();
    wrapped.append(&mut sealed);
    Ok(StoredKey { wrapped: Some(wrapped), key_version: version, ..key })
}

fn open(master: &MasterKey, key: &StoredKey, purpose: Purpose) -> Result<Zeroizing<Vec<u8>>, KeysError> {
    let wrong = || KeysError::WrongMasterKey { kid: key.kid.clone() };
    let gone = || KeysError::Unusable { kid: key.kid.clone(), why: "its private half is gone" };
    let wrapped = key.wrapped.as_ref().ok_or_else(gone)?;
    let (nonce, sealed) = wrapped.split_at_checked(NONCE_LEN).ok_or_else(wrong)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| wrong())?;
    let mut opened = Zeroizing::new(sealed.to_vec());
    let length = cipher(master, key.key_version, purpose)
        .ok_or_else(wrong)?
        .open_in_place(nonce, Aad::from(aad(key, purpose, key.key_version)), &mut opened)
        .map_err(|_| wrong())?
        .len();
    opened.truncate(length);
    Ok(opened)
}

/// A row not yet stored: its position and instants are the database's to say.
fn unstored(kid: String, key: &KeyPair, state: KeyState, (origin, algorithm): (KeyOrigin, OwnAlgorithm)) -> StoredKey {
    StoredKey {
        kid,
        position: 0,
        state,
        origin,
        algorithm,
        modulus: key.modulus.clone(),
        exponent: key.exponent.clone(),
        wrapped: None,
        key_version: 0,
        published_at: Timestamp::from_micros(0),
        activated_at: None,
        retiring_at: None,
        ended_at: None,
        longest_life: Duration::ZERO,
    }
}

/// The row of a key with its private half, after seeing it sign and verify.
pub(super) fn stored(
    master: &MasterKey,
    key: &KeyPair,
    state: KeyState,
    made: (KeyOrigin, OwnAlgorithm),
) -> Result<StoredKey, KeysError> {
    let row = unstored(thumbprint(&key.modulus, &key.exponent), key, state, made);
    let purpose = purpose_of(&row);
    let row = seal(master, row, purpose, &key.pkcs8)?;
    see_it_work(master, &row)?;
    Ok(row)
}

/// The row of a key that only verifies, under the name that its issuer gave it; nothing that it signed lives longer than
/// `longest_life`.
pub(super) fn verify_only(
    master: &MasterKey,
    (kid, algorithm): (&str, OwnAlgorithm),
    (modulus, exponent): (Vec<u8>, Vec<u8>),
    longest_life: Duration,
) -> Result<StoredKey, KeysError> {
    let proof = thumbprint(&modulus, &exponent);
    let key = KeyPair { pkcs8: Zeroizing::new(Vec::new()), modulus, exponent };
    let row = unstored(kid.to_owned(), &key, KeyState::Retiring, (KeyOrigin::VerifyOnly, algorithm));
    seal(master, StoredKey { longest_life, ..row }, Purpose::VerifyOnlyProof, proof.as_bytes())
}

/// Opens a published key and sees it sign what its public half verifies; `None` when it only verifies. Every published
/// key must open under our master key, whether it signs or not: a row that someone else wrote would let them sign for
/// every verifier.
pub(super) fn see_it_work(master: &MasterKey, key: &StoredKey) -> Result<Option<sign::ParsedKey>, KeysError> {
    let opened = open(master, key, purpose_of(key))?;
    if key.origin != KeyOrigin::VerifyOnly {
        return sign::ParsedKey::new(key, &opened).map(Some);
    }
    if key.state == KeyState::Retiring && opened.as_slice() == thumbprint(&key.modulus, &key.exponent).as_bytes() {
        return Ok(None);
    }
    Err(KeysError::Unusable { kid: key.kid.clone(), why: "its public half is not the one that was imported" })
}

/// The row encrypted under the version of the master key that is in force.
pub(super) fn renew(master: &MasterKey, key: StoredKey) -> Result<StoredKey, KeysError> {
    let purpose = purpose_of(&key);
    let opened = open(master, &key, purpose)?;
    seal(master, key, purpose, &opened)
}

/// The row with its private half encrypted as that of a key in use, after seeing it sign and verify.
pub(super) fn promote(master: &MasterKey, standby: StoredKey) -> Result<StoredKey, KeysError> {
    see_it_work(master, &standby)?;
    let opened = open(master, &standby, Purpose::StandbyKeyWrap)?;
    seal(master, standby, Purpose::SigningKeyWrap, &opened)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::generate;
    use crate::secret::Random;

    fn master_key() -> MasterKey {
        let folder = tempfile::tempdir().unwrap();
        MasterKey::load_or_create(&folder.path().join("master.key"), &Random, true).unwrap()
    }

    const RS256: (KeyOrigin, OwnAlgorithm) = (KeyOrigin::Generated, OwnAlgorithm::Rs256);

    fn rows(master: &MasterKey) -> [StoredKey; 2] {
        let key = generate::generate(2048).unwrap();
        let public = (key.modulus.clone(), key.exponent.clone());
        [
            stored(master, &key, KeyState::Active, RS256).unwrap(),
            verify_only(master, ("theirs", OwnAlgorithm::Rs256), public, Duration::from_hours(1)).unwrap(),
        ]
    }

    #[test]
    fn no_bit_of_a_row_can_be_flipped() {
        let master = master_key();
        for row in rows(&master) {
            see_it_work(&master, &row).unwrap();
            let lengths = [row.wrapped.as_ref().unwrap().len(), row.modulus.len(), row.exponent.len()];
            for (column, length) in lengths.into_iter().enumerate() {
                for bit in 0..length * 8 {
                    let mut flipped = row.clone();
                    let columns = [flipped.wrapped.as_mut().unwrap(), &mut flipped.modulus, &mut flipped.exponent];
                    columns.into_iter().nth(column).unwrap()[bit / 8] ^= 1 << (bit % 8);
                    assert!(see_it_work(&master, &flipped).is_err(), "column {column}, bit {bit} of {length} bytes");
                }
            }
        }
    }

    #[test]
    fn a_row_is_what_it_was_sealed_as() {
        let master = master_key();
        let [active, verify_only] = rows(&master);
        let otherwise: [fn(StoredKey) -> StoredKey; 6] = [
            |row| StoredKey { kid: "another".to_owned(), ..row },
            |row| StoredKey { key_version: row.key_version + 1, ..row },
            |row| StoredKey { algorithm: OwnAlgorithm::Ps256, ..row },
            |row| StoredKey { wrapped: None, ..row },
            |row| StoredKey { wrapped: Some(Vec::new()), ..row },
            |row| StoredKey {
                origin: if row.origin == KeyOrigin::VerifyOnly { KeyOrigin::Generated } else { KeyOrigin::VerifyOnly },
                ..row
            },
        ];
        for change in otherwise {
            assert!(see_it_work(&master, &change(active.clone())).is_err());
            assert!(see_it_work(&master, &change(verify_only.clone())).is_err());
        }
        let key = generate::generate(2048).unwrap();
        let ps256 = stored(&master, &key, KeyState::Active, (KeyOrigin::Generated, OwnAlgorithm::Ps256)).unwrap();
        see_it_work(&master, &ps256).unwrap();
        assert!(see_it_work(&master, &StoredKey { algorithm: OwnAlgorithm::Rs256, ..ps256 }).is_err());
        // A key that stands by is under another key than one that signs.
        assert!(see_it_work(&master, &StoredKey { state: KeyState::Standby, ..active.clone() }).is_err());
        assert!(promote(&master, active).is_err());
        let key = generate::generate(2048).unwrap();
        let standby = stored(&master, &key, KeyState::Standby, RS256).unwrap();
        assert!(see_it_work(&master, &StoredKey { state: KeyState::Active, ..standby.clone() }).is_err());
        let promoted = StoredKey { state: KeyState::Active, ..promote(&master, standby).unwrap() };
        see_it_work(&master, &promoted).unwrap();
    }
}
