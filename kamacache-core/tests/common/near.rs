//! Near copies as a binding keeps them, without limits of size.

use std::collections::HashMap;

use kamacache_core::{Freshness, Group, Near, Value};

/// The near copies of one reader, of groups that keep values for ever.
pub struct NearCopies {
    freshness: Freshness,
    copies: HashMap<String, (Value, Near)>,
}

impl NearCopies {
    pub fn of(group: &Group) -> Self {
        Self {
            freshness: group.freshness(),
            copies: HashMap::new(),
        }
    }

    /// Forgets everything when the group is another node's.
    pub fn follow(&mut self, group: &Group) {
        if self.freshness != group.freshness() {
            *self = Self::of(group);
        }
    }

    pub fn get(&self, key: &str) -> Option<Value> {
        let (value, near) = self.copies.get(key)?;
        near.stands(&self.freshness).then(|| value.clone())
    }

    /// Copies the value, if the node owns it.
    pub fn take(&mut self, group: &Group, key: &str) -> Option<Near> {
        let mut buffer = [0; 64];
        let near = group.near_into(key, 0, &mut buffer)?;
        let value = Value::from(&buffer[..near.length]);
        self.copies.insert(key.to_owned(), (value, near));
        Some(near)
    }
}
