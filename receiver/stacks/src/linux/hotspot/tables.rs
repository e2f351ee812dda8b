//! The tables by which HotSpot tells where it keeps what: fields of its classes, the classes' sizes, and static variables.

use std::collections::HashMap;

use super::target::Target;

/// Variables of libjvm.so that lead to the tables, and say how their entries are laid out.
pub(crate) const VARIABLES: [&str; 11] = [
    "gHotSpotVMStructs",
    "gHotSpotVMStructEntryArrayStride",
    "gHotSpotVMStructEntryTypeNameOffset",
    "gHotSpotVMStructEntryFieldNameOffset",
    "gHotSpotVMStructEntryTypeStringOffset",
    "gHotSpotVMStructEntryOffsetOffset",
    "gHotSpotVMStructEntryAddressOffset",
    "gHotSpotVMTypes",
    "gHotSpotVMTypeEntryArrayStride",
    "gHotSpotVMTypeEntryTypeNameOffset",
    "gHotSpotVMTypeEntrySizeOffset",
];

/// Entries of a table; versions have up to some 3,000.
const MAX_ENTRIES: u64 = 8192;
/// An entry that is larger is none, bytes.
const MAX_ENTRY: u64 = 256;
/// Bytes of a name.
const MAX_NAME: usize = 96;
/// No class has a field further away, bytes.
const MAX_OFFSET: u64 = 4096;

/// The classes that matter to stacks.
pub(super) const CLASSES: [&str; 20] = [
    "Abstract_VM_Version",
    "CodeBlob",
    "CodeCache",
    "CodeHeap",
    "CompiledMethod",
    "ConstMethod",
    "ConstantPool",
    "GenericGrowableArray",
    "GrowableArray<int>",
    "GrowableArrayBase",
    "HeapBlock",
    "HeapBlock::Header",
    "InstanceKlass",
    "JDK_Version",
    "Klass",
    "Method",
    "PcDesc",
    "Symbol",
    "VirtualSpace",
    "nmethod",
];

/// What they say of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    /// From the beginning of an object.
    offset: u64,
    /// Of a static one.
    address: u64,
    /// It takes two bytes.
    is_short: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    fields: HashMap<(String, String), Field>,
    sizes: HashMap<String, u64>,
}

impl Tables {
    /// What they say of these classes. `variables`: the addresses of [`VARIABLES`] in the process. `None` if the tables are not there, or
    /// not yet.
    pub(super) fn read(
        target: Target<'_>,
        variables: &[u64; VARIABLES.len()],
        classes: &[&str],
    ) -> Option<Self> {
        let mut read = [0; VARIABLES.len()];
        for (to, at) in read.iter_mut().zip(variables) {
            *to = target.word(*at, 0)?;
        }
        let [structs, stride, class, name, kind, offset, address, types, type_stride, type_name, type_size] =
            read;
        let is_sound = |stride: u64, places: &[u64]| {
            (8..=MAX_ENTRY).contains(&stride) && places.iter().all(|place| *place <= stride - 8)
        };
        if !is_sound(stride, &[class, name, kind, offset, address])
            || !is_sound(type_stride, &[type_name, type_size])
        {
            return None;
        }
        let mut found = Self::default();
        let text = |at| target.text(at, MAX_NAME);
        let wanted = |entry, place| {
            let class = text(target.pointer(entry, place)?)?;
            classes.contains(&class.as_str()).then_some(class)
        };
        for entry in entries(target, structs, stride, class) {
            let Some(class) = wanted(entry, class) else { continue };
            let Some(name) = target.pointer(entry, name).and_then(text) else { continue };
            let kind = target.pointer(entry, kind).and_then(text).unwrap_or_default();
            let field = Field {
                offset: target.word(entry, offset)?,
                address: target.word(entry, address)?,
                is_short: ["u2", "int16_t", "uint16_t"].contains(&kind.as_str()),
            };
            found.fields.insert((class, name), field);
        }
        for entry in entries(target, types, type_stride, type_name) {
            let Some(class) = wanted(entry, type_name) else { continue };
            found.sizes.insert(class, target.word(entry, type_size)?);
        }
        (!found.fields.is_empty()).then_some(found)
    }

    fn field(&self, class: &str, name: &str) -> Option<&Field> {
        self.fields.get(&(class.to_owned(), name.to_owned()))
    }

    /// Where in an object of a class a field is.
    pub(crate) fn offset(&self, class: &str, name: &str) -> Option<u64> {
        self.field(class, name)
            .filter(|it| it.address == 0)
            .map(|it| it.offset)
            .filter(|it| *it <= MAX_OFFSET)
    }

    /// The field takes two bytes.
    pub(super) fn is_short(&self, class: &str, name: &str) -> bool {
        self.field(class, name).is_some_and(|field| field.is_short)
    }

    /// Where a static variable is.
    pub(crate) fn address(&self, class: &str, name: &str) -> Option<u64> {
        self.field(class, name).map(|it| it.address).filter(|it| *it != 0)
    }

    /// Bytes of an object.
    pub(crate) fn size(&self, class: &str) -> Option<u64> {
        self.sizes.get(class).copied().filter(|it| *it <= MAX_OFFSET)
    }
}

/// Where the entries of a table are: it ends with one that has no class.
fn entries<'a>(target: Target<'a>, table: u64, stride: u64, class: u64) -> impl Iterator<Item = u64> + 'a {
    let places = (0..MAX_ENTRIES).map_while(move |nth| table.checked_add(nth * stride));
    places.take_while(move |entry| target.pointer(*entry, class).is_some())
}
