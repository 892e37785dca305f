//! Secrets at rest: XChaCha20-Poly1305 under the master key, bound to the row and the column they belong to.
//!
//! Whoever can write to the database, and has no master key, must not be able to have one value taken for another: a secret for
//! that of another endpoint, or a header whose text is known for a secret. So where a value belongs is authenticated with it.

use std::fmt::{self, Display};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use super::StoreError;
use crate::clock::Entropy;
use crate::domain::secret::Secret;

/// The operator's key: 32 bytes, base64 outside.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey(Secret);

impl MasterKey {
    const LENGTH: usize = 32;

    /// A new one.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = vec![0; Self::LENGTH];
        entropy.fill(&mut bytes);
        Self(Secret::new(bytes))
    }

    /// Reads base64 of 32 bytes; `None` if it is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text.trim()).ok()?;
        (bytes.len() == Self::LENGTH).then(|| Self(Secret::new(bytes)))
    }

    /// Its base64, for the key file.
    pub fn to_base64(&self) -> String {
        BASE64.encode(self.0.expose())
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

/// Where a sealed value belongs. It opens nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(String);

impl Place {
    /// A column of a row.
    pub fn new(table: &str, column: &str, row: impl Display) -> Self {
        Self(format!("{table}.{column} {row}"))
    }

    /// As values were bound before their column was: to a text that named the row, or the row and the use.
    pub fn before_columns(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Seals and opens with one master key.
#[derive(Clone)]
pub struct Sealer {
    cipher: XChaCha20Poly1305,
    /// What may still be sealed with the key before.
    previous: Option<XChaCha20Poly1305>,
    entropy: Arc<dyn Entropy>,
}

const NONCE: usize = 24;

impl Sealer {
    /// The sealer of this key, which opens what was sealed with the previous one too.
    pub fn new(key: &MasterKey, previous: Option<&MasterKey>, entropy: Arc<dyn Entropy>) -> Self {
        let cipher = |key: &MasterKey| XChaCha20Poly1305::new(key.0.expose().into());
        Self { cipher: cipher(key), previous: previous.map(cipher), entropy }
    }

    /// Seals `plain` for its place: it opens nowhere else.
    pub fn seal(&self, place: &Place, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE];
        self.entropy.fill(&mut nonce);
        let payload = Payload { msg: plain, aad: place.0.as_bytes() };
        let sealed = self.cipher.encrypt(XNonce::from_slice(&nonce), payload).expect("a message of this size can be sealed");
        [nonce.as_slice(), &sealed].concat()
    }

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it was sealed with another key, for another place, or altered since.
    pub fn open(&self, place: &Place, sealed: &[u8]) -> Result<Secret, StoreError> {
        let opened = sealed.split_at_checked(NONCE).and_then(|(nonce, rest)| {
            let payload = || Payload { msg: rest, aad: place.0.as_bytes() };
            let mut ciphers = std::iter::once(&self.cipher).chain(&self.previous);
            ciphers.find_map(|cipher| cipher.decrypt(XNonce::from_slice(nonce), payload()).ok())
        });
        opened.map(Secret::new).ok_or_else(|| StoreError::Damaged(format!("the secret of {place} does not open with this master key")))
    }

    /// The same value sealed again with the present key.
    ///
    /// # Errors
    /// It does not open.
    pub fn reseal(&self, place: &Place, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.rebind(place, place, sealed)
    }

    /// The same value sealed for another place.
    ///
    /// # Errors
    /// It does not open at the place where it was.
    pub fn rebind(&self, from: &Place, to: &Place, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        Ok(self.seal(to, self.open(from, sealed)?.expose()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    #[test]
    fn a_secret_opens_only_in_its_place_and_with_its_key() {
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let key = MasterKey::generate(&*entropy);
        assert_eq!(MasterKey::parse(&key.to_base64()), Some(key.clone()));
        let sealer = Sealer::new(&key, None, entropy.clone());
        let place = |column, row| Place::new("endpoint", column, row);
        let here = place("secret", "ep_1");
        let mut sealed = sealer.seal(&here, b"secret");
        assert_eq!(sealer.open(&here, &sealed).unwrap().expose(), b"secret");
        assert_ne!(sealer.seal(&here, b"secret"), sealed, "the nonce is new each time");
        for other in
            [place("secret", "ep_2"), place("headers", "ep_1"), Place::new("user", "secret", "ep_1"), Place::before_columns("ep_1")]
        {
            assert!(sealer.open(&other, &sealed).is_err(), "{other}");
        }
        let other = MasterKey::generate(&*entropy);
        assert!(Sealer::new(&other, None, entropy.clone()).open(&here, &sealed).is_err());
        let rotating = Sealer::new(&other, Some(&key), entropy);
        assert_eq!(rotating.open(&here, &sealed).unwrap().expose(), b"secret", "the previous key still opens");
        let again = rotating.reseal(&here, &sealed).unwrap();
        assert!(sealer.open(&here, &again).is_err(), "what is sealed is sealed with the present one");
        sealed[30] ^= 1;
        assert!(sealer.open(&here, &sealed).is_err());
        assert!(sealer.open(&here, b"short").is_err());
    }

    #[test]
    fn a_value_is_bound_to_its_column_when_it_was_not() {
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let sealer = Sealer::new(&MasterKey::generate(&*entropy), None, entropy);
        let (before, here) = (Place::before_columns("ep_1"), Place::new("endpoint", "secret", "ep_1"));
        let sealed = sealer.seal(&before, b"secret");
        assert!(sealer.open(&here, &sealed).is_err());
        let bound = sealer.rebind(&before, &here, &sealed).unwrap();
        assert_eq!(sealer.open(&here, &bound).unwrap().expose(), b"secret");
        assert!(sealer.rebind(&before, &here, &bound).is_err(), "once is enough");
    }
}
