//! Keys that openssl made, and what is no key.

use std::fs;
use std::path::{Path, PathBuf};

use forkscope_audit::attest::{PrivateKey, PublicKey, keys::readable_by_others};

use super::run::Fallible;

fn key(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/keys")
        .join(name)
}

#[test]
fn openssls_keys_ids_and_signatures_are_ours() -> Fallible {
    let (private, public) = (
        PrivateKey::read(&key("ed25519.pem"))?,
        PublicKey::read(&key("ed25519.pub.pem"))?,
    );
    assert_eq!(private.public(), public);
    assert_eq!(public.pem()?, fs::read_to_string(key("ed25519.pub.pem"))?);
    assert_eq!(
        public.id(),
        fs::read_to_string(key("ed25519.keyid"))?.trim()
    );
    let signature = private.sign(b"a message");
    let hex: String = signature.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, fs::read_to_string(key("message.sig.hex"))?.trim());
    assert!(public.verifies(b"a message", &signature));
    assert!(!public.verifies(b"another message", &signature));
    let other = PublicKey::read(&key("other.pub.pem"))?;
    assert!(!other.verifies(b"a message", &signature));
    Ok(())
}

/// The order of the group added to s makes a second signature for lenient readers.
#[test]
fn a_signature_has_no_twin() -> Fallible {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let private = PrivateKey::read(&key("ed25519.pem"))?;
    let mut signature = private.sign(b"a message");
    let mut carry = 0u16;
    for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert!(!private.public().verifies(b"a message", &signature));
    Ok(())
}

#[test]
fn keys_of_the_wrong_kind_are_named() {
    for (name, says) in [
        ("ed25519.pub.pem", "is a public key"),
        ("rsa.pem", "is an RSA key"),
        ("rsa-traditional.pem", "is an RSA key"),
        ("ec.pem", "elliptic-curve (ECDSA)"),
        ("ec-sec1.pem", "elliptic-curve (ECDSA)"),
        ("x25519.pem", "X25519"),
        ("ed448.pem", "Ed448"),
        ("encrypted.pem", "is an encrypted key"),
        ("openssh.pem", "OpenSSH"),
        ("certificate.pem", "certificate"),
        ("README.md", "is no PEM file"),
        ("nowhere.pem", "cannot read"),
        ("", "is a directory"),
    ] {
        let said = PrivateKey::read(&key(name)).err().map(|e| e.to_string());
        let said = said.unwrap_or_default();
        assert!(said.contains(says) && said.contains(';'), "{name}: {said}");
    }
    for (name, says) in [
        ("ed25519.pem", "is a private key"),
        ("encrypted.pem", "is a private key"),
        ("rsa.pub.pem", "is an RSA key"),
        ("ec.pub.pem", "elliptic-curve (ECDSA)"),
        ("certificate.pem", "certificate"),
        ("README.md", "is no PEM file"),
    ] {
        let said = PublicKey::read(&key(name)).err().map(|e| e.to_string());
        let said = said.unwrap_or_default();
        assert!(said.contains(says), "{name}: {said}");
        assert!(
            said.contains("openssl") || said.contains("give"),
            "{name}: {said}"
        );
    }
}

#[test]
fn damaged_keys_are_refused() -> Fallible {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("key.pem");
    let good = fs::read_to_string(key("ed25519.pem"))?;
    let lines: Vec<&str> = good.lines().collect();
    let body = lines.get(1).copied().ok_or("a body")?;
    for bad in [
        String::new(),
        good.replace(body, ""),
        good.replace(body, &body[..40]),
        good.replace(body, &body.replace('M', "?")),
        good.replace(body, &format!("{body}AAAA")),
        good.replace("-----END", "-----FIN"),
        format!("{good}{good}"),
        "\u{0}".repeat(70_000),
    ] {
        fs::write(&path, &bad)?;
        let read = PrivateKey::read(&path);
        assert!(read.is_err(), "{bad:?}");
    }
    fs::write(&path, [0xff, 0xfe, 0x00])?;
    assert!(PrivateKey::read(&path).is_err());
    Ok(())
}

#[test]
fn new_keys_are_for_their_owner_and_overwrite_nothing() -> Fallible {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("key.pem");
    let made = PrivateKey::generate()?;
    made.write_new(&path)?;
    assert_eq!(PrivateKey::read(&path)?.public(), made.public());
    assert!(!readable_by_others(&path));
    let said = PrivateKey::generate()?
        .write_new(&path)
        .err()
        .map(|e| e.to_string());
    assert!(said.unwrap_or_default().contains("never overwritten"));
    assert_eq!(PrivateKey::read(&path)?.public(), made.public());
    Ok(())
}
