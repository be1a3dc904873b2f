//! ed25519 keys as openssl keeps them: private ones in PKCS#8 PEM, public ones in
//! SPKI PEM. A key's id is the SHA-256 of its SPKI in DER:
//! `openssl pkey -in key.pem -pubout -outform DER | sha256sum`.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use ed25519_dalek::pkcs8::spki::SubjectPublicKeyInfoRef;
use ed25519_dalek::pkcs8::spki::der::pem::{LineEnding, PemLabel};
use ed25519_dalek::pkcs8::spki::der::{Decode, SecretDocument};
use ed25519_dalek::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, PrivateKeyInfoRef,
};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use forkscope_records::digest::sha256_bytes;

use super::AttestError;

/// No honest key file is longer.
const LONGEST: u64 = 1 << 16;

/// How to make a key, as messages say it.
const MAKE: &str = "make one with `forkscope attest --new-key FILE` or `openssl genpkey -algorithm ed25519 -out FILE`";

/// A private key.
pub struct PrivateKey(SigningKey);

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PrivateKey {
    /// Reads a PKCS#8 PEM file.
    pub fn read(path: &Path) -> Result<Self, AttestError> {
        let text = read(path)?;
        let refuse = |reason: String| refused(path, reason);
        match label(&text) {
            Some("PRIVATE KEY") => {}
            Some("PUBLIC KEY") => {
                return Err(refuse(
                    "is a public key; signing takes the private one, and --public-key of verify takes this one".into(),
                ));
            }
            other => return Err(refuse(not_a_key(other, "private", "PRIVATE KEY"))),
        }
        let (_, der) = SecretDocument::from_pem(text.trim())
            .map_err(|e| refuse(format!("is no readable PEM ({e}); {MAKE}")))?;
        let info = PrivateKeyInfoRef::from_der(der.as_bytes())
            .map_err(|e| refuse(format!("is no PKCS#8 private key ({e}); {MAKE}")))?;
        other_algorithm(&info.algorithm.oid.to_string()).map_or(Ok(()), |name| {
            Err(refuse(format!(
                "is {name}; attestations are signed with ed25519: {MAKE}"
            )))
        })?;
        let key = SigningKey::from_pkcs8_der(der.as_bytes())
            .map_err(|e| refuse(format!("is no whole ed25519 key ({e}); {MAKE}")))?;
        Ok(Self(key))
    }

    /// A new key from the system's random numbers.
    pub fn generate() -> Result<Self, AttestError> {
        let mut seed = [0u8; 32];
        getrandom::fill(&mut seed)
            .map_err(|e| AttestError::Internal(format!("the system gives no random bytes: {e}")))?;
        Ok(Self::from_seed(&seed))
    }

    /// The key of a 32-byte seed (RFC 8032).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Writes a new PKCS#8 PEM file that only its owner can read; an existing file
    /// is never overwritten.
    pub fn write_new(&self, path: &Path) -> Result<(), AttestError> {
        let pem = self
            .0
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|e| AttestError::Internal(format!("a key cannot be encoded: {e}")))?;
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(|e| new_file(path, e))?;
        file.write_all(pem.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(AttestError::write(path))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey of {}", self.public().id())
    }
}

impl PublicKey {
    /// Reads an SPKI PEM file.
    pub fn read(path: &Path) -> Result<Self, AttestError> {
        let text = read(path)?;
        let refuse = |reason: String| refused(path, reason);
        match label(&text) {
            Some("PUBLIC KEY") => {}
            Some(found) if found.ends_with("PRIVATE KEY") => {
                return Err(refuse(format!(
                    "is a private key ({found}), which belongs to the signer alone; give the public one: `openssl pkey -in KEY -pubout -out FILE`"
                )));
            }
            other => return Err(refuse(not_a_key(other, "public", "PUBLIC KEY"))),
        }
        let (_, der) = SecretDocument::from_pem(text.trim())
            .map_err(|e| refuse(format!("is no readable PEM ({e})")))?;
        let info = SubjectPublicKeyInfoRef::from_der(der.as_bytes())
            .map_err(|e| refuse(format!("is no SPKI public key ({e})")))?;
        other_algorithm(&info.algorithm.oid.to_string()).map_or(Ok(()), |name| {
            Err(refuse(format!(
                "is {name}; attestations are signed with ed25519: give the signer's ed25519 public key"
            )))
        })?;
        Self::from_der(der.as_bytes())
            .ok_or_else(|| refuse("is no point of the curve that a public key may be".into()))
    }

    /// A key in DER; `None` if it is none, or a weak one, whose signatures fit
    /// several messages.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let key = VerifyingKey::from_public_key_der(der).ok()?;
        let key = Self(key);
        // One key, one spelling.
        (!key.0.is_weak() && key.der().as_deref() == Some(der)).then_some(key)
    }

    /// The key as SPKI in DER.
    pub fn der(&self) -> Option<Vec<u8>> {
        Some(self.0.to_public_key_der().ok()?.as_bytes().to_vec())
    }

    /// The key as SPKI in PEM.
    pub fn pem(&self) -> Result<String, AttestError> {
        self.0
            .to_public_key_pem(LineEnding::LF)
            .map_err(|e| AttestError::Internal(format!("a public key cannot be encoded: {e}")))
    }

    /// Writes a new SPKI PEM file; an existing file is never overwritten.
    pub fn write_new(&self, path: &Path) -> Result<(), AttestError> {
        let pem = self.pem()?;
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(|e| new_file(path, e))?;
        file.write_all(pem.as_bytes())
            .map_err(AttestError::write(path))
    }

    /// SHA-256 of the SPKI in DER, hexadecimal.
    pub fn id(&self) -> String {
        sha256_bytes(&self.der().unwrap_or_default())
    }

    /// Whether the signature is of this message by this key, by the strict rule
    /// that leaves one signature per message.
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0
            .verify_strict(message, &Signature::from_bytes(signature))
            .is_ok()
    }
}

/// Whether others than the owner may read the file; `false` where nobody can tell.
pub fn readable_by_others(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o077 != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

fn read(path: &Path) -> Result<String, AttestError> {
    let meta = fs::metadata(path).map_err(AttestError::read(path))?;
    if meta.is_dir() {
        return Err(refused(path, "is a directory; give a PEM file".into()));
    }
    let file = File::open(path).map_err(AttestError::read(path))?;
    let mut bytes = Vec::new();
    file.take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(AttestError::read(path))?;
    if bytes.len() as u64 > LONGEST {
        return Err(refused(
            path,
            format!("is longer than {LONGEST} bytes; give a PEM file with one key"),
        ));
    }
    String::from_utf8(bytes)
        .map_err(|_| refused(path, format!("is no PEM file (it is not text); {MAKE}")))
}

/// What stands between `-----BEGIN ` and `-----`.
fn label(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("-----BEGIN ")?;
    rest.split_once("-----").map(|(label, _)| label)
}

fn not_a_key(found: Option<&str>, kind: &str, wanted: &str) -> String {
    let found = match found {
        None => return format!("is no PEM file (there is no `-----BEGIN {wanted}-----`); {MAKE}"),
        Some("ENCRYPTED PRIVATE KEY") => {
            return "is an encrypted key; decrypt it first: `openssl pkey -in KEY -out FILE`"
                .into();
        }
        Some(label) => label,
    };
    let kind_found = match found {
        "RSA PRIVATE KEY" | "RSA PUBLIC KEY" => "an RSA key",
        "EC PRIVATE KEY" | "EC PARAMETERS" => "an elliptic-curve (ECDSA) key",
        "DSA PRIVATE KEY" => "a DSA key",
        "OPENSSH PRIVATE KEY" => "a key in OpenSSH's own format",
        "CERTIFICATE" => "a certificate",
        _ => "something else",
    };
    let found: String = found.chars().take(40).collect();
    format!("is {kind_found} ({found}), not an ed25519 {kind} key ({wanted}); {MAKE}")
}

/// The name of an algorithm that is not ed25519.
fn other_algorithm(oid: &str) -> Option<String> {
    Some(match oid {
        "1.3.101.112" => return None,
        "1.2.840.113549.1.1.1" => "an RSA key".into(),
        "1.2.840.10045.2.1" => "an elliptic-curve (ECDSA) key".into(),
        "1.2.840.10040.4.1" => "a DSA key".into(),
        "1.3.101.110" => "an X25519 key, which agrees on secrets and does not sign".into(),
        "1.3.101.111" => "an X448 key, which agrees on secrets and does not sign".into(),
        "1.3.101.113" => "an Ed448 key".into(),
        other => format!("a key of another algorithm ({other})"),
    })
}

fn refused(path: &Path, reason: String) -> AttestError {
    AttestError::Key {
        path: path.to_owned(),
        reason,
    }
}

fn new_file(path: &Path, error: std::io::Error) -> AttestError {
    if error.kind() == std::io::ErrorKind::AlreadyExists {
        return refused(
            path,
            "exists; a key is never overwritten, give another file".into(),
        );
    }
    AttestError::write(path)(error)
}

/// Keeps the label of private keys in one place with the reader.
const _: () = assert!(matches!(
    PrivateKeyInfoRef::PEM_LABEL.as_bytes(),
    b"PRIVATE KEY"
));
