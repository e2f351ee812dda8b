//! The tables that the profiles of one request share.

use std::collections::HashMap;

use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::profiles::v1development::{
    Function, KeyValueAndUnit, Link, Location, Mapping, ProfilesDictionary, Stack,
};
use prost::Message;

/// A [`ProfilesDictionary`] in the making. The first entry of each table is the zero value, which stands for "not set",
/// and nothing stands in a table twice: what is put in a second time has the index of the first.
#[derive(Debug, Default)]
pub struct Dictionary {
    mappings: Table<Mapping>,
    locations: Table<Location>,
    functions: Table<Function>,
    links: Table<Link>,
    strings: Table<String>,
    attributes: Table<KeyValueAndUnit>,
    stacks: Table<Stack>,
}

impl Dictionary {
    /// Index of a text.
    pub fn string(&mut self, text: &str) -> i32 {
        self.strings.put(text.to_owned())
    }

    /// Index of a mapping, whose indices are of this dictionary.
    pub fn mapping(&mut self, mapping: Mapping) -> i32 {
        self.mappings.put(mapping)
    }

    /// Index of a location, whose indices are of this dictionary.
    pub fn location(&mut self, location: Location) -> i32 {
        self.locations.put(location)
    }

    /// Index of a function, whose indices are of this dictionary.
    pub fn function(&mut self, function: Function) -> i32 {
        self.functions.put(function)
    }

    /// Index of a link to a span.
    pub fn link(&mut self, link: Link) -> i32 {
        self.links.put(link)
    }

    /// Index of an attribute without a unit of its own.
    pub fn attribute(&mut self, key: &str, value: AnyValue) -> i32 {
        let key_strindex = self.string(key);
        self.put_attribute(KeyValueAndUnit { key_strindex, value: Some(value), unit_strindex: 0 })
    }

    pub(super) fn put_attribute(&mut self, attribute: KeyValueAndUnit) -> i32 {
        self.attributes.put(attribute)
    }

    /// Index of a stack, by its locations, the innermost first.
    pub fn stack(&mut self, location_indices: Vec<i32>) -> i32 {
        self.stacks.put(Stack { location_indices })
    }
}

impl From<ProfilesDictionary> for Dictionary {
    /// Every index stays what it was.
    fn from(dictionary: ProfilesDictionary) -> Self {
        Self {
            mappings: Table::of(dictionary.mapping_table),
            locations: Table::of(dictionary.location_table),
            functions: Table::of(dictionary.function_table),
            links: Table::of(dictionary.link_table),
            strings: Table::of(dictionary.string_table),
            attributes: Table::of(dictionary.attribute_table),
            stacks: Table::of(dictionary.stack_table),
        }
    }
}

impl From<Dictionary> for ProfilesDictionary {
    fn from(dictionary: Dictionary) -> Self {
        Self {
            mapping_table: dictionary.mappings.items,
            location_table: dictionary.locations.items,
            function_table: dictionary.functions.items,
            link_table: dictionary.links.items,
            string_table: dictionary.strings.items,
            attribute_table: dictionary.attributes.items,
            stack_table: dictionary.stacks.items,
        }
    }
}

/// Entries are known by their encoding, since not every kind of them can be hashed. That of a zero value is empty.
#[derive(Debug)]
struct Table<T> {
    items: Vec<T>,
    known: HashMap<Vec<u8>, i32>,
}

impl<T: Message + Default> Default for Table<T> {
    fn default() -> Self {
        Self::of(Vec::new())
    }
}

impl<T: Message + Default> Table<T> {
    fn of(mut items: Vec<T>) -> Self {
        if items.is_empty() {
            items.push(T::default());
        }
        let mut known = HashMap::new();
        for (index, item) in (0..).zip(&items) {
            known.entry(item.encode_to_vec()).or_insert(index);
        }
        Self { items, known }
    }

    fn put(&mut self, item: T) -> i32 {
        let encoded = item.encode_to_vec();
        if let Some(index) = self.known.get(&encoded) {
            return *index;
        }
        // a request has no room for so many: what would not fit is "not set"
        let Ok(index) = i32::try_from(self.items.len()) else { return 0 };
        self.items.push(item);
        self.known.insert(encoded, index);
        index
    }
}
