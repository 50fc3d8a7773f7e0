//! Files that earlier versions wrote, with names that have changed since.

use gaternet_models::{ConvTime, LatencyCosts};

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
