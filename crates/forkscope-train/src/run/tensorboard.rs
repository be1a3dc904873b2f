//! TensorBoard event files, encoded by hand.
//!
//! A file is a sequence of TFRecords: length of the payload (u64, little
//! endian), masked CRC-32C of those eight bytes, the payload, its masked
//! CRC-32C; mask(c) = (c >> 15 | c << 17) + 0xa282ead8. A payload is the
//! protobuf message `Event { double wall_time = 1; int64 step = 2; string
//! file_version = 3; Summary summary = 5 }` with `Summary { repeated Value
//! value = 1 }` and `Value { string tag = 1; float simple_value = 2 }`; the
//! first event says `brain.Event:2`.
//!
//! `wall_time` is the number of the step, in seconds, so that a resumed run ends
//! in the same bytes; the viewer's axis STEP is as usual, RELATIVE counts steps,
//! WALL means nothing.

/// Path of the event file in a run.
pub const FILE: &str = "tensorboard/events.out.tfevents.0.forkscope";

/// The record that begins a file.
pub(super) fn start() -> Vec<u8> {
    let mut event = Vec::new();
    double(&mut event, 1, 0.0);
    bytes(&mut event, 3, b"brain.Event:2");
    record(&event)
}

/// The record of a step's scalars.
pub(super) fn scalars(step: u64, values: &[(String, f32)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, value) in values {
        let mut one = Vec::new();
        bytes(&mut one, 1, tag.as_bytes());
        key(&mut one, 2, Wire::Fixed32);
        one.extend_from_slice(&value.to_le_bytes());
        bytes(&mut summary, 1, &one);
    }
    let mut event = Vec::new();
    double(&mut event, 1, step as f64);
    key(&mut event, 2, Wire::Varint);
    varint(&mut event, step);
    bytes(&mut event, 5, &summary);
    record(&event)
}

/// How protobuf lays a field out.
#[derive(Clone, Copy)]
enum Wire {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    Fixed32 = 5,
}

fn key(to: &mut Vec<u8>, field: u64, wire: Wire) {
    varint(to, field << 3 | wire as u64);
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn double(to: &mut Vec<u8>, field: u64, value: f64) {
    key(to, field, Wire::Fixed64);
    to.extend_from_slice(&value.to_le_bytes());
}

fn bytes(to: &mut Vec<u8>, field: u64, value: &[u8]) {
    key(to, field, Wire::Bytes);
    varint(to, value.len() as u64);
    to.extend_from_slice(value);
}

fn record(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(payload.len() + 16);
    record.extend_from_slice(&length);
    record.extend_from_slice(&masked(&length).to_le_bytes());
    record.extend_from_slice(payload);
    record.extend_from_slice(&masked(payload).to_le_bytes());
    record
}

fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), reflected polynomial 0x82f63b78.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc = (crc >> 1) ^ (0x82f6_3b78 * carry);
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        // RFC 3720, B.4: 32 bytes of zeros, and of ones.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn the_first_record_is_what_tensorflow_writes_but_for_the_time() {
        // Length 24: 9 bytes of time, then field 3 with 13 bytes.
        let record = start();
        assert_eq!(record[..8], [24, 0, 0, 0, 0, 0, 0, 0]);
        // Every event file begins with this masked checksum of the length 24.
        assert_eq!(record[8..12], [0xa3, 0x7f, 0x4b, 0x22]);
        assert_eq!(record[12..21], [9, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(record[21..23], [0x1a, 13]);
        assert_eq!(&record[23..36], b"brain.Event:2");
        assert_eq!(record.len(), 40);
    }

    #[test]
    fn a_step_is_one_event_of_all_its_scalars() {
        let record = scalars(300, &[("train/loss".into(), 0.5), ("eval/x".into(), -2.0)]);
        let payload = &record[12..record.len() - 4];
        let mut expected = vec![9];
        expected.extend_from_slice(&300f64.to_le_bytes());
        expected.extend_from_slice(&[0x10, 0xac, 0x02, 0x2a, 19 + 15]);
        expected.extend_from_slice(&[0x0a, 17, 0x0a, 10]);
        expected.extend_from_slice(b"train/loss");
        expected.extend_from_slice(&[0x15, 0, 0, 0, 0x3f]);
        expected.extend_from_slice(&[0x0a, 13, 0x0a, 6]);
        expected.extend_from_slice(b"eval/x");
        expected.extend_from_slice(&[0x15, 0, 0, 0, 0xc0]);
        assert_eq!(payload, expected);
        assert_eq!(record[..8], (payload.len() as u64).to_le_bytes());
    }
}
