//! The key file, and what is made of it: one key to encrypt what is kept, another to sign the tokens that are given out.
//!
//! The file holds 32 random bytes, beside the database unless told otherwise. It protects copies of the database alone
//! (back-ups, a disk that is given away): whoever can read both files, or the server's memory, can read everything.

use super::error::{StateError, io_at};
use super::place::{Place, create, private, remove};
use crate::ids::random;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use secrecy::zeroize::Zeroizing;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

const LENGTH: usize = 32;
/// The first byte of what is sealed: how it was.
const FORMAT: u8 = 1;

/// The two keys.
pub(super) struct Keys {
    sealing: LessSafeKey,
    signing: Zeroizing<[u8; LENGTH]>,
}

impl Keys {
    /// Reads the key file. One of our own is made where no database needs an older one.
    pub(super) fn open(place: &Place, given: Option<&Path>, has_database: bool) -> Result<(Self, PathBuf), StateError> {
        let path = match given {
            Some(path) => std::path::absolute(path).map_err(io_at(path))?,
            None => place.path("key"),
        };
        let exists = path.try_exists().map_err(io_at(&path))?;
        match (exists, given, has_database) {
            (false, None, false) => make(place, &path)?,
            (false, None, true) => {
                let dir = place.dir().display();
                let advice = format!("put it back, or move {dir} away to begin anew without what it holds");
                return Err(StateError::KeyMissing { path, advice });
            }
            (false, Some(_), _) => {
                let shown = path.display();
                let advice = format!("make one with `(umask 077; head -c 32 /dev/urandom > '{shown}')`");
                return Err(StateError::KeyMissing { path, advice });
            }
            (true, _, _) => {}
        }
        let bytes = read(&path)?;
        let keys = Self::derive(&bytes).ok_or(StateError::KeyLength { path: path.clone(), found: bytes.len() })?;
        Ok((keys, path))
    }

    fn derive(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != LENGTH {
            return None;
        }
        let prk = Salt::new(HKDF_SHA256, b"computesdk-server state 1").extract(bytes);
        let sealing = expand(&prk, b"seal")?;
        let sealing = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &*sealing).ok()?);
        Some(Self { sealing, signing: expand(&prk, b"sign")? })
    }

    /// The key for tokens. Not the one that encrypts.
    pub(super) fn signing(&self) -> &[u8; LENGTH] {
        &self.signing
    }

    /// Encrypts; only [`open_sealed`](Self::open_sealed) with the same `context` gets it back, so a value cannot be moved
    /// to another place in the database.
    pub(super) fn seal(&self, context: &[&str], plain: &[u8]) -> Vec<u8> {
        let nonce = random::<NONCE_LEN>();
        let mut body = Zeroizing::new(plain.to_vec());
        let aad = Aad::from(join(context));
        let tag = self.sealing.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, &mut body);
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + plain.len() + CHACHA20_POLY1305.tag_len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&nonce);
        // It fails for more than 256 GiB alone; then nothing is kept that could be read.
        if let Ok(tag) = tag {
            sealed.extend_from_slice(&body);
            sealed.extend_from_slice(tag.as_ref());
        }
        sealed
    }

    /// Decrypts; none for what was not sealed with this key and this context.
    pub(super) fn open_sealed(&self, context: &[&str], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, body) = sealed.strip_prefix(&[FORMAT])?.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = self.sealing.open_in_place(nonce, Aad::from(join(context)), &mut body).ok()?.len();
        body.truncate(length);
        Some(body)
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// Parts with their lengths before them, so that no two lists look the same.
fn join(parts: &[&str]) -> Vec<u8> {
    let mut joined = Vec::new();
    for part in parts {
        joined.extend_from_slice(&(part.len() as u64).to_le_bytes());
        joined.extend_from_slice(part.as_bytes());
    }
    joined
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        LENGTH
    }
}

fn expand(prk: &Prk, purpose: &[u8]) -> Option<Zeroizing<[u8; LENGTH]>> {
    let mut key = Zeroizing::new([0; LENGTH]);
    prk.expand(&[purpose], Length).ok()?.fill(&mut *key).ok()?;
    Some(key)
}

/// All of it or nothing, also after a crash.
fn make(place: &Place, path: &Path) -> Result<(), StateError> {
    let fresh = place.path("key.new");
    let key = Zeroizing::new(random::<LENGTH>());
    let write = || {
        remove(&fresh)?;
        let mut file = create(&fresh)?;
        file.write_all(&*key)?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    write().map_err(io_at(path))?;
    place.sync()
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, StateError> {
    let file = File::open(path).map_err(io_at(path))?;
    private(path, &file.metadata().map_err(io_at(path))?, 0o077, "600")?;
    // Enough to see that it is too long.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * LENGTH));
    file.take(2 * LENGTH as u64).read_to_end(&mut bytes).map_err(io_at(path))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_in_its_place_alone() {
        let keys = Keys::derive(&[7; LENGTH]).unwrap();
        let sealed = keys.seal(&["team", "st-1"], b"value");
        assert_eq!(keys.open_sealed(&["team", "st-1"], &sealed).unwrap().as_slice(), b"value");
        assert_ne!(keys.seal(&["team", "st-1"], b"value"), sealed);
        for other in [["team", "st-2"], ["teams", "t-1"], ["", "teamst-1"]] {
            assert!(keys.open_sealed(&other, &sealed).is_none());
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(keys.open_sealed(&["team", "st-1"], &changed).is_none(), "byte {at}");
            assert!(keys.open_sealed(&["team", "st-1"], &sealed[..at]).is_none(), "{at} bytes");
        }
        let other = Keys::derive(&[8; LENGTH]).unwrap();
        assert!(other.open_sealed(&["team", "st-1"], &sealed).is_none());
        assert_ne!(other.signing(), keys.signing());
        assert_ne!(keys.signing(), &[7; LENGTH]);
        assert!(Keys::derive(&[7; LENGTH - 1]).is_none());
    }
}
