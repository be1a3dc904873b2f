//! The Merkle tree of RFC 6962, section 2.1, over SHA-256.
//!
//! A leaf is `SHA-256(0x00 || bytes)`, a node `SHA-256(0x01 || left || right)`; a tree of
//! n > 1 leaves splits at the largest power of two below n; the empty tree is
//! `SHA-256("")`. The leaves of a table are its rows; every [`CHUNK`] of them make a
//! subtree whose root is kept, so that two tables that differ can be told apart by
//! ranges of rows. Because CHUNK is a power of two, the root over the chunks is the
//! root over the rows.

use sha2::{Digest, Sha256};

/// A node of the tree.
pub type Hash = [u8; 32];

/// Rows per subtree whose root is kept.
pub const CHUNK: usize = 4096;

/// The hash of a leaf.
pub fn leaf(bytes: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(bytes);
    hasher.finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([1]);
    hasher.update(left);
    hasher.update(right);
    hasher.finalize().into()
}

/// Where a tree of `n` > 1 leaves splits: the largest power of two below `n`.
fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

/// The root over hashed leaves, or over the roots of equal full subtrees (of which
/// the last may be smaller).
pub fn root(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => Sha256::digest([]).into(),
        [only] => *only,
        more => {
            let (left, right) = more.split_at(split(more.len()));
            node(&root(left), &root(right))
        }
    }
}

/// The hashes beside the way from leaf `at` to the root, from the leaf up
/// (RFC 6962, section 2.1.1); `None` if there is no such leaf.
pub fn path(hashes: &[Hash], at: usize) -> Option<Vec<Hash>> {
    if at >= hashes.len() {
        return None;
    }
    if hashes.len() == 1 {
        return Some(Vec::new());
    }
    let (left, right) = hashes.split_at(split(hashes.len()));
    let (mut inner, beside) = if at < left.len() {
        (path(left, at)?, root(right))
    } else {
        (path(right, at - left.len())?, root(left))
    };
    inner.push(beside);
    Some(inner)
}

/// The root that a path leads to from a leaf's hash (RFC 9162, section 2.1.3.2);
/// `None` if the path has not the length that leaf `at` of `size` must have.
pub fn climb(leaf: Hash, at: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    let (mut index, mut last) = (at, size.checked_sub(1)?);
    if at > last {
        return None;
    }
    let mut hash = leaf;
    for beside in path {
        if last == 0 {
            return None;
        }
        if index & 1 == 1 || index == last {
            hash = node(beside, &hash);
            while index & 1 == 0 && index != 0 {
                index >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, beside);
        }
        index >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// The roots of a table's chunks, made row by row.
#[derive(Debug, Default)]
pub struct Chunks {
    pending: Vec<Hash>,
    roots: Vec<Hash>,
}

impl Chunks {
    /// The next row.
    pub fn push(&mut self, row: &[u8]) {
        self.pending.push(leaf(row));
        if self.pending.len() == CHUNK {
            self.roots.push(root(&self.pending));
            self.pending.clear();
        }
    }

    /// The roots of all chunks, the last of which may be smaller.
    pub fn finish(mut self) -> Vec<Hash> {
        if !self.pending.is_empty() {
            self.roots.push(root(&self.pending));
        }
        self.roots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The inputs and roots of the Certificate Transparency reference tests.
    const INPUTS: [&[u8]; 8] = [
        &[],
        &[0x00],
        &[0x10],
        &[0x20, 0x21],
        &[0x30, 0x31],
        &[0x40, 0x41, 0x42, 0x43],
        &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
        &[
            0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d,
            0x6e, 0x6f,
        ],
    ];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    #[test]
    fn roots_are_those_of_the_certificate_transparency_vectors() {
        assert_eq!(
            hex(&root(&[])),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        let leaves: Vec<Hash> = INPUTS.iter().map(|bytes| leaf(bytes)).collect();
        for (n, expected) in ROOTS.iter().enumerate() {
            assert_eq!(hex(&root(&leaves[..=n])), *expected, "{} leaves", n + 1);
        }
    }

    #[test]
    fn every_leaf_climbs_to_the_root_and_no_other_leaf_does() {
        for n in 1..40usize {
            let leaves: Vec<Hash> = (0..n).map(|i| leaf(&[i as u8])).collect();
            let top = root(&leaves);
            for at in 0..n {
                let way = path(&leaves, at).unwrap_or_default();
                let up = |leaf, at: usize, way: &[Hash]| climb(leaf, at as u64, n as u64, way);
                assert_eq!(up(leaves[at], at, &way), Some(top), "{at} of {n}");
                assert_ne!(up(leaf(b"other"), at, &way), Some(top));
                assert_ne!(up(leaves[at], at + 1, &way), Some(top));
                if let Some((_, shorter)) = way.split_last() {
                    assert_eq!(up(leaves[at], at, shorter).filter(|h| *h == top), None);
                }
            }
            assert_eq!(path(&leaves, n), None);
        }
        assert_eq!(climb(leaf(b""), 0, 0, &[]), None);
    }

    #[test]
    fn the_root_over_chunks_is_the_root_over_rows() {
        for n in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7] {
            let rows: Vec<[u8; 4]> = (0..n as u32).map(u32::to_le_bytes).collect();
            let leaves: Vec<Hash> = rows.iter().map(|row| leaf(row)).collect();
            let mut chunks = Chunks::default();
            rows.iter().for_each(|row| chunks.push(row));
            let chunks = chunks.finish();
            assert_eq!(chunks.len(), n.div_ceil(CHUNK));
            assert_eq!(root(&chunks), root(&leaves), "{n} rows");
        }
    }
}
