//! Password hashes: Argon2id (RFC 9106) in PHC strings. The door to `argon2`. Hashing works in memory that its thread
//! keeps, because allocating 19 MiB anew for each hash costs a tenth of it.
//!
//! Passwords are compared in Unicode form NFC, so that one typed on another keyboard still fits (NIST SP 800-63B-4
//! §3.1.1.2).

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, Version};
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

use crate::secret::{Digest, PlainSecret, Random};
use crate::settings::Passwords;

/// The most that a stored hash may ask of us: 256 MiB and ten passes.
const MAX_MEMORY_KIB: u32 = 262_144;
const MAX_ITERATIONS: u32 = 10;

/// Why there is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The system has no memory to give.
    #[error("no memory for a password hash")]
    NoMemory,
    /// The stored string is no Argon2id hash that we would compute.
    #[error("the stored password hash cannot be used")]
    Unusable,
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The password is the one.
    Match {
        /// Whether the hash was made with other parameters than new ones are.
        outdated: bool,
    },
    /// It is another.
    Mismatch,
}

/// The memory of one hashing thread.
#[derive(Default)]
pub struct HashMemory {
    blocks: Vec<Block>,
}

impl HashMemory {
    fn of(&mut self, params: &Params) -> Result<&mut [Block], HashError> {
        let wanted = params.block_count();
        if let Some(more) = wanted.checked_sub(self.blocks.len()) {
            self.blocks.try_reserve_exact(more).map_err(|_| HashError::NoMemory)?;
            self.blocks.resize(wanted, Block::new());
        }
        self.blocks.get_mut(..wanted).ok_or(HashError::NoMemory)
    }
}

/// Hashes and checks with the configured parameters.
pub struct Hasher {
    params: Params,
    nobody: String,
}

impl Hasher {
    /// A hasher, with a hash of nobody's password for log-ins under unknown names.
    ///
    /// # Errors
    /// [`HashError`]; settings that passed their checks do not cause it.
    pub fn new(settings: &Passwords, random: &Random) -> Result<Self, HashError> {
        let params = Params::new(settings.memory_kib, settings.iterations, settings.parallelism, Some(32))
            .map_err(|_| HashError::Unusable)?;
        let salt = Salt::new(&random.bytes::<16>()).map_err(|_| HashError::Unusable)?;
        // Any 32 bytes will do: whatever is typed, it is not the preimage of random bytes.
        let nobody = phc(&params, salt, &random.bytes::<32>())?;
        Ok(Self { params, nobody })
    }

    /// The PHC string of a new password.
    ///
    /// # Errors
    /// [`HashError::NoMemory`].
    pub fn hash(&self, memory: &mut HashMemory, random: &Random, password: &PlainSecret) -> Result<String, HashError> {
        let salt = random.bytes::<16>();
        let mut output = Zeroizing::new([0; 32]);
        compute(&self.params, memory, password, &salt, &mut output)?;
        phc(&self.params, Salt::new(&salt).map_err(|_| HashError::Unusable)?, output.as_slice())
    }

    /// Compares a password with a stored hash. With `None`, for a name that nobody has, the same work is done and the
    /// answer is [`Verdict::Mismatch`] (ASVS 6.3.8).
    ///
    /// # Errors
    /// [`HashError`].
    pub fn verify(
        &self,
        memory: &mut HashMemory,
        password: &PlainSecret,
        stored: Option<&str>,
    ) -> Result<Verdict, HashError> {
        let parsed = PasswordHash::new(stored.unwrap_or(&self.nobody)).map_err(|_| HashError::Unusable)?;
        let params = Params::try_from(&parsed).map_err(|_| HashError::Unusable)?;
        let affordable =
            params.m_cost() <= MAX_MEMORY_KIB && params.t_cost() <= MAX_ITERATIONS && params.p_cost() <= 16;
        let current_version = parsed.version == Some(Version::V0x13.into());
        if parsed.algorithm != ARGON2ID_IDENT || !current_version || !affordable {
            return Err(HashError::Unusable);
        }
        let salt = parsed.salt.ok_or(HashError::Unusable)?;
        let expected =
            parsed.hash.as_ref().map(Output::as_bytes).and_then(Digest::from_slice).ok_or(HashError::Unusable)?;
        let mut output = Zeroizing::new([0; 32]);
        compute(&params, memory, password, &salt, &mut output)?;
        // ASVS 11.2.4: digests compare in constant time.
        if Digest::from_slice(output.as_slice()) != Some(expected) || stored.is_none() {
            return Ok(Verdict::Mismatch);
        }
        let (was, is) = (&params, &self.params);
        let outdated = (was.m_cost(), was.t_cost(), was.p_cost()) != (is.m_cost(), is.t_cost(), is.p_cost());
        Ok(Verdict::Match { outdated })
    }
}

fn compute(
    params: &Params,
    memory: &mut HashMemory,
    password: &PlainSecret,
    salt: &[u8],
    output: &mut [u8; 32],
) -> Result<(), HashError> {
    let password = Zeroizing::new(password.expose().nfc().collect::<String>());
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    argon2
        .hash_password_into_with_memory(password.as_bytes(), salt, output, memory.of(params)?)
        .map_err(|_| HashError::Unusable)
}

fn phc(params: &Params, salt: Salt, output: &[u8]) -> Result<String, HashError> {
    let unusable = |_| HashError::Unusable;
    let hash = PasswordHash {
        algorithm: ARGON2ID_IDENT,
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params).map_err(|_| HashError::Unusable)?,
        salt: Some(salt),
        hash: Some(Output::new(output).map_err(unusable)?),
    };
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hasher(memory_kib: u32) -> Hasher {
        let settings = Passwords { min_length: 15, memory_kib, iterations: 2, parallelism: 1, threads: 1, queue: 1 };
        Hasher::new(&settings, &Random).unwrap()
    }

    #[test]
    fn a_password_fits_its_own_hash_only() {
        let (hasher, mut memory) = (hasher(19_456), HashMemory::default());
        let hash = hasher.hash(&mut memory, &Random, &PlainSecret::new("caf\u{e9}")).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let mut verify = |password: &str, stored| hasher.verify(&mut memory, &PlainSecret::new(password), stored);
        assert_eq!(verify("cafe\u{301}", Some(&hash)), Ok(Verdict::Match { outdated: false }));
        assert_eq!(verify("cafe", Some(&hash)), Ok(Verdict::Mismatch));
        assert_eq!(verify("caf\u{e9}", None), Ok(Verdict::Mismatch));
    }

    #[test]
    fn a_hash_of_other_parameters_is_outdated() {
        let mut memory = HashMemory::default();
        let password = PlainSecret::new("some password");
        let hash = hasher(8192).hash(&mut memory, &Random, &password).unwrap();
        assert_eq!(hasher(19_456).verify(&mut memory, &password, Some(&hash)), Ok(Verdict::Match { outdated: true }));
    }

    #[test]
    fn the_argon2id_vector_of_libargon2_verifies() {
        // argon2 reference implementation, test.c: version 0x13, t=2, m=65536, p=1, "password", "somesalt".
        let stored = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let mut memory = HashMemory::default();
        let verdict = hasher(19_456).verify(&mut memory, &PlainSecret::new("password"), Some(stored));
        assert_eq!(verdict, Ok(Verdict::Match { outdated: true }));
    }

    #[test]
    fn a_foreign_or_absurd_hash_is_refused_without_work() {
        let (hasher, mut memory) = (hasher(19_456), HashMemory::default());
        for stored in [
            "",
            "x",
            "$2b$12$abcdefghijklmnopqrstuuT5WQ9Uq7ryb0w2QWlHk5wNnJb2Yx2e",
            "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA",
            "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=19$m=65536,t=99,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ",
        ] {
            let verdict = hasher.verify(&mut memory, &PlainSecret::new("password"), Some(stored));
            assert_eq!(verdict, Err(HashError::Unusable), "{stored}");
        }
    }
}
