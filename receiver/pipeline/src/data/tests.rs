//! Profiles joined and cut: the others are tested with `batch`.

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::profiles::v1development::{Location, Mapping, ProfilesDictionary, Sample};

use super::{Data, Dictionary, merge, split};
use crate::testing::profiles;

fn request(data: Data) -> ExportProfilesServiceRequest {
    let Data::Profiles(request) = data else { panic!("no profiles") };
    request
}

fn samples(request: &ExportProfilesServiceRequest) -> impl Iterator<Item = &Sample> {
    let scopes = request.resource_profiles.iter().flat_map(|resource| &resource.scope_profiles);
    scopes.flat_map(|scope| &scope.profiles).flat_map(|profile| &profile.samples)
}

/// What each sample says, with every index resolved: type, functions, module, attributes, value.
fn told(data: &Data) -> Vec<String> {
    let Data::Profiles(request) = data else { panic!("no profiles") };
    let dictionary = request.dictionary.clone().unwrap();
    let text = |index: i32| dictionary.string_table[index as usize].as_str();
    let mut told = Vec::new();
    for profile in request.resource_profiles.iter().flat_map(|resource| &resource.scope_profiles[0].profiles)
    {
        let kind = profile.sample_type.unwrap();
        for sample in &profile.samples {
            let mut line = format!("{} {}:", text(kind.type_strindex), text(kind.unit_strindex));
            for location in &dictionary.stack_table[sample.stack_index as usize].location_indices {
                let location = &dictionary.location_table[*location as usize];
                let mapping = &dictionary.mapping_table[location.mapping_index as usize];
                let function = &dictionary.function_table[location.lines[0].function_index as usize];
                let (module, name) = (text(mapping.filename_strindex), text(function.name_strindex));
                let file = text(function.filename_strindex);
                line += &format!(" {name}({file}:{}) {module}+{}", location.lines[0].line, location.address);
            }
            for index in &sample.attribute_indices {
                let attribute = &dictionary.attribute_table[*index as usize];
                line += &format!(" {}={:?}", text(attribute.key_strindex), attribute.value);
            }
            told.push(format!("{line} {:?}", sample.values));
        }
    }
    told
}

/// Nothing twice, zero values first, nothing that no sample needs.
fn is_tidy(dictionary: &ProfilesDictionary, strings: usize, stacks: usize) {
    assert_eq!((dictionary.string_table.len(), dictionary.stack_table.len()), (strings, stacks));
    assert_eq!(dictionary.string_table[0], "");
    assert_eq!(dictionary.mapping_table[0], Mapping::default());
    assert_eq!(dictionary.location_table[0], Location::default());
    let mut sorted = dictionary.string_table.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), strings);
}

/// Guarantees: what two requests say they say joined, with one dictionary in which nothing stands twice.
#[test]
fn joins_profiles() {
    let (one, other) = (profiles(&[("grow", 1), ("keep", 2)]), profiles(&[("keep", 3), ("swell", 4)]));
    let joined = merge(one.clone(), other.clone());
    assert_eq!(told(&joined), [told(&one), told(&other)].concat());
    // "", module, source, main, grow, keep, swell, the attribute's key, type and unit
    let joined = request(joined);
    is_tidy(joined.dictionary.as_ref().unwrap(), 10, 5);
    assert_eq!(joined.resource_profiles.len(), 2);
    let twice = request(merge(one.clone(), one.clone()));
    assert_eq!(twice.dictionary, request(one).dictionary, "the same once more adds nothing");
}

/// Guarantees: cut profiles say what the whole says; each half has what it refers to and no more, and an id that both
/// halves would share is gone, while one of a profile that is whole stays.
#[test]
fn cuts_profiles() {
    let all = profiles(&[("grow", 1), ("keep", 2), ("swell", 3)]);
    for count in 0..=4 {
        let (head, rest) = split(all.clone(), count);
        assert_eq!(head.items(), count.min(3));
        assert_eq!([told(&head), told(&rest)].concat(), told(&all), "{count}");
        let cut = count == 1 || count == 2;
        for half in [head, rest].map(request) {
            let own = samples(&half).count();
            let dictionary = half.dictionary.as_ref().unwrap();
            is_tidy(dictionary, if own == 0 { 1 } else { own + 7 }, own + 1);
            for profile in half.resource_profiles.iter().flat_map(|r| &r.scope_profiles[0].profiles) {
                assert_eq!(profile.profile_id.is_empty(), cut);
            }
        }
    }
}

/// Guarantees: indices that lead nowhere, and a request without a dictionary, come out as "not set", not as a panic.
#[test]
fn indices_that_lead_nowhere() {
    for dictionary in [None, Some(ProfilesDictionary::default())] {
        let mut broken = request(profiles(&[("grow", 1)]));
        broken.dictionary = dictionary;
        let profile = &mut broken.resource_profiles[0].scope_profiles[0].profiles[0];
        profile.samples[0].stack_index = -7;
        profile.samples[0].link_index = i32::MAX;
        profile.attribute_indices = vec![1000];
        let (head, rest) = split(Data::Profiles(broken), 1);
        let (head, rest) = (request(head), request(rest));
        assert_eq!(samples(&rest).count(), 0);
        let sample = samples(&head).next().unwrap();
        assert_eq!((sample.stack_index, sample.link_index, &sample.attribute_indices[..]), (0, 0, &[0][..]));
    }
}

/// Guarantees: the zero value is the first of every table, and what is put in twice has one index.
#[test]
fn dictionary() {
    let mut dictionary = Dictionary::default();
    assert_eq!((dictionary.string(""), dictionary.mapping(Mapping::default())), (0, 0));
    let index = dictionary.string("a");
    assert_eq!((index, dictionary.string("b"), dictionary.string("a")), (1, 2, 1));
    let first = dictionary.stack(vec![0, 0]);
    assert_eq!((first, dictionary.stack(vec![0, 0]), dictionary.stack(vec![])), (1, 1, 0));
    let built = ProfilesDictionary::from(dictionary);
    assert_eq!(built.string_table, ["", "a", "b"]);
    assert_eq!(built.link_table.len(), 1);
    assert_eq!(ProfilesDictionary::from(Dictionary::from(built.clone())), built);
}
