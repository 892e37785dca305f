//! Secrets at rest: XChaCha20-Poly1305 under the master key, bound to the row they belong to.

use std::fmt;
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

    /// Seals `plain` for the place named by `context`: it opens nowhere else.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE];
        self.entropy.fill(&mut nonce);
        let payload = Payload { msg: plain, aad: context.as_bytes() };
        let sealed = self.cipher.encrypt(XNonce::from_slice(&nonce), payload).expect("a message of this size can be sealed");
        [nonce.as_slice(), &sealed].concat()
    }

    /// Opens what was sealed for `context`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it was sealed with another key, for another place, or altered since.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Secret, StoreError> {
        let opened = sealed.split_at_checked(NONCE).and_then(|(nonce, rest)| {
            let payload = || Payload { msg: rest, aad: context.as_bytes() };
            let mut ciphers = std::iter::once(&self.cipher).chain(&self.previous);
            ciphers.find_map(|cipher| cipher.decrypt(XNonce::from_slice(nonce), payload()).ok())
        });
        opened.map(Secret::new).ok_or_else(|| StoreError::Damaged(format!("the secret of {context} does not open with this master key")))
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
        let mut sealed = sealer.seal("ep_1", b"secret");
        assert_eq!(sealer.open("ep_1", &sealed).unwrap().expose(), b"secret");
        assert_ne!(sealer.seal("ep_1", b"secret"), sealed, "the nonce is new each time");
        assert!(sealer.open("ep_2", &sealed).is_err());
        let other = MasterKey::generate(&*entropy);
        assert!(Sealer::new(&other, None, entropy.clone()).open("ep_1", &sealed).is_err());
        let rotating = Sealer::new(&other, Some(&key), entropy);
        assert_eq!(rotating.open("ep_1", &sealed).unwrap().expose(), b"secret", "the previous key still opens");
        assert!(sealer.open("ep_1", &rotating.seal("ep_1", b"secret")).is_err(), "what is sealed is sealed with the present one");
        sealed[30] ^= 1;
        assert!(sealer.open("ep_1", &sealed).is_err());
        assert!(sealer.open("ep_1", b"short").is_err());
    }
}
