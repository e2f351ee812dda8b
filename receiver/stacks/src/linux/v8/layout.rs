//! Where V8 keeps what is read of frames and objects, as the version that is mapped publishes it.
//!
//! Not all is published, and what is changes its name: what follows from the rest is derived, and checked on the objects.

use std::ops::RangeInclusive;

use super::owner::OwnerLayout;
use super::published::Published;

/// An offset further away than this is none, bytes.
const MAX_OFFSET: i32 = 4096;
/// Kinds of functions that follow the plain one (constructors of arrays and the like, of classes last), where their end is not published:
/// 15 in Node 16 to 20, one more with every kind of array. What is none is seen by what it has in the place of what closures share.
const FUNCTION_KINDS: u16 = 17;

/// Offsets from the frame pointer, and within objects; kinds of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) frame: FrameLayout,
    pub(super) kinds: Kinds,
    /// In a map: the kind of the objects that it describes.
    pub(super) map_kind: u64,
    /// In a function: what all closures of it share.
    pub(super) function_shared: u64,
    /// In what is shared.
    pub(super) shared_name: u64,
    pub(super) shared_script: u64,
    /// In a script.
    pub(super) script_name: u64,
    pub(super) script_source: u64,
    /// In bytecode: the table of positions, and the first instruction.
    pub(super) bytecode_positions: u64,
    pub(super) bytecode_data: u64,
    /// In what describes a scope: words of its head, and which of them counts the local names.
    pub(super) scope_head: usize,
    pub(super) scope_locals: usize,
    /// Where a scope begins in the source stands in its head.
    pub(super) scope_begins_in_head: bool,
    pub(super) string_length: u64,
    /// What optimised code says of itself, where that is known.
    pub(super) code: Option<CodeLayout>,
    /// How it is told whose method a function is, where that is known.
    pub(super) owner: Option<OwnerLayout>,
}

/// Offsets from the frame pointer of a function of JavaScript.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameLayout {
    pub(super) context: i64,
    pub(super) function: i64,
    pub(super) bytecode: i64,
    /// Of the instruction that is being executed.
    pub(super) offset: i64,
}

/// Kinds of objects: "instance types".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kinds {
    pub(super) contexts: RangeInclusive<u16>,
    pub(super) functions: RangeInclusive<u16>,
    pub(super) shared: u16,
    pub(super) scope: u16,
    pub(super) script: u16,
    pub(super) bytecode: u16,
    /// Below it are strings.
    pub(super) no_string: u16,
    /// Arrays of bytes, and of objects, where they may be trusted and where not.
    pub(super) bytes: Vec<u16>,
    pub(super) arrays: Vec<u16>,
    pub(super) code: Option<u16>,
    /// Instructions, where they are no part of the code object.
    pub(super) instructions: Option<u16>,
    /// What stands for something shared where references to it are restricted.
    pub(super) wrapper: Option<u16>,
}

/// Offsets within code, and within what it keeps to be given up by ("deoptimisation data").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CodeLayout {
    pub(super) deoptimisation: u64,
    pub(super) positions: u64,
    pub(super) start: Start,
    pub(super) size: u64,
    /// Words of the deoptimisation data: objects that the code refers to, and who was inlined where.
    pub(super) literals: [usize; 2],
    pub(super) inlined: usize,
}

/// Where instructions begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// So far behind the beginning of the code object.
    Behind(u64),
    /// A word of the code object points to it.
    At(u64),
}

impl Layout {
    /// `None`: something is missing, or references take other than eight bytes.
    pub(super) fn of(published: &Published) -> Option<Self> {
        let is = |name, value| published.get(name) == Some(value);
        let fits = [
            ("HeapObjectTag", 1),
            ("HeapObjectTagMask", 3),
            ("SmiTagMask", 1),
            ("SmiValueShift", 1),
            ("SmiShiftSize", 31),
            ("StringRepresentationMask", 7),
            ("ConsStringTag", 1),
            ("OneByteStringTag", 8),
        ];
        let is_wide = published.get("TaggedSize").is_none_or(|size| size == 8);
        if !is_wide || !fits.iter().all(|(name, value)| is(name, *value)) {
            return None;
        }
        let offset = |names: &[&str]| place(published.any(names)?);
        let from_frame = |name: &str| from_frame(published, name);
        let index = |name: &str| usize::try_from(published.get(name)?).ok().filter(|index| *index < 64);
        let function = from_frame("off_fp_function")?;
        let bytecode = from_frame("off_fp_bytecode_array").unwrap_or(function - 16);
        let scope_head = index("scopeinfo_idx_first_vars")?;
        let wrapper = offset(&["class_BytecodeArray__wrapper__Tagged_BytecodeWrapper_"]);
        Some(Self {
            frame: FrameLayout {
                context: from_frame("off_fp_context_or_frame_type")
                    .or_else(|| from_frame("off_fp_context"))?,
                function,
                bytecode,
                offset: from_frame("off_fp_bytecode_offset").unwrap_or(bytecode - 8),
            },
            kinds: Kinds::of(published)?,
            map_kind: offset(&["class_Map__instance_type__uint16_t"])?,
            function_shared: offset(&["class_JSFunction__shared__SharedFunctionInfo"])?,
            shared_name: offset(&[
                "class_SharedFunctionInfo__name_or_scope_info__Tagged_NameOrScopeInfoT_",
                "class_SharedFunctionInfo__name_or_scope_info__Tagged_Object_",
                "class_SharedFunctionInfo__name_or_scope_info__Object",
            ])?,
            shared_script: offset(&[
                "class_SharedFunctionInfo__script__Tagged_HeapObject_",
                "class_SharedFunctionInfo__script_or_debug_info__HeapObject",
                "class_SharedFunctionInfo__script_or_debug_info__Object",
            ])?,
            script_name: offset(&["class_Script__name__Object"])?,
            script_source: offset(&["class_Script__source__Object"])?,
            // it stands behind the length, the constants and the handlers, or right behind the wrapper
            bytecode_positions: wrapper.map_or(32, |wrapper| wrapper + 8),
            bytecode_data: offset(&["class_BytecodeArray__data__uintptr_t"])?,
            scope_head,
            scope_locals: index("scopeinfo_idx_ncontextlocals").filter(|index| *index < scope_head)?,
            scope_begins_in_head: scope_head >= 5,
            string_length: offset(&["class_String__length__int32_t"])?,
            code: CodeLayout::of(published),
            owner: owner_of(published),
        })
    }
}

impl Kinds {
    fn of(published: &Published) -> Option<Self> {
        let kind = |name: &str| u16::try_from(published.get(name)?).ok();
        let function = kind("FirstJSFunctionType").or_else(|| kind("type_JSFunction__JS_FUNCTION_TYPE"))?;
        let last = kind("LastJSFunctionType").or_else(|| function.checked_add(FUNCTION_KINDS))?;
        let several = |names: &[&str]| names.iter().filter_map(|name| kind(name)).collect();
        Some(Self {
            contexts: kind("FirstContextType")?..=kind("LastContextType")?,
            functions: function..=last,
            shared: kind("type_SharedFunctionInfo__SHARED_FUNCTION_INFO_TYPE")?,
            scope: kind("type_ScopeInfo__SCOPE_INFO_TYPE")?,
            script: kind("type_Script__SCRIPT_TYPE")?,
            bytecode: kind("type_BytecodeArray__BYTECODE_ARRAY_TYPE")?,
            no_string: kind("FirstNonstringType")?,
            bytes: several(&[
                "type_ByteArray__BYTE_ARRAY_TYPE",
                "type_TrustedByteArray__TRUSTED_BYTE_ARRAY_TYPE",
            ]),
            arrays: several(&[
                "type_FixedArray__FIXED_ARRAY_TYPE",
                "type_WeakFixedArray__WEAK_FIXED_ARRAY_TYPE",
                "type_TrustedFixedArray__TRUSTED_FIXED_ARRAY_TYPE",
                "type_TrustedWeakFixedArray__TRUSTED_WEAK_FIXED_ARRAY_TYPE",
                "type_ProtectedFixedArray__PROTECTED_FIXED_ARRAY_TYPE",
            ]),
            code: kind("type_Code__CODE_TYPE"),
            instructions: kind("type_InstructionStream__INSTRUCTION_STREAM_TYPE"),
            wrapper: kind("type_SharedFunctionInfoWrapper__SHARED_FUNCTION_INFO_WRAPPER_TYPE"),
        })
    }
}

impl CodeLayout {
    fn of(published: &Published) -> Option<Self> {
        let offset = |names: &[&str]| place(published.any(names)?);
        let start =
            offset(&["class_Code__instruction_start__Address", "class_Code__instruction_start__uintptr_t"]);
        let size = offset(&["class_Code__instruction_size__int"]);
        let wrapper = offset(&["class_Code__wrapper__Tagged_CodeWrapper_"]);
        let positions = offset(&["class_Code__source_position_table__ByteArray"]);
        let (positions, start, size) = match (wrapper, positions) {
            // V8 12 and later
            (Some(wrapper), _) => (wrapper.checked_sub(8)?, Start::At(start?), size?),
            // V8 11 says where the table is; the beginning follows, flags of eight bytes, the size
            (None, Some(positions)) => (positions, Start::At(positions + 16), positions + 32),
            // V8 10: instructions are part of the object
            (None, None) => (size?.checked_sub(16)?, Start::Behind(start?), size?),
        };
        let index = |name: &str, other: i32| {
            usize::try_from(published.get(name).unwrap_or(other)).ok().filter(|index| *index < 64)
        };
        let literals = index("DeoptimizationDataLiteralArrayIndex", 2)?;
        Some(Self {
            deoptimisation: positions.checked_sub(8)?,
            positions,
            start,
            size,
            // those that may be trusted stand before the others
            literals: [literals, literals.saturating_sub(1)],
            inlined: index("DeoptimizationDataInliningPositionsIndex", 7)?,
        })
    }
}

fn owner_of(published: &Published) -> Option<OwnerLayout> {
    let offset = |names: &[&str]| place(published.any(names)?);
    Some(OwnerLayout {
        map_prototype: offset(&["class_Map__prototype__Object"])?,
        map_words: offset(&["class_Map__instance_size_in_words__char"])?,
        function_prototype: offset(&[
            "class_JSFunction__prototype_or_initial_map__HeapObject",
            "class_JSFunction__prototype_or_initial_map__Tagged_HeapObject_",
            "class_JSFunction__prototype_or_initial_map__Tagged_UnionOf_JSPrototype_Map_Hole_",
        ])?,
        map: u16::try_from(published.get("type_Map__MAP_TYPE")?).ok()?,
        receiver: from_frame(published, "off_fp_args")?,
    })
}

/// An offset from the frame pointer.
fn from_frame(published: &Published, name: &str) -> Option<i64> {
    let offset = published.get(name)?;
    (-MAX_OFFSET..=MAX_OFFSET).contains(&offset).then_some(i64::from(offset))
}

/// An offset in an object.
fn place(offset: i32) -> Option<u64> {
    u64::try_from(offset).ok().filter(|_| offset <= MAX_OFFSET)
}
