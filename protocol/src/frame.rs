//! The length in front of every request: checked before anything is allocated (contract 3).

/// Bytes of the length field.
pub const LENGTH_BYTES: usize = 4;

/// A length that no frame may have: the connection closes without a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Below zero.
    #[error("the frame length {0} is negative")]
    Negative(i32),
    /// Above `socket.request.max.bytes`.
    #[error("the frame length {size} is above the limit of {max_bytes} bytes")]
    TooLarge {
        /// The length as sent.
        size: i32,
        /// The limit.
        max_bytes: usize,
    },
}

impl FrameError {
    /// The length as sent.
    pub fn size(&self) -> i32 {
        match self {
            FrameError::Negative(size) | FrameError::TooLarge { size, .. } => *size,
        }
    }
}

/// Bytes that follow the length field, at most `max_bytes`. A frame too short for a header is the header's error.
pub fn frame_bytes(length_field: [u8; LENGTH_BYTES], max_bytes: usize) -> Result<usize, FrameError> {
    let size = i32::from_be_bytes(length_field);
    let bytes = usize::try_from(size).map_err(|_| FrameError::Negative(size))?;
    if bytes > max_bytes {
        return Err(FrameError::TooLarge { size, max_bytes });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_outside_the_limit_are_refused() {
        // contract 3
        assert_eq!(frame_bytes([0, 0, 0, 14], 100), Ok(14));
        assert_eq!(frame_bytes([0, 0, 0, 100], 100), Ok(100));
        assert_eq!(
            frame_bytes([0, 0, 0, 101], 100),
            Err(FrameError::TooLarge {
                size: 101,
                max_bytes: 100
            })
        );
        assert_eq!(frame_bytes([0xff; 4], 100), Err(FrameError::Negative(-1)));
        assert_eq!(
            frame_bytes([0x80, 0, 0, 0], usize::MAX),
            Err(FrameError::Negative(i32::MIN))
        );
        let two_gib = frame_bytes([0x7f, 0xff, 0xff, 0xff], 100 << 20);
        assert_eq!(two_gib.map_err(|e| e.size()), Err(i32::MAX));
    }
}
