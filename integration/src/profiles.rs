//! The samples in what a file exporter wrote of profiles: OTLP as JSON lines, read without our own crates.

use anyhow::Context as _;
use serde_json::{Map, Value};

use crate::otlp::{items, number, plain, word};

/// A sample with all that it refers to.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The resource's attributes.
    pub resource: Map<String, Value>,
    /// What is counted, and its unit: `inuse_space bytes`.
    pub kind: String,
    /// How much.
    pub value: i64,
    /// `function file:line`, the innermost first; functions inlined at one place follow one another.
    pub functions: Vec<String>,
    /// Names of the files of each place, and their build ids.
    pub modules: Vec<(String, String)>,
    /// The sample's own attributes.
    pub attributes: Map<String, Value>,
    /// `timeUnixNano` of its profile.
    pub time: u64,
    /// `durationNano` of it.
    pub duration: u64,
}

impl Sample {
    /// The function of a frame, without file and line.
    #[must_use]
    pub fn calls(&self, function: &str) -> bool {
        self.functions.iter().any(|frame| frame.split(' ').next() == Some(function))
    }
}

/// Every sample of the file so far. A last line that is still being written is left out.
///
/// # Errors
/// A whole line that is not OTLP, or in which an index leads nowhere.
pub fn samples(path: &std::path::Path) -> anyhow::Result<Vec<Sample>> {
    let text = std::fs::read_to_string(path).unwrap_or_default(); // not there before the first profile
    let mut samples = Vec::new();
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let request: Value = serde_json::from_str(line)?;
        let dictionary = Dictionary(&request["dictionary"]);
        for resource in items(&request, "resourceProfiles") {
            for scope in items(resource, "scopeProfiles") {
                for profile in items(scope, "profiles") {
                    for sample in items(profile, "samples") {
                        let of_resource = dictionary.resource(&resource["resource"])?;
                        let sample = dictionary.sample(of_resource, profile, sample);
                        samples.push(sample.with_context(|| line.to_owned())?);
                    }
                }
            }
        }
    }
    Ok(samples)
}

struct Dictionary<'a>(&'a Value);

impl<'a> Dictionary<'a> {
    /// What an index of the protocol leads to; one that is absent is 0.
    fn at(&self, table: &str, index: &Value) -> anyhow::Result<&'a Value> {
        let index = usize::try_from(index.as_i64().unwrap_or(0))?;
        self.0[table].get(index).with_context(|| format!("no {index} in {table}"))
    }

    fn text(&self, index: &Value) -> anyhow::Result<String> {
        Ok(word(self.at("stringTable", index)?))
    }

    fn attributes(&self, of: &Value) -> anyhow::Result<Map<String, Value>> {
        let mut attributes = Map::new();
        for index in items(of, "attributeIndices") {
            let attribute = self.at("attributeTable", index)?;
            attributes.insert(self.text(&attribute["keyStrindex"])?, plain(&attribute["value"]));
        }
        Ok(attributes)
    }

    /// The attributes of a resource: the Collector puts their texts into the dictionary, and need not.
    fn resource(&self, resource: &Value) -> anyhow::Result<Map<String, Value>> {
        let mut attributes = Map::new();
        for pair in items(resource, "attributes") {
            let key = match &pair["keyStrindex"] {
                Value::Null => word(&pair["key"]),
                index => self.text(index)?,
            };
            let value = match &pair["value"]["stringValueStrindex"] {
                Value::Null => plain(&pair["value"]),
                index => self.text(index)?.into(),
            };
            attributes.insert(key, value);
        }
        Ok(attributes)
    }

    fn sample(
        &self,
        resource: Map<String, Value>,
        profile: &Value,
        sample: &Value,
    ) -> anyhow::Result<Sample> {
        let of = &profile["sampleType"];
        let (mut functions, mut modules) = (Vec::new(), Vec::new());
        let stack = self.at("stackTable", &sample["stackIndex"])?;
        for location in items(stack, "locationIndices") {
            let location = self.at("locationTable", location)?;
            let mapping = self.at("mappingTable", &location["mappingIndex"])?;
            let build_id = self.attributes(mapping)?.remove("process.executable.build_id.gnu");
            modules.push((self.text(&mapping["filenameStrindex"])?, word(&build_id.unwrap_or_default())));
            for line in items(location, "lines") {
                let function = self.at("functionTable", &line["functionIndex"])?;
                let [name, file] = ["nameStrindex", "filenameStrindex"].map(|key| self.text(&function[key]));
                functions.push(format!("{} {}:{}", name?, file?, number(&line["line"])));
            }
        }
        Ok(Sample {
            resource,
            kind: format!("{} {}", self.text(&of["typeStrindex"])?, self.text(&of["unitStrindex"])?),
            value: items(sample, "values")
                .map(|value| i64::try_from(number(value)).unwrap_or(i64::MAX))
                .sum(),
            functions,
            modules,
            attributes: self.attributes(sample)?,
            time: number(&profile["timeUnixNano"]),
            duration: number(&profile["durationNano"]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a sample is read with its stack, its attributes and its resource; an index that leads nowhere is an
    /// error.
    #[test]
    fn reads_what_the_collector_writes() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let line = r#"{"resourceProfiles":[{"resource":{"attributes":[{"key":"process.pid","value":{"intValue":"7"}},
            {"keyStrindex":5,"value":{"stringValueStrindex":3}}]},
            "scopeProfiles":[{"profiles":[{"sampleType":{"typeStrindex":1,"unitStrindex":2},"timeUnixNano":"5",
            "durationNano":"6","samples":[{"stackIndex":1,"values":["40","2"],"attributeIndices":[1]}]}]}]}],
            "dictionary":{"stringTable":["","inuse_space","bytes","grow","a.c","key","/bin/a"],
            "mappingTable":[{},{"filenameStrindex":6}],
            "functionTable":[{},{"nameStrindex":3,"filenameStrindex":4}],
            "locationTable":[{},{"mappingIndex":1,"lines":[{"functionIndex":1,"line":"9"}]}],
            "attributeTable":[{},{"keyStrindex":5,"value":{"stringValue":"v"}}],
            "stackTable":[{},{"locationIndices":[1]}]}}"#;
        let line = line.replace('\n', "");
        std::fs::write(path.path(), format!("{line}\n{{\"resource")).unwrap();
        let read = samples(path.path()).unwrap();
        assert_eq!(read.len(), 1);
        let sample = &read[0];
        assert_eq!(
            (sample.kind.as_str(), sample.value, sample.time, sample.duration),
            ("inuse_space bytes", 42, 5, 6)
        );
        assert_eq!(sample.functions, ["grow a.c:9"]);
        assert_eq!(sample.modules, [("/bin/a".to_owned(), String::new())]);
        assert_eq!((&sample.attributes["key"], &sample.resource["process.pid"]), (&"v".into(), &7.into()));
        assert_eq!(sample.resource["key"], "grow");
        assert!(sample.calls("grow") && !sample.calls("gro"));
        std::fs::write(path.path(), format!("{}\n", line.replace("\"stackIndex\":1", "\"stackIndex\":9")))
            .unwrap();
        assert!(samples(path.path()).is_err());
    }
}
