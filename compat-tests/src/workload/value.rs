//! Values that say which record they are, so that a reader needs no list of what was sent.

use crate::checker::RecordId;

/// A value holds at least its record's identity and 8 bytes of fill.
pub(super) const MIN_VALUE_BYTES: usize = 24;

fn fill(record: RecordId) -> impl FnMut() -> u64 {
    let mut state = (record.op() << 20 | u64::from(record.index())).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

/// A value that says which record it is: operation, index, and bytes that follow from both.
pub fn encode_value(record: RecordId, bytes: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(bytes + 8);
    value.extend_from_slice(&record.op().to_be_bytes());
    value.extend_from_slice(&u64::from(record.index()).to_be_bytes());
    let mut next = fill(record);
    while value.len() < bytes {
        value.extend_from_slice(&next().to_be_bytes());
    }
    value.truncate(bytes.max(16));
    value
}

/// Which record a value is; `None` if any byte of it is not as it was written.
pub fn decode_value(value: &[u8]) -> Option<RecordId> {
    let (op, rest) = value.split_first_chunk()?;
    let (index, rest) = rest.split_first_chunk()?;
    let (op, index) = (u64::from_be_bytes(*op), u64::from_be_bytes(*index));
    if op == 0 || op >= 1 << 47 || index >= 1 << 16 {
        return None;
    }
    let record = RecordId::new(op, index as u32);
    let mut next = fill(record);
    let right = rest
        .chunks(8)
        .all(|chunk| next().to_be_bytes()[..chunk.len()] == *chunk);
    right.then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_say_which_record_they_are_and_any_flipped_bit_shows() {
        for bytes in [16, 24, 31, 100, 4_096] {
            let record = RecordId::new(77, 3);
            let value = encode_value(record, bytes);
            assert_eq!(value.len(), bytes);
            assert_eq!(decode_value(&value), Some(record));
            for at in 0..value.len() {
                let mut flipped = value.clone();
                flipped[at] ^= 0x10;
                // Of 16 bytes nothing follows from the identity, so it is another one.
                assert_ne!(decode_value(&flipped), Some(record), "byte {at} of {bytes}");
            }
        }
        assert_eq!(decode_value(b"short"), None);
        assert_eq!(decode_value(&[0; 40]), None);
    }
}
