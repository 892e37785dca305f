//! Profile `globaltopup`: what vendors of an existing recharge platform already have receivers for.
//!
//! The body is `{"data": "<base64 of IV and AES-256-CBC ciphertext>"}`, the signature a constant that proves only that
//! the sender knows the secret: it covers neither body nor time. That is why the `webhook-*` headers go along.
//! Keys of another length than 32 bytes are padded with NUL or cut, as PHP's openssl does.

use std::fmt;

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac};
use serde::Serialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::MASK;
use super::standard::Data;
use crate::domain::endpoint::CipherText;
use crate::domain::event::{Event, Facts, RechargeFacts};
use crate::domain::id::EventId;
use crate::domain::recharge::Status;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::vendor::Mode;

/// Encrypts for one endpoint.
pub struct Sealer {
    key: Zeroizing<[u8; 32]>,
    cipher_text: CipherText,
    x_signature: Zeroizing<String>,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Sealer {
    /// The sealer of this secret.
    pub fn new(secret: &Secret, cipher_text: CipherText) -> Self {
        Self { key: aes_key(secret), cipher_text, x_signature: Zeroizing::new(x_signature(secret)) }
    }

    /// The value of `X-Signature`, the same for every request.
    pub fn x_signature(&self) -> &str {
        &self.x_signature
    }

    /// The request body that carries `event`.
    pub fn body(&self, event: &Event, iv: [u8; 16]) -> Bytes {
        #[derive(Serialize)]
        struct Envelope {
            data: String,
        }
        let data = self.seal(&payload(event), iv);
        Bytes::from(serde_json::to_vec(&Envelope { data }).expect("a string always serializes"))
    }

    /// Encrypts: base64 of the IV and what stands behind it.
    pub fn seal(&self, plain: &[u8], iv: [u8; 16]) -> String {
        let cipher = cbc::Encryptor::<Aes256>::new((&*self.key).into(), &iv.into()).encrypt_padded_vec_mut::<Pkcs7>(plain);
        let mut sealed = iv.to_vec();
        match self.cipher_text {
            CipherText::Raw => sealed.extend(cipher),
            CipherText::Base64 => sealed.extend(BASE64.encode(cipher).into_bytes()),
        }
        BASE64.encode(sealed)
    }
}

/// `X-Signature`: HMAC over the hex of the secret's hash, keyed with the secret.
pub fn x_signature(secret: &Secret) -> String {
    let mac: Hmac<Sha256> = Hmac::new_from_slice(secret.expose()).expect("HMAC takes a key of any length");
    HEXLOWER.encode(&mac.chain_update(HEXLOWER.encode(&Sha256::digest(secret.expose()))).finalize().into_bytes())
}

/// Decrypts what [`Sealer::seal`] made, telling both cipher texts apart. `None` if it is neither or the key is wrong.
pub fn open(secret: &Secret, data: &str) -> Option<Vec<u8>> {
    let sealed = BASE64.decode(data).ok()?;
    let (iv, rest) = sealed.split_at_checked(16)?;
    let inner = BASE64.decode(rest).ok().filter(|inner| !inner.is_empty() && inner.len() % 16 == 0);
    let cipher = inner.as_deref().unwrap_or(rest);
    let iv: [u8; 16] = iv.try_into().ok()?;
    cbc::Decryptor::<Aes256>::new((&*aes_key(secret)).into(), &iv.into()).decrypt_padded_vec_mut::<Pkcs7>(cipher).ok()
}

fn aes_key(secret: &Secret) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    let taken = secret.expose().len().min(32);
    key[..taken].copy_from_slice(&secret.expose()[..taken]);
    key
}

#[derive(Serialize)]
struct Connection<'a> {
    connection_no: Option<&'a str>,
    operator: Option<&'a str>,
}

#[derive(Serialize)]
struct RechargePayload<'a> {
    status: &'static str,
    transaction_id: i64,
    order_id: &'a str,
    amount: Option<&'a str>,
    timestamp: Timestamp,
    details: Connection<'a>,
    package_name: Option<&'a str>,
    event_id: EventId,
    event: &'a str,
    sequence: i64,
    reference_no: &'a str,
    mode: Mode,
    created_at: Timestamp,
}

#[derive(Serialize)]
struct OtherPayload<'a> {
    event_id: EventId,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<i64>,
    created_at: Timestamp,
    mode: Mode,
    data: Data<'a>,
}

/// What is encrypted: a pure function of the event.
pub fn payload(event: &Event) -> Vec<u8> {
    let written = match &event.facts {
        Facts::Recharge(facts) => serde_json::to_vec(&recharge_payload(event, facts)),
        Facts::Given(_) => serde_json::to_vec(&OtherPayload {
            event_id: event.id,
            event: &event.event_type,
            sequence: event.numbered.then_some(event.id.sequence),
            created_at: event.created_at,
            mode: event.mode,
            data: Data(event),
        }),
    };
    written.expect("strings and numbers always serialize")
}

fn recharge_payload<'a>(event: &'a Event, facts: &'a RechargeFacts) -> RechargePayload<'a> {
    RechargePayload {
        status: status_word(facts.status),
        transaction_id: facts.transaction_id,
        order_id: &facts.reference_no,
        amount: facts.amount.as_deref(),
        timestamp: facts.settled_at,
        details: Connection { connection_no: facts.connection_no.as_deref(), operator: facts.operator.as_deref() },
        package_name: None,
        event_id: event.id,
        event: &event.event_type,
        sequence: event.told_sequence(),
        reference_no: &facts.reference_no,
        mode: event.mode,
        created_at: event.created_at,
    }
}

/// A status as this platform's vendors know it.
const fn status_word(status: Status) -> &'static str {
    match status {
        Status::Queued => "Queued",
        Status::Success => "Success",
        Status::Failed => "Failed",
        Status::Reversed => "Reversed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::golden;

    const PLAIN: &str = r#"{"status":"Success","transaction_id":100045,"order_id":"INV-7781","amount":"50.00","timestamp":"2026-11-23T09:15:02.114Z","details":{"connection_no":"9801234567","operator":"Ncell"},"package_name":null}"#;
    const IV: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    /// Secret, `X-Signature`, raw data, SHA-256 of the base64 data: computed with PHP 8.2.
    const VECTORS: [[&str; 4]; 3] = [
        [
            "0123456789abcdef0123456789abcdef",
            "2d54b5f0ef13eddd9d5809488bdb9be29f4a36ec16a914371bab8a6157d49350",
            "AAECAwQFBgcICQoLDA0OD8tn3rsJVr+4h5OFrVpEfY1izS1OhykpOJ05vP4CaM6rf2K0jEhoGJhJoChUgeYczhq0tfXXbRDn/m+JehXwh6otkN+v3sCPvNRMHWtZHLVqtRFh+cqbzroAFHgQBs/KopCaNAO7onpGKvsr/D/srTaFAq93cI0ecbepsstJnbaVRrS+5OdytUSPrWj22ekgBfrYVBGJeNGMTkjwGxD32GfRDe0LuCSVPWQwNzm9bdbWiJqTSyvfBDnxUwKiSFkhPmrdhuWJ6R+KC8gzwXaI8bo=",
            "c4a8557be4350977e1ca71da35d7843f739c00eea1e732e71196bd0d67d0056d",
        ],
        [
            "short-secret",
            "5e712a4edefad4f66d063e6f2281290141b6140ebe4f8ee4a983c35d132b304c",
            "AAECAwQFBgcICQoLDA0ODwAJdMYQcdBgDnth82iOUX8ITQ3Bq88864zUFTW20F93g3j4RYBTsHBgZeYY+WbnMR8RqxwvRwnGyV16MD+2iU4YT7S2qrPCfAXxxNvt2DNV1ye6KVPV8g932qNvEuuCdS1vGoP1f4BcCu3q+gmc0cje/6eTnJWFenroFtnnT7/hy54ElPywxdeeGSFbCnU0EvJKCeOYgFl+6Z4HfKHcZF9AyzWFk0V4keTgbxb4Cmsr42AR0uoabn2vCRbV4Go9k1Wnh/ZahzwnkqLU9HIQmXU=",
            "a76dc5bb7ed9bbee9b37d7caa08f6b2b9a2c2e5c3eb663320db24b56427cfefa",
        ],
        [
            "a-secret-that-is-longer-than-thirty-two-bytes",
            "0a8fd65f861bd5ceee4c15feaf6bff056d83340add7af393d08b4ed2374a047c",
            "AAECAwQFBgcICQoLDA0OD2ioLwlkJFc0DN7FsuxQmAlusRxQmRqhp6UHuoqNq8DaV54pqdpNFUuB/qN0TAzrc4PPnEfQw2TiNLG2Vl3t8q+XPpZBPr+jTekNvlP8C96kafPWvWb2iVG1LMnqQ8cwbEl6II+6fEP57e9W88w1BVDVSKTmE+RBI0vk1yODbpMf+6F0O08y/lqbRJhK3KFo1u6nKxxd9Pl/QkZuvwy2GnqlIPU24/sIHjNKgY6b2zN7lxxMOOeqVefovkFPpXKPk0XIjsaZXjhiLBDskRSsqaw=",
            "0a51693d20e49238bf945523ec8fefc1498834407a1f774dd5625bf8359fea45",
        ],
    ];

    #[test]
    fn the_vectors_of_wire_md_hold() {
        for [secret, signature, raw, base64_sha256] in VECTORS {
            let secret = Secret::new(secret);
            assert_eq!(x_signature(&secret), signature);
            assert_eq!(Sealer::new(&secret, CipherText::Raw).seal(PLAIN.as_bytes(), IV), raw);
            let base64 = Sealer::new(&secret, CipherText::Base64).seal(PLAIN.as_bytes(), IV);
            assert_eq!(HEXLOWER.encode(&Sha256::digest(&base64)), base64_sha256);
            for data in [raw, &base64] {
                assert_eq!(open(&secret, data).as_deref(), Some(PLAIN.as_bytes()));
            }
        }
    }

    #[test]
    fn a_recharge_to_the_byte() {
        let expected = format!(
            "{},{}",
            PLAIN.strip_suffix('}').unwrap(),
            r#""event_id":"evt_00000000000070000000004k7","event":"recharge.success","sequence":4711,"reference_no":"INV-7781","mode":"live","created_at":"2026-11-23T09:15:02.114Z"}"#
        )
        .replace("evt_00000000000070000000004k7", &golden::recharge().id.to_string());
        assert_eq!(String::from_utf8(payload(&golden::recharge())).unwrap(), expected);
        assert_eq!(String::from_utf8(payload(&golden::restored(&golden::recharge()))).unwrap(), expected);
    }

    #[test]
    fn other_types_are_wrapped() {
        let event = golden::given();
        let expected = format!(
            r#"{{"event_id":"{}","event":"invoice.paid","sequence":4712,"created_at":"2026-11-23T09:15:02.114Z","mode":"live","data":{{"b": 1.10, "a":12345678901234567890}}}}"#,
            event.id
        );
        assert_eq!(String::from_utf8(payload(&event)).unwrap(), expected);
    }

    proptest::proptest! {
        #[test]
        fn what_is_sealed_opens(secret in "[ -~]{1,60}", plain in ".{0,400}", iv: [u8; 16]) {
            let secret = Secret::new(secret);
            for cipher_text in CipherText::ALL {
                let data = Sealer::new(&secret, cipher_text).seal(plain.as_bytes(), iv);
                let opened = open(&secret, &data);
                proptest::prop_assert_eq!(opened.as_deref(), Some(plain.as_bytes()));
            }
        }
    }
}
