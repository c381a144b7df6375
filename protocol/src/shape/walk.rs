//! The walk of the shape guard. It allocates nothing and looks at every byte at most once.

use super::{Checked, Element, Field, Kind, Struct, Tag};
use crate::decode_error::DecodeError;
use crate::wire::Reader;

/// The codec keeps unknown tagged fields in a `BTreeMap<i32, Bytes>`: its first entry allocates a node of 11.
const FIRST_TAG_BYTES: usize = 640;
/// Further entries: nodes are at least half full, and have parents.
const TAG_BYTES: usize = 128;
/// A `StrBytes`: pointer, length, vtable, data.
const STR_BYTES: usize = size_of::<kafka_protocol::protocol::StrBytes>();

struct Walk<'a> {
    reader: Reader<'a>,
    version: i16,
    flexible: bool,
    memory: usize,
    memory_limit: usize,
}

/// Walks the request at the front of `body`.
pub(super) fn walk(
    shape: &'static Struct,
    version: i16,
    flexible: bool,
    body: &[u8],
    memory_limit: usize,
) -> Result<Checked, DecodeError> {
    let mut walk = Walk {
        reader: Reader::new(body),
        version,
        flexible,
        memory: 0,
        memory_limit,
    };
    walk.spend(shape.bytes, 1)?;
    walk.structure(shape)?;
    let trailing_bytes = walk.reader.remaining();
    Ok(Checked {
        memory_bytes: walk.memory,
        body_bytes: body.len() - trailing_bytes,
        trailing_bytes,
    })
}

impl Walk<'_> {
    fn spend(&mut self, bytes: usize, times: usize) -> Result<(), DecodeError> {
        let limit = self.memory_limit;
        let sum = bytes.checked_mul(times).and_then(|more| more.checked_add(self.memory));
        self.memory = sum.filter(|sum| *sum <= limit).ok_or(DecodeError::Memory { limit })?;
        Ok(())
    }

    fn structure(&mut self, shape: &'static Struct) -> Result<(), DecodeError> {
        for field in shape.fields {
            if field.is_in(self.version) {
                self.value(field.kind)?;
            }
        }
        if self.flexible { self.tags(shape.tags) } else { Ok(()) }
    }

    fn value(&mut self, kind: Kind) -> Result<(), DecodeError> {
        match kind {
            Kind::Fixed(bytes) => self.reader.take(bytes, "a field").map(drop),
            Kind::Str => self.string()?.ok_or(DecodeError::Null { what: "a string" }),
            Kind::NullableStr => self.string().map(drop),
            Kind::Bytes => self.bytes()?.ok_or(DecodeError::Null { what: "a byte field" }),
            Kind::NullableBytes => self.bytes().map(drop),
            Kind::Array(element) => self.array(element)?.ok_or(DecodeError::Null { what: "an array" }),
            Kind::NullableArray(element) => self.array(element).map(drop),
            Kind::Struct(shape) => self.structure(shape),
            Kind::OptionStruct(shape) => match self.reader.i8("a struct's presence")? {
                1 => self.structure(shape),
                -1 => Ok(()),
                other => Err(DecodeError::Presence(other)),
            },
        }
    }

    fn string(&mut self) -> Result<Option<()>, DecodeError> {
        match self.reader.string_length(self.flexible, "a string")? {
            Some(length) => self.reader.take(length, "a string").map(|_| Some(())),
            None => Ok(None),
        }
    }

    fn bytes(&mut self) -> Result<Option<()>, DecodeError> {
        let bytes = self.reader.nullable_bytes(self.flexible, "a byte field")?;
        Ok(bytes.map(|_| ()))
    }

    fn array(&mut self, element: Element) -> Result<Option<()>, DecodeError> {
        let min_bytes = element.min_bytes(self.version, self.flexible);
        let Some(count) = self.reader.count(self.flexible, min_bytes)? else {
            return Ok(None);
        };
        self.spend(element.memory(), count)?;
        match element {
            // The count was checked against these very bytes.
            Element::Fixed(bytes) => self.reader.take(bytes * count, "an array").map(drop)?,
            Element::Str => {
                for _ in 0..count {
                    self.value(Kind::Str)?;
                }
            }
            Element::Struct(shape) => {
                for _ in 0..count {
                    self.structure(shape)?;
                }
            }
        }
        Ok(Some(()))
    }

    fn tags(&mut self, known: &'static [Tag]) -> Result<(), DecodeError> {
        let mut unknown = 0;
        for _ in 0..self.reader.unsigned_varint()? {
            let tag = self.reader.unsigned_varint()?;
            let announced = self.reader.unsigned_varint()? as usize;
            match known.iter().find(|known| known.tag == tag) {
                Some(known) => self.known_tag(known, announced)?,
                None => {
                    self.reader.take(announced, "a tagged field")?;
                    self.spend(if unknown == 0 { FIRST_TAG_BYTES } else { TAG_BYTES }, 1)?;
                    unknown += 1;
                }
            }
        }
        Ok(())
    }

    /// The codec decodes a known field without a look at its announced size: they must agree, or both would go on at
    /// different places.
    fn known_tag(&mut self, known: &'static Tag, announced: usize) -> Result<(), DecodeError> {
        if self.version < known.since {
            return Err(DecodeError::TagVersion { tag: known.tag });
        }
        let before = self.reader.remaining();
        self.value(known.kind)?;
        let found = before - self.reader.remaining();
        if found != announced {
            return Err(DecodeError::TagSize {
                tag: known.tag,
                announced,
                found,
            });
        }
        Ok(())
    }
}

impl Field {
    fn is_in(&self, version: i16) -> bool {
        (self.since..=self.until).contains(&version)
    }
}

impl Element {
    fn memory(self) -> usize {
        match self {
            Element::Fixed(bytes) => bytes,
            Element::Str => STR_BYTES,
            Element::Struct(shape) => shape.bytes,
        }
    }

    /// The fewest bytes that one element has on the wire.
    fn min_bytes(self, version: i16, flexible: bool) -> usize {
        match self {
            Element::Fixed(bytes) => bytes,
            Element::Str => min_string_bytes(flexible),
            Element::Struct(shape) => shape.min_bytes(version, flexible),
        }
    }
}

impl Struct {
    fn min_bytes(&self, version: i16, flexible: bool) -> usize {
        let fields = self.fields.iter().filter(|field| field.is_in(version));
        fields
            .map(|field| field.kind.min_bytes(version, flexible))
            .sum::<usize>()
            + usize::from(flexible)
    }
}

impl Kind {
    fn min_bytes(self, version: i16, flexible: bool) -> usize {
        match self {
            Kind::Fixed(bytes) => bytes,
            Kind::Str | Kind::NullableStr => min_string_bytes(flexible),
            Kind::Bytes | Kind::NullableBytes | Kind::Array(_) | Kind::NullableArray(_) => {
                if flexible {
                    1
                } else {
                    4
                }
            }
            Kind::OptionStruct(_) => 1,
            Kind::Struct(shape) => shape.min_bytes(version, flexible),
        }
    }
}

fn min_string_bytes(flexible: bool) -> usize {
    if flexible { 1 } else { 2 }
}
