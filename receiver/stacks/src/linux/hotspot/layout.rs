//! Where a version of HotSpot keeps what is read of it: offsets, bytes.

use super::tables::Tables;
use super::target::Target;

/// The first version that leaves 0 out of the bytes of its numbers.
const WITHOUT_ZERO: u32 = 20;

/// See the module. What only some versions have is optional; without the rest nothing can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) heaps: Heaps,
    pub(super) heap: HeapLayout,
    pub(super) blob: BlobLayout,
    pub(super) scopes: Option<ScopesLayout>,
    pub(super) method: MethodLayout,
    /// Which numbers are left out of its compressed streams: as many, from 0.
    pub(super) excluded: u8,
}

/// Where the heaps of code are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heaps {
    /// The address of a pointer to the only one: until version 8.
    One(u64),
    /// The address of a pointer to an array of pointers.
    Several { array: u64, length: u64, data: u64 },
}

/// A heap of code: a range of memory, and one byte for each of its segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeapLayout {
    pub(super) memory: u64,
    pub(super) map: u64,
    /// In a range: where it begins, and where it ends.
    pub(super) low: u64,
    pub(super) high: u64,
    pub(super) log2_segment: u64,
    /// What precedes code: its size, and where it says that it is in use.
    pub(super) header: u64,
    pub(super) used: u64,
}

/// A piece of code, and what a compiled method has beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlobLayout {
    pub(super) name: u64,
    pub(super) code: Span,
    pub(super) frame_size: u64,
    pub(super) frame_complete: u64,
    pub(super) is_frame_complete_short: bool,
    pub(super) method: u64,
    pub(super) compile_id: u64,
}

/// Where the instructions begin and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    /// Addresses: 9 to 22.
    Addresses(u64, u64),
    /// As far behind the beginning, 4 bytes.
    Offsets(u64, u64),
}

/// What a compiled method says of its instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ScopesLayout {
    /// By address: which instructions belong to which scope.
    pub(super) places: Part,
    pub(super) places_end: Part,
    pub(super) data: Part,
    pub(super) metadata: Part,
    pub(super) place_size: u64,
    pub(super) place_pc: u64,
    pub(super) place_scope: u64,
}

/// A part of what belongs to a compiled method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// At this field is its address.
    Address(u64),
    /// At this field is how far behind the beginning, 4 bytes.
    Behind(u64),
    /// At the first field is an address, and at the second how far behind, 4 bytes.
    Apart(u64, u64),
}

/// Methods, and what leads from them to names and lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MethodLayout {
    pub(super) constant: u64,
    pub(super) constants: u64,
    pub(super) constant_size: u64,
    /// In words.
    pub(super) whole_size: u64,
    pub(super) code_size: u64,
    pub(super) flags: u64,
    pub(super) name: u64,
    pub(super) signature: u64,
    pub(super) pool_size: u64,
    pub(super) pool_length: u64,
    pub(super) holder: u64,
    pub(super) class_name: u64,
    pub(super) source: Option<SourceName>,
    pub(super) text_length: u64,
    pub(super) text: u64,
}

/// Where the number of the constant is that names the source file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SourceName {
    InPool(u64),
    InClass(u64),
}

impl Layout {
    pub(super) fn of(tables: &Tables, target: Target<'_>) -> Option<Self> {
        let major = match tables.address("JDK_Version", "_current") {
            Some(current) => u32::from(target.byte(current, 0)?),
            None => target.int(tables.address("Abstract_VM_Version", "_vm_major_version")?, 0)?,
        };
        Some(Self {
            heaps: heaps(tables)?,
            heap: heap(tables)?,
            blob: blob(tables)?,
            scopes: scopes(tables),
            method: method(tables)?,
            excluded: u8::from(major >= WITHOUT_ZERO),
        })
    }
}

fn heaps(tables: &Tables) -> Option<Heaps> {
    if let Some(heap) = tables.address("CodeCache", "_heap") {
        return Some(Heaps::One(heap));
    }
    let length = tables.offset("GrowableArrayBase", "_len");
    Some(Heaps::Several {
        array: tables.address("CodeCache", "_heaps")?,
        length: length.or_else(|| tables.offset("GenericGrowableArray", "_len"))?,
        data: tables.offset("GrowableArray<int>", "_data")?,
    })
}

fn heap(tables: &Tables) -> Option<HeapLayout> {
    let header = tables.offset("HeapBlock", "_header").unwrap_or_default();
    Some(HeapLayout {
        memory: tables.offset("CodeHeap", "_memory")?,
        map: tables.offset("CodeHeap", "_segmap")?,
        low: tables.offset("VirtualSpace", "_low_boundary")?,
        high: tables.offset("VirtualSpace", "_high_boundary")?,
        log2_segment: tables.offset("CodeHeap", "_log2_segment_size")?,
        header: tables.size("HeapBlock")?,
        used: header.checked_add(tables.offset("HeapBlock::Header", "_used")?)?,
    })
}

/// Of a compiled method, whose fields have been those of two classes.
fn compiled(tables: &Tables, field: &str) -> Option<u64> {
    tables.offset("nmethod", field).or_else(|| tables.offset("CompiledMethod", field))
}

fn blob(tables: &Tables) -> Option<BlobLayout> {
    let at = |field| tables.offset("CodeBlob", field);
    let addresses = || Some(Span::Addresses(at("_code_begin")?, at("_code_end")?));
    let offsets = || Some(Span::Offsets(at("_code_offset")?, at("_data_offset")?));
    Some(BlobLayout {
        name: at("_name")?,
        code: addresses().or_else(offsets)?,
        frame_size: at("_frame_size")?,
        frame_complete: at("_frame_complete_offset")?,
        is_frame_complete_short: tables.is_short("CodeBlob", "_frame_complete_offset"),
        method: compiled(tables, "_method")?,
        compile_id: compiled(tables, "_compile_id")?,
    })
}

fn scopes(tables: &Tables) -> Option<ScopesLayout> {
    let behind = |field| tables.offset("nmethod", field).map(Part::Behind);
    let immutable = tables.offset("nmethod", "_immutable_data");
    let apart = |field| Some(Part::Apart(immutable?, tables.offset("nmethod", field)?));
    let mutable = || {
        let at = |field| tables.offset("CodeBlob", field);
        // what is relocated comes first
        Some(Part::Apart(at("_mutable_data")?, at("_relocation_size")?))
    };
    let (places, places_end, data) = if immutable.is_some() {
        (apart("_scopes_pcs_offset")?, apart("_scopes_data_offset")?, apart("_scopes_data_offset")?)
    } else {
        let data = compiled(tables, "_scopes_data_begin").map(Part::Address);
        let data = data.or_else(|| behind("_scopes_data_offset"))?;
        (behind("_scopes_pcs_offset")?, behind("_dependencies_offset")?, data)
    };
    Some(ScopesLayout {
        places,
        places_end,
        data,
        metadata: behind("_metadata_offset").or_else(mutable)?,
        place_size: tables.size("PcDesc").filter(|size| *size >= 8)?,
        place_pc: tables.offset("PcDesc", "_pc_offset")?,
        place_scope: tables.offset("PcDesc", "_scope_decode_offset")?,
    })
}

fn method(tables: &Tables) -> Option<MethodLayout> {
    let constant = |field| tables.offset("ConstMethod", field);
    let in_pool = tables.offset("ConstantPool", "_source_file_name_index").map(SourceName::InPool);
    let in_class = || tables.offset("InstanceKlass", "_source_file_name_index").map(SourceName::InClass);
    // it shares a word with a count of uses in some versions
    let shared = || tables.offset("Symbol", "_length_and_refcount").map(|at| at + 2);
    Some(MethodLayout {
        constant: tables.offset("Method", "_constMethod")?,
        constants: constant("_constants")?,
        constant_size: tables.size("ConstMethod")?,
        whole_size: constant("_constMethod_size")?,
        code_size: constant("_code_size")?,
        flags: constant("_flags").or_else(|| constant("_flags._flags"))?,
        name: constant("_name_index")?,
        signature: constant("_signature_index")?,
        pool_size: tables.size("ConstantPool")?,
        pool_length: tables.offset("ConstantPool", "_length")?,
        holder: tables.offset("ConstantPool", "_pool_holder")?,
        class_name: tables.offset("Klass", "_name")?,
        source: in_pool.or_else(in_class),
        text_length: tables.offset("Symbol", "_length").or_else(shared)?,
        text: tables.offset("Symbol", "_body")?,
    })
}
