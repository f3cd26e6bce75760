//! The master key: a file that only its owner may read, and the keys derived from it, one for each purpose (RFC 5869).

use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroizing;

use crate::secret::{PlainSecret, PurposeKey, Random, decode_base64url, encode_base64url};
use crate::store::instances::MasterKeySeen;

/// The most bytes that a master key file may have.
const MAX_FILE_BYTES: u64 = 16 * 1024;
/// How the names of files begin that are not whole yet.
const TEMPORARY: &str = ".master.key.";
/// How many random bytes follow.
const TEMPORARY_BYTES: usize = 9;
/// The fewest different bytes among the 32 of a key; random ones have 25 or more but for one in 10^13.
const MIN_DISTINCT_BYTES: usize = 16;

/// Why a master key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The file cannot be read or made.
    #[error("the master key {path} cannot be used: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read it.
    #[error("the master key {path} may be read by others (mode {mode:o}); it must have mode 600 or 400")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Not the form that we write.
    #[error("the master key {path} is malformed: each line must be a version (1 to 255) and 32 bytes in base64url")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// Not random.
    #[error("the master key {path} is weak: its 32 bytes are not random")]
    Weak {
        /// The file.
        path: PathBuf,
    },
    /// Another command changes it.
    #[error("the master key {path} is being changed by another command: wait for it")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// There is none, but there are keys that were encrypted under one.
    #[error("there is no master key at {path}, but the database holds keys encrypted under one: restore the file")]
    Lost {
        /// The file.
        path: PathBuf,
    },
}

/// What a derived key is for. Keys of different purposes have nothing in common (ASVS 11.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Encrypts the private halves of signing keys in use.
    SigningKeyWrap,
    /// Encrypts the private half of the key that will take over.
    StandbyKeyWrap,
    /// Tells two master keys of one version apart.
    VersionCheck,
    /// Proves that we wrote the row of a key that only verifies.
    VerifyOnlyProof,
    /// Authenticates refresh tokens.
    RefreshTokenMac,
    /// Hashes client secrets.
    ClientSecretHash,
    /// Hashes the names and networks whose log-ins are counted.
    LoginAttemptKey,
    /// Authenticates authorization codes.
    AuthorizationCodeMac,
    /// Authenticates device codes.
    DeviceCodeMac,
    /// Hashes the codes that people type for their devices.
    UserCodeMac,
    /// Binds the forms of our pages to the browser that they were shown in.
    FormMac,
    /// Makes the next secret of what a browser remembers from the one before.
    RememberedMac,
    /// Authenticates the nonces of DPoP proofs.
    DpopNonceMac,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::SigningKeyWrap => b"countersign signing key wrap",
            Self::StandbyKeyWrap => b"countersign standby key wrap",
            Self::VersionCheck => b"countersign master key check",
            Self::VerifyOnlyProof => b"countersign verify-only key proof",
            Self::RefreshTokenMac => b"countersign refresh token mac",
            Self::ClientSecretHash => b"countersign client secret hash",
            Self::LoginAttemptKey => b"countersign login attempt key",
            Self::AuthorizationCodeMac => b"countersign authorization code mac",
            Self::DeviceCodeMac => b"countersign device code mac",
            Self::UserCodeMac => b"countersign user code mac",
            Self::FormMac => b"countersign form mac",
            Self::RememberedMac => b"countersign remembered mac",
            Self::DpopNonceMac => b"countersign dpop nonce mac",
        }
    }
}

/// All versions of the master key that we have. One makes new things, all open old ones: a newer version waits until every
/// instance has it.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    versions: Vec<(u8, Zeroizing<[u8; 32]>)>,
    in_force: u8,
}

struct KeyLength;

impl KeyType for KeyLength {
    fn len(&self) -> usize {
        32
    }
}

impl MasterKey {
    /// Reads the file; `None` when there is none.
    ///
    /// # Errors
    /// [`MasterKeyError`] when it is exposed, malformed, weak or unreadable.
    pub fn load(path: &Path) -> Result<Option<Self>, MasterKeyError> {
        let failed = |source| MasterKeyError::Io { path: path.to_owned(), source };
        // ASVS 13.3.2: a link is not followed; whoever can plant one could choose the key.
        let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let file = match OpenOptions::new().read(true).custom_flags(no_follow).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mode = file.metadata().map_err(failed)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(MasterKeyError::Exposed { path: path.to_owned(), mode });
        }
        // As large as it can be from the start, so that no part is left behind in a smaller allocation.
        let mut text = Zeroizing::new(String::with_capacity(usize::try_from(MAX_FILE_BYTES).unwrap_or(0)));
        file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(failed)?;
        Self::parse(&text, path).map(Some)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, MasterKeyError> {
        let malformed = || MasterKeyError::Malformed { path: path.to_owned() };
        let mut versions: Vec<(u8, Zeroizing<[u8; 32]>)> = Vec::new();
        for line in text.split(['\n', ',']).filter(|line| !line.trim().is_empty()) {
            let (version, encoded) = line.trim().split_once(' ').ok_or_else(malformed)?;
            let version: u8 = version.parse().map_err(|_| malformed())?;
            let bytes = Zeroizing::new(decode_base64url(encoded.trim()).ok_or_else(malformed)?);
            let key: [u8; 32] = bytes.as_slice().try_into().map_err(|_| malformed())?;
            if version == 0 || versions.iter().any(|(seen, _)| *seen == version) {
                return Err(malformed());
            }
            let mut distinct = key;
            distinct.sort_unstable();
            let distinct_bytes = 1 + distinct.windows(2).filter(|pair| pair.first() != pair.last()).count();
            // ASVS 13.2.3: a key typed by hand, counted up or copied from an example is no key.
            let counted = key.windows(2).all(|pair| matches!(pair, [a, b] if b.wrapping_sub(*a) == 1));
            if distinct_bytes < MIN_DISTINCT_BYTES || counted || key.is_ascii() {
                return Err(MasterKeyError::Weak { path: path.to_owned() });
            }
            versions.push((version, Zeroizing::new(key)));
        }
        versions.sort_by_key(|(version, _)| *version);
        let in_force = versions.last().map(|(version, _)| *version).ok_or_else(malformed)?;
        Ok(Self { versions, in_force })
    }

    /// Reads the file, or makes one if `may_create`.
    ///
    /// # Errors
    /// [`MasterKeyError`]; [`MasterKeyError::Lost`] when there is none and none may be made.
    pub fn load_or_create(path: &Path, random: &Random, may_create: bool) -> Result<Self, MasterKeyError> {
        if let Some(key) = Self::load(path)? {
            return Ok(key);
        }
        let lost = || MasterKeyError::Lost { path: path.to_owned() };
        if !may_create {
            return Err(lost());
        }
        match create(path, random) {
            // Another instance on the same folder was quicker: its key is the one.
            Err(MasterKeyError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
            outcome => outcome?,
        }
        Self::load(path)?.ok_or_else(lost)
    }

    /// From a setting: lines as in the file, divided by commas or line breaks.
    ///
    /// # Errors
    /// [`MasterKeyError`] when it is malformed or weak.
    pub fn from_setting(text: &PlainSecret) -> Result<Self, MasterKeyError> {
        Self::parse(text.expose(), Path::new("keys.master_key"))
    }

    /// The version that makes new things.
    pub fn version(&self) -> u8 {
        self.in_force
    }

    /// The newest version.
    pub fn newest(&self) -> u8 {
        self.versions.last().map_or(0, |(version, _)| *version)
    }

    /// The newest version, and a number that follows from it and tells nothing of it.
    pub fn seen(&self) -> MasterKeySeen {
        let version = self.newest();
        let derived = self.derive(version, Purpose::VersionCheck);
        let bytes = derived.as_ref().and_then(|key| key.expose().first_chunk()).copied().unwrap_or_default();
        MasterKeySeen { version, check: i64::from_be_bytes(bytes) }
    }

    /// The same versions, of which this one makes new things, if it is there.
    #[must_use]
    pub fn put_in_force(&self, version: u8) -> Self {
        let known = self.versions.iter().any(|(known, _)| *known == version);
        Self { in_force: if known { version } else { self.in_force }, ..self.clone() }
    }

    /// Whether these are the same keys, whichever is in force.
    pub fn has_the_versions_of(&self, other: &Self) -> bool {
        self.versions == other.versions
    }

    /// The key for a purpose under a version; `None` when there is no such version.
    pub fn derive(&self, version: u8, purpose: Purpose) -> Option<PurposeKey> {
        let (_, key) = self.versions.iter().find(|(known, _)| *known == version)?;
        let mut derived = Zeroizing::new([0; 32]);
        let secret = Salt::new(HKDF_SHA256, b"").extract(key.as_slice());
        secret.expand(&[purpose.label()], KeyLength).ok()?.fill(derived.as_mut_slice()).ok()?;
        Some(PurposeKey::new(*derived))
    }

    /// The key for a purpose under every version, the one that makes new things last.
    pub fn derive_all(&self, purpose: Purpose) -> Vec<(u8, PurposeKey)> {
        let others = self.versions.iter().map(|(version, _)| *version).filter(|version| *version != self.in_force);
        let all = others.chain([self.in_force]);
        all.filter_map(|version| Some((version, self.derive(version, purpose)?))).collect()
    }
}

/// Adds the version that follows `newest` to a master key file, unless somebody else just has; the file is the old one or
/// the new one, never half of it (ASVS 13.3.2).
pub(super) fn add_version(path: &Path, newest: u8, random: &Random) -> Result<(), MasterKeyError> {
    let failed = |source| MasterKeyError::Io { path: path.to_owned(), source };
    // Given back when it is closed. The file itself is replaced, so that its folder is what all agree on.
    let folder = fs::File::open(folder_of(path)).map_err(failed)?;
    folder.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => MasterKeyError::Locked { path: path.to_owned() },
        TryLockError::Error(source) => failed(source),
    })?;
    let known = MasterKey::load(path)?.ok_or_else(|| MasterKeyError::Lost { path: path.to_owned() })?;
    if known.newest() > newest {
        return Ok(());
    }
    let version = newest.checked_add(1).ok_or_else(|| MasterKeyError::Malformed { path: path.to_owned() })?;
    let fresh = Zeroizing::new(random.bytes::<32>());
    let mut text = Zeroizing::new(String::with_capacity(64 * (known.versions.len() + 1)));
    for (version, key) in known.versions.iter().chain([&(version, fresh)]) {
        text.push_str(&Zeroizing::new(format!("{version} {}\n", encode_base64url(key.as_slice()))));
    }
    let write = || -> io::Result<()> {
        let owner = fs::metadata(path)?;
        let temporary = write_temporary(folder_of(path), &text, random)?;
        let replaced = hand_over(&temporary, &owner).and_then(|()| fs::rename(&temporary, path));
        if let Err(error) = replaced {
            drop(fs::remove_file(&temporary));
            return Err(error);
        }
        folder.sync_all()
    };
    write().map_err(failed)?;
    // What stays is no more than what is in the file.
    drop(remove_leftovers(path));
    Ok(())
}

/// It stays the server's file, whoever runs the command. Its group may not read it, so that one that we may not give stays ours.
fn hand_over(file: &Path, owner: &fs::Metadata) -> io::Result<()> {
    let opened = fs::File::open(file)?;
    if opened.metadata()?.uid() != owner.uid() {
        fchown(&opened, Some(owner.uid()), None)?;
    }
    drop(fchown(&opened, None, Some(owner.gid())));
    Ok(())
}

/// Removes what commands left that were killed, and nothing that only looks like it.
fn remove_leftovers(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder_of(path))? {
        let entry = entry?;
        let name = entry.file_name();
        let random = name.to_str().and_then(|name| name.strip_prefix(TEMPORARY));
        let is_ours = random.and_then(decode_base64url).is_some_and(|bytes| bytes.len() == TEMPORARY_BYTES);
        if is_ours && entry.file_type()?.is_file() && Some(name.as_os_str()) != path.file_name() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a file that only its owner may read, and waits until it is on the disk.
fn write_temporary(folder: &Path, text: &str, random: &Random) -> io::Result<PathBuf> {
    let temporary = folder.join(format!("{TEMPORARY}{}", encode_base64url(&random.bytes::<TEMPORARY_BYTES>())));
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written {
        drop(fs::remove_file(&temporary));
        return Err(error);
    }
    Ok(temporary)
}

/// Writes a new master key so that the file is whole or not there at all, and never replaces one.
pub(super) fn create(path: &Path, random: &Random) -> Result<(), MasterKeyError> {
    let write = || -> io::Result<()> {
        let folder = folder_of(path);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let key = Zeroizing::new(random.bytes::<32>());
        let line = Zeroizing::new(format!("1 {}\n", encode_base64url(key.as_slice())));
        let temporary = write_temporary(folder, &line, random)?;
        let linked = fs::hard_link(&temporary, path).and_then(|()| fs::File::open(folder)?.sync_all());
        fs::remove_file(&temporary)?;
        linked
    };
    write().map_err(|source| MasterKeyError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<MasterKey, MasterKeyError> {
        MasterKey::parse(text, Path::new("master.key"))
    }

    fn line(version: u8, key: [u8; 32]) -> String {
        format!("{version} {}\n", encode_base64url(&key))
    }

    #[test]
    fn purposes_and_versions_derive_keys_that_have_nothing_in_common() {
        let master = parse(&(line(1, Random.bytes()) + &line(2, Random.bytes()))).unwrap();
        let purposes = [
            Purpose::SigningKeyWrap,
            Purpose::StandbyKeyWrap,
            Purpose::VersionCheck,
            Purpose::VerifyOnlyProof,
            Purpose::RefreshTokenMac,
            Purpose::ClientSecretHash,
            Purpose::LoginAttemptKey,
            Purpose::AuthorizationCodeMac,
            Purpose::DeviceCodeMac,
            Purpose::UserCodeMac,
            Purpose::FormMac,
            Purpose::RememberedMac,
        ];
        let mut keys: Vec<[u8; 32]> = Vec::new();
        for version in [1, 2] {
            keys.extend(purposes.map(|purpose| *master.derive(version, purpose).unwrap().expose()));
        }
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 2 * purposes.len());
        assert!(master.derive(3, Purpose::RefreshTokenMac).is_none());
        assert_eq!(master.version(), 2);
    }

    #[test]
    fn weak_and_malformed_keys_are_refused() {
        let mut counted = [0; 32];
        for (at, byte) in (0_u8..).zip(&mut counted) {
            *byte = at.wrapping_add(200);
        }
        for weak in [[0; 32], [0xff; 32], counted, *b"0123456789abcdefghijklmnopqrstuv"] {
            assert!(matches!(parse(&line(1, weak)), Err(MasterKeyError::Weak { .. })));
        }
        let good = encode_base64url(&Random.bytes::<32>());
        for text in
            ["", "1", &good, &format!("0 {good}"), &format!("256 {good}"), &format!("1 {good}\n1 {good}"), "1 AAAA"]
        {
            assert!(matches!(parse(text), Err(MasterKeyError::Malformed { .. })), "{text}");
        }
    }

    #[test]
    fn an_exposed_or_linked_key_is_refused_and_a_made_one_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/master.key");
        MasterKey::load_or_create(&path, &Random, true).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(create(&path, &Random).is_err(), "an existing key is never replaced");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no half-written file stays");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(MasterKey::load(&link), Err(MasterKeyError::Io { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(MasterKey::load(&path), Err(MasterKeyError::Exposed { mode: 0o644, .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let missing = MasterKey::load_or_create(&folder.path().join("none"), &Random, false);
        assert!(matches!(missing, Err(MasterKeyError::Lost { .. })));
    }

    #[test]
    fn a_version_is_added_to_the_file_alone_and_it_stays_its_owners() {
        const NOBODY: u32 = 65_534;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".master.key.prod");
        create(&path, &Random).unwrap();
        let is_root = rustix::process::getuid().is_root();
        if is_root {
            std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let owner = fs::metadata(&path).unwrap().uid();
        let [leftover, copy, deep] = [
            format!("{TEMPORARY}{}", encode_base64url(&[7; TEMPORARY_BYTES])),
            ".master.key.before-rewrap".to_owned(),
            ".master.key.d".to_owned(),
        ]
        .map(|name| folder.path().join(name));
        fs::write(&leftover, "").unwrap();
        fs::write(&copy, "").unwrap();
        fs::create_dir(&deep).unwrap();
        add_version(&path, 1, &Random).unwrap();
        assert_eq!(MasterKey::load(&path).unwrap().unwrap().newest(), 2);
        assert_eq!(fs::metadata(&path).unwrap().uid(), owner);
        assert_eq!(is_root, owner == NOBODY);
        assert!(!leftover.exists() && copy.exists() && deep.exists());
        let held = fs::File::open(folder.path()).unwrap();
        held.lock().unwrap();
        assert!(matches!(add_version(&path, 2, &Random), Err(MasterKeyError::Locked { .. })));
    }
}
