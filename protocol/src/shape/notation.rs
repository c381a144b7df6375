//! How the tables of shapes are written: short names of kinds, and fields with the versions that have them.

use super::Kind::{Array, Fixed, NullableArray};
use super::{Element, Field, Kind, Struct};

pub(super) const I8: Kind = Fixed(1);
pub(super) const BOOL: Kind = Fixed(1);
pub(super) const I16: Kind = Fixed(2);
pub(super) const I32: Kind = Fixed(4);
pub(super) const I64: Kind = Fixed(8);
pub(super) const UUID: Kind = Fixed(16);

pub(super) const fn array_of(shape: &'static Struct) -> Kind {
    Array(Element::Struct(shape))
}

pub(super) const fn nullable_array_of(shape: &'static Struct) -> Kind {
    NullableArray(Element::Struct(shape))
}

/// A field of every version.
pub(super) const fn always(kind: Kind) -> Field {
    between(0, i16::MAX, kind)
}

/// A field from version `since` on.
pub(super) const fn since(since: i16, kind: Kind) -> Field {
    between(since, i16::MAX, kind)
}

/// A field up to version `until`, inclusive.
pub(super) const fn until(until: i16, kind: Kind) -> Field {
    between(0, until, kind)
}

pub(super) const fn between(since: i16, until: i16, kind: Kind) -> Field {
    Field { kind, since, until }
}

/// An array of partition numbers.
pub(super) const PARTITIONS: Kind = Array(Element::Fixed(4));
