//! The DSSE envelope: a payload, its type, and one ed25519 signature over
//! `"DSSEv1" SP len(type) SP type SP len(payload) SP payload` (lengths in decimals).
//!
//! An envelope is accepted in one spelling only: canonical JSON of exactly the fields
//! below, base64 with padding and without stray bits, key id and signature of their
//! exact lengths. The public key is part of the envelope, so that a reader without a
//! key of the signer still sees whether payload and signature belong together; who
//! the key belongs to is another question.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::canon::canonical;
use super::keys::{PrivateKey, PublicKey};

/// Type of the payload.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// An envelope with one signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<SignatureEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureEntry {
    keyid: String,
    public_key: String,
    sig: String,
}

/// An envelope that was read: its signature fits payload and key.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The payload.
    pub payload: Vec<u8>,
    /// The key that the envelope names and that made the signature.
    pub key: PublicKey,
}

/// What is signed: the pre-authentication encoding.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}

/// The bytes of an envelope around a payload.
pub fn seal(payload: &[u8], key: &PrivateKey) -> Vec<u8> {
    let public = key.public();
    let signature = key.sign(&pae(PAYLOAD_TYPE, payload));
    let envelope = Envelope {
        payload: STANDARD.encode(payload),
        payload_type: PAYLOAD_TYPE.to_owned(),
        signatures: vec![SignatureEntry {
            keyid: public.id(),
            public_key: STANDARD.encode(public.der().unwrap_or_default()),
            sig: STANDARD.encode(signature),
        }],
    };
    spelled(&envelope).unwrap_or_default().into_bytes()
}

/// Opens an envelope; says what is wrong with it.
pub fn open(bytes: &[u8]) -> Result<Opened, String> {
    let envelope: Envelope =
        serde_json::from_slice(bytes).map_err(|e| format!("is no DSSE envelope ({e})"))?;
    if spelled(&envelope).as_deref().map(str::as_bytes) != Some(bytes) {
        return Err("is not in its canonical bytes".into());
    }
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(format!(
            "has the payload type {:?}, not {PAYLOAD_TYPE:?}",
            short(&envelope.payload_type)
        ));
    }
    let [entry] = envelope.signatures.as_slice() else {
        let count = envelope.signatures.len();
        return Err(format!("has {count} signatures; one is what it must have"));
    };
    let payload = decode(&envelope.payload, "payload")?;
    let der = decode(&entry.public_key, "public key")?;
    let key = PublicKey::from_der(&der).ok_or("has no usable ed25519 public key")?;
    if entry.keyid != key.id() {
        return Err("has a key id that is not the digest of its public key".into());
    }
    let signature: [u8; 64] = decode(&entry.sig, "signature")?
        .try_into()
        .map_err(|_| "has a signature of another length than 64 bytes")?;
    if !key.verifies(&pae(&envelope.payload_type, &payload), &signature) {
        return Err("has a signature that does not fit its payload".into());
    }
    Ok(Opened { payload, key })
}

fn spelled(envelope: &Envelope) -> Option<String> {
    serde_json::to_value(envelope).ok().map(|v| canonical(&v))
}

fn decode(text: &str, what: &str) -> Result<Vec<u8>, String> {
    STANDARD
        .decode(text)
        .map_err(|e| format!("has a {what} that is not strict base64 ({e})"))
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        text.as_bytes()
            .chunks(2)
            .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect()
    }

    /// The example of the DSSE protocol text.
    #[test]
    fn the_pre_authentication_encoding_is_the_published_one() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
        assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
    }

    /// RFC 8032, section 7.1, tests 1 to 3.
    #[test]
    fn signatures_are_those_of_rfc_8032() {
        for (seed, public, message, signature) in [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                "72",
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
            (
                "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
                "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
                "af82",
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
            ),
        ] {
            let seed: [u8; 32] = unhex(seed).try_into().unwrap_or_default();
            let key = PrivateKey::from_seed(&seed);
            let (message, signature) = (unhex(message), unhex(signature));
            assert_eq!(key.sign(&message).as_slice(), signature);
            let der = key.public().der().unwrap_or_default();
            assert_eq!(der.get(12..), Some(unhex(public).as_slice()));
        }
    }

    #[test]
    fn an_envelope_opens_in_one_spelling_only() -> Result<(), String> {
        let key = PrivateKey::from_seed(&[7; 32]);
        let bytes = seal(b"{}", &key);
        let text = String::from_utf8(bytes.clone()).map_err(|e| e.to_string())?;
        let opened = open(&bytes)?;
        assert_eq!(
            (opened.payload.as_slice(), opened.key),
            (&b"{}"[..], key.public())
        );
        let other = PrivateKey::from_seed(&[8; 32]).public();
        let other_der = STANDARD.encode(other.der().unwrap_or_default());
        let der = STANDARD.encode(key.public().der().unwrap_or_default());
        for (changed, says) in [
            (format!("{text}\n"), "canonical"),
            (text.replacen(':', ": ", 1), "canonical"),
            (text.replace("\"e30=\"", "\"e30\""), "strict base64"),
            (text.replace("\"e30=\"", "\"e31=\""), "strict base64"),
            (text.replace("\"e30=\"", "\"e30=\\n\""), "strict base64"),
            (text.replace("\"e30=\"", "\"e33=\""), "strict base64"),
            (text.replace("\"e30=\"", "\"W10=\""), "does not fit"),
            (text.replace("in-toto", "in-tote"), "payload type"),
            (text.replace(&key.public().id(), &other.id()), "key id"),
            (text.replace(&der, &other_der), "key id"),
            (
                text.replace(&der, &other_der)
                    .replace(&key.public().id(), &other.id()),
                "does not fit",
            ),
            (
                text.replace("\"signatures\":[{", "\"signatures\":[],\"x\":[{"),
                "no DSSE",
            ),
            (
                text.replace("\"keyid\"", "\"keyid\":\"\",\"keyid\""),
                "no DSSE",
            ),
            (String::from("[]"), "no DSSE"),
            (String::new(), "no DSSE"),
        ] {
            let said = open(changed.as_bytes()).err().unwrap_or_default();
            assert!(said.contains(says), "{says}: {said}: {changed}");
        }
        Ok(())
    }

    #[test]
    fn an_envelope_of_no_or_two_signatures_is_refused() -> Result<(), String> {
        let bytes = seal(b"{}", &PrivateKey::from_seed(&[7; 32]));
        let mut envelope: Envelope = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
        let entry = envelope.signatures.clone();
        envelope.signatures.extend(entry);
        let two = spelled(&envelope).unwrap_or_default();
        envelope.signatures.clear();
        let none = spelled(&envelope).unwrap_or_default();
        for text in [two, none] {
            let said = open(text.as_bytes()).err().unwrap_or_default();
            assert!(said.contains("signatures"), "{said}");
        }
        Ok(())
    }

    /// The group's neutral element signs everything for lenient readers.
    #[test]
    fn weak_keys_are_refused() {
        let mut der = PrivateKey::from_seed(&[7; 32])
            .public()
            .der()
            .unwrap_or_default();
        der.truncate(12);
        der.push(1);
        der.resize(44, 0);
        assert!(PublicKey::from_der(&der).is_none());
    }
}
