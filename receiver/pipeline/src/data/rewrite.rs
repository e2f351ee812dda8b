//! Profiles from one dictionary to another. Pure.

use std::collections::HashMap;

use opentelemetry_proto::tonic::profiles::v1development::{
    Function, KeyValueAndUnit, Line, Location, Mapping, Profile, ProfilesDictionary, ResourceProfiles,
    ValueType,
};

use super::Dictionary;

/// Puts what `profiles` refer to in `from` into `to`, and has them refer to that. What they do not refer to is left
/// behind; an index that leads nowhere becomes "not set". Attributes of resources and scopes hold their texts themselves.
pub(super) fn rewrite(profiles: &mut [ResourceProfiles], from: &ProfilesDictionary, to: &mut Dictionary) {
    let mut mover = Mover { from, to, moved: Moved::default() };
    let scopes = profiles.iter_mut().flat_map(|resource| &mut resource.scope_profiles);
    scopes.flat_map(|scope| &mut scope.profiles).for_each(|profile| mover.profile(profile));
}

struct Mover<'a> {
    from: &'a ProfilesDictionary,
    to: &'a mut Dictionary,
    moved: Moved,
}

/// New indices by old ones.
#[derive(Default)]
struct Moved {
    mappings: HashMap<i32, i32>,
    locations: HashMap<i32, i32>,
    functions: HashMap<i32, i32>,
    links: HashMap<i32, i32>,
    strings: HashMap<i32, i32>,
    attributes: HashMap<i32, i32>,
    stacks: HashMap<i32, i32>,
}

/// An entry of the old dictionary.
fn at<T>(table: &[T], index: i32) -> Option<&T> {
    table.get(usize::try_from(index).ok()?)
}

impl Mover<'_> {
    fn profile(&mut self, profile: &mut Profile) {
        self.value_type(profile.sample_type.as_mut());
        self.value_type(profile.period_type.as_mut());
        self.attributes(&mut profile.attribute_indices);
        for sample in &mut profile.samples {
            sample.stack_index = self.stack(sample.stack_index);
            sample.link_index = self.link(sample.link_index);
            self.attributes(&mut sample.attribute_indices);
        }
    }

    fn value_type(&mut self, value_type: Option<&mut ValueType>) {
        if let Some(value_type) = value_type {
            value_type.type_strindex = self.string(value_type.type_strindex);
            value_type.unit_strindex = self.string(value_type.unit_strindex);
        }
    }

    fn attributes(&mut self, indices: &mut [i32]) {
        for index in indices {
            *index = self.attribute(*index);
        }
    }

    fn string(&mut self, old: i32) -> i32 {
        if let Some(new) = self.moved.strings.get(&old) {
            return *new;
        }
        let new = at(&self.from.string_table, old).map_or(0, |text| self.to.string(text));
        self.moved.strings.insert(old, new);
        new
    }

    fn link(&mut self, old: i32) -> i32 {
        if let Some(new) = self.moved.links.get(&old) {
            return *new;
        }
        let new = at(&self.from.link_table, old).map_or(0, |link| self.to.link(link.clone()));
        self.moved.links.insert(old, new);
        new
    }

    fn attribute(&mut self, old: i32) -> i32 {
        if let Some(new) = self.moved.attributes.get(&old) {
            return *new;
        }
        let new = at(&self.from.attribute_table, old).map_or(0, |attribute| {
            let key_strindex = self.string(attribute.key_strindex);
            let unit_strindex = self.string(attribute.unit_strindex);
            let value = attribute.value.clone();
            self.to.put_attribute(KeyValueAndUnit { key_strindex, value, unit_strindex })
        });
        self.moved.attributes.insert(old, new);
        new
    }

    fn stack(&mut self, old: i32) -> i32 {
        if let Some(new) = self.moved.stacks.get(&old) {
            return *new;
        }
        let new = at(&self.from.stack_table, old).map_or(0, |stack| {
            let locations = stack.location_indices.iter().map(|index| self.location(*index)).collect();
            self.to.stack(locations)
        });
        self.moved.stacks.insert(old, new);
        new
    }

    fn location(&mut self, old: i32) -> i32 {
        if let Some(new) = self.moved.locations.get(&old) {
            return *new;
        }
        let new = at(&self.from.location_table, old).map_or(0, |location| {
            let lines = location.lines.iter().map(|line| {
                let function_index = self.function(line.function_index);
                Line { function_index, ..*line }
            });
            let lines = lines.collect();
            let mapping_index = self.mapping(location.mapping_index);
            let mut attribute_indices = location.attribute_indices.clone();
            self.attributes(&mut attribute_indices);
            self.to.location(Location { mapping_index, address: location.address, lines, attribute_indices })
        });
        self.moved.locations.insert(old, new);
        new
    }

    fn function(&mut self, old: i32) -> i32 {
        if let Some(new) = self.moved.functions.get(&old) {
            return *new;
        }
        let new = at(&self.from.function_table, old).map_or(0, |function| {
            let name_strindex = self.string(function.name_strindex);
            let system_name_strindex = self.string(function.system_name_strindex);
            let filename_strindex = self.string(function.filename_strindex);
            let start_line = function.start_line;
            self.to.function(Function { name_strindex, system_name_strindex, filename_strindex, start_line })
        });
        self.moved.functions.insert(old, new);
        new
    }

    fn mapping(&mut self, old: i32) -> i32 {
        if let Some(new) = self.moved.mappings.get(&old) {
            return *new;
        }
        let new = at(&self.from.mapping_table, old).map_or(0, |mapping| {
            let filename_strindex = self.string(mapping.filename_strindex);
            let mut attribute_indices = mapping.attribute_indices.clone();
            self.attributes(&mut attribute_indices);
            self.to.mapping(Mapping { filename_strindex, attribute_indices, ..*mapping })
        });
        self.moved.mappings.insert(old, new);
        new
    }
}
