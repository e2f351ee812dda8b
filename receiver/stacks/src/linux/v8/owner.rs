//! Whose method a function is: the class by which V8's own stacks call it. What it is called itself does not tell that, and many are
//! called `add` or `set`.
//!
//! A method is a property of a prototype of what it is called for, and so is the class that the prototype belongs to.

use super::function::Function;
use super::heap::{Heap, Object, Tagged};

/// Prototypes of prototypes that are looked through.
const MAX_CHAIN: usize = 8;
/// Properties of a prototype that are looked at: so many words at most stand beside it, by the bits of its length that are not its hash.
const MAX_WORDS: u32 = 1023;
/// Of these so many are asked whether they are the class.
const MAX_CANDIDATES: usize = 256;

/// Where what is read stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OwnerLayout {
    /// In a map: the prototype of what it describes, and how many words that has, in a byte.
    pub(super) map_prototype: u64,
    pub(super) map_words: u64,
    /// In a function that makes objects: their prototype, or the map that they have at first.
    pub(super) function_prototype: u64,
    /// The kind of maps.
    pub(super) map: u16,
    /// What a function of JavaScript is called for, from its frame pointer on.
    pub(super) receiver: i64,
}

/// The class whose method a function is that was called for `receiver`. `None`: it is none's, or that is not to be seen.
pub(super) fn class_of(heap: &Heap<'_>, receiver: Tagged, function: Object) -> Option<Function> {
    let layout = heap.layout.owner?;
    let mut object = heap.object(receiver)?;
    for _ in 0..MAX_CHAIN {
        let map = heap.field(object.at, 0)?.object()?;
        let prototype = heap.object(heap.field(map, layout.map_prototype)?)?;
        let properties = properties(heap, layout, prototype)?;
        if properties.iter().any(|it| it.object() == Some(function.at)) {
            let mut makers = properties.into_iter().filter_map(|it| heap.object(it)).take(MAX_CANDIDATES);
            let class = makers.find(|it| makes(heap, layout, *it, prototype))?;
            // it is no method of itself
            return name(heap, class).filter(|_| class != function);
        }
        object = prototype;
    }
    None
}

/// The words of an object, and of what its properties are in where they do not stand in it.
fn properties(heap: &Heap<'_>, layout: OwnerLayout, object: Object) -> Option<Vec<Tagged>> {
    let words = words(heap, layout, object)?;
    let mut found = heap.fields(object.at.checked_add(8)?, words.checked_sub(1)?)?;
    if let Some(beside) = found.first().and_then(|first| heap.object(*first)) {
        let count = heap.half(beside.at, 12)? & MAX_WORDS;
        found.extend(heap.fields(beside.at.checked_add(16)?, usize::try_from(count).ok()?)?);
    }
    Some(found)
}

/// How many words an object has, the first of which is its map.
fn words(heap: &Heap<'_>, layout: OwnerLayout, object: Object) -> Option<usize> {
    let map = heap.field(object.at, 0)?.object()?;
    heap.bytes(map.checked_add(layout.map_words)?, 1)?.first().copied().map(usize::from)
}

/// Whether a function makes objects of this prototype.
fn makes(heap: &Heap<'_>, layout: OwnerLayout, function: Object, prototype: Object) -> bool {
    let of_function = || {
        heap.layout.kinds.functions.contains(&function.kind).then_some(())?;
        // methods make nothing, and have no such word
        let has_one = words(heap, layout, function)? > usize::try_from(layout.function_prototype / 8).ok()?;
        let made = heap.object(heap.field(function.at, layout.function_prototype).filter(|_| has_one)?)?;
        if made.kind != layout.map {
            return Some(made);
        }
        heap.object(heap.field(made.at, layout.map_prototype)?)
    };
    of_function() == Some(prototype)
}

/// What a class calls itself.
fn name(heap: &Heap<'_>, class: Object) -> Option<Function> {
    let (layout, kinds) = (heap.layout, &heap.layout.kinds);
    let shared = heap.of_kind(heap.field(class.at, layout.function_shared)?, kinds.shared)?;
    Function::read(heap, heap.field(shared, layout.shared_name)?)
}
