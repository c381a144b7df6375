//! Request headers in, response headers out.
//!
//! The codec's own header reader panics on frames under 10 bytes, so ours reads every byte checked.

use crate::api::{self, Api, ApiKey};
use crate::decode_error::DecodeError;
use crate::wire::Reader;
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::Encodable;
use std::borrow::Cow;

/// A request's header: version 1, or 2 with tagged fields, which are skipped (contract 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// The API's row; its key is known, its version may not be (see [`RequestHeader::parse`]).
    pub api: &'static Api,
    /// The version asked for.
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// `None` counts as "" (contract 6). Bytes that are not UTF-8 are replaced, as Kafka does.
    pub client_id: Option<Cow<'a, str>>,
    /// Where the body begins, in bytes from the start of `frame`; at most its length.
    pub body_at: usize,
}

impl<'a> RequestHeader<'a> {
    /// Reads the header of a frame (without its length field).
    ///
    /// An API or version that is not advertised is an error (contract 4), except that ApiVersions above our versions gives a
    /// header whose `body_at` is the frame's end: it is answered in version 0, and its body cannot be parsed (contract 11).
    /// Produce 0–2 is advertised but not served: ask [`Api::serves`].
    pub fn parse(frame: &'a [u8]) -> Result<RequestHeader<'a>, DecodeError> {
        let mut reader = Reader::new(frame);
        let api_key = reader.i16("the API key")?;
        let api_version = reader.i16("the API version")?;
        let correlation_id = reader.i32("the correlation id")?;
        let api = api::find(api_key).ok_or(DecodeError::UnknownApi { api_key, api_version })?;
        if !api.advertises(api_version) {
            if api.key != ApiKey::ApiVersions || api_version < 0 {
                return Err(DecodeError::UnsupportedVersion { api_key, api_version });
            }
            let client_id = read_client_id(&mut reader).unwrap_or(None);
            return Ok(RequestHeader {
                api,
                api_version,
                correlation_id,
                client_id,
                body_at: frame.len(),
            });
        }
        let client_id = read_client_id(&mut reader)?;
        if api.request_header_version(api_version) >= 2 {
            reader.skip_tags()?;
        }
        let body_at = frame.len() - reader.remaining();
        Ok(RequestHeader {
            api,
            api_version,
            correlation_id,
            client_id,
            body_at,
        })
    }

    /// The body: `frame` must be what [`RequestHeader::parse`] read.
    pub fn body<'f>(&self, frame: &'f [u8]) -> &'f [u8] {
        frame.get(self.body_at..).unwrap_or_default()
    }

    /// The client id, "" for null.
    pub fn client_id_or_empty(&self) -> &str {
        self.client_id.as_deref().unwrap_or("")
    }
}

/// The client id keeps its old encoding, an i16 length, in every header version.
fn read_client_id<'a>(reader: &mut Reader<'a>) -> Result<Option<Cow<'a, str>>, DecodeError> {
    match reader.string_length(false, "the client id")? {
        Some(length) => Ok(Some(String::from_utf8_lossy(reader.take(length, "the client id")?))),
        None => Ok(None),
    }
}

/// Writes the response header: the correlation id, and in flexible versions an empty list of tagged fields.
pub fn put_response_header(out: &mut impl BufMut, api: &Api, api_version: i16, correlation_id: i32) {
    out.put_i32(correlation_id);
    if api.response_header_version(api_version) >= 1 {
        out.put_u8(0);
    }
}

/// A reply that cannot be encoded: a mistake of ours, for example a field that the version does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot encode the response of {api} version {api_version}: {reason}")]
pub struct EncodeError {
    /// The API's name.
    pub api: &'static str,
    /// The version asked for.
    pub api_version: i16,
    /// What the codec says.
    pub reason: String,
}

/// A whole response frame: length, header, body. `api_version` is the version of the body; for ApiVersions above our
/// versions that is 0 (contract 11).
pub fn encode_response<T: Encodable>(
    api: &'static Api,
    api_version: i16,
    correlation_id: i32,
    body: &T,
) -> Result<Bytes, EncodeError> {
    let failed = |reason: String| EncodeError {
        api: api.name,
        api_version,
        reason,
    };
    let body_bytes = body.compute_size(api_version).map_err(|e| failed(e.to_string()))?;
    let mut out = BytesMut::with_capacity(body_bytes + 9);
    out.put_i32(0);
    put_response_header(&mut out, api, api_version, correlation_id);
    body.encode(&mut out, api_version).map_err(|e| failed(e.to_string()))?;
    close_frame(&mut out).map_err(|bytes| failed(format!("{bytes} bytes are more than a frame can have")))?;
    Ok(out.freeze())
}

/// Fills in the length field at the front; an error gives the bytes that are too many.
pub(crate) fn close_frame(frame: &mut BytesMut) -> Result<(), usize> {
    let bytes = frame.len() - crate::frame::LENGTH_BYTES;
    let length = i32::try_from(bytes).map_err(|_| bytes)?;
    frame[..crate::frame::LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn header_version_1_ends_after_the_client_id() {
        let bytes = frame(&[&[0, 3, 0, 1, 0, 0, 0, 7, 0, 2], b"me", &[9, 9]]);
        let header = RequestHeader::parse(&bytes).expect("parses");
        assert_eq!(
            (header.api.key, header.api_version, header.correlation_id),
            (ApiKey::Metadata, 1, 7)
        );
        assert_eq!(header.client_id.as_deref(), Some("me"));
        assert_eq!(header.body(&bytes), [9, 9]);
    }

    #[test]
    fn header_version_2_skips_unknown_tags() {
        // contract 6: one tagged field, tag 5, three bytes.
        let bytes = frame(&[&[0, 3, 0, 9, 0, 0, 0, 7, 0xff, 0xff], &[1, 5, 3, 1, 2, 3], &[4]]);
        let header = RequestHeader::parse(&bytes).expect("parses");
        assert_eq!(header.client_id, None);
        assert_eq!(header.client_id_or_empty(), "");
        assert_eq!(header.body(&bytes), [4]);
    }

    #[test]
    fn every_cut_of_a_header_is_an_error() {
        let bytes = frame(&[&[0, 3, 0, 9, 0, 0, 0, 7, 0, 2], b"me", &[1, 5, 3, 1, 2, 3]]);
        assert!(RequestHeader::parse(&bytes).is_ok());
        for cut in 0..bytes.len() {
            assert!(RequestHeader::parse(&bytes[..cut]).is_err(), "{cut} bytes");
        }
    }

    #[test]
    fn what_is_not_offered_is_an_error() {
        // contract 4
        let unknown = [0x7f, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
        assert_eq!(
            RequestHeader::parse(&unknown),
            Err(DecodeError::UnknownApi {
                api_key: 0x7f00,
                api_version: 0
            })
        );
        let too_new = [0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff];
        assert_eq!(
            RequestHeader::parse(&too_new),
            Err(DecodeError::UnsupportedVersion {
                api_key: 3,
                api_version: 99
            })
        );
    }

    #[test]
    fn api_versions_above_ours_gives_a_header_without_a_body() {
        // contract 11
        let bytes = [0, 18, 0, 99, 0, 0, 0, 8, 0, 1, b'c', 1, 2, 3];
        let header = RequestHeader::parse(&bytes).expect("parses");
        assert_eq!((header.correlation_id, header.client_id_or_empty()), (8, "c"));
        assert!(!header.api.serves(header.api_version));
        assert!(header.body(&bytes).is_empty());
        assert!(RequestHeader::parse(&bytes[..8]).is_ok());
    }

    #[test]
    fn a_client_id_that_is_not_utf8_is_replaced() {
        let bytes = [0, 3, 0, 1, 0, 0, 0, 7, 0, 2, 0xff, b'x'];
        let header = RequestHeader::parse(&bytes).expect("parses");
        assert_eq!(header.client_id_or_empty(), "\u{fffd}x");
    }

    #[test]
    fn the_api_versions_response_header_is_always_0() {
        // contract 5
        for api in api::APIS {
            for version in api.min_version..=api.max_version {
                let mut out = Vec::new();
                put_response_header(&mut out, api, version, 5);
                let flexible = api.is_flexible(version) && api.key != ApiKey::ApiVersions;
                assert_eq!(out.len(), 4 + usize::from(flexible), "{} {version}", api.name);
            }
        }
    }
}
