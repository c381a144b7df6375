//! Values that many hold, kept once and counted: a number stands for each.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// Stands for a value as long as somebody holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key(u32);

/// The values and how many hold each.
#[derive(Debug)]
pub(super) struct Interner<V> {
    keys: HashMap<V, Key>,
    slots: Vec<Slot<V>>,
    free: Vec<Key>,
}

#[derive(Debug)]
struct Slot<V> {
    /// `None`: free.
    value: Option<V>,
    holders: u32,
}

impl<V> Default for Interner<V> {
    fn default() -> Interner<V> {
        Interner {
            keys: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<V: Clone + Eq + Hash> Interner<V> {
    /// The key of a value, which one more holds now. The value is cloned when nobody held it.
    pub(super) fn acquire(&mut self, value: &V) -> Key {
        if let Some(key) = self.keys.get(value).copied() {
            self.slot(key).holders += 1;
            return key;
        }
        let slot = Slot {
            value: Some(value.clone()),
            holders: 1,
        };
        let key = match self.free.pop() {
            Some(key) => {
                *self.slot(key) = slot;
                key
            }
            None => {
                let key = Key(u32::try_from(self.slots.len()).expect("each holder takes more than a byte of memory"));
                self.slots.push(slot);
                key
            }
        };
        self.keys.insert(value.clone(), key);
        key
    }

    /// One less holds it.
    pub(super) fn release(&mut self, key: Key) {
        let slot = self.slot(key);
        slot.holders -= 1;
        if slot.holders == 0 {
            let value = slot.value.take().expect("held until now");
            self.keys.remove(&value);
            self.free.push(key);
        }
    }

    /// The key of a value that somebody holds.
    pub(super) fn find<Q: Eq + Hash + ?Sized>(&self, value: &Q) -> Option<Key>
    where
        V: Borrow<Q>,
    {
        self.keys.get(value).copied()
    }

    /// The value of a key that is held.
    pub(super) fn get(&self, key: Key) -> &V {
        let slot = self.slots.get(key.0 as usize).expect("keys come from acquire");
        slot.value.as_ref().expect("whoever has the key holds the value")
    }

    fn slot(&mut self, key: Key) -> &mut Slot<V> {
        self.slots.get_mut(key.0 as usize).expect("keys come from acquire")
    }

    /// How many different values are held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// How many numbers were ever given out.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.slots.len()
    }
}
