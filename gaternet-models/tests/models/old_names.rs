//! Files that earlier versions wrote, with names that have changed since.

use gaternet_core::gate::{Estimator, MinActive, TauSchedule};
use gaternet_models::{
    BackboneConfig, ConvTime, GatePlacement, GatedConfig, GaterConfig, LatencyCosts,
};

#[test]
fn a_latency_with_slots_is_one_with_layers() {
    let old = r#"{
        "plain": 2.0,
        "fixed": 0.5,
        "convs": [{ "filters": 0, "channels": null, "table": 0 }],
        "tables": [],
        "slots": 3
    }"#;
    let latency: LatencyCosts = serde_json::from_str(old).expect("a latency");
    let conv = ConvTime { filters: Some(0), channels: None, table: 0 };
    assert_eq!((latency.layers, latency.convs.as_slice()), (3, &[conv][..]));
    let new = serde_json::to_string(&latency).expect("plain data");
    assert!(new.contains(r#""layers":3"#), "{new}");
    assert_eq!(serde_json::from_str::<LatencyCosts>(&new).expect("as written"), latency);
}

/// A gated ResNet-8 as earlier versions wrote it, with these entries besides.
fn old_config(entries: &str) -> GatedConfig {
    let text = format!(
        r#"{{
            "backbone": {{ "family": {{ "kind": "resnet", "depth": 8 }}, "classes": 4 }},
            {entries},
            "gater": {{ "depth": 8, "bottleneck": 4 }}
        }}"#
    );
    serde_json::from_str(&text).expect(&text)
}

#[test]
fn an_old_configuration_is_the_new_one() {
    let gater = GaterConfig { depth: 8, bottleneck: 4, ..GaterConfig::default() };
    let config = || GatedConfig { gater, ..GatedConfig::new(BackboneConfig::resnet(8, 4)) };
    let (gates, fraction) = (MinActive::Gates(2), MinActive::Fraction(0.25));
    let placement = |placement| GatedConfig { placement, ..config() };
    let tau = TauSchedule { fraction: 0.5, ..TauSchedule::constant(2.0) };
    let estimator = Estimator::GumbelSigmoid { tau, hard: true };
    let tau = r#""tau": { "first": 2.0, "last": 2.0, "share": 0.5 }"#;
    let gumbel = format!(r#""estimator": {{ "gumbel_sigmoid": {{ {tau}, "hard": true }} }}"#);
    for (old, want) in [
        (gumbel.as_str(), GatedConfig { estimator, ..config() }),
        (r#""placement": "residual-output""#, placement(GatePlacement::BlockOutput)),
        (r#""placement": "hidden""#, placement(GatePlacement::Inner)),
        (r#""group": 8"#, GatedConfig { filters_per_gate: 8, ..config() }),
        (r#""floor": { "gates": 2 }"#, GatedConfig { min_active: gates, ..config() }),
        (r#""floor": { "share": 0.25 }"#, GatedConfig { min_active: fraction, ..config() }),
    ] {
        assert_eq!(old_config(old), want, "{old}");
        let new = serde_json::to_string(&want).expect("plain data");
        assert_eq!(serde_json::from_str::<GatedConfig>(&new).expect("as written"), want);
        assert!(!new.contains(&old.replace(": ", ":")), "{new}");
    }
}
