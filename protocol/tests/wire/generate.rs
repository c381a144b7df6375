//! Seeded random values.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;

/// The seed of a random test: from `STREAMHOUSE_TEST_SEED`, or fixed. Printed, so that a failure can be replayed.
pub(crate) fn seed(test: &str) -> u64 {
    let seed = match std::env::var("STREAMHOUSE_TEST_SEED") {
        Ok(text) => text.parse().expect("STREAMHOUSE_TEST_SEED is a number"),
        Err(_) => 0x5eed_0000_0000_0001,
    };
    println!("{test}: replay with STREAMHOUSE_TEST_SEED={seed}");
    seed
}

/// Random values for the fields of one request.
pub(crate) struct Gen {
    pub(crate) rng: StdRng,
    /// Whether the version has tagged fields.
    pub(crate) flexible: bool,
    /// The most elements that an array gets.
    pub(crate) elements_max: usize,
}

impl Gen {
    pub(crate) fn new(seed: u64, flexible: bool) -> Gen {
        Gen {
            rng: StdRng::seed_from_u64(seed),
            flexible,
            elements_max: 4,
        }
    }

    pub(crate) fn i8(&mut self) -> i8 {
        self.rng.random()
    }

    pub(crate) fn i16(&mut self) -> i16 {
        self.rng.random()
    }

    pub(crate) fn i32(&mut self) -> i32 {
        self.rng.random()
    }

    pub(crate) fn i64(&mut self) -> i64 {
        self.rng.random()
    }

    pub(crate) fn bool(&mut self) -> bool {
        self.rng.random()
    }

    pub(crate) fn text(&mut self) -> String {
        let chars = self.rng.random_range(0..40);
        (0..chars).map(|_| self.rng.random_range('a'..='ä')).collect()
    }

    pub(crate) fn uuid_text(&mut self) -> String {
        format!("{:032x}", self.rng.random::<u128>())
    }

    pub(crate) fn uuid_bytes(text: &str) -> [u8; 16] {
        u128::from_str_radix(text, 16).expect("hex").to_be_bytes()
    }

    pub(crate) fn bytes(&mut self) -> Bytes {
        let count = self.rng.random_range(0..200);
        (0..count).map(|_| self.rng.random::<u8>()).collect()
    }

    pub(crate) fn option<T>(&mut self, make: impl FnOnce(&mut Gen) -> T) -> Option<T> {
        if self.rng.random_ratio(1, 4) {
            None
        } else {
            Some(make(self))
        }
    }

    pub(crate) fn vec<T>(&mut self, mut make: impl FnMut(&mut Gen) -> T) -> Vec<T> {
        let count = self.rng.random_range(0..=self.elements_max);
        (0..count).map(|_| make(self)).collect()
    }

    /// Tagged fields that nobody knows.
    pub(crate) fn tags(&mut self) -> BTreeMap<i32, Bytes> {
        if !self.flexible || self.rng.random_ratio(2, 3) {
            return BTreeMap::new();
        }
        let count = self.rng.random_range(1..20);
        (0..count)
            .map(|_| (self.rng.random_range(100..5000), self.bytes()))
            .collect()
    }
}
