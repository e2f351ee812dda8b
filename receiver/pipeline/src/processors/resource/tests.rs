use super::*;
use crate::testing::{Sink, complaints, configure_processor, context, gauge, logs, metrics_of, profiles};

/// The resource attributes after the edits, as `key=value` texts, of logs and of metrics.
async fn edited(yaml: &str) -> (Vec<String>, Vec<String>) {
    let sink = Arc::new(Sink::default());
    let blueprint = configure_processor(&Factory, yaml).map_err(|problems| problems.to_string()).unwrap();
    let built = blueprint.build(context("resource").0, sink.clone()).unwrap();
    built.consumer.consume(logs(1)).await.unwrap();
    built.consumer.consume(metrics_of(vec![gauge("a", 1)])).await.unwrap();
    built.consumer.consume(profiles(&[("grow", 1)])).await.unwrap();
    let shown = |resource: &Option<Resource>| {
        let attributes = &resource.as_ref().unwrap().attributes;
        attributes
            .iter()
            .map(|kv| format!("{}={:?}", kv.key, kv.value.as_ref().unwrap().value.as_ref().unwrap()))
            .collect()
    };
    let taken = sink.taken.lock().unwrap();
    let [Data::Logs(logs), Data::Metrics(metrics), Data::Profiles(profiles)] = &taken[..] else {
        panic!("order")
    };
    let of_profiles: Vec<String> = shown(&profiles.resource_profiles[0].resource);
    assert_eq!(of_profiles, shown(&logs.resource_logs[0].resource), "the same resource comes out the same");
    (shown(&logs.resource_logs[0].resource), shown(&metrics.resource_metrics[0].resource))
}

/// Guarantees: each action does what its name says, on every signal, in the order of the list.
#[tokio::test]
async fn actions() {
    let api = r#"service.name=StringValue("api")"#;
    let hunter = [r#"service.name=StringValue("hunter")"#, r#"service.version=StringValue("1.2.3")"#];
    for (edits, logs, metrics) in [
        ("{key: service.name, value: x, action: insert}", vec![api], hunter.to_vec()),
        (
            "{key: service.version, value: 9, action: update}",
            vec![api],
            vec![hunter[0], "service.version=IntValue(9)"],
        ),
        (
            "{key: service.version, value: true, action: upsert}",
            vec![api, "service.version=BoolValue(true)"],
            vec![hunter[0], "service.version=BoolValue(true)"],
        ),
        ("{key: service.name, action: delete}", vec![], vec![hunter[1]]),
        (
            "{key: n, value: 1.5, action: insert}, {key: n, value: 2, action: insert}",
            vec![api, "n=DoubleValue(1.5)"],
            vec![hunter[0], hunter[1], "n=DoubleValue(1.5)"],
        ),
    ] {
        let (got_logs, got_metrics) = edited(&format!("attributes: [{edits}]")).await;
        assert_eq!((got_logs, got_metrics), (own(&logs), own(&metrics)), "{edits}");
    }
}

fn own(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Guarantees: incomplete or unknown actions are refused, each with its place in the list.
#[test]
fn bad_settings() {
    for (yaml, expected) in [
        ("", "at least one of {key, value, action}"),
        ("attributes: []", "at least one of {key, value, action}"),
        ("attributes: [{key: a, action: upsert}]", "attributes[0]::value"),
        ("attributes: [{value: a, action: upsert}]", "attributes[0]::key"),
        ("attributes: [{key: a, value: b, action: hash}]", "one of insert, update, upsert, delete"),
        ("attributes: [{key: a, value: [1], action: upsert}]", "a text, a boolean, or a number"),
        ("attributes: [{key: a, value: b, action: delete}]", "unknown key"),
        ("attributes: [{key: '', value: b, action: insert}]", "the attribute's name"),
    ] {
        let complaint = complaints(configure_processor(&Factory, yaml));
        assert!(complaint.contains(expected), "{yaml}: {complaint}");
    }
}

/// Guarantees: it has nothing to start or stop, in any order.
#[tokio::test]
async fn lifecycle() {
    let blueprint = configure_processor(&Factory, "attributes: [{key: a, action: delete}]").ok().unwrap();
    let mut built = blueprint.build(context("resource").0, Arc::new(Sink::default())).unwrap();
    built.component.shutdown().await.unwrap();
    built.component.start().await.unwrap();
    built.component.shutdown().await.unwrap();
}
